package upstream_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

// A workshop is a service whose nodes work on so many requests at a time; others
// wait in turn.
type workshop struct {
	set    *upstream.Set
	work   func() time.Duration // that a request takes
	policy upstream.Policy      // beside the adaptive limit

	benches map[string]chan struct{} // by node; nil for as many as come

	mu      sync.Mutex
	paused  time.Time // until when nobody works
	done    []served
	refused int
	others  int // what failed otherwise
	start   time.Time
}

// served is a request that was answered.
type served struct {
	began time.Duration // from the start
	took  time.Duration
}

// newWorkshop returns a service of so many nodes, with so many workers in each; 0
// is as many as there are requests.
func newWorkshop(nodes, workers int, work func() time.Duration) *workshop {
	w := &workshop{set: greeters(nodes), work: work, start: time.Now(), benches: make(map[string]chan struct{})}
	for _, st := range w.set.Nodes() {
		if workers > 0 {
			w.benches[st.Node.ID] = make(chan struct{}, workers)
		}
	}
	return w
}

// request makes a request, under an adaptive limit.
func (w *workshop) request(ctx context.Context, work time.Duration) error {
	began, pol := time.Now(), w.policy
	pol.Adaptive = true
	err := w.set.Do(ctx, upstream.Call{Policy: &pol}, func(_ context.Context, t *upstream.Try) error {
		if bench := w.benches[t.Node.ID]; bench != nil {
			bench <- struct{}{}
			defer func() { <-bench }()
		}
		time.Sleep(work)
		w.mu.Lock()
		left := time.Until(w.paused)
		w.mu.Unlock()
		time.Sleep(left)
		t.Sent() // a caller may say so only now
		t.Answered()
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.done = append(w.done, served{began.Sub(w.start), time.Since(began)})
	case errors.Is(err, upstream.ErrOverloaded):
		w.refused++
	default:
		w.others++
	}
	return err
}

// open makes so many requests a second for d, whatever becomes of them.
func (w *workshop) open(t *testing.T, rate float64, d time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	random := rand.New(rand.NewPCG(1, uint64(rate)))
	for end := time.Now().Add(d); time.Now().Before(end); {
		work := w.work()
		wg.Go(func() { _ = w.request(t.Context(), work) })
		time.Sleep(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
	}
	wg.Wait()
}

// always returns work that takes d.
func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// dice are the same in each run. They may be cast concurrently.
type dice struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newDice() *dice { return &dice{random: rand.New(rand.NewPCG(1, 2))} }

// cast returns what one method of the random source gives.
func (d *dice) cast(method func(*rand.Rand) float64) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return method(d.random)
}

// either returns work that takes a in a share of all cases, else b.
func either(share float64, a, b time.Duration) func() time.Duration {
	d := newDice()
	return func() time.Duration {
		if d.cast((*rand.Rand).Float64) < share {
			return a
		}
		return b
	}
}

// exponential returns work that takes mean on average, and often more.
func exponential(mean time.Duration) func() time.Duration {
	d := newDice()
	return func() time.Duration { return time.Duration(d.cast((*rand.Rand).ExpFloat64) * float64(mean)) }
}

// logNormal returns work that mostly takes about median.
func logNormal(median time.Duration, sigma float64) func() time.Duration {
	d := newDice()
	return func() time.Duration {
		return time.Duration(float64(median) * math.Exp(sigma*d.cast((*rand.Rand).NormFloat64)))
	}
}

// forget begins the count anew.
func (w *workshop) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done, w.refused, w.others, w.start = nil, 0, 0, time.Now()
}

// p99 of what was answered and began after a time.
func (w *workshop) p99(after time.Duration) time.Duration {
	var took []time.Duration
	for _, s := range w.done {
		if s.began >= after {
			took = append(took, s.took)
		}
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// closed has so many clients make a request each, again and again, for d.
func (w *workshop) closed(t *testing.T, clients int, d time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range clients {
		wg.Go(func() {
			for time.Now().Before(end) {
				if w.request(t.Context(), w.work()) != nil {
					time.Sleep(10 * ms)
				}
			}
		})
	}
	wg.Wait()
}

func TestOverload(t *testing.T) { // three times what the service can do
	tests := []struct {
		name    string
		nodes   int
		workers int
		work    func() time.Duration
		before  float64 // requests a second before, 0 for none
		peak    float64 // requests a second that it can do
		length  time.Duration
		until   time.Duration
		p99     time.Duration // of requests that began after until
	}{
		{"20 at a time", 1, 20, always(20 * ms), 500, 1000, 10 * time.Second, 0, 100 * ms},
		{"20 at a time, from nothing", 1, 20, always(20 * ms), 0, 1000, 10 * time.Second, 0, 100 * ms},
		{"20 at a time, nearly as many before", 1, 20, always(20 * ms), 950, 1000, 10 * time.Second, 0, 100 * ms},
		{"five nodes", 5, 20, always(20 * ms), 1000, 5000, 3 * time.Second, time.Second, 100 * ms},
		{"very quick", 1, 4, always(ms), 1000, 4000, 3 * time.Second, time.Second, 15 * ms},
		{"one at a time", 1, 1, always(20 * ms), 20, 50, time.Minute, 10 * time.Second, 160 * ms},
		{"four of a second", 1, 4, always(time.Second), 2, 4, time.Minute, 30 * time.Second, 5 * time.Second},
		// With little to do, the p99 of these is 92 ms, and 200 ms.
		{"of chance", 1, 20, exponential(20 * ms), 500, 1000, 10 * time.Second, 0, 300 * ms},
		{"quick and slow", 1, 20, either(0.9, 2*ms, 200*ms), 400, 900, 10 * time.Second, 0, 1300 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkshop(tt.nodes, tt.workers, tt.work)
				if tt.before > 0 {
					w.open(t, tt.before, 10*time.Second)
					w.forget()
				}
				w.open(t, 3*tt.peak, tt.length)
				goodput := float64(len(w.done)) / time.Since(w.start).Seconds()
				t.Logf("%.0f of %.0f requests a second, p99 %v, a limit of %d", goodput, tt.peak, w.p99(tt.until), w.set.Nodes()[0].Limit)
				if goodput < 0.9*tt.peak || w.others > 0 {
					t.Errorf("%.0f requests a second were answered, and %d failed; want 90%% of %.0f", goodput, w.others, tt.peak)
				}
				if got := w.p99(tt.until); got > tt.p99 {
					t.Errorf("p99 = %v, want at most %v", got, tt.p99)
				}
			})
		})
	}
}

