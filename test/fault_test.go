//go:build unix

package test

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this file break what the gateway depends on while each kind of
// service gets 200 requests a second, half of them POST, over three nodes. They
// log one line for each kind: go test -run Fault -v ./test. They run one after
// the other, since each takes a good part of a core.

// TestFaultKill kills a node with SIGKILL. A POST that is with the node at that
// moment fails, since whether it was read, let alone served, nobody can know: at
// most one in 1,000 requests. All others are answered.
func TestFaultKill(t *testing.T) {
	s := newScene(t, kinds...)
	s.startNodes()
	s.registerNodes()
	s.startLoads(5 * time.Millisecond)
	time.Sleep(2 * time.Second)
	killed := time.Now()
	s.nodes[1].kill()
	known := time.Now().Add(100 * time.Millisecond) // to the gateway, be it ever so late
	time.Sleep(7 * time.Second)

	read, lost, requests := 0, 0, 0
	reached := seen(s.nodes[1:2])
	s.judge(func(r result) bool {
		if r.method != http.MethodPost || r.ended.Before(killed) || r.due.After(known) {
			return false
		}
		lost++
		read += reached[r.id]
		return true
	}, func(_ string, f figures) { requests += f.requests })
	t.Logf("%s: of %d requests %d POST were lost with the node, which had read %d of them", t.Name(), requests, lost, read)
	if lost > requests/1000 {
		t.Errorf("%d of %d requests were lost with the node, want at most one in 1,000", lost, requests)
	}
	if len(reached) == 0 {
		t.Error("the killed node had served nothing: the test shows nothing")
	}
}

// TestFaultStop stops a node for 3 s, which keeps its connections and answers
// nothing. The longer requests take, the more are with it at that moment.
func TestFaultStop(t *testing.T) {
	for _, work := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(work.String(), func(t *testing.T) {
			s := newScene(t, kinds...)
			s.startNodes()
			s.registerNodes()
			s.startLoads(work)
			time.Sleep(time.Second)
			stopped := time.Now()
			s.nodes[1].signal(syscall.SIGSTOP)
			time.Sleep(3 * time.Second)
			s.nodes[1].signal(syscall.SIGCONT)
			resumed := time.Now()
			time.Sleep(time.Second)

			s.judge(nil, func(kind string, _ figures) {
				f := measure(between(s.results[kind], stopped, resumed), nil)
				t.Logf("%s %s while the node is stopped: %s", t.Name(), kind, f)
				if f.p99 > time.Second {
					t.Errorf("%s: p99 while a node is stopped = %s, want under 1s", kind, f.p99)
				}
			})
		})
	}
}

// TestFaultRestart restarts one node after the other: each withdraws itself,
// drains, ends, starts and announces itself again.
func TestFaultRestart(t *testing.T) {
	t.Run("service", func(t *testing.T) {
		s := newScene(t, kinds...)
		for _, n := range s.nodes {
			n.admin = s.admin
		}
		s.restart()
	})
	t.Run("register", func(t *testing.T) { // for a program that knows nothing of this
		s := newScene(t, "web")
		for _, n := range s.nodes {
			n.wrap = []string{
				binary, "register", "--admin", s.admin, "--name", "web", "--address", n.address,
				"--endpoint", "Node.Echo;method=GET,POST;path=/web/{request}", "--",
			}
		}
		s.restart()
	})
}

// TestFaultDown takes all nodes down, and up again.
func TestFaultDown(t *testing.T) {
	t.Run("withdrawn", func(t *testing.T) {
		s := newScene(t, kinds...)
		for _, n := range s.nodes {
			n.admin = s.admin
		}
		s.startNodes()
		s.awaitNodes()
		s.downAndUp((*node).terminate)
	})
	t.Run("killed", func(t *testing.T) { // and still announced
		s := newScene(t, kinds...)
		s.startNodes()
		s.registerNodes()
		s.downAndUp((*node).kill)
	})
}

// TestFaultTermination ends the gateway with 20 requests in flight.
func TestFaultTermination(t *testing.T) {
	const requests = 20
	s := newScene(t, kinds...)
	s.startNodes()
	s.registerNodes()
	var group sync.WaitGroup
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	for i := range requests {
		method, kind := []string{http.MethodGet, http.MethodPost}[i%2], kinds[i%len(kinds)]
		group.Go(func() {
			if err := send(transport, method, "http://"+s.address+"/"+kind+"/", fmt.Sprint(method, "-", i), "?work=1s"); err != nil {
				t.Errorf("%s of %s: %v", method, kind, err)
			}
		})
	}
	s.await(func() bool { return len(seen(s.nodes)) == requests }, "requests in flight")
	s.terminate()
	group.Wait()
	if got := s.wait(); got != 0 {
		t.Errorf("exit status after SIGTERM = %d, want 0\n%s", got, s.logged())
	}
	for id, times := range seen(s.nodes) {
		if times > 1 {
			t.Errorf("%s reached a node %d times", id, times)
		}
	}
}

