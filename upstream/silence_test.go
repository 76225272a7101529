package upstream_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// settled returns a Set of n nodes that answer after 10 ms, and is known to.
func settled(t *testing.T, n int) (*upstream.Set, *fleet) {
	t.Helper()
	set, f := greeters(n), &fleet{does: make(attempts)}
	for _, st := range set.Nodes() {
		f.does[st.Node.ID] = takes(10 * ms)
	}
	load(t, 20, set, f)
	time.Sleep(time.Second)
	return set, f
}

// patient is an attempt on a node that answers after d, if it is waited for.
func patient(d time.Duration) func(context.Context, *upstream.Try) error {
	return func(ctx context.Context, t *upstream.Try) error {
		t.Sent()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d):
			return nil
		}
	}
}

// only is an attempt that does one thing on one node, and answers on others.
func only(id string, do func(context.Context, *upstream.Try) error) func(context.Context, *upstream.Try) error {
	return func(ctx context.Context, try *upstream.Try) error {
		if try.Node.ID == id {
			return do(ctx, try)
		}
		return answer(ctx, try)
	}
}

// first returns an attempt that does one thing the first time, wherever that is,
// and answers afterwards.
func first(do func(context.Context, *upstream.Try) error) func(context.Context, *upstream.Try) error {
	return func(ctx context.Context, try *upstream.Try) error {
		if try.N == 1 {
			return do(ctx, try)
		}
		return answer(ctx, try)
	}
}

func TestStuckRequestIsTakenToAnotherNode(t *testing.T) {
	tests := []struct {
		name  string
		nodes int
		call  upstream.Call
		do    func(context.Context, *upstream.Try) error
		took  time.Duration
		tries int
	}{
		{"idempotent", 3, upstream.Call{Idempotent: true}, hang, 100 * ms, 2},
		{"not idempotent", 3, upstream.Call{}, hang, 30 * time.Second, 1},
		{"no other node", 1, upstream.Call{Idempotent: true}, hang, 30 * time.Second, 2},
		{"no other try", 3, upstream.Call{Idempotent: true, Policy: &upstream.Policy{Tries: 1}}, hang, 30 * time.Second, 1},
		{"shorter timeout", 3, upstream.Call{Idempotent: true, Policy: &upstream.Policy{TryTimeout: 50 * ms}}, hang, 50 * ms, 2},
		{"with a body", 3, upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
			try.Progress()
			return hang(ctx, try)
		}, 30 * time.Second, 1}, // all of the policy's Timeout
		{"answered", 3, upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
			time.Sleep(99 * ms)
			try.Answered()
			time.Sleep(time.Hour)
			return ctx.Err()
		}, time.Hour + 99*ms, 1},
		{"nothing sent", 3, upstream.Call{Idempotent: true}, func(ctx context.Context, _ *upstream.Try) error {
			<-ctx.Done()
			return ctx.Err()
		}, 100 * ms, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set, _ := settled(t, tt.nodes)
				start, tries := time.Now(), 0
				if tt.call.Policy == nil {
					tt.call.Policy = &upstream.Policy{Timeout: time.Minute}
				}
				if tt.nodes == 3 && tt.took == 30*time.Second {
					tt.call.Policy.Timeout = tt.took // or it would be tried again
				}
				_ = set.Do(t.Context(), tt.call, func(ctx context.Context, try *upstream.Try) error {
					tries = try.N
					return first(tt.do)(ctx, try)
				})
				if took := time.Since(start); took < tt.took || took > tt.took+10*ms || tries != tt.tries {
					t.Errorf("Do took %v and %d tries, want %v and %d", took, tries, tt.took, tt.tries)
				}
			})
		})
	}
}

func TestStuckNodeIsEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		f.set("1", hang)
		for range 200 {
			if err := set.Do(t.Context(), upstream.Call{Idempotent: true}, f.attempt); err != nil {
				t.Fatal(err)
			}
		}
		st := state(t, set, "1")
		if st.Ejected != upstream.Slow || !st.EjectedUntil.After(time.Now()) {
			t.Errorf("the node is %+v, want it ejected for being slow", st)
		}
		if got := state(t, set, "2"); got.Ejected != "" || !got.EjectedUntil.IsZero() {
			t.Errorf("another node is %+v, want it well", got)
		}
		f.set("1", takes(10*ms))
		time.Sleep(2 * time.Second)
		for range 100 {
			_ = set.Do(t.Context(), upstream.Call{Idempotent: true}, f.attempt)
		}
		if st := state(t, set, "1"); st.Ejected != "" || st.Share >= 1 || st.Latency > 20*ms {
			t.Errorf("when it answers the node is %+v, want it in its slow start, and its latency new", st)
		}
	})
}

func TestSilenceIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { _ = set.Do(t.Context(), upstream.Call{}, only("1", takes(3*time.Second))) })
			synctest.Wait()
		}
		time.Sleep(time.Second)
		for _, st := range set.Nodes() {
			want := time.Duration(0)
			if st.InFlight > 0 {
				want = time.Second
			}
			if st.Silent != want {
				t.Errorf("node %s with %d requests is silent for %v, want %v", st.Node.ID, st.InFlight, st.Silent, want)
			}
		}
		wg.Wait()
	})
}

func TestLongRequestOnABusyNodeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_ = set.Do(ctx, upstream.Call{}, f.attempt)
				}
			})
		}
		tries := 0
		err := set.Do(t.Context(), upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
			tries++
			return takes(5*time.Second)(ctx, try)
		})
		cancel()
		wg.Wait()
		if err != nil || tries != 1 {
			t.Errorf("a request that takes 5s = %v after %d tries, want 1", err, tries)
		}
	})
}

