package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// A ward is what probes find of nodes, and when they were made.
type ward struct {
	mu     sync.Mutex
	sick   map[string]bool
	probed map[string][]time.Time
	now    int // probes at a time
	peak   int
	takes  time.Duration
}

func newWard() *ward {
	return &ward{sick: make(map[string]bool), probed: make(map[string][]time.Time), takes: ms}
}

func (w *ward) probe(ctx context.Context, n *registry.Node) error {
	w.mu.Lock()
	w.probed[n.ID] = append(w.probed[n.ID], time.Now())
	w.now++
	w.peak = max(w.peak, w.now)
	sick, takes := w.sick[n.ID], w.takes
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.now--; w.mu.Unlock() }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	if sick {
		return errors.New("sick")
	}
	return nil
}

func (w *ward) set(id string, sick bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sick[id] = sick
}

func (w *ward) count(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.probed[id])
}

// probing runs Pools with probes for the service greeter, until the test ends.
func probing(t *testing.T, opts upstream.Options, probe upstream.Probe) *upstream.Pools {
	t.Helper()
	opts.Probe = func(service string) *upstream.Probe {
		if service == "greeter" {
			return &probe
		}
		return nil
	}
	pools := upstream.NewPools(&opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- pools.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the end of its context", err)
		}
	})
	return pools
}

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		pools := probing(t, upstream.Options{}, upstream.Probe{Prober: w.probe})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
		f := &fleet{}
		time.Sleep(time.Minute)
		if w.count("1") != 0 {
			t.Errorf("a service without requests was probed %d times", w.count("1"))
		}
		requests(t, 1, set, f)
		time.Sleep(time.Minute)
		if got := w.count("1"); got < 5 || got > 7 {
			t.Errorf("a node was probed %d times in a minute, want about 6", got)
		}
		w.set("1", true)
		time.Sleep(40 * time.Second)
		if st := state(t, set, "1"); st.Ejected != upstream.Unhealthy {
			t.Errorf("after 3 probes that failed the node is %+v, want it ejected", st)
		}
		before := f.count("1")
		for range 60 { // well beyond any ejection by requests
			requests(t, 20, set, f)
			time.Sleep(time.Second)
		}
		if got := f.count("1") - before; got != 0 {
			t.Errorf("a node that probes find unhealthy got %d requests, want none", got)
		}
		w.set("1", false)
		for left := 25; left > 0 && state(t, set, "1").Ejected != ""; left-- {
			time.Sleep(time.Second)
		}
		if st := state(t, set, "1"); st.Ejected != "" || st.Share >= 1 {
			t.Errorf("after 2 probes that passed the node is %+v, want it in its slow start", st)
		}
		time.Sleep(10 * time.Minute)
		quiet := w.count("2")
		time.Sleep(10 * time.Minute)
		if got := w.count("2"); got != quiet {
			t.Errorf("a service that is not used was probed %d times, want not at all", got-quiet)
		}
	})
}

// TestRefreshedProbes begins and ends to probe a service that is there, as a
// configuration that changes would.
func TestRefreshedProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		var wanted atomic.Bool
		probe := func(string) *upstream.Probe {
			if wanted.Load() {
				return &upstream.Probe{Prober: w.probe}
			}
			return nil
		}
		pools := upstream.NewPools(&upstream.Options{Probe: probe})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- pools.Run(ctx) }()
		defer func() { cancel(); <-done }()
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
		f := &fleet{}
		minute := func() (probes int) {
			before := w.count("1")
			for range 60 {
				requests(t, 20, set, f)
				time.Sleep(time.Second)
			}
			return w.count("1") - before
		}
		if got := minute(); got != 0 {
			t.Errorf("a node was probed %d times, want not at all", got)
		}
		wanted.Store(true)
		pools.Refresh()
		w.set("1", true)
		if got := minute(); got < 5 || state(t, set, "1").Ejected != upstream.Unhealthy {
			t.Errorf("a sick node was probed %d times and is %+v, want it ejected", got, state(t, set, "1"))
		}
		wanted.Store(false)
		pools.Refresh()
		if got := minute(); got != 0 || state(t, set, "1").Ejected == upstream.Unhealthy {
			t.Errorf("a node that is not probed any more was probed %d times and is %+v, want what requests say of it", got, state(t, set, "1"))
		}
	})
}

func TestProbesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.takes = time.Second
		pools := probing(t, upstream.Options{MaxProbes: 4}, upstream.Probe{Prober: w.probe, Interval: 5 * time.Second})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(10)...)}).All()
		requests(t, 1, set, &fleet{})
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.peak > 4 {
			t.Errorf("%d probes at a time, want at most 4", w.peak)
		}
		starts := make(map[time.Time]int)
		for id, times := range w.probed {
			if len(times) < 8 || len(times) > 14 {
				t.Errorf("node %s was probed %d times in a minute, want about 12", id, len(times))
			}
			for i := 1; i < len(times); i++ {
				if gap := times[i].Sub(times[i-1]); gap < time.Second {
					t.Errorf("node %s was probed twice within %v", id, gap)
				}
			}
			starts[times[0]]++
		}
		if len(starts) < 3 {
			t.Errorf("all nodes were probed first at %d times, want them spread", len(starts))
		}
	})
}

func TestProbeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.takes = time.Hour
		pools := probing(t, upstream.Options{}, upstream.Probe{Prober: w.probe, Interval: time.Second, Timeout: 500 * ms, Failures: 1})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
		requests(t, 1, set, &fleet{})
		time.Sleep(3 * time.Second)
		for _, st := range set.Nodes() {
			if st.Ejected != upstream.Unhealthy {
				t.Errorf("a node that lets probes wait is %+v, want it ejected", st)
			}
		}
		if err := set.Do(t.Context(), upstream.Call{}, answer); err != nil {
			t.Errorf("Do when all nodes are unhealthy = %v, want one tried nevertheless", err)
		}
	})
}

func TestProbeBringsBackWhatRequestsDidNotReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		pools := probing(t, upstream.Options{}, upstream.Probe{Prober: w.probe, Interval: time.Second, Successes: 1, Failures: 1})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(2)...)}).All()
		f := &fleet{does: attempts{"1": refuse}}
		w.set("1", true)
		for range 60 {
			untilNow := f.count("1")
			requests(t, 10, set, f)
			if f.count("1") > untilNow+1 {
				t.Fatalf("a dead node got %d of 10 requests", f.count("1")-untilNow)
			}
			time.Sleep(time.Second)
		}
		w.set("1", false)
		f.set("1", answer)
		time.Sleep(1500 * ms)
		requests(t, 10, set, f)
		if st := state(t, set, "1"); st.Ejected != "" {
			t.Errorf("a node is %+v when probes reach it, want a request to have ended its ejection", st)
		}
	})
}

func TestProbesEndWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.takes = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		pools := upstream.NewPools(&upstream.Options{Probe: func(string) *upstream.Probe {
			return &upstream.Probe{Prober: w.probe, Interval: time.Second, Timeout: time.Hour, Failures: 1}
		}})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
		requests(t, 1, set, &fleet{})
		done := make(chan error)
		go func() { done <- pools.Run(ctx) }()
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if w.now != 0 {
			t.Errorf("%d probes run when Run has returned", w.now)
		}
		if st := state(t, set, "1"); st.Ejected != "" {
			t.Errorf("a probe that was cut off made the node %+v, want it well", st)
		}
	})
}

func TestRunWithoutProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		pools := upstream.NewPools(nil)
		pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)})
		if err := pools.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run = %v, want the end of its context", err)
		}
	})
}

