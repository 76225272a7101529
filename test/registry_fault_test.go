//go:build unix

package test

import (
	"flag"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry/registrytest"
)

var registryAway = flag.Duration("registry-away", 3*time.Second, "how long TestFaultRegistry keeps the registry down")

// registryScene starts a gateway whose registry is in another process, and what
// starts that process again.
func registryScene(t *testing.T) (s *scene, args []string, server *process, restart func()) {
	t.Helper()
	bus := []string{"--nats", registrytest.FreeAddress(t, registrytest.Loopback()), "--data", t.TempDir(), "--log-level", "info"}
	server = startGateway(t, bus...)
	args = []string{"--registry", "nats://" + server.nats, "--data", t.TempDir(), "--log-level", "info"}
	s = &scene{process: startGateway(t, args...), kinds: kinds, results: make(map[string][]result)}
	for _, id := range []string{"n1", "n2", "n3"} {
		s.nodes = append(s.nodes, newNode(t, id, kinds...))
	}
	s.startNodes()
	s.registerNodes()
	return s, args, server, func() { startGateway(t, bus...) }
}

// TestFaultRegistry kills the registry under load, and a node while it is away;
// then it comes back. Nothing fails but the POSTs that are lost with the node;
// see TestFaultKill.
func TestFaultRegistry(t *testing.T) {
	s, _, server, restart := registryScene(t)
	s.startLoads(5 * time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	server.kill()
	time.Sleep(*registryAway / 2)
	killed := time.Now()
	s.nodes[2].kill()
	known := time.Now().Add(100 * time.Millisecond)
	time.Sleep(*registryAway / 2)
	restart()
	s.await(func() bool { return strings.Contains(s.logged(), "registry found") }, "the registry again")
	time.Sleep(time.Second)

	lost, requests := 0, 0
	s.judge(func(r result) bool {
		if r.method != http.MethodPost || r.ended.Before(killed) || r.due.After(known) {
			return false
		}
		lost++
		return true
	}, func(_ string, f figures) { requests += f.requests })
	if lost > requests/1000+1 {
		t.Errorf("%d of %d requests were lost with the node, want at most one in 1,000", lost, requests)
	}
	for _, n := range s.nodes[:2] {
		if len(n.requests()) == 0 {
			t.Errorf("node %s got no request", n.id)
		}
	}
}

// TestFaultRestartWithoutARegistry starts a gateway again while its registry is
// down. From when it is ready no request fails, and none when the registry comes
// back.
func TestFaultRestartWithoutARegistry(t *testing.T) {
	s, args, server, restart := registryScene(t)
	s.terminate() // which has it keep what it knows
	if got := s.wait(); got != 0 {
		t.Fatalf("exit status after SIGTERM = %d\n%s", got, s.logged())
	}
	server.kill()
	s.process = startGateway(t, args...)
	if _, body := s.get(s.admin, "/readyz"); !strings.Contains(body, "snapshot of 20") {
		t.Errorf("/readyz of a gateway without its registry = %s, want that it serves a snapshot", body)
	}
	s.startLoads(5 * time.Millisecond)
	time.Sleep(time.Second)
	restart()
	s.await(func() bool { _, body := s.get(s.admin, "/readyz"); return !strings.Contains(body, "registry") }, "the registry again")
	time.Sleep(time.Second)
	s.judge(nil, nil)
	for _, n := range s.nodes {
		if len(n.requests()) == 0 {
			t.Errorf("node %s got no request", n.id)
		}
	}
}
