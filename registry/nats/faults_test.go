package nats_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestServerRestarts: the server goes away and comes back with what it had.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	watching, announcing := open(t, "nats://"+addr, nil), open(t, "nats://"+addr, nil)
	registrytest.Register(t, announcing, registrytest.Greeter("1", "2"), 0)
	w, own := registrytest.Watch(t, watching), registrytest.Watch(t, announcing)
	before := w.Await("both nodes", registrytest.HasNodes("1", "2"))
	own.Await("both nodes", registrytest.HasNodes("1", "2"))
	back := announcing.Reconnected(t.Context())

	s.Close()
	w.AwaitLoss()
	own.AwaitLoss()
	begin := time.Now()
	late := registrytest.Greeter("late")
	if err := announcing.Register(bound(t, deadline), late, 0); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register() without a server error = %v, want ErrUnavailable", err)
	}
	if err := announcing.Deregister(bound(t, deadline), registrytest.Greeter("1")); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Deregister() without a server error = %v, want ErrUnavailable", err)
	}
	if _, err := announcing.Get(bound(t, deadline), "greeter"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Get() without a server error = %v, want ErrUnavailable", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("three calls without a server took %v, want none to wait for its end", took)
	}
	lateWatch := registrytest.Watch(t, watching)
	lateWatch.AwaitLoss()
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if got, err := w.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() after ErrUnavailable = %v, %v, want %v", got, err, context.DeadlineExceeded)
	}

	start(t, dir, &conns.ServerOptions{Address: addr})
	receive(t, back)
	if err := announcing.Deregister(bound(t, deadline), registrytest.Greeter("2")); err != nil {
		t.Errorf("Deregister() after the restart error = %v", err)
	}
	after := w.Await("the node that stayed, and none that was announced meanwhile", registrytest.HasNodes("1"))
	if before[0] == after[0] {
		t.Error("Next() = the service as it was, want a new one")
	}
	registrytest.Register(t, announcing, registrytest.Greeter("3"), 0)
	w.Await("a new node", registrytest.HasNodes("1", "3"))
	lateWatch.Await("the same for one that began without a server", registrytest.HasNodes("1", "3"))
}

// TestServerRestartsUnseen: who did not look meanwhile misses nothing either,
// and gets what did not change as it was.
func TestServerRestartsUnseen(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	watching, announcing := open(t, "nats://"+addr, nil), open(t, "nats://"+addr, nil)
	other := &registry.Service{Name: "other", Nodes: []*registry.Node{{ID: "o", Address: "127.0.0.1:1"}}}
	registrytest.Register(t, announcing, registrytest.Greeter("1", "2"), 0)
	registrytest.Register(t, announcing, other, 0)
	w := registrytest.Watch(t, watching)
	before := w.Await("all nodes", registrytest.HasNodes("1", "2", "o"))

	back := watching.Reconnected(t.Context())
	announced := announcing.Reconnected(t.Context())
	s.Close()
	start(t, dir, &conns.ServerOptions{Address: addr})
	receive(t, back)
	receive(t, announced)
	if err := announcing.Deregister(bound(t, deadline), registrytest.Greeter("2")); err != nil {
		t.Fatal(err)
	}
	w.AwaitLoss()
	after := w.Await("what is left", registrytest.HasNodes("1", "o"))
	if before[1] != after[1] {
		t.Error("a service that did not change is another pointer after a restart")
	}
}

// TestMultiFindsALostServer: a Multi knows that contact is back, though nothing
// has changed. Its log tells when to look.
func TestMultiFindsALostServer(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	bus, other := open(t, "nats://"+addr, nil), new(registry.Memory)
	registrytest.Register(t, bus, registrytest.Greeter("1"), 0)
	said := make(lines, 64)
	m := registry.NewMulti([]registry.Member{{Name: "bus", Reader: bus}, {Name: "other", Reader: other}}, &registry.MultiOptions{
		Logger: slog.New(slog.NewTextHandler(said, nil)),
	})
	w := registrytest.Watch(t, m)
	w.Await("the node", registrytest.HasNodes("1"))
	wantBus := func(message string, ready bool) {
		t.Helper()
		for !strings.Contains(receive(t, said), message) {
		}
		states := m.Members()
		if states[0].Ready != ready || errors.Is(states[0].Err, registry.ErrUnavailable) == ready {
			t.Errorf("the state of the bus = %+v, want it ready: %t", states[0], ready)
		}
		if !states[1].Ready {
			t.Errorf("the state of the other = %+v, want it ready", states[1])
		}
	}
	for len(said) > 0 {
		<-said // both were found
	}
	s.Close()
	wantBus(`"registry lost`, false)
	start(t, dir, &conns.ServerOptions{Address: addr})
	wantBus(`"registry found`, true)
	registrytest.Register(t, other, &registry.Service{Name: "other", Nodes: []*registry.Node{{ID: "o", Address: "127.0.0.1:1"}}}, 0)
	w.Await("both nodes", registrytest.HasNodes("1", "o"))
}

