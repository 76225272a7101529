package upstream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// takes is an attempt on a node that answers after d.
func takes(d time.Duration) func(context.Context, *upstream.Try) error {
	return func(ctx context.Context, t *upstream.Try) error {
		time.Sleep(d)
		return answer(ctx, t)
	}
}

// load makes n requests by each of 30 clients.
func load(t *testing.T, n int, set *upstream.Set, f *fleet) {
	t.Helper()
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if failed := requests(t, n, set, f); failed != 0 {
				t.Errorf("%d of %d requests failed", failed, n)
			}
		})
	}
	wg.Wait()
}

// The bounds are so wide that chance does not reach them: each is a sum of
// thousands of draws.
func TestBalance(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		latency []time.Duration
		least   []int // of 3000 requests
		most    []int
	}{
		{"equal", []time.Duration{10 * ms, 10 * ms, 10 * ms}, []int{700, 700, 700}, []int{1300, 1300, 1300}},
		{"below noise", []time.Duration{ms / 8, ms / 4, ms / 8}, []int{500, 300, 500}, []int{1700, 1300, 1700}},
		{"one is slow", []time.Duration{10 * ms, 10 * ms, 100 * ms}, []int{1000, 1000, 1}, []int{2000, 2000, 400}},
		{"one is very slow", []time.Duration{10 * ms, 10 * ms, 5000 * ms}, []int{1000, 1000, 1}, []int{2000, 2000, 100}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{does: make(attempts)}
				for i, d := range tt.latency {
					f.does[fmt.Sprint(i+1)] = takes(d)
				}
				load(t, 100, greeters(3), f)
				for i := range tt.latency {
					if got := f.count(fmt.Sprint(i + 1)); got < tt.least[i] || got > tt.most[i] {
						t.Errorf("node %d got %d of 3000 requests, want %d to %d", i+1, got, tt.least[i], tt.most[i])
					}
				}
			})
		})
	}
}

func TestOneAfterTheOtherIsSharedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(4)
		f := &fleet{}
		requests(t, 4000, set, f)
		for _, st := range set.Nodes() {
			if got := f.count(st.Node.ID); got < 700 || got > 1300 {
				t.Errorf("node %s got %d of 4000 requests, want about 1000", st.Node.ID, got)
			}
		}
	})
}

func TestNewNodeIsNeitherStarvedNorOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pools := upstream.NewPools(nil)
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(2)...)}).All()
		f := &fleet{does: attempts{"1": takes(50 * time.Millisecond), "2": takes(50 * time.Millisecond)}}
		load(t, 20, set, f)

		var mu sync.Mutex
		inFlight, peak := 0, 0
		f.set("3", func(ctx context.Context, try *upstream.Try) error {
			mu.Lock()
			inFlight++
			peak = max(peak, inFlight)
			mu.Unlock()
			defer func() { mu.Lock(); inFlight--; mu.Unlock() }()
			return takes(50*time.Millisecond)(ctx, try)
		})
		pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)})
		load(t, 20, set, f)
		if got := f.count("3"); got < 10 || got > 100 {
			t.Errorf("new node got %d of 600 requests in its first second, want about 50", got)
		}
		time.Sleep(5 * time.Second)
		before := f.count("3")
		load(t, 20, set, f)
		if peak > 20 { // 10 of the 30 are its share
			t.Errorf("new node got %d requests at once, want about 10", peak)
		}
		if got := f.count("3") - before; got < 100 || got > 350 {
			t.Errorf("new node got %d of 600 requests after 5s, want about 200", got)
		}
	})
}

func TestSlowNodeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		f := &fleet{does: attempts{"1": takes(5 * time.Second), "2": takes(10 * time.Millisecond)}}
		untilTried(t, "1", set, f)
		f.set("1", takes(10*time.Millisecond))
		before := f.count("1")
		for range 200 {
			requests(t, 1, set, f)
			time.Sleep(time.Second)
		}
		if got := f.count("1") - before; got < 20 {
			t.Errorf("a node that was slow 200 s ago got %d of 200 requests, want some", got)
		}
	})
}

func TestLargePoolWithEjectedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{does: make(attempts)}
		for i := range 100 {
			if i%10 != 0 {
				f.does[fmt.Sprint(i+1)] = refuse
			}
		}
		set := greeters(100)
		call := upstream.Call{Policy: &upstream.Policy{Tries: 100}}
		for range 200 { // finds the 90 that refuse
			if err := set.Do(t.Context(), call, f.attempt); err != nil {
				t.Fatal(err)
			}
		}
		requests(t, 1000, set, f)
		for i := 0; i < 100; i += 10 {
			if got := f.count(fmt.Sprint(i + 1)); got < 40 || got > 250 {
				t.Errorf("node %d, one of ten that answer, got %d of 1200 requests, want about 120", i+1, got)
			}
		}
	})
}

func TestLatenciesBelowNoiseAreEqual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		f := &fleet{does: attempts{"1": takes(100 * time.Microsecond), "2": takes(400 * time.Microsecond)}}
		requests(t, 2000, set, f)
		for _, id := range []string{"1", "2"} {
			if got := f.count(id); got < 800 {
				t.Errorf("node %s got %d of 2000 requests, want about 1000", id, got)
			}
		}
	})
}