// A scene is a gateway and three nodes, under load.
type scene struct {
	*process

	kinds   []string
	nodes   []*node
	loads   []*load
	results map[string][]result // by kind; when the loads have ended
}

// newScene starts a gateway; its nodes are not started.
func newScene(t *testing.T, kinds ...string) *scene {
	t.Helper()
	s := &scene{process: startGateway(t, "--log-level", "info"), kinds: kinds, results: make(map[string][]result)}
	for i := range 3 {
		s.nodes = append(s.nodes, newNode(t, fmt.Sprint("n", i+1), kinds...))
	}
	return s
}

func (s *scene) startNodes() {
	s.t.Helper()
	s.each((*node).start)
}

// each does something to all nodes at a time.
func (s *scene) each(do func(*node)) {
	s.t.Helper()
	var group sync.WaitGroup
	for _, n := range s.nodes {
		group.Go(func() { do(n) })
	}
	group.Wait()
}

// registerNodes announces the nodes for good.
func (s *scene) registerNodes() {
	s.t.Helper()
	for _, kind := range s.kinds {
		s.register(announcement(kind, s.nodes...), 0)
	}
}

// awaitNodes returns when as many nodes are announced as there are. Others may
// be, that went all at once a moment ago.
func (s *scene) awaitNodes() {
	s.t.Helper()
	for _, kind := range s.kinds {
		s.await(func() bool { return len(s.process.nodes(kind)) >= len(s.nodes) }, "nodes of "+kind)
	}
}

func (s *scene) startLoads(work time.Duration) {
	for _, kind := range s.kinds {
		s.loads = append(s.loads, startLoad(s.t, s.address, kind, work))
	}
}

// restart starts the nodes, which announce themselves, and restarts one after
// the other under load.
func (s *scene) restart() {
	s.t.Helper()
	s.startNodes()
	s.awaitNodes()
	s.startLoads(50 * time.Millisecond) // so that some are under way when a node is told to end
	for _, n := range s.nodes {
		time.Sleep(500 * time.Millisecond)
		n.terminate()
		before := len(n.requests())
		n.start()
		s.awaitNodes()
		s.await(func() bool { return len(n.requests()) > before }, "request to "+n.id+" after its restart")
	}
	time.Sleep(500 * time.Millisecond)
	s.judge(nil, nil)
}

// downAndUp takes all nodes down under load, and up again. What is due
// meanwhile fails; nothing that is due a second after all are back, and on a
// machine that is busy, as much later as that is late with everything.
func (s *scene) downAndUp(down func(*node)) {
	s.t.Helper()
	s.startLoads(5 * time.Millisecond)
	time.Sleep(time.Second)
	begin := time.Now()
	s.each(down)
	gone := time.Now()
	time.Sleep(3 * time.Second)
	up := time.Now()
	s.startNodes()
	if s.nodes[0].admin != "" {
		s.awaitNodes()
	}
	back := time.Now()
	time.Sleep(2 * time.Second)

	var late time.Duration
	for _, l := range s.loads {
		late = max(late, slowness(l.end(), begin))
	}
	within := time.Second + late
	s.judge(func(r result) bool {
		return r.ended.After(begin) && r.due.Before(back.Add(within))
	}, func(kind string, f figures) {
		var recovered time.Duration
		for _, r := range f.failed {
			recovered = max(recovered, r.ended.Sub(back))
		}
		s.t.Logf("%s %s: recovered %s after all nodes were back", s.t.Name(), kind, recovered.Round(time.Millisecond))
		if recovered > within {
			s.t.Errorf("%s recovers %s after all nodes are back, want under %s", kind, recovered, within)
		}
		// What is due in the last moment may still be tried when nodes are back.
		if meanwhile := between(s.results[kind], gone, up.Add(-time.Second)); len(measure(meanwhile, nil).failed) != len(meanwhile) {
			s.t.Errorf("%s: requests succeed while all nodes are down: the test shows nothing", kind)
		}
	})
}

// judge ends the loads and looks at each: no POST may have reached nodes twice,
// and no request may have failed unless the fault excuses it. Then it shows the
// figures to more.
func (s *scene) judge(excused func(result) bool, more func(kind string, f figures)) {
	s.t.Helper()
	for _, l := range s.loads {
		s.results[l.kind] = l.end()
	}
	reached := seen(s.nodes)
	for _, kind := range s.kinds {
		f := measure(s.results[kind], reached)
		s.t.Logf("%s %s: %s", s.t.Name(), kind, f)
		for _, r := range f.failed {
			if excused == nil || !excused(r) {
				s.t.Errorf("failed: %s", &r)
			}
		}
		for _, id := range f.duplicates {
			s.t.Errorf("%s reached nodes %d times", id, reached[id])
		}
		if more != nil {
			more(kind, f)
		}
	}
}
