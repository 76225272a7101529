package etcd_test

import (
	"context"
	"errors"
	"fmt"
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
	s := startAt(t, registrytest.Loopback(), nil)
	p := registrytest.NewProxy(t, s.addr)
	watching, announcing := open(t, "etcd://"+p.Address()), open(t, "etcd://"+p.Address())
	registrytest.Register(t, announcing, registrytest.Greeter("1", "2"), 0)
	w, own := registrytest.Watch(t, watching), registrytest.Watch(t, announcing)
	before := w.Await("both nodes", registrytest.HasNodes("1", "2"))
	own.Await("both nodes", registrytest.HasNodes("1", "2"))
	back := announcing.Reconnected(t.Context())

	restore := p.Sever() // a server that is killed ends nothing in order
	s.stop()
	w.AwaitLoss()
	own.AwaitLoss()
	begin := time.Now()
	if err := announcing.Register(bound(t, deadline), registrytest.Greeter("late"), 0); !errors.Is(err, registry.ErrUnavailable) {
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
	late := registrytest.Watch(t, watching)
	late.AwaitLoss()
	w.WantNothing(10 * time.Millisecond)

	s.start(nil)
	restore()
	receive(t, back)
	deregister(t, announcing, registrytest.Greeter("2"))
	after := w.Await("the node that stayed, and none that was announced meanwhile", registrytest.HasNodes("1"))
	if before[0] == after[0] {
		t.Error("Next() = the service as it was, want a new one")
	}
	registrytest.Register(t, announcing, registrytest.Greeter("3"), 0)
	w.Await("a new node", registrytest.HasNodes("1", "3"))
	late.Await("the same for one that began without a server", registrytest.HasNodes("1", "3"))
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
			registrytest.Register(t, announcing, registrytest.Greeter("1"), tt.ttl)
			w := registrytest.Watch(t, watching)
			w.Await("a node", registrytest.HasNodes("1"))
			back := announcing.Reconnected(t.Context())

			restore := p.Sever()
			w.AwaitLoss()
			other := registrytest.Greeter("1")
			other.Nodes[0].Address = "127.0.0.1:1"
			registrytest.Register(t, open(t, "etcd://"+fresh.addr), other, tt.ttl)
			p.Redirect(fresh.addr)
			restore()
			got := w.Await("what the other store has", registrytest.HasNodes("1"))
			if got[0].Nodes[0].Address != "127.0.0.1:1" {
				t.Errorf("Next() = a node at %s, want the one of the new store", got[0].Nodes[0].Address)
			}
			receive(t, back)
			registrytest.Register(t, announcing, registrytest.Greeter("1"), tt.ttl)
			w.Await("the node again", func(got []*registry.Service) bool {
				return registrytest.HasNodes("1")(got) && got[0].Nodes[0].Address == "127.0.0.1:9090"
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
			registrytest.Register(t, direct, other, time.Minute)
			registrytest.Register(t, direct, registrytest.Greeter("1", "2"), time.Minute)
			w := registrytest.Watch(t, open(t, "etcd://"+p.Address()))
			before := w.Await("all nodes", registrytest.HasNodes("1", "2", "o"))

			restore := p.Sever()
			w.AwaitLoss()
			deregister(t, direct, registrytest.Greeter("2"))
			registrytest.Register(t, direct, registrytest.Greeter("3"), time.Minute)
			tt.meanwhile(s)
			restore()
			after := w.Await("what is left", registrytest.HasNodes("1", "3", "o"))
			if before[1] != after[1] {
				t.Error("a service that did not change is another pointer after a loss")
			}
			registrytest.Register(t, direct, registrytest.Greeter("4"), time.Minute)
			w.Await("a new node", registrytest.HasNodes("1", "3", "4", "o"))
		})
	}
}

// TestSilentServer: nothing tells that the server is gone but its silence.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := registrytest.NewProxy(t, s.addr)
	w := registrytest.Watch(t, open(t, "etcd://"+p.Address()))
	w.Await("the empty state", registrytest.HasNodes())
	unmute := p.Mute()
	begin := time.Now()
	w.AwaitLoss()
	if took := time.Since(begin); took > 20*time.Second { // 6 s, on a machine that is not busy
		t.Errorf("Next() noticed after %v that the server is silent, want at most 20 s", took)
	}
	registrytest.Register(t, open(t, "etcd://"+s.addr), registrytest.Greeter("1"), 0)
	unmute()
	w.Await("what happened meanwhile", registrytest.HasNodes("1"))
}

