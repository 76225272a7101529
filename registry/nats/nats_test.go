package nats_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
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
	b := &buckets{server: s, address: "embedded:", beside: "embedded:"}
	registrytest.Run(t, b.open, b.options())
}

func TestTCP(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	p := registrytest.NewProxy(t, s.Addr())
	b := &buckets{server: s, address: "nats://" + p.Address(), beside: "nats://" + s.Addr()}
	opts := b.options()
	opts.Sever = func(testing.TB, registry.Registry) (restore func()) { return p.Sever() }
	opts.Lose = func(t testing.TB, _ registry.Registry) {
		t.Helper()
		if err := jetStream(t, s).DeleteStream(t.Context(), "KV_"+b.bucket()); err != nil {
			t.Fatal(err)
		}
	}
	registrytest.Run(t, b.open, opts)
}

// TestServerThatCloses is the same where the server goes, and comes back with
// what it had.
func TestServerThatCloses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, &conns.ServerOptions{Address: "127.0.0.1:0"})
	addr := s.Addr()
	b := &buckets{address: "nats://" + addr}
	registrytest.Run(t, b.open, &registrytest.Options{MinTTL: time.Second, Sever: func(tb testing.TB, _ registry.Registry) (restore func()) {
		tb.Helper()
		if err := s.Close(); err != nil {
			tb.Fatalf("Server.Close() error = %v", err)
		}
		return func() { s = start(t, dir, &conns.ServerOptions{Address: addr}) }
	}})
}

// buckets opens registries, each on a bucket of its own.
type buckets struct {
	server  *conns.Server
	address string
	beside  string // where Sever cuts nothing
	n       int
}

func (b *buckets) bucket() string { return fmt.Sprintf("test_%d", b.n) }

func (b *buckets) open(t *testing.T) registry.Registry {
	t.Helper()
	b.n++
	return open(t, b.address+"?bucket="+b.bucket(), b.server)
}

// options returns those of registries in a server with default settings.
func (b *buckets) options() *registrytest.Options {
	beside := func(t testing.TB) *nats.Registry {
		t.Helper()
		return open(t, b.beside+"?bucket="+b.bucket(), b.server)
	}
	return &registrytest.Options{
		MinTTL:    time.Second,
		MaxRecord: maxRecord,
		Beside:    func(t testing.TB, _ registry.Registry) registry.Writer { return beside(t) },
		Overwrite: func(t testing.TB, _ registry.Registry, s *registry.Service) {
			registrytest.Register(t, beside(t), s, 0)
		},
		Spoil: func(t testing.TB, _ registry.Registry) (mend func()) {
			t.Helper()
			kv, err := jetStream(t, b.server).KeyValue(t.Context(), b.bucket())
			if err == nil {
				_, err = kv.PutString(t.Context(), "greeter.spoilt", "hello")
			}
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := kv.Purge(t.Context(), "greeter.spoilt"); err != nil {
					t.Errorf("Purge() error = %v", err)
				}
			}
		},
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
