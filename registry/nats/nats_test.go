package nats_test

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/nats"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// deadline bounds every wait for something that must happen.
const deadline = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// maxRecord is what a server with default settings refuses.
const maxRecord = 1 << 20

func TestEmbedded(t *testing.T) {
	s := start(t, t.TempDir(), nil)
	registrytest.Run(t, emptyRegistries("embedded:", s), &registrytest.Options{MinTTL: time.Second, MaxRecord: maxRecord})
}

func TestTCP(t *testing.T) {
	s := start(t, t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	registrytest.Run(t, emptyRegistries("nats://"+s.Addr(), nil), &registrytest.Options{MinTTL: time.Second, MaxRecord: maxRecord})
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