// TestQuietServer: a server on which nothing happens is not silent.
func TestQuietServer(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	empty := registrytest.Watch(t, open(t, "etcd://"+s.addr))
	empty.Await("the empty state", registrytest.HasNodes())
	r := open(t, "etcd://"+s.addr+"?prefix=/other")
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	w := registrytest.Watch(t, r)
	w.Await("a node", registrytest.HasNodes("1"))
	done := make(chan struct{})
	go func() { // ends with what it waits for
		defer close(done)
		empty.WantNothing(5 * time.Second)
	}()
	w.WantNothing(5 * time.Second)
	<-done
}

// TestLostTwice: each loss is told once.
func TestLostTwice(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := registrytest.NewProxy(t, s.addr)
	registrytest.Register(t, open(t, "etcd://"+s.addr), registrytest.Greeter("1"), 0)
	w := registrytest.Watch(t, open(t, "etcd://"+p.Address()))
	w.Await("a node", registrytest.HasNodes("1"))
	for range 2 {
		restore := p.Sever()
		w.AwaitLoss()
		w.WantNothing(100 * time.Millisecond)
		restore()
		if got, err := w.Next(bound(t, deadline)); err != nil || !registrytest.HasNodes("1")(got) {
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
		r := open(t, fmt.Sprintf("etcd://%s?host=%s&host=%s", nobody, proxies[0].Address(), proxies[1].Address()))
		registrytest.Register(t, r, registrytest.Greeter("1"), 0)
		w := registrytest.Watch(t, r)
		w.Await("a node", registrytest.HasNodes("1"))
		proxies[i].Sever() // whichever it follows, it goes on with the other
		registrytest.Register(t, direct, registrytest.Greeter("2"), 0)
		if got, err := w.Next(bound(t, deadline)); err != nil || !registrytest.HasNodes("1", "2")(got) {
			t.Errorf("Next() with one of two servers = %v, %v, want both nodes", got, err)
		}
		deregister(t, r, registrytest.Greeter("2"))
		w.Await("one node", registrytest.HasNodes("1"))
		proxies[1-i].Sever()
		w.AwaitLoss()
	}
}

// TestSlowWatcher: more happens than anybody holds for a watcher that does not
// look, and it gets the latest state all the same.
func TestSlowWatcher(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	r := open(t, "etcd://"+s.addr)
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	fat := registrytest.Greeter("1")
	fat.Metadata = map[string]string{"fat": strings.Repeat("x", 64<<10)}
	for i := range 80 {
		fat.Version = fmt.Sprint(i)
		registrytest.Register(t, r, fat, 0)
	}
	w.Await("the last version", func(services []*registry.Service) bool {
		return registrytest.HasNodes("1")(services) && services[0].Version == fat.Version
	})
}

// TestRestartForgetsNoTTL: a node that is not renewed goes, whatever the server
// went through.
func TestRestartForgetsNoTTL(t *testing.T) {
	t.Parallel()
	s := startAt(t, registrytest.Loopback(), nil)
	r := open(t, "etcd://"+s.addr)
	registrytest.Register(t, r, registrytest.Greeter("1"), time.Second)
	registrytest.Register(t, r, registrytest.Greeter("2"), 0)
	s.stop()
	s.start(nil)
	registrytest.Watch(t, r).Await("the node that has no TTL", registrytest.HasNodes("2"))
}

func TestClosed(t *testing.T) {
	t.Parallel()
	r := open(t, "etcd://"+start(t, nil).addr)
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
		"Register":              r.Register(t.Context(), registrytest.Greeter("1"), 0),
		"Deregister":            r.Deregister(t.Context(), registrytest.Greeter("1")),
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
	if r, err := tryOpen(t.Context(), "etcd://user:secret@"+nobody, nil); !errors.Is(err, registry.ErrUnavailable) ||
		!strings.Contains(err.Error(), nobody) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Open() without a server = %v, %v, want ErrUnavailable and the address", r, err)
	}
}

// TestFullServer: etcd takes no more, and says so.
func TestFullServer(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *embed.Config) { cfg.QuotaBackendBytes = 64 << 10 })
	r := open(t, "etcd://"+s.addr)
	fat := registrytest.Greeter("1")
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

// nobody is an address at which nobody listens.
const nobody = "127.0.0.1:1"