// TestOverloadWithPauses: a machine that stands still now and then, in the middle of
// it, does not make the limit forget what the service can do.
func TestOverloadWithPauses(t *testing.T) {
	for _, pause := range []time.Duration{20 * ms, 100 * ms, 500 * ms, 2 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkshop(1, 20, always(20*ms))
				w.open(t, 500, 5*time.Second)
				w.forget()
				go w.pause(t.Context(), 5*time.Second, pause)
				w.open(t, 3000, 15*time.Second)
				if got, least := len(w.done), int(0.9*15_000*(1-pause.Seconds()/5)); got < least {
					t.Errorf("%d requests were answered, want at least %d", got, least)
				}
				if got := w.set.Nodes()[0].Limit; got < 20 || got > 60 {
					t.Errorf("limit of a node that can do 20 at a time = %d, want some more", got)
				}
			})
		})
	}
}

func TestOverloadPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(1, 20, always(20*ms))
		w.open(t, 3000, 4*time.Second)
		if got := w.set.Nodes()[0].Limit; got < 20 || got > 60 {
			t.Errorf("limit of a node that can do 20 at a time = %d, want some more", got)
		}
		w.forget()
		w.open(t, 500, 20*time.Second)
		if w.refused > 0 || w.set.Nodes()[0].Limit != 0 {
			t.Errorf("%d refused when the overload was over, limit %d; want none", w.refused, w.set.Nodes()[0].Limit)
		}
		w.benches = make(map[string]chan struct{}) // it has grown
		w.forget()
		w.open(t, 3000, 4*time.Second)
		if w.refused > 0 {
			t.Errorf("%d refused of what the service can do now, want none", w.refused)
		}
	})
}

func TestLimitIsForgotten(t *testing.T) { // also if nobody asks meanwhile
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(1, 20, always(20*ms))
		w.open(t, 3000, 4*time.Second)
		time.Sleep(time.Hour)
		if got := w.set.Nodes()[0].Limit; got != 0 {
			t.Errorf("limit after an hour = %d, want none", got)
		}
		w.forget()
		w.benches = make(map[string]chan struct{})
		w.open(t, 10_000, 10*ms) // a hundred, all at once
		if w.refused > 0 {
			t.Errorf("%d refused an hour after the overload, want none", w.refused)
		}
	})
}

// What waits for its client, or has its answer, does not count: the node can do
// 20 at a time, and nobody else is refused for a thousand of these.
func TestLimitCountsWhatWaitsForAnAnswer(t *testing.T) {
	tests := []struct {
		name string
		goes func(ctx context.Context, t *upstream.Try)
	}{
		{"streams", func(ctx context.Context, t *upstream.Try) { t.Opened(); <-ctx.Done() }},
		{"downloads", func(ctx context.Context, t *upstream.Try) { t.Answered(); <-ctx.Done() }},
		{"long polls", func(ctx context.Context, _ *upstream.Try) { <-ctx.Done() }},
		{"failures", func(ctx context.Context, t *upstream.Try) { t.Failed(); <-ctx.Done() }},
		{"uploads", func(ctx context.Context, t *upstream.Try) {
			for ctx.Err() == nil {
				time.Sleep(time.Second)
				t.Progress()
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkshop(1, 20, always(20*ms))
				w.open(t, 500, time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				call := upstream.Call{Policy: &upstream.Policy{Adaptive: true, TryTimeout: time.Hour, Timeout: time.Hour}}
				for range 1000 {
					wg.Go(func() {
						_ = w.set.Do(ctx, call, func(ctx context.Context, t *upstream.Try) error {
							t.Sent()
							tt.goes(ctx, t)
							return ctx.Err()
						})
					})
				}
				w.open(t, 500, 30*time.Second) // until they are known for what they are
				w.forget()
				w.open(t, 3000, 4*time.Second)
				if got := w.set.Nodes()[0].Limit; len(w.done) < 3600 || got > 60 {
					t.Errorf("%d of 4000 were answered beside %s, by a limit of %d", len(w.done), tt.name, got)
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

func TestOverloadOfOneNode(t *testing.T) { // the others have room
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(10, 20, always(20*ms))
		w.benches["1"] = make(chan struct{}, 1)
		w.open(t, 4000, 5*time.Second)
		if w.refused > 0 || w.others > 0 {
			t.Errorf("%d refused and %d failed beside a node that can do little, want none", w.refused, w.others)
		}
	})
}

func TestRefusedHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(3, 5, always(20*ms))
		for _, more := range []upstream.Policy{{}, {MaxPerNode: 20}, {MaxInFlight: 30}, {HashBy: "header:X-User"}} {
			w.policy = more
			w.open(t, 3000, 4*time.Second)
			for _, st := range w.set.Nodes() {
				if st.InFlight != 0 || st.Silent != 0 {
					t.Errorf("under %+v, when all is over node %s is %+v", more, st.Node.ID, st)
				}
			}
		}
		if w.refused == 0 {
			t.Error("nothing was refused")
		}
	})
}
