package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

// patience is the policy of calls that may wait.
var patience = upstream.Policy{TryTimeout: time.Hour, Timeout: time.Hour}

// A watch is a call that gets no answer for long, while its node is well. The
// client makes it again and again.
type watch struct {
	call  upstream.Call
	holds time.Duration // until the node answers; 0 for never
	stays time.Duration // until the client leaves; 0 for never
}

// run makes the call until ctx is done, and notes the node that has it.
func (w *watch) run(ctx context.Context, set *upstream.Set, at func(id string)) {
	for ctx.Err() == nil {
		calling, cancel := context.WithCancel(ctx)
		if w.stays > 0 {
			calling, cancel = context.WithTimeout(ctx, w.stays)
		}
		_ = set.Do(calling, w.call, func(ctx context.Context, try *upstream.Try) error {
			at(try.Node.ID)
			if w.holds > 0 {
				return patient(w.holds)(ctx, try)
			}
			return hang(ctx, try)
		})
		cancel()
	}
}

func TestQuietCallsKeepTheirNodes(t *testing.T) {
	const n = 3
	get, post := upstream.Call{Idempotent: true, Policy: &patience}, upstream.Call{Policy: &patience}
	tests := []struct {
		name    string
		watches []watch
	}{
		{"watch", []watch{{call: post}}},
		{"watch that the client leaves", []watch{{call: post, stays: 20 * time.Second}}},
		{"watch that is answered", []watch{{call: post, holds: 20 * time.Second}}},
		{"long poll", []watch{{call: get, holds: 30 * time.Second}}},
		{"long poll for ever", []watch{{call: get}}},
		{"several", []watch{{call: post}, {call: get, holds: 30 * time.Second}, {call: post, stays: 20 * time.Second}}},
	}
	for _, tt := range tests {
		for _, rate := range []int{10, 50, 200, 1000} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					set, f := settled(t, n)
					var mu sync.Mutex
					got, watched := make(map[string]int), make(map[string]bool)
					was, ejections := make(map[string]bool), 0
					ctx, cancel := context.WithCancel(t.Context())
					var wg sync.WaitGroup
					for _, w := range tt.watches {
						wg.Go(func() {
							w.run(ctx, set, func(id string) { mu.Lock(); watched[id] = true; mu.Unlock() })
						})
					}
					total := max(1500, 35*rate)
					for i := range total {
						wg.Go(func() {
							err := set.Do(ctx, upstream.Call{Idempotent: i%2 == 0}, func(ctx context.Context, try *upstream.Try) error {
								mu.Lock()
								got[try.Node.ID]++
								mu.Unlock()
								return f.attempt(ctx, try)
							})
							if err != nil && !errors.Is(err, context.Canceled) {
								t.Errorf("a request beside a quiet call = %v", err)
							}
						})
						time.Sleep(time.Second / time.Duration(rate))
						for _, st := range set.Nodes() {
							if st.Ejected != "" && !was[st.Node.ID] {
								ejections++
							}
							was[st.Node.ID] = st.Ejected != ""
						}
					}
					cancel()
					wg.Wait()
					for id := range watched {
						if got[id] < total/n*8/10 {
							t.Errorf("node %s, which had a quiet call, got %d of %d requests, want about %d", id, got[id], total, total/n)
						}
					}
					// Two quiet calls that begin together on a node that has no other call look like a stopped node.
					if most := len(tt.watches) - 1; ejections > most {
						t.Errorf("nodes were ejected %d times, want at most %d", ejections, most)
					}
				})
			})
		}
	}
}

func TestFaultOneIsStoppedBesideQuietCalls(t *testing.T) {
	simulate(t, func(t *testing.T, seed int) {
		w := newWorld(3, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 9 { // about three on each node
			wg.Go(func() {
				quiet := watch{call: upstream.Call{Policy: &patience}}
				quiet.run(ctx, w.set, func(string) {})
			})
		}
		wg.Go(func() {
			time.Sleep(4*time.Second + time.Duration(seed)*ms)
			w.stop(w.machine(1), 3*time.Second)
		})
		w.load(t.Context(), 10*time.Second)
		if failed, _, _ := tally(w.done, 0); failed != 0 || w.twice() != 0 {
			t.Errorf("%d requests failed, and %d POSTs were served twice; want none", failed, w.twice())
		}
		if _, stuck, worst := tally(w.done, time.Second); stuck > 5 || worst > 500*ms {
			t.Errorf("%d requests took more than 1s, and a GET took %v; want at most 5, and less than 500ms", stuck, worst)
		}
		cancel()
		wg.Wait()
	})
}

func TestStoppedNodeIsSeenAfterTwoTries(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent=%t", idempotent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set, f := settled(t, 3)
				f.set("1", hang)
				before := f.count("1")
				var wg sync.WaitGroup
				for range 50 { // ten in a second, so that the node has no other
					wg.Go(func() { _ = set.Do(t.Context(), upstream.Call{Idempotent: idempotent, Policy: &patience}, f.attempt) })
					time.Sleep(100 * ms)
				}
				got := f.count("1") - before
				if st := state(t, set, "1"); st.Ejected != upstream.Slow {
					t.Errorf("after %d tries in 5s a node that has stopped is %+v, want it ejected", got, st)
				}
				if got < 2 || got > 4 { // to see it, and two probes
					t.Errorf("a node that has stopped got %d requests in 5s, want hardly more than two", got)
				}
				time.Sleep(time.Hour)
				wg.Wait()
			})
		})
	}
}
