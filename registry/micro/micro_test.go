package micro_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/micro"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

const (
	// deadline bounds every wait for something that must happen.
	deadline = 10 * time.Second
	// maxRecord is what a server with default settings refuses.
	maxRecord = 1 << 20
	// brief makes registries wait and ask as tests can bear.
	brief = "?window=150ms&interval=100ms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEmbedded(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		return open(t, "embedded+micro:"+brief, start(t, nil))
	}, &registrytest.Options{MinTTL: 500 * time.Millisecond, MaxRecord: maxRecord})
}

func TestTCP(t *testing.T) {
	t.Parallel()
	var s *conns.Server
	var p *registrytest.Proxy
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		s = start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
		p = registrytest.NewProxy(t, s.Addr())
		return open(t, "nats+micro://"+p.Address()+brief, nil)
	}, &registrytest.Options{
		MinTTL: 500 * time.Millisecond, MaxRecord: maxRecord,
		Sever: func(testing.TB, registry.Registry) (restore func()) { return p.Sever() },
		Beside: func(t testing.TB, _ registry.Registry) registry.Writer {
			t.Helper()
			return open(t, "nats+micro://"+s.Addr()+brief, nil)
		},
	})
}

// TestTwo holds what a registry promises where another one registers.
func TestTwo(t *testing.T) {
	server := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr()
	reading, writing := open(t, server+brief, nil), open(t, server+brief, nil)
	registrytest.Register(t, writing, registrytest.Greeter("1"), 0)
	w := registrytest.Watch(t, reading)
	before := w.Await("a state", registrytest.AnyState)
	if !registrytest.HasNodes("1")(before) {
		t.Fatalf("the first Next() = %q, want what was there", nodes(before))
	}

	other := &registry.Service{Name: "other", Nodes: []*registry.Node{{ID: "o", Address: "127.0.0.1:1"}}}
	registrytest.Register(t, writing, other, 0)
	after := w.Await("another service", registrytest.HasNodes("1", "o"))
	if before[0] != after[0] {
		t.Error("a service that did not change is another pointer, want the same")
	}
	registrytest.Register(t, writing, registrytest.Greeter("2"), 2*time.Second)
	w.Await("a new node", registrytest.HasNodes("1", "2", "o"))
	w.Await("a node that was not renewed to be gone", registrytest.HasNodes("1", "o"))
	if err := writing.Deregister(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	w.Await("a service to be gone", registrytest.HasNodes("1"))

	told := registrytest.Watch(t, open(t, server+"?window=150ms&interval=10m", nil)) // it does not ask again
	told.Await("a state", registrytest.HasNodes("1"))
	if err := writing.Close(); err != nil {
		t.Fatal(err)
	}
	told.Await("what ends with its registry to be gone", registrytest.HasNodes())
	w.Await("what ends with its registry to be gone", registrytest.HasNodes())
}

// TestFoundWhenAskedAgain: who comes after the first state, and whose
// announcement was not heard, is found when asked again.
func TestFoundWhenAskedAgain(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr()
	w := registrytest.Watch(t, open(t, address+brief, nil))
	if got := w.Await("a state", registrytest.AnyState); len(got) != 0 {
		t.Fatalf("the first Next() = %q, want none", nodes(got))
	}
	provide(t, address, []byte(`{"name":"silent","version":"1","nodes":[{"id":"s","address":"127.0.0.1:1"}]}`))
	w.Await("a node that was not announced", registrytest.HasNodes("s"))
}

// TestNobodyIsThere: nobody is waited for.
func TestNobodyIsThere(t *testing.T) {
	r := open(t, "embedded+micro:?window=5s&interval=10m", start(t, nil))
	begun := time.Now()
	if got, err := r.List(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("List() = %q, %v, want none", nodes(got), err)
	}
	if took := time.Since(begun); took >= 5*time.Second {
		t.Errorf("List() with nobody there took %v, want no wait for answers", took)
	}
}

func TestOpenErrors(t *testing.T) {
	s := start(t, nil)
	tests := []struct{ url, want string }{
		{"nats://127.0.0.1:4222", `unknown scheme "nats"; known: embedded+micro, nats+micro, tls+micro`},
		{"http+micro://127.0.0.1:4222", `unknown scheme "http"`},
		{"embedded+micro:?windwo=1s", `unknown parameter "windwo"; known: interval, window`},
		{"embedded+micro:?window=1", `window "1" is not a duration from 10ms to 5s`},
		{"embedded+micro:?window=6s", `window "6s" is not a duration`},
		{"embedded+micro:?interval=1ms", `interval "1ms" is not a duration from 100ms to 10m0s`},
		{"embedded+micro:?window=1s&window=2s", "is there 2 times"},
		{"embedded+micro://host", "has no host"},
		{"nats+micro://user:secret@?interval=1ms", "interval"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			r, err := tryOpen(t.Context(), tt.url, s)
			if err == nil {
				r.Close()
				t.Fatal("Open() error = nil")
			}
			if got := err.Error(); !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
				t.Errorf("Open() error = %q, want %q and no secret", got, tt.want)
			}
		})
	}
}

func TestOpenUnavailable(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	s.Close()
	if r, err := tryOpen(t.Context(), "nats+micro://"+addr, nil); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Open() = %v, %v, want ErrUnavailable", r, err)
	}
}

func TestClosed(t *testing.T) {
	r := open(t, "embedded+micro:", start(t, nil))
	w := registrytest.Watch(t, r)
	w.Await("a state", registrytest.AnyState)
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(context.Background())
		ended <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	}
	_, get := r.Get(t.Context(), "greeter")
	_, list := r.List(t.Context())
	_, watching := r.Watch(t.Context())
	for name, err := range map[string]error{
		"Next": <-ended, "Get": get, "List": list, "Watch": watching,
		"Register": r.Register(t.Context(), registrytest.Greeter("1"), 0), "Deregister": r.Deregister(t.Context(), registrytest.Greeter("1")),
	} {
		if !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%s after Close: error = %v, want ErrClosed", name, err)
		}
	}
}

// start starts a server that ends with the test.
func start(t testing.TB, opts *conns.ServerOptions) *conns.Server {
	t.Helper()
	s, err := conns.Start(t.Context(), t.TempDir(), opts)
	if err != nil {
		t.Fatalf("Start() error = %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Server.Close() error = %v", err)
		}
	})
	return s
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string, embedded *conns.Server) *micro.Registry {
	t.Helper()
	r, err := tryOpen(t.Context(), address, embedded)
	if err != nil {
		t.Fatalf("Open(%q) error = %v", address, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Registry.Close() error = %v", err)
		}
	})
	return r
}

func tryOpen(ctx context.Context, address string, embedded *conns.Server) (*micro.Registry, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return micro.Open(ctx, u, &micro.Options{Conns: &conns.Conns{Embedded: embedded}})
}

// nodes returns the ids of all nodes, in order.
func nodes(services []*registry.Service) []string {
	var ids []string
	for _, s := range services {
		for _, n := range s.Nodes {
			ids = append(ids, n.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// bound returns a context that ends after some time, or with the test.
func bound(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
