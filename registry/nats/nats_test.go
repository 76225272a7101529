package nats_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/nats"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

const (
	// deadline bounds every wait for something that must happen.
	deadline = 10 * time.Second
	// maxRecord is what a server with default settings refuses.
	maxRecord = 1 << 20
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEmbedded(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), nil)
	registrytest.Run(t, emptyRegistries("embedded:", s), &registrytest.Options{MinTTL: time.Second, MaxRecord: maxRecord})
}

func TestTCP(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	sever := func(tb testing.TB, _ registry.Registry) (restore func()) {
		tb.Helper()
		if err := s.Close(); err != nil {
			tb.Fatalf("Server.Close() error = %v", err)
		}
		return func() { s = start(t, dir, &conns.ServerOptions{Address: addr}) }
	}
	registrytest.Run(t, emptyRegistries("nats://"+addr, nil), &registrytest.Options{
		MinTTL: time.Second, MaxRecord: maxRecord, Sever: sever,
	})
}

// emptyRegistries returns a function that opens registries, each on a bucket
// of its own.
func emptyRegistries(address string, embedded *conns.Server) func(*testing.T) registry.Registry {
	var n atomic.Int32
	return func(t *testing.T) registry.Registry {
		return open(t, fmt.Sprintf("%s?bucket=test_%d", address, n.Add(1)), embedded)
	}
}

// start starts a server that ends with the test.
func start(t testing.TB, dir string, opts *conns.ServerOptions) *conns.Server {
	t.Helper()
	s, err := conns.Start(t.Context(), dir, opts)
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
func open(t testing.TB, address string, embedded *conns.Server) *nats.Registry {
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

func tryOpen(ctx context.Context, address string, embedded *conns.Server) (*nats.Registry, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return nats.Open(ctx, u, &nats.Options{Conns: &conns.Conns{Embedded: embedded}})
}

// A watching is a watcher whose test ends when something does not happen.
type watching struct {
	registry.Watcher

	t testing.TB
}

func watch(t testing.TB, r registry.Reader) *watching {
	t.Helper()
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatalf("Watch() error = %v", err)
	}
	t.Cleanup(func() { w.Close() })
	return &watching{Watcher: w, t: t}
}

// await reads states until one is as wanted. It bears the loss of contact.
func (w *watching) await(what string, wanted func([]*registry.Service) bool) []*registry.Service {
	w.t.Helper()
	ctx := bound(w.t, deadline)
	for {
		got, err := w.Next(ctx)
		switch {
		case errors.Is(err, registry.ErrUnavailable):
		case err != nil:
			w.t.Fatalf("Next() error = %v, want %s", err, what)
		case wanted(got):
			return got
		}
	}
}

// awaitLoss reads states until there is no contact.
func (w *watching) awaitLoss() {
	w.t.Helper()
	ctx := bound(w.t, deadline)
	for {
		_, err := w.Next(ctx)
		if errors.Is(err, registry.ErrUnavailable) {
			return
		}
		if err != nil {
			w.t.Fatalf("Next() error = %v, want ErrUnavailable", err)
		}
	}
}

// hasNodes wants a state with exactly these nodes.
func hasNodes(ids ...string) func([]*registry.Service) bool {
	return func(services []*registry.Service) bool {
		var got []string
		for _, s := range services {
			for _, n := range s.Nodes {
				got = append(got, n.ID)
			}
		}
		slices.Sort(got)
		return slices.Equal(got, ids)
	}
}

// greeter returns a service with nodes of these ids.
func greeter(ids ...string) *registry.Service {
	s := &registry.Service{Name: "greeter", Version: "latest"}
	for _, id := range ids {
		s.Nodes = append(s.Nodes, &registry.Node{ID: id, Address: "127.0.0.1:9090"})
	}
	return s
}

func register(t testing.TB, r registry.Writer, s *registry.Service, ttl time.Duration) {
	t.Helper()
	if err := r.Register(bound(t, deadline), s, ttl); err != nil {
		t.Fatalf("Register(%s) error = %v", s.Name, err)
	}
}

// bound returns a context that ends after some time, or with the test.
func bound(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