func TestSlowRequestOnAQuietServiceIsLearnt(t *testing.T) {
	tests := []struct {
		name   string
		beside time.Duration // between other requests, which are quick
		nodes  int
	}{{"alone", time.Hour, 3}, {"beside others", 50 * ms, 3}, {"on many nodes", 50 * ms, 8}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set, f := settled(t, tt.nodes)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					for ctx.Err() == nil {
						time.Sleep(tt.beside)
						_ = set.Do(ctx, upstream.Call{}, f.attempt)
					}
				}()
				tries := 0
				report := func() {
					err := set.Do(ctx, upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
						tries++
						return patient(2*time.Second)(ctx, try)
					})
					if err != nil {
						t.Errorf("Do = %v", err)
					}
				}
				report()
				if tries != 2 {
					t.Errorf("the first request took %d tries, want 2", tries)
				}
				for range 10 {
					time.Sleep(5 * time.Second)
					report()
				}
				if tries != 12 {
					t.Errorf("11 requests took %d tries, want 12", tries)
				}
				cancel()
				time.Sleep(time.Hour)
			})
		})
	}
}

func TestAbandonedRequestsAreWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, _ := settled(t, 10)
		time.Sleep(5 * time.Minute) // what was earned is spent by then
		requests(t, 1, set, &fleet{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		stuck, moved := 0, 0
		for range 200 {
			wg.Go(func() {
				_ = set.Do(t.Context(), upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
					mu.Lock()
					if try.N > 1 {
						moved++
					}
					hangs := slices.Contains([]string{"1", "2", "3", "4"}, try.Node.ID)
					if hangs && try.N == 1 {
						stuck++
					}
					mu.Unlock()
					if hangs {
						return hang(ctx, try)
					}
					return takes(50*ms)(ctx, try)
				})
			})
		}
		time.Sleep(300 * ms)
		mu.Lock()
		if stuck < 60 || moved < 40 || moved > 47 {
			t.Errorf("%d of 200 requests were stuck, and %d taken elsewhere, want 36 and the 10 in reserve", stuck, moved)
		}
		mu.Unlock()
		wg.Wait()
	})
}

// beleaguered returns a Set of three nodes of which one is dead and one is
// stuck: no other can be ejected.
func beleaguered(t *testing.T) (*upstream.Set, *fleet) {
	t.Helper()
	set, f := settled(t, 3)
	f.set("1", refuse)
	untilTried(t, "1", set, f)
	f.set("2", hang)
	return set, f
}

func TestStuckNodeThatIsNotEjectedIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := beleaguered(t)
		before := f.count("2")
		for range 90 { // within the ejection of the dead node
			if err := set.Do(t.Context(), upstream.Call{Idempotent: true}, f.attempt); err != nil {
				t.Fatal(err)
			}
		}
		if st := state(t, set, "2"); st.Ejected != "" {
			t.Errorf("a node is %+v, want it not ejected: only one is left", st)
		}
		if got := f.count("2") - before; got > 3 {
			t.Errorf("a stuck node got %d of 90 requests, want hardly any", got)
		}
	})
}

func TestStuckRequestStaysWhereThereIsNoOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := nodes(6) // of which the request is for two
		pool := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", list[2:]...), service("2", list[:2]...)})
		f := &fleet{does: make(attempts)}
		for _, n := range list {
			f.does[n.ID] = takes(10 * ms)
		}
		load(t, 20, pool.All(), f)
		set := pool.Set("2", withVersion("2"))
		f.set("1", refuse)
		untilTried(t, "1", set, f)
		start, tries := time.Now(), 0
		err := set.Do(t.Context(), upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
			tries++
			return patient(900*ms)(ctx, try)
		})
		if took := time.Since(start); err != nil || tries != 1 || took != 900*ms {
			t.Errorf("Do = %v after %v and %d tries, want one of 900ms", err, took, tries)
		}
	})
}

func TestSlowUploadIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		var wg sync.WaitGroup
		var id string
		wg.Go(func() {
			_ = set.Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
				id = try.Node.ID
				try.Sent()
				for range 100 {
					time.Sleep(90 * ms)
					try.Progress()
				}
				return answer(ctx, try)
			})
		})
		synctest.Wait()
		for range 60 {
			time.Sleep(100 * ms)
			requests(t, 1, set, f)
			if st := state(t, set, id); st.Silent > 200*ms || st.Ejected != "" {
				t.Fatalf("a node to which a client sends slowly is %+v, want it not silent", st)
			}
		}
		wg.Wait()
	})
}

func TestClientsThatLeaveAreNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, _ := settled(t, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 50*ms)
		defer cancel()
		err := set.Do(ctx, upstream.Call{Idempotent: true}, hang)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v, want the request's own end", err)
		}
		for _, st := range set.Nodes() {
			if st.Silent != 0 || st.Ejected != "" {
				t.Errorf("node %s is %+v, want it well", st.Node.ID, st)
			}
		}
	})
}

func TestAnAnswerFromBeforeLetsASlowNodeBeProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		f.set("1", takes(1200*ms))
		var wg sync.WaitGroup
		for range 30 { // POSTs, of which some get stuck
			wg.Go(func() { requests(t, 1, set, f) })
		}
		time.Sleep(500 * ms)
		requests(t, 1, set, f)
		if got := state(t, set, "1").Ejected; got != upstream.Slow {
			t.Fatalf("a node that is silent is ejected as %q, want %q", got, upstream.Slow)
		}
		f.set("1", takes(10*ms))
		wg.Wait()
		requests(t, 30, set, f)
		if st := state(t, set, "1"); st.Ejected != "" || st.Latency > 20*ms {
			t.Errorf("when it answers again the node is %+v, want it well", st)
		}
	})
}
