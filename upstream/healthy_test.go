package upstream_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestHealthyIsNotRefused: an adaptive limit refuses nothing of a service that
// can do as much as it is asked to, however it takes its time.
func TestHealthyIsNotRefused(t *testing.T) {
	tests := []struct {
		name string
		work func() time.Duration
		do   func(*testing.T, *workshop)
	}{
		{"one in two takes 2 s", either(0.5, ms, 2*time.Second), day},
		{"one in ten takes 2 s", either(0.9, ms, 2*time.Second), day},
		{"nine in ten take 2 s", either(0.1, ms, 2*time.Second), day},
		{"one in a hundred takes 2 s", either(0.99, ms, 2*time.Second), day},
		{"of chance", exponential(50 * ms), day},
		{"of wide chance", logNormal(20*ms, 1.5), day},
		{"pauses", always(20 * ms), func(t *testing.T, w *workshop) {
			go w.pause(t.Context(), 3*time.Second, 200*ms)
			w.open(t, 1000, 20*time.Second)
		}},
		{"cold", always(0), func(t *testing.T, w *workshop) {
			w.cool(2 * time.Second)
			w.open(t, 300, 22*time.Second)
		}},
		{"cold again", always(20 * ms), func(t *testing.T, w *workshop) {
			w.open(t, 300, 22*time.Second)
			w.cool(500 * ms)
			w.open(t, 300, 22*time.Second)
		}},
		{"somewhat slower", always(20 * ms), slower(45 * ms)},
		{"slower", always(20 * ms), slower(80 * ms)},
		{"much slower", always(20 * ms), slower(500 * ms)},
		{"slower and slower", always(20 * ms), func(t *testing.T, w *workshop) {
			start := time.Now()
			w.work = func() time.Duration { return 20*ms + time.Since(start)/200 }
			w.open(t, 1000, 40*time.Second)
		}},
		{"now few and now many", always(20 * ms), func(t *testing.T, w *workshop) {
			for range 3 {
				w.open(t, 50, 20*time.Second)
				w.open(t, 2000, 3*time.Second)
			}
		}},
		{"now few and now many that are slow", always(5 * ms), func(t *testing.T, w *workshop) {
			for range 5 {
				w.work = always(5 * ms)
				w.open(t, 50, 10*time.Second)
				w.work = always(50 * ms)
				w.open(t, 10_000, 20*ms)
			}
		}},
		{"a thousand clients", always(20 * ms), func(t *testing.T, w *workshop) { w.closed(t, 1000, time.Second) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkshop(1, 0, tt.work)
				tt.do(t, w)
				if w.refused > 0 || w.others > 0 {
					t.Errorf("%d of %d were refused and %d failed, want none", w.refused, w.refused+len(w.done), w.others)
				}
			})
		})
	}
}

// TestBusyIsNotRefused: nor of one that is busy, as long as what waits is not
// more than half of what it does.
func TestBusyIsNotRefused(t *testing.T) {
	tests := []struct {
		name string
		do   func(*testing.T, *workshop)
	}{
		{"half busy, with pauses", func(t *testing.T, w *workshop) {
			go w.pause(t.Context(), 3*time.Second, 50*ms)
			w.open(t, 500, 20*time.Second)
		}},
		{"three quarters busy", func(t *testing.T, w *workshop) { w.open(t, 750, 30*time.Second) }},
		{"half as many again as it can do", func(t *testing.T, w *workshop) { w.closed(t, 30, 10*time.Second) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkshop(1, 20, always(20*ms))
				tt.do(t, w)
				if w.refused > 0 || w.others > 0 {
					t.Errorf("%d of %d were refused and %d failed, want none", w.refused, w.refused+len(w.done), w.others)
				}
			})
		})
	}
}

// TestSaturatedIsRefused: ten times as many clients as the service can serve at a
// time, each of which waits for its answer, lose nothing without a limit but
// time. Under one most are refused, which is why it is not for every service.
func TestSaturatedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop(1, 20, always(20*ms))
		w.closed(t, 200, 10*time.Second)
		if got := w.p99(time.Second); got > 100*ms || len(w.done) < 9000 {
			t.Errorf("%d of 10000 were answered, with a p99 of %v, want nearly all, with 100 ms", len(w.done), got)
		}
		if w.refused < len(w.done) {
			t.Errorf("%d refused, %d answered: want most refused", w.refused, len(w.done))
		}
	})
}

// TestWhatIsRefusedWithoutNeed has services whose work and load change at once
// and at random, by factors of up to a thousand. There are cases in which that
// looks like overload for a while.
func TestWhatIsRefusedWithoutNeed(t *testing.T) {
	answered, refused := 0, 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			w := newWorkshop(1, 0, nil)
			for range 4 {
				usual := time.Duration(float64(ms) * math.Pow(2000, random.Float64()))
				slow := time.Duration(float64(usual) * (1 + 50*random.Float64()*random.Float64()))
				mix, chance := either(random.Float64(), usual, slow), logNormal(time.Second, 1.5*random.Float64())
				w.work = func() time.Duration { return min(4*time.Second, time.Duration(mix().Seconds()*float64(chance()))) }
				w.open(t, math.Pow(500, random.Float64()), 15*time.Second)
			}
			answered, refused = answered+len(w.done), refused+w.refused
		})
	}
	t.Logf("%d answered, %d refused", answered, refused)
	if refused > answered/20 {
		t.Errorf("%d refused of %d that could be served, want hardly any", refused, refused+answered)
	}
}

// day makes few requests, then more, and then few and many again.
func day(t *testing.T, w *workshop) {
	for _, rate := range []float64{5. / 60, 5, 50, 300, 10, 600} {
		w.open(t, rate, 15*time.Second)
	}
}

// slower returns a service that takes d from one moment to the other, under load.
func slower(d time.Duration) func(*testing.T, *workshop) {
	return func(t *testing.T, w *workshop) {
		start, work := time.Now(), w.work
		w.work = func() time.Duration {
			if time.Since(start) < 30*time.Second {
				return work()
			}
			return d
		}
		w.open(t, 1000, 40*time.Second)
	}
}

// cool has requests take longer by d, which then grows less in 20 s.
func (w *workshop) cool(d time.Duration) {
	start := time.Now()
	w.work = func() time.Duration {
		return 20*ms + max(0, d-time.Duration(float64(d)*time.Since(start).Seconds()/20))
	}
}

// pause stops all work for d, every so often, until ctx is done.
func (w *workshop) pause(ctx context.Context, every, d time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		w.mu.Lock()
		w.paused = time.Now().Add(d)
		w.mu.Unlock()
	}
}