// TestRestartForgetsNoTTL: a node that is not renewed goes, whatever the server
// went through.
func TestRestartForgetsNoTTL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	r := open(t, "nats://"+addr, nil)
	registrytest.Register(t, r, registrytest.Greeter("1"), time.Second)
	registrytest.Register(t, r, registrytest.Greeter("2"), 0)
	s.Close()
	start(t, dir, &conns.ServerOptions{Address: addr})
	registrytest.Watch(t, r).Await("the node that has no TTL", registrytest.HasNodes("2"))
}

// TestServerComesBackEmpty: the store is lost, and who announces does so again
// because the registry tells.
func TestServerComesBackEmpty(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	watching, announcing := open(t, "nats://"+addr, nil), open(t, "nats://"+addr, nil)
	registrytest.Register(t, announcing, registrytest.Greeter("1"), time.Minute)
	w := registrytest.Watch(t, watching)
	w.Await("a node", registrytest.HasNodes("1"))
	back := announcing.Reconnected(t.Context())

	s.Close()
	w.AwaitLoss()
	start(t, t.TempDir(), &conns.ServerOptions{Address: addr})
	w.Await("no node", registrytest.HasNodes())
	receive(t, back)
	registrytest.Register(t, announcing, registrytest.Greeter("1"), time.Minute)
	w.Await("the node again", registrytest.HasNodes("1"))
}

// TestRegisterMakesALostBucketAgain: nobody watches, and the bucket is gone.
func TestRegisterMakesALostBucketAgain(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	deleteBucket(t, s)
	registrytest.Register(t, r, registrytest.Greeter("2"), 0)
	got, err := r.List(bound(t, deadline))
	if err != nil || !registrytest.HasNodes("2")(got) {
		t.Errorf("List() = %v, %v, want node 2", got, err)
	}
}

// TestBucketIsDeleted: nothing tells a watcher but silence. Whoever watches is to
// know that there was no contact: what is in the next bucket says nothing of what
// there is.
func TestBucketIsDeleted(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	w := registrytest.Watch(t, r)
	w.Await("a node", registrytest.HasNodes("1"))
	deleteBucket(t, s)
	w.AwaitLoss()
	w.Await("no node", registrytest.HasNodes())
	registrytest.Register(t, r, registrytest.Greeter("2"), 0)
	w.Await("a new node", registrytest.HasNodes("2"))
}

// TestBucketIsReplaced: it is the same where somebody has made it again meanwhile.
// So the nodes stay that had no time yet to announce themselves again.
func TestBucketIsReplaced(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	registrytest.Register(t, r, registrytest.Greeter("1", "2", "3"), 0)
	steady := registry.NewSteady(r, nil)
	plain, kept := registrytest.Watch(t, r), registrytest.Watch(t, steady)
	plain.Await("all nodes", registrytest.HasNodes("1", "2", "3"))
	kept.Await("all nodes", registrytest.HasNodes("1", "2", "3"))
	deleteBucket(t, s)
	registrytest.Register(t, r, registrytest.Greeter("3"), 0)
	plain.AwaitLoss()
	plain.Await("the node that is there", registrytest.HasNodes("3"))
	kept.AwaitLoss()
	kept.Await("all nodes still", registrytest.HasNodes("1", "2", "3"))
	held := steady.Status().Held
	if len(held) != 1 || len(held[0].Nodes) != 2 || time.Until(held[0].Until) < 20*time.Second {
		t.Errorf("Held = %+v, want two nodes for 30s", held)
	}
}

// deleteBucket deletes the bucket that is there by default.
func deleteBucket(t *testing.T, s *conns.Server) {
	t.Helper()
	if err := jetStream(t, s).DeleteStream(t.Context(), "KV_goapi_registry"); err != nil {
		t.Fatal(err)
	}
}

// TestSlowWatcher: more happens than anybody holds for a watcher that does not
// look, and it gets the latest state all the same.
func TestSlowWatcher(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	fat := registrytest.Greeter("1")
	fat.Metadata = map[string]string{"fat": strings.Repeat("x", 32<<10)}
	for i := range 1000 {
		fat.Version = fmt.Sprint(i)
		registrytest.Register(t, r, fat, 0)
	}
	w.Await("the last version", func(services []*registry.Service) bool {
		return registrytest.HasNodes("1")(services) && services[0].Version == fat.Version
	})
}

