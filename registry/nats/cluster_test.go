package nats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/nats"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestCluster: three servers hold a copy each. Every registry of the suite is
// connected to another of them than the one before.
func TestCluster(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	var n int
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		n++
		return openAtLast(t, fmt.Sprintf("nats://%s?replicas=3&bucket=test_%d", servers[n%3].Addr(), n))
	}, &registrytest.Options{MinTTL: time.Second, MaxRecord: maxRecord})

	// What was written to a server that is gone then is there all the same.
	hosts := fmt.Sprintf("nats://%s?host=%s&host=%s&replicas=3", servers[0].Addr(), servers[1].Addr(), servers[2].Addr())
	watching, announcing := openAtLast(t, hosts), openAtLast(t, hosts)
	registrytest.Register(t, announcing, registrytest.Greeter("1"), 0)
	w := registrytest.Watch(t, watching)
	w.Await("a node", registrytest.HasNodes("1"))
	stop(servers[0])
	atLast(t, func(ctx context.Context) error { return announcing.Register(ctx, registrytest.Greeter("2"), 0) })
	w.Await("another node, of the servers that are left", registrytest.HasNodes("1", "2"))
}

// openAtLast opens a registry as a gateway does: again and again, while the servers
// agree on who leads.
func openAtLast(t *testing.T, address string) (r *nats.Registry) {
	t.Helper()
	atLast(t, func(ctx context.Context) (err error) {
		r, err = tryOpen(ctx, address, nil)
		return err
	})
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Registry.Close() error = %v", err)
		}
	})
	return r
}

// atLast calls do until it succeeds.
func atLast(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx := bound(t, time.Minute)
	for {
		err := do(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, registry.ErrUnavailable) {
			t.Fatalf("error = %v, want ErrUnavailable or none", err)
		}
		pause(t, ctx)
	}
}

// startCluster starts three servers that know each other, and waits until they
// agree.
func startCluster(t *testing.T) [3]*server.Server {
	t.Helper()
	var (
		servers [3]*server.Server
		routes  []*url.URL
	)
	for range servers {
		routes = append(routes, &url.URL{Scheme: "nats", Host: registrytest.FreeAddress(t, registrytest.Loopback())})
	}
	for i := range servers {
		host, port, _ := net.SplitHostPort(routes[i].Host)
		opts := &server.Options{
			ServerName: fmt.Sprintf("server-%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
			Cluster: server.ClusterOpts{Name: "test", Host: host, Port: number(t, port), PoolSize: -1},
			Routes:  routes,
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatalf("NewServer() error = %v", err)
		}
		go s.Start() // ends when the server is ready
		t.Cleanup(func() { stop(s) })
		servers[i] = s
	}
	ctx := bound(t, 20*time.Second)
	for !agree(servers) {
		pause(t, ctx)
	}
	return servers
}

// agree says whether the servers have a leader whom all follow.
func agree(servers [3]*server.Server) bool {
	var leaders, current int
	for _, s := range servers {
		if !s.ReadyForConnections(time.Millisecond) {
			return false
		}
		if s.JetStreamIsLeader() {
			leaders++
		}
		if s.JetStreamIsCurrent() && len(s.JetStreamClusterPeers()) == len(servers) {
			current++
		}
	}
	return leaders == 1 && current > 0
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// pause waits a moment: servers of a cluster tell nobody when they agree.
func pause(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		t.Fatal("the cluster is not there in time")
	}
}
