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
	long     time.Duration       // what every 20th request takes, if not 0
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
func newWorld(n int, opts *upstream.Options) *world {
	w := &world{pools: upstream.NewPools(opts), machines: make(map[string]*machine), served: make(map[int]int)}
	for _, a := range addresses(n) {
		w.machines[a] = newMachine(15 * ms)
	}
	w.announce(nodes(n)...)
	w.set = w.pools.Pool("greeter").All()
	return w
}

func (w *world) announce(nodes ...*registry.Node) {
	w.pools.Update("greeter", []*registry.Service{service("1", nodes...)})
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
	if w.long != 0 && id%20 < 2 && id/20%2 == 0 { // a GET and a POST
		work = w.long
	}
	work = work*3/4 + rand.N(work/2)
	if err := w.stay(ctx, m, ended); err != nil { // the process may stop before, and within
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-ended:
		return io.ErrUnexpectedEOF
	case <-time.After(work):
	}
	if err := w.stay(ctx, m, ended); err != nil {
		return err
	}
	w.mu.Lock()
	w.served[id]++
	w.mu.Unlock()
	try.Answered()
	return nil
}

// stay waits for as long as the process of a machine is stopped.
func (w *world) stay(ctx context.Context, m *machine, ended <-chan struct{}) error {
	w.mu.Lock()
	runs := m.runs
	w.mu.Unlock()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-ended:
		return io.ErrUnexpectedEOF
	case <-runs:
		return nil
	}
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

// simulate runs a test in several bubbles, as chance decides a lot in it.
func simulate(t *testing.T, test func(t *testing.T, seed int)) {
	t.Helper()
	for seed := range 8 {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, seed) })
		})
	}
}

func TestFaultOneIsStopped(t *testing.T) {
	tests := []struct {
		name  string
		nodes int
	}{{"of two", 2}, {"of three", 3}, {"of ten", 10}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, func(t *testing.T, seed int) {
				w, start := newWorld(tt.nodes, nil), time.Now()
				go func() {
					time.Sleep(2*time.Second + time.Duration(seed)*ms)
					w.stop(w.machine(1), 3*time.Second)
				}()
				w.load(t.Context(), 12*time.Second)

				if failed, _, _ := tally(w.done, 0); failed != 0 || w.twice() != 0 {
					t.Errorf("%d requests failed, and %d POSTs were served twice; want none", failed, w.twice())
				}
				_, stuck, worst := tally(w.between(2*time.Second, 5*time.Second), time.Second)
				if stuck > 5 || worst > 500*ms {
					t.Errorf("%d of 600 requests took more than 1s, and a GET took %v; want at most 5, and less than 500ms", stuck, worst)
				}
				if got := w.tried(w.machine(1), start, 5*time.Second, 7500*ms); got <= 30/tt.nodes {
					t.Errorf("the node got %d requests in the 2.5s after it went on, want some", got)
				}
				share := 600 / tt.nodes
				if got := w.tried(w.machine(1), start, 9500*ms, 12*time.Second); got < share/3 || got > 2*share {
					t.Errorf("the node got %d requests when all was over, want about %d", got, share)
				}
			})
		})
	}
}

func TestFaultOneIsKilled(t *testing.T) {
	simulate(t, func(t *testing.T, seed int) {
		w := newWorld(3, nil)
		go func() {
			time.Sleep(2*time.Second + time.Duration(seed)*ms)
			w.kill(w.machine(1))
		}()
		w.load(t.Context(), 10*time.Second)
		for _, r := range w.done {
			if r.err != nil && (!r.post || r.at.Sub(w.done[0].at) > 2100*ms) {
				t.Errorf("request %d (POST: %t) = %v, want only POSTs to fail that the node had", r.id, r.post, r.err)
			}
		}
		if failed, slow, _ := tally(w.done, 100*ms); failed > 5 || slow != 0 || w.twice() != 0 {
			t.Errorf("%d requests failed, %d took more than 100ms, %d POSTs were served twice", failed, slow, w.twice())
		}
	})
}