func TestProbeHTTP(t *testing.T) {
	var mu sync.Mutex
	var paths []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.Method+" "+r.URL.Path)
		mu.Unlock()
		switch r.URL.Path {
		case "/sick":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/moved":
			http.Redirect(w, r, "/sick", http.StatusFound)
		}
		_, _ = w.Write([]byte(strings.Repeat("x", 100_000)))
	}))
	defer srv.Close()
	up := strings.TrimPrefix(srv.URL, "http://")
	tests := []struct {
		name, address, path string
		ok                  bool
	}{
		{"well", up, "/health", true},
		{"moved", up, "/moved", true},
		{"sick", up, "/sick", false},
		{"no URL", "a b", "/health", false},
		{"nobody there", "127.0.0.1:1", "/health", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			probe := upstream.ProbeHTTP(srv.Client().Transport, func(n *registry.Node) string { return "http://" + n.Address + tt.path })
			if err := probe(t.Context(), &registry.Node{Address: tt.address}); (err == nil) != tt.ok {
				t.Errorf("probe = %v, want success: %t", err, tt.ok)
			}
		})
	}
	if want := []string{"GET /health", "GET /moved", "GET /sick"}; !slices.Equal(paths, want) {
		t.Errorf("probes asked for %v, want %v", paths, want)
	}
}

func TestProbeTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialer := &net.Dialer{ControlContext: (*upstream.Guard)(nil).Control}
	probe := upstream.ProbeTCP(dialer.DialContext)
	n := &registry.Node{Address: l.Addr().String()}
	if err := probe(t.Context(), n); err != nil {
		t.Errorf("probe of a listener = %v", err)
	}
	if err := probe(t.Context(), &registry.Node{Address: "127.0.0.1:1"}); err == nil {
		t.Error("probe of a port at which nobody listens = nil, want an error")
	}
	if err := probe(t.Context(), &registry.Node{Address: "169.254.169.254:80"}); !errors.Is(err, upstream.ErrForbiddenAddress) {
		t.Errorf("probe of a link-local address = %v, want ErrForbiddenAddress", err)
	}
}

func TestAnswersAreNoProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		pools := probing(t, upstream.Options{}, upstream.Probe{Prober: w.probe})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
		f := &fleet{}
		requests(t, 1, set, f)
		for _, id := range []string{"1", "2", "3"} {
			w.set(id, true)
		}
		time.Sleep(40 * time.Second)
		for range 600 { // in a minute, all of them served
			if failed := requests(t, 1, set, f); failed != 0 {
				t.Fatal("a request failed on a node that only probes speak against")
			}
			for _, st := range set.Nodes() {
				if st.Ejected != upstream.Unhealthy {
					t.Fatalf("node %s is %+v, want it ejected until probes pass", st.Node.ID, st)
				}
			}
			time.Sleep(100 * ms)
		}
		for _, id := range []string{"1", "2", "3"} {
			if got := f.count(id); got < 120 || got > 300 {
				t.Errorf("node %s got %d of 600 requests when no node is healthy, want about 200", id, got)
			}
		}
		f.does = attempts{"1": refuse}
		before := f.count("1")
		requests(t, 100, set, f)
		if got := f.count("1") - before; got > 1 {
			t.Errorf("a node that cannot be reached either got %d of 100 requests, want at most 1", got)
		}
		f.does = nil
		for _, id := range []string{"1", "2", "3"} {
			w.set(id, false)
		}
		time.Sleep(40 * time.Second)
		requests(t, 1, set, f)
		for _, st := range set.Nodes() {
			if st.Ejected != "" {
				t.Errorf("when probes pass node %s is %+v, want it well", st.Node.ID, st)
			}
		}
	})
}

func TestProbesTakeOverAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		pools := probing(t, upstream.Options{}, upstream.Probe{Prober: w.probe})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(2)...)}).All()
		f := &fleet{does: attempts{"1": refuse}}
		untilTried(t, "1", set, f)
		w.set("1", true)
		time.Sleep(40 * time.Second)
		if st := state(t, set, "1"); st.Ejected != upstream.Unhealthy {
			t.Errorf("a node that probes find unhealthy is %+v, want it left to them", st)
		}
		w.set("1", false)
		time.Sleep(30 * time.Second)
		if st := state(t, set, "1"); st.Ejected != "" {
			t.Errorf("a node that probes find healthy is %+v, want it well", st)
		}
	})
}
