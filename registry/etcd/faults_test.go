package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestServerRestarts: the server is killed and comes back with what it had.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := registrytest.NewProxy(t, s.addr)
	watching, announcing := open(t, "etcd://"+p.Address()), open(t, "etcd://"+p.Address())
	register(t, announcing, greeter("1", "2"), 0)
	w := watch(t, watching)
	before := w.await("both nodes", hasNodes("1", "2"))
	back := announcing.Reconnected(t.Context())

	restore := p.Sever() // a server that is killed ends nothing in order
	s.stop()
	w.awaitLoss()
	begin := time.Now()
	if err := announcing.Register(bound(t, deadline), greeter("late"), 0); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register() without a server error = %v, want ErrUnavailable", err)
	}
	if err := announcing.Deregister(bound(t, deadline), greeter("1")); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Deregister() without a server error = %v, want ErrUnavailable", err)
	}
	if _, err := announcing.Get(bound(t, deadline), "greeter"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Get() without a server error = %v, want ErrUnavailable", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("three calls without a server took %v, want at most 1 s", took)
	}
	late := watch(t, watching)
	late.awaitLoss()
	w.wantNothing(10 * time.Millisecond)

	s.start(nil)
	restore()
	receive(t, back)
	deregister(t, announcing, greeter("2"))
	after := w.await("the node that stayed, and none that was announced meanwhile", hasNodes("1"))
	if before[0] == after[0] {
		t.Error("Next() = the service as it was, want a new one")
	}
	register(t, announcing, greeter("3"), 0)
	w.await("a new node", hasNodes("1", "3"))
	late.await("the same for one that began without a server", hasNodes("1", "3"))
}

// TestServerComesBackEmpty: the store is lost, and who announces does so again
// because the registry tells. The new store soon has the same revision.
func TestServerComesBackEmpty(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ttl  time.Duration
	}{
		{"for ever", 0},
		{"with a TTL", time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			old, fresh := start(t, nil), start(t, nil)
			p := registrytest.NewProxy(t, old.addr)
			watching, announcing := open(t, "etcd://"+p.Address()), open(t, "etcd://"+p.Address())
			register(t, announcing, greeter("1"), tt.ttl)
			w := watch(t, watching)
			w.await("a node", hasNodes("1"))
			back := announcing.Reconnected(t.Context())

			restore := p.Sever()
			w.awaitLoss()
			other := greeter("1")
			other.Nodes[0].Address = "127.0.0.1:1"
			register(t, open(t, "etcd://"+fresh.addr), other, tt.ttl)
			p.Redirect(fresh.addr)
			restore()
			got := w.await("what the other store has", hasNodes("1"))
			if got[0].Nodes[0].Address != "127.0.0.1:1" {
				t.Errorf("Next() = a node at %s, want the one of the new store", got[0].Nodes[0].Address)
			}
			receive(t, back)
			register(t, announcing, greeter("1"), tt.ttl)
			w.await("the node again", func(got []*registry.Service) bool {
				return hasNodes("1")(got) && got[0].Nodes[0].Address == "127.0.0.1:9090"
			})
		})
	}
}

// TestResumes: what happened without contact is told, whether or not etcd can
// still tell it, and what did not change is as it was.
func TestResumes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		meanwhile func(s *server)
	}{
		{"where it was", func(*server) {}},
		{"after compaction", func(s *server) { s.compact() }},
		{"after what cannot be read", func(s *server) { s.put("/micro/registry/x/y", []byte("{")) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			p := registrytest.NewProxy(t, s.addr)
			direct := open(t, "etcd://"+s.addr)
			other := &registry.Service{Name: "other", Nodes: []*registry.Node{{ID: "o", Address: "127.0.0.1:1"}}}
			register(t, direct, other, time.Minute)
			register(t, direct, greeter("1", "2"), time.Minute)
			w := watch(t, open(t, "etcd://"+p.Address()))
			before := w.await("all nodes", hasNodes("1", "2", "o"))

			restore := p.Sever()
			w.awaitLoss()
			deregister(t, direct, greeter("2"))
			register(t, direct, greeter("3"), time.Minute)
			tt.meanwhile(s)
			restore()
			after := w.await("what is left", hasNodes("1", "3", "o"))
			if before[1] != after[1] {
				t.Error("a service that did not change is another pointer after a loss")
			}
			register(t, direct, greeter("4"), time.Minute)
			w.await("a new node", hasNodes("1", "3", "4", "o"))
		})
	}
}

// TestSilentServer: nothing tells that the server is gone but its silence.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := registrytest.NewProxy(t, s.addr)
	w := watch(t, open(t, "etcd://"+p.Address()))
	w.await("the empty state", hasNodes())
	unmute := p.Mute()
	begin := time.Now()
	w.awaitLoss()
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("Next() noticed after %v that the server is silent, want at most 6 s", took)
	}
	register(t, open(t, "etcd://"+s.addr), greeter("1"), 0)
	unmute()
	w.await("what happened meanwhile", hasNodes("1"))
}

// TestQuietServer: a server on which nothing happens is not silent.
func TestQuietServer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	empty := watch(t, open(t, "etcd://"+s.addr))
	empty.await("the empty state", hasNodes())
	r := open(t, "etcd://"+s.addr+"?prefix=/other")
	register(t, r, greeter("1"), 0)
	w := watch(t, r)
	w.await("a node", hasNodes("1"))
	done := make(chan struct{})
	go func() { // ends with what it waits for
		defer close(done)
		empty.wantNothing(5 * time.Second)
	}()
	w.wantNothing(5 * time.Second)
	<-done
}

