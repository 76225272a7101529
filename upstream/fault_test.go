package upstream_test

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const ms = time.Millisecond

// A world is the nodes of a service, as processes that can be stopped, killed
// and made slow, and what became of the requests made to them.
type world struct {
	pools *upstream.Pools
	set   *upstream.Set

	mu       sync.Mutex
	machines map[string]*machine // by address
	served   map[int]int         // how often each POST was
	done     []result
	retries  int
}

// A machine is one process. Its fields are guarded by the world's mu.
type machine struct {
	work  time.Duration
	down  bool
	ended chan struct{} // closed when it is killed
	runs  chan struct{} // closed when it is not stopped
	tries []time.Time
}

// A result is what became of a request.
type result struct {
	id   int
	post bool
	at   time.Time
	took time.Duration
	err  error
}

func newMachine(work time.Duration) *machine {
	m := &machine{work: work, ended: make(chan struct{}), runs: make(chan struct{})}
	close(m.runs)
	return m
}

// newWorld returns n machines, each of which takes 15 ms for a request.
func newWorld(n int) *world {
	w := &world{pools: upstream.NewPools(nil), machines: make(map[string]*machine), served: make(map[int]int)}
	for _, a := range addresses(n) {
		w.machines[a] = newMachine(15 * ms)
	}
	w.announce(nodes(n)...)
	return w
}

func (w *world) announce(nodes ...*registry.Node) {
	w.set = w.pools.Update("greeter", []*registry.Service{service("1", nodes...)}).All()
}

func (w *world) machine(i int) *machine { return w.machines[addresses(i)[i-1]] }

// stop stops a machine for d, as SIGSTOP does.
func (w *world) stop(m *machine, d time.Duration) {
	runs := make(chan struct{})
	w.mu.Lock()
	m.runs = runs
	w.mu.Unlock()
	time.Sleep(d)
	close(runs)
}

// kill ends a machine.
func (w *world) kill(m *machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.down = true
	close(m.ended)
}

// start starts a machine that was killed.
func (w *world) start(m *machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.down, m.ended = false, make(chan struct{})
}

// slow makes a machine take d.
func (w *world) slow(m *machine, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.work = d
}

// serve is an attempt at request id.
func (w *world) serve(ctx context.Context, try *upstream.Try, id int) error {
	w.mu.Lock()
	m := w.machines[try.Node.Address]
	m.tries = append(m.tries, time.Now())
	down, ended, work := m.down, m.ended, m.work
	if try.N > 1 {
		w.retries++
	}
	w.mu.Unlock()
	if down {
		return errRefused
	}
	try.Sent()
	work = work*3/4 + rand.N(work/2)
	for _, wait := range []time.Duration{0, work} { // the process may stop before and within
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return io.ErrUnexpectedEOF
		case <-time.After(wait):
		}
		w.mu.Lock()
		runs := m.runs
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return io.ErrUnexpectedEOF
		case <-runs:
		}
	}
	w.mu.Lock()
	w.served[id]++
	w.mu.Unlock()
	try.Answered()
	return nil
}

// load makes 200 requests a second for d, half of them POST, and waits for them.
func (w *world) load(ctx context.Context, d time.Duration) {
	var wg sync.WaitGroup
	tick := time.NewTicker(5 * ms)
	defer tick.Stop()
	for id := range int(d / (5 * ms)) {
		<-tick.C
		wg.Go(func() {
			r := result{id: id, post: id%2 == 0, at: time.Now()}
			r.err = w.set.Do(ctx, upstream.Call{Idempotent: !r.post}, func(ctx context.Context, try *upstream.Try) error {
				return w.serve(ctx, try, id)
			})
			r.took = time.Since(r.at)
			w.mu.Lock()
			w.done = append(w.done, r)
			w.mu.Unlock()
		})
	}
	wg.Wait()
}

// between returns the results of requests made from a to b after the first.
func (w *world) between(a, b time.Duration) []result {
	slices.SortFunc(w.done, func(x, y result) int { return x.at.Compare(y.at) })
	start := w.done[0].at
	var list []result
	for _, r := range w.done {
		if d := r.at.Sub(start); d >= a && d < b {
			list = append(list, r)
		}
	}
	return list
}

// tally counts the failures among results, and those that took longer than
// limit, and returns the longest time of an idempotent one.
func tally(list []result, limit time.Duration) (failed, slow int, worst time.Duration) {
	for _, r := range list {
		if r.err != nil {
			failed++
		}
		if r.took > limit {
			slow++
		}
		if !r.post {
			worst = max(worst, r.took)
		}
	}
	return failed, slow, worst
}

// twice counts the POSTs that were served more than once.
func (w *world) twice() (n int) {
	for id, times := range w.served {
		if id%2 == 0 && times > 1 {
			n++
		}
	}
	return n
}

// tried counts the tries on a machine from a to b after start.
func (w *world) tried(m *machine, start time.Time, a, b time.Duration) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range m.tries {
		if d := at.Sub(start); d >= a && d < b {
			n++
		}
	}
	return n
}

func TestFaultStopped(t *testing.T) {
	for seed := range 20 {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(3)
				start := time.Now()
				go func() {
					time.Sleep(2*time.Second + time.Duration(seed)*ms)
					w.stop(w.machine(2), 3*time.Second)
				}()
				w.load(t.Context(), 10*time.Second)

				during := w.between(2*time.Second, 5*time.Second)
				failed, slow, worst := tally(during, time.Second)
				posts, gets := 0, 0
				for _, r := range during {
					if r.took > 100*ms {
						if r.post {
							posts++
						} else {
							gets++
						}
					}
				}
				t.Logf("stuck %d POST %d GET, worst GET %v; after 5s: %d %d %d %d %d", posts, gets, worst,
					w.tried(w.machine(2), start, 5000*ms, 5500*ms), w.tried(w.machine(2), start, 5500*ms, 6000*ms),
					w.tried(w.machine(2), start, 6*time.Second, 7*time.Second), w.tried(w.machine(2), start, 7*time.Second, 8*time.Second), w.tried(w.machine(2), start, 9*time.Second, 10*time.Second))
				if all, _, _ := tally(w.done, 0); all != 0 || failed != 0 {
					t.Errorf("%d requests failed, want none", all)
				}
				if slow > 5 {
					t.Errorf("%d of %d requests took more than 1s, want at most 5", slow, len(during))
				}
			})
		})
	}
}
