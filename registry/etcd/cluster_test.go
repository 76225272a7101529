package etcd_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestCluster: what was written through one member is read through any, and
// members that are too few are not believed.
func TestCluster(t *testing.T) {
	t.Parallel()
	members := startCluster(t, 3)
	r := open(t, fmt.Sprintf("etcd://%s?host=%s&host=%s", members[0].addr, members[1].addr, members[2].addr))
	var ids []string
	for i := range 30 { // calls and watches go round the members
		ids = append(ids, fmt.Sprintf("%02d", i))
		registrytest.Register(t, r, registrytest.Greeter(ids[i]), time.Minute)
		if got, err := r.Get(t.Context(), "greeter"); err != nil || !registrytest.HasNodes(ids...)(got) {
			t.Fatalf("Get() = %s, %v, want %d nodes", marshal(t, got), err, len(ids))
		}
		if got, err := registrytest.Watch(t, r).Next(bound(t, deadline)); err != nil || !registrytest.HasNodes(ids...)(got) {
			t.Fatalf("Next() = %s, %v, want %d nodes", marshal(t, got), err, len(ids))
		}
	}
	alone := open(t, "etcd://"+members[0].addr)
	w := registrytest.Watch(t, alone)
	w.Await("all nodes", registrytest.HasNodes(ids...))
	for _, s := range members[1:] {
		s.etcd.Server.HardStop() // it still answers clients, but no member
	}
	w.AwaitLoss()
	if got, err := alone.Get(bound(t, deadline), "greeter"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Get() from a member that is alone = %s, %v, want ErrUnavailable", marshal(t, got), err)
	}
}

// startCluster starts servers that are one cluster and end with the test.
func startCluster(t *testing.T, n int) []*server {
	t.Helper()
	members, peers, all := make([]*server, n), make([]string, n), make([]string, n)
	for i := range n {
		peers[i] = registrytest.FreeAddress(t, registrytest.Loopback())
		all[i] = fmt.Sprintf("member%d=http://%s", i, peers[i])
	}
	for i := range n {
		s := &server{t: t, dir: t.TempDir(), addr: "127.0.0.1:0"}
		s.launch(func(cfg *embed.Config) {
			cfg.Name = fmt.Sprintf("member%d", i)
			peer := []url.URL{{Scheme: "http", Host: peers[i]}}
			cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
			cfg.InitialCluster = strings.Join(all, ",")
		})
		t.Cleanup(s.stop)
		members[i] = s
	}
	for _, s := range members {
		receive(t, s.etcd.Server.ReadyNotify())
	}
	return members
}