// TestLostTwice: each loss is told once.
func TestLostTwice(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := registrytest.NewProxy(t, s.addr)
	register(t, open(t, "etcd://"+s.addr), greeter("1"), 0)
	w := watch(t, open(t, "etcd://"+p.Address()))
	w.await("a node", hasNodes("1"))
	for range 2 {
		restore := p.Sever()
		w.awaitLoss()
		w.wantNothing(100 * time.Millisecond)
		restore()
		if got, err := w.Next(bound(t, deadline)); err != nil || !hasNodes("1")(got) {
			t.Errorf("Next() with contact back = %v, %v, want the node", got, err)
		}
	}
}

// TestSeveralHosts: those that cannot be reached are passed over, and who
// follows does not notice.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	direct := open(t, "etcd://"+s.addr)
	for i := range 2 {
		proxies := []*registrytest.Proxy{registrytest.NewProxy(t, s.addr), registrytest.NewProxy(t, s.addr)}
		r := open(t, fmt.Sprintf("etcd://%s?host=%s&host=%s", unused(t), proxies[0].Address(), proxies[1].Address()))
		register(t, r, greeter("1"), 0)
		w := watch(t, r)
		w.await("a node", hasNodes("1"))
		proxies[i].Sever() // whichever it follows, it goes on with the other
		register(t, direct, greeter("2"), 0)
		if got, err := w.Next(bound(t, deadline)); err != nil || !hasNodes("1", "2")(got) {
			t.Errorf("Next() with one of two servers = %v, %v, want both nodes", got, err)
		}
		deregister(t, r, greeter("2"))
		w.await("one node", hasNodes("1"))
		proxies[1-i].Sever()
		w.awaitLoss()
	}
}

// TestSlowWatcher: more happens than anybody holds for a watcher that does not
// look, and it gets the latest state all the same.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	w := watch(t, r)
	w.await("the empty state", hasNodes())
	fat := greeter("1")
	fat.Metadata = map[string]string{"fat": strings.Repeat("x", 64<<10)}
	for i := range 80 {
		fat.Version = fmt.Sprint(i)
		register(t, r, fat, 0)
	}
	w.await("the last version", func(services []*registry.Service) bool {
		return hasNodes("1")(services) && services[0].Version == fat.Version
	})
}

// TestRestartForgetsNoTTL: a node that is not renewed goes, whatever the server
// went through.
func TestRestartForgetsNoTTL(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	register(t, r, greeter("1"), time.Second)
	register(t, r, greeter("2"), 0)
	s.stop()
	s.start(nil)
	watch(t, r).await("the node that has no TTL", hasNodes("2"))
}

func TestClosed(t *testing.T) {
	t.Parallel()
	r := open(t, "etcd://"+start(t, nil).addr)
	w := watch(t, r)
	w.await("the empty state", hasNodes())
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
	_, errNone := r.Get(t.Context(), "")
	_, errList := r.List(t.Context())
	_, errWatch := r.Watch(t.Context())
	_, errNext := w.Next(t.Context())
	for what, err := range map[string]error{
		"a pending Next":        receive(t, pending),
		"Next":                  errNext,
		"Get":                   errGet,
		"Get of nothing":        errNone,
		"List":                  errList,
		"Watch":                 errWatch,
		"Register":              r.Register(t.Context(), greeter("1"), 0),
		"Deregister":            r.Deregister(t.Context(), greeter("1")),
		"Deregister of nothing": r.Deregister(t.Context(), &registry.Service{}),
	} {
		if !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%s after Close error = %v, want ErrClosed", what, err)
		}
	}
}

// TestCancelled: who gives up is told so, not that etcd is away.
func TestCancelled(t *testing.T) {
	t.Parallel()
	p := registrytest.NewProxy(t, start(t, nil).addr)
	r := open(t, "etcd://"+p.Address())
	p.Mute()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := r.List(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("List() error = %v, want %v", err, context.Canceled)
	}
	if _, err := r.List(bound(t, 10*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("List() error = %v, want ErrUnavailable and %v", err, context.DeadlineExceeded)
	}
}

func TestOpenUnavailable(t *testing.T) {
	t.Parallel()
	addr := unused(t)
	if r, err := tryOpen(t.Context(), "etcd://user:secret@"+addr, nil); !errors.Is(err, registry.ErrUnavailable) ||
		!strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Open() without a server = %v, %v, want ErrUnavailable and the address", r, err)
	}
}

// TestFullServer: etcd takes no more, and says so.
func TestFullServer(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *embed.Config) { cfg.QuotaBackendBytes = 64 << 10 })
	r := open(t, "etcd://"+s.addr)
	fat := greeter("1")
	fat.Metadata = map[string]string{"fat": strings.Repeat("x", 256<<10)}
	var err error
	for i := 0; i < 10 && err == nil; i++ {
		fat.Version = fmt.Sprint(i)
		err = r.Register(bound(t, deadline), fat, 0)
	}
	if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "space exceeded") {
		t.Errorf("Register() on a full server error = %v, want ErrUnavailable that says so", err)
	}
}

// unused returns an address at which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