func TestFaultRollingRestart(t *testing.T) {
	simulate(t, func(t *testing.T, seed int) {
		w := newWorld(3, nil)
		go func() {
			for i := range 3 {
				time.Sleep(time.Second + time.Duration(seed)*ms)
				all := nodes(3)
				w.announce(slices.Delete(all, i, i+1)...)
				time.Sleep(200 * ms) // it drains
				w.kill(w.machine(i + 1))
				time.Sleep(300 * ms)
				w.start(w.machine(i + 1))
				w.announce(nodes(3)...)
			}
		}()
		w.load(t.Context(), 8*time.Second)
		if failed, slow, _ := tally(w.done, 200*ms); failed != 0 || slow != 0 || w.twice() != 0 {
			t.Errorf("%d requests failed, %d took more than 200ms, %d POSTs were served twice; want none", failed, slow, w.twice())
		}
	})
}

func TestFaultAllAreDown(t *testing.T) {
	for _, down := range []time.Duration{time.Second, 5 * time.Second, time.Minute} {
		t.Run(down.String(), func(t *testing.T) {
			simulate(t, func(t *testing.T, seed int) {
				w, start := newWorld(3, nil), time.Now()
				back := 2*time.Second + down
				go func() {
					time.Sleep(2*time.Second + time.Duration(seed)*ms)
					for i := range 3 {
						w.kill(w.machine(i + 1))
					}
					time.Sleep(down)
					for i := range 3 {
						w.start(w.machine(i + 1))
					}
				}()
				w.load(t.Context(), back+5*time.Second)
				if failed, slow, _ := tally(w.between(back+100*ms, time.Hour), 200*ms); failed != 0 || slow != 0 {
					t.Errorf("%d requests failed, %d took more than 200ms when all were back for 100ms; want none", failed, slow)
				}
				for i := range 3 {
					if got := w.tried(w.machine(i+1), start, back+500*ms, back+1500*ms); got < 20 {
						t.Errorf("node %d got %d of 200 requests when all were back, want about 67", i+1, got)
					}
				}
				if w.twice() != 0 {
					t.Errorf("%d POSTs were served twice", w.twice())
				}
			})
		})
	}
}

func TestFaultOneIsSlow(t *testing.T) {
	simulate(t, func(t *testing.T, seed int) {
		w, start := newWorld(3, nil), time.Now()
		go func() {
			time.Sleep(2*time.Second + time.Duration(seed)*ms)
			w.slow(w.machine(1), 150*ms)
			time.Sleep(20 * time.Second)
			w.slow(w.machine(1), 15*ms)
		}()
		w.load(t.Context(), 40*time.Second)
		if failed, slow, _ := tally(w.done, 500*ms); failed != 0 || slow != 0 || w.twice() != 0 {
			t.Errorf("%d requests failed, %d took more than 500ms, %d POSTs were served twice; want none", failed, slow, w.twice())
		}
		if got := w.tried(w.machine(1), start, 2*time.Second, 22*time.Second); got > 80 {
			t.Errorf("the slow node got %d of 4000 requests, want few", got)
		}
		if got := w.tried(w.machine(1), start, 35*time.Second, 40*time.Second); got < 100 {
			t.Errorf("the node got %d of 1000 requests when it was well for 13s, want about 333", got)
		}
	})
}

func TestFaultAllAreSilent(t *testing.T) { // as when what they all need is stuck
	simulate(t, func(t *testing.T, seed int) {
		w := newWorld(3, nil)
		for i := range 3 {
			go func() {
				time.Sleep(2*time.Second + time.Duration(seed)*ms)
				w.stop(w.machine(i+1), 2*time.Second)
			}()
		}
		w.load(t.Context(), 6*time.Second)
		if failed, _, _ := tally(w.done, 0); failed != 0 || w.retries > 5 || w.twice() != 0 {
			t.Errorf("%d requests failed, %d were tried again, %d POSTs were served twice; want none", failed, w.retries, w.twice())
		}
	})
}
