package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/etcd"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// deadline bounds every wait for something that must happen.
const deadline = 10 * time.Second

// TestMain bears the connections that members of an embedded cluster leave to
// each other for a while. Nothing else here uses net/http.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	p := registrytest.NewProxy(t, s.addr)
	var n atomic.Int32
	prefix := func() string { return fmt.Sprintf("/test/%d", n.Load()) }
	beside := func(t testing.TB) *etcd.Registry {
		t.Helper()
		return open(t, fmt.Sprintf("etcd://%s?prefix=%s", s.addr, prefix()))
	}
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		n.Add(1)
		return open(t, fmt.Sprintf("etcd://%s?prefix=%s", p.Address(), prefix()))
	}, &registrytest.Options{
		MinTTL:    time.Second,
		MaxRecord: 1 << 20,
		Sever:     func(testing.TB, registry.Registry) (restore func()) { return p.Sever() },
		Beside:    func(t testing.TB, _ registry.Registry) registry.Writer { return beside(t) },
		Lose:      func(testing.TB, registry.Registry) { s.removeAll(prefix()) },
		Overwrite: func(t testing.TB, _ registry.Registry, s *registry.Service) {
			registrytest.Register(t, beside(t), s, 0)
		},
		Spoil: func(testing.TB, registry.Registry) (mend func()) {
			s.put(prefix()+"/greeter/spoilt", []byte("hello"))
			return func() { s.remove(prefix() + "/greeter/spoilt") }
		},
	})
}

// server is an etcd server within the test.
type server struct {
	t    testing.TB
	etcd *embed.Etcd
	dir  string
	addr string
}

// start starts a server that ends with the test, with settings that adjust
// may change.
func start(t testing.TB, adjust func(*embed.Config)) *server {
	t.Helper()
	return startAt(t, "127.0.0.1", adjust)
}

// startAt starts a server at an IP address. One that is to come back to its port
// has an address of its own; see loopback.
func startAt(t testing.TB, host string, adjust func(*embed.Config)) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), addr: net.JoinHostPort(host, "0")}
	s.start(adjust)
	t.Cleanup(s.stop)
	return s
}

// start starts the server where it was before, with what it had.
func (s *server) start(adjust func(*embed.Config)) {
	s.t.Helper()
	s.launch(adjust)
	select {
	case <-s.etcd.Server.ReadyNotify():
	case <-time.After(deadline):
		s.t.Fatal("the server is not ready in time")
	}
}

// launch starts the server, which may need others to be ready.
func (s *server) launch(adjust func(*embed.Config)) {
	s.t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = s.dir
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.TickMs, cfg.ElectionMs = 10, 100 // leases live for a second at least
	cfg.UnsafeNoFsync = true
	cfg.BcryptCost = 4 // passwords are no secrets here
	client, peer := url.URL{Scheme: "http", Host: s.addr}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if adjust != nil {
		adjust(cfg)
	}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		s.t.Fatalf("StartEtcd() error = %v", err)
	}
	s.etcd = e
	s.addr = e.Clients[0].Addr().String()
}

// stop stops the server, if it runs.
func (s *server) stop() {
	if s.etcd != nil {
		s.etcd.Close()
		s.etcd = nil
	}
}

// removeAll removes all keys with a prefix behind the back of registries.
func (s *server) removeAll(prefix string) {
	s.t.Helper()
	if _, err := s.etcd.Server.DeleteRange(s.t.Context(), &pb.DeleteRangeRequest{
		Key: []byte(prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)),
	}); err != nil {
		s.t.Fatalf("DeleteRange(%q) error = %v", prefix, err)
	}
}

// put writes a key behind the back of registries.
func (s *server) put(key string, value []byte) {
	s.t.Helper()
	if _, err := s.etcd.Server.Put(s.t.Context(), &pb.PutRequest{Key: []byte(key), Value: value}); err != nil {
		s.t.Fatalf("Put(%q) error = %v", key, err)
	}
}

// leases returns how many there are.
func (s *server) leases() int {
	s.t.Helper()
	answer, err := s.etcd.Server.LeaseLeases(s.t.Context(), &pb.LeaseLeasesRequest{})
	if err != nil {
		s.t.Fatalf("LeaseLeases() error = %v", err)
	}
	return len(answer.GetLeases())
}

// compact makes the server forget all but the latest revision.
func (s *server) compact() {
	s.t.Helper()
	revision := s.etcd.Server.KV().Rev()
	if _, err := s.etcd.Server.Compact(s.t.Context(), &pb.CompactionRequest{Revision: revision, Physical: true}); err != nil {
		s.t.Fatalf("Compact(%d) error = %v", revision, err)
	}
}

// client returns a client that is closed when the test ends.
func client(t testing.TB, cfg clientv3.Config) *clientv3.Client {
	t.Helper()
	cfg.Logger = zap.NewNop()
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string) *etcd.Registry {
	t.Helper()
	r, err := tryOpen(t.Context(), address, nil)
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

func tryOpen(ctx context.Context, address string, log *slog.Logger) (*etcd.Registry, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return etcd.Open(ctx, u, &etcd.Options{Logger: log})
}

func deregister(t testing.TB, r registry.Writer, s *registry.Service) {
	t.Helper()
	if err := r.Deregister(bound(t, deadline), s); err != nil {
		t.Fatalf("Deregister(%s) error = %v", s.Name, err)
	}
}

// bound returns a context that ends after some time, or with the test.
func bound(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
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

// cancelled returns a context that is over.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