// TestManyServices: what happens while somebody watches is there in the end,
// in order, and for two who watch the same.
func TestManyServices(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	announcing := open(t, "embedded:", s)
	one, two := registrytest.Watch(t, open(t, "nats://"+s.Addr(), nil)), registrytest.Watch(t, open(t, "embedded:", s))
	one.Await("the empty state", registrytest.HasNodes())
	const many = 1000
	failed := make(chan error, 1)
	go func() { // ends when all are registered
		for i := range many {
			name := fmt.Sprintf("service-%04d", i)
			svc := &registry.Service{Name: name, Nodes: []*registry.Node{{ID: name, Address: "127.0.0.1:9090"}}}
			if err := announcing.Register(context.Background(), svc, time.Minute); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	complete := func(services []*registry.Service) bool { return len(services) == many }
	first, second := one.Await("all services", complete), two.Await("all services", complete)
	if err := receive(t, failed); err != nil {
		t.Fatalf("Register() error = %v", err)
	}
	for i := range first {
		if want := fmt.Sprintf("service-%04d", i); first[i].Name != want || second[i].Name != want {
			t.Fatalf("service %d = %q and %q, want %q", i, first[i].Name, second[i].Name, want)
		}
	}
}

// TestRenewalIsNoChange: nobody who watches is woken by it.
func TestRenewalIsNoChange(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	registrytest.Register(t, r, registrytest.Greeter("1"), time.Minute)
	w := registrytest.Watch(t, r)
	w.Await("a node", registrytest.HasNodes("1"))
	for range 10 {
		registrytest.Register(t, r, registrytest.Greeter("1"), time.Minute)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := w.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() after renewals = %v, %v, want %v", got, err, context.DeadlineExceeded)
	}
}

func TestClosed(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	pending := make(chan error, 1)
	go func() { // ends with the registry
		_, err := w.Next(context.Background())
		pending <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	}
	_, errGet := r.Get(t.Context(), "greeter")
	_, errList := r.List(t.Context())
	_, errWatch := r.Watch(t.Context())
	_, errNext := w.Next(t.Context())
	for what, err := range map[string]error{
		"a pending Next":        receive(t, pending),
		"Next":                  errNext,
		"Get":                   errGet,
		"List":                  errList,
		"Watch":                 errWatch,
		"Register":              r.Register(t.Context(), registrytest.Greeter("1"), 0),
		"Deregister":            r.Deregister(t.Context(), registrytest.Greeter("1")),
		"Deregister of nothing": r.Deregister(t.Context(), &registry.Service{}),
	} {
		if !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%s after Close error = %v, want ErrClosed", what, err)
		}
	}
}

func TestDeregisterOfWhatCannotBe(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	r := open(t, "embedded:", s)
	for _, svc := range []*registry.Service{
		{},
		{Nodes: []*registry.Node{{ID: "1"}}},
		{Name: "greeter", Nodes: []*registry.Node{nil, {}}},
		{Name: strings.Repeat("x", 10_000), Nodes: []*registry.Node{{ID: "1"}}},
	} {
		if err := r.Deregister(t.Context(), svc); err != nil {
			t.Errorf("Deregister(%.20q…) error = %v", svc.Name, err)
		}
	}
}

func TestRegisterRefusesANegativeTTL(t *testing.T) {
	r := open(t, "embedded:", start(t, t.TempDir(), nil))
	var field *registry.FieldError
	if err := r.Register(t.Context(), registrytest.Greeter("1"), -1); !errors.As(err, &field) || field.Field != "ttl" {
		t.Errorf("Register() with a TTL of -1 error = %v, want a FieldError of ttl", err)
	}
}

func TestOpenUnavailable(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	s.Close()
	if r, err := tryOpen(t.Context(), "nats://"+addr, nil); !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), addr) {
		t.Errorf("Open() without a server = %v, %v, want ErrUnavailable and the address", r, err)
	}
}

// TestOpenSilentServer: somebody listens, but is no JetStream.
func TestOpenSilentServer(t *testing.T) {
	addr := listenSilently(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := tryOpen(ctx, "nats://"+addr, nil)
	if !errors.Is(err, registry.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open() = %v, %v, want ErrUnavailable and %v", r, err, context.DeadlineExceeded)
	}
}

// listenSilently takes clients as a NATS server does, and then says nothing.
func listenSilently(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the client
				defer c.Close()
				fmt.Fprint(c, `INFO {"server_id":"X","version":"2.15.0","headers":true,"max_payload":1048576}`+"\r\n")
				for lines := bufio.NewScanner(c); lines.Scan(); {
					if lines.Text() == "PING" {
						fmt.Fprint(c, "PONG\r\n")
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-bound(t, deadline).Done():
		t.Fatal("nothing happened in time")
	}
	return v
}
