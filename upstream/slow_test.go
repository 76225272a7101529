package upstream_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// ejected returns how many nodes of a Set are ejected as slow.
func ejected(set *upstream.Set) (n int) {
	for _, st := range set.Nodes() {
		if st.Ejected == upstream.Slow {
			n++
		}
	}
	return n
}

func TestSlowNodesAreEjected(t *testing.T) {
	tests := []struct {
		name    string
		latency []time.Duration
		least   int // ejected at some time
		most    int // ejected at a time
	}{
		{"equal", []time.Duration{20 * ms, 20 * ms, 20 * ms}, 0, 0},
		{"one is ten times slower", []time.Duration{20 * ms, 20 * ms, 200 * ms}, 1, 1},
		{"one of two", []time.Duration{20 * ms, 300 * ms}, 1, 1},
		{"one is four times slower", []time.Duration{50 * ms, 50 * ms, 200 * ms}, 0, 0},
		{"below the floor", []time.Duration{ms, ms, 90 * ms}, 0, 0},
		{"two of three", []time.Duration{20 * ms, 2000 * ms, 2000 * ms}, 0, 1},
		{"three of six", []time.Duration{20 * ms, 20 * ms, 20 * ms, 900 * ms, 900 * ms, 900 * ms}, 1, 3},
		{"in steps", []time.Duration{20 * ms, 300 * ms, 3000 * ms, 3000 * ms}, 1, 2},
		{"the only one", []time.Duration{time.Second}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{does: make(attempts)}
				for i, d := range tt.latency {
					f.does[nodes(len(tt.latency))[i].ID] = takes(d)
				}
				set := greeters(len(tt.latency))
				done := make(chan int)
				stop := make(chan struct{})
				go func() {
					peak := 0
					for {
						select {
						case <-stop:
							done <- peak
							return
						case <-time.After(10 * ms):
							peak = max(peak, ejected(set))
						}
					}
				}()
				load(t, 300, set, f)
				close(stop)
				if peak := <-done; peak < tt.least || peak > tt.most {
					t.Errorf("%d nodes were ejected at a time, want %d to %d", peak, tt.least, tt.most)
				}
			})
		})
	}
}

func TestSlowEndpointsAreNoSlowNode(t *testing.T) { // one request in 20 takes 2 s, wherever it is made
	simulate(t, func(t *testing.T, _ int) {
		var out bytes.Buffer
		w := newWorld(3, &upstream.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		w.long = 2 * time.Second
		w.load(t.Context(), 10*time.Second)
		if failed, _, _ := tally(w.done, 0); failed != 0 || w.retries > 10 {
			t.Errorf("%d requests failed, %d were tried again, want none, and few until it is known", failed, w.retries)
		}
		if n := strings.Count(out.String(), "node ejected"); n > 6 {
			t.Errorf("nodes were ejected %d times, want few until it is known", n)
		}
	})
}

func TestSlowProbeIsNoReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		f.set("1", takes(time.Second))
		before := f.count("1")
		var wg sync.WaitGroup
		for range 1000 { // POSTs, in 20 s
			wg.Go(func() { requests(t, 1, set, f) })
			time.Sleep(20 * ms)
		}
		wg.Wait()
		if got := f.count("1") - before; got > 7 { // each probe keeps it away for longer
			t.Errorf("a node that takes 1s got %d of 1000 requests, want few", got)
		}
	})
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pools := upstream.NewPools(nil)
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(2)...)}).All()
		for _, st := range set.Nodes() {
			if st.Share != 1 {
				t.Errorf("node %s of a new pool has share %v, want 1", st.Node.ID, st.Share)
			}
		}
		pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)})
		f := &fleet{}
		for second, want := range []float64{0.1, 0.28, 0.46, 0.64, 0.82, 1, 1} {
			share := state(t, set, "3").Share
			if share < want-0.001 || share > want+0.001 {
				t.Errorf("after %d s the new node has share %v, want %v", second, share, want)
			}
			before := f.count("3")
			requests(t, 3000, set, f)
			if got, want := float64(f.count("3")-before), 3000*want/(2+want); got < want*0.7-20 || got > want*1.3+20 {
				t.Errorf("after %d s the new node got %.0f of 3000 requests, want about %.0f", second, got, want)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestOnlyNewNodesAreNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pools := upstream.NewPools(nil)
		pools.Update("greeter", []*registry.Service{service("1", node("old", "h:1"))})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(4)...)}).All()
		f := &fleet{}
		requests(t, 4000, set, f)
		for _, st := range set.Nodes() {
			if got := f.count(st.Node.ID); got < 700 || got > 1300 {
				t.Errorf("new node %s got %d of 4000 requests, want about 1000", st.Node.ID, got)
			}
		}
	})
}

func TestFailedAnswersEject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(3)
		tries := 0
		busy := func(try *upstream.Try) error {
			try.Sent()
			try.Failed()
			try.Answered() // of no effect
			return nil
		}
		for range 300 {
			err := set.Do(t.Context(), upstream.Call{Idempotent: true}, func(_ context.Context, try *upstream.Try) error {
				tries++
				if try.Node.ID == "1" {
					return busy(try)
				}
				try.Answered()
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if tries != 300 {
			t.Errorf("300 requests took %d tries, want no other node tried after an answer", tries)
		}
		if st := state(t, set, "1"); st.Ejected != upstream.Failing || st.Failures != 5 || st.Latency != 0 {
			t.Errorf("a node that answers 503 is %+v, want it ejected after 5", st)
		}
	})
}
