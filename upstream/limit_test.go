package upstream_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func TestLimits(t *testing.T) {
	tests := []struct {
		name   string
		policy upstream.Policy
		served int // of 100 at once on 3 nodes
		node   int // at most, on one
	}{
		{"none", upstream.Policy{}, 100, 100},
		{"of a node", upstream.Policy{MaxPerNode: 5}, 15, 5},
		{"of the service", upstream.Policy{MaxInFlight: 20}, 20, 20},
		{"of both", upstream.Policy{MaxPerNode: 5, MaxInFlight: 10}, 10, 5},
		{"that is not reached", upstream.Policy{MaxPerNode: 100, MaxInFlight: 100}, 100, 100},
		{"and a key", upstream.Policy{MaxPerNode: 5, HashBy: "header:X-User"}, 15, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := greeters(3)
				call := upstream.Call{Policy: &tt.policy, Header: map[string][]string{"X-User": {"me"}}}
				for range 2 { // what is over is not counted
					var wg sync.WaitGroup
					var mu sync.Mutex
					served := 0
					for range 100 {
						wg.Go(func() {
							err := set.Do(t.Context(), call, takes(time.Second))
							switch {
							case err == nil:
								mu.Lock()
								served++
								mu.Unlock()
							case !errors.Is(err, upstream.ErrOverloaded):
								t.Errorf("Do beyond the limit = %v, want ErrOverloaded", err)
							}
						})
						synctest.Wait()
					}
					for _, st := range set.Nodes() {
						if st.InFlight > tt.node {
							t.Errorf("node %s has %d in flight, want at most %d", st.Node.ID, st.InFlight, tt.node)
						}
					}
					wg.Wait()
					if served != tt.served {
						t.Errorf("%d of 100 requests at once were served, want %d", served, tt.served)
					}
				}
			})
		})
	}
}

func TestLimitsAreNeverExceeded(t *testing.T) {
	set := greeters(3)
	var mu sync.Mutex
	per, all := make(map[string]int), 0
	call := upstream.Call{Policy: &upstream.Policy{MaxPerNode: 3, MaxInFlight: 7}}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				_ = set.Do(t.Context(), call, func(_ context.Context, try *upstream.Try) error {
					mu.Lock()
					per[try.Node.ID]++
					all++
					if per[try.Node.ID] > 3 || all > 7 {
						t.Errorf("%d on node %s, %d in all", per[try.Node.ID], try.Node.ID, all)
					}
					mu.Unlock()
					try.Answered()
					mu.Lock()
					per[try.Node.ID]--
					all--
					mu.Unlock()
					return nil
				})
			}
		})
	}
	wg.Wait()
	for _, st := range set.Nodes() {
		if st.InFlight != 0 || st.Silent != 0 {
			t.Errorf("when all is over node %s is %+v", st.Node.ID, st)
		}
	}
}

func TestLimitLeavesAnEjectedNodeToProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		call := upstream.Call{Policy: &upstream.Policy{MaxInFlight: 1}}
		_ = set.Do(t.Context(), call, refuse)
		time.Sleep(time.Second)
		blocked := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // the probe, as another route makes it
			_ = set.Do(t.Context(), upstream.Call{}, func(context.Context, *upstream.Try) error {
				<-blocked
				return errRefused
			})
		})
		synctest.Wait()
		if err := set.Do(t.Context(), call, answer); !errors.Is(err, upstream.ErrOverloaded) {
			t.Errorf("Do beside a probe = %v, want ErrOverloaded", err)
		}
		close(blocked)
		wg.Wait()
		time.Sleep(30 * time.Second)
		if err := set.Do(t.Context(), call, answer); err != nil {
			t.Errorf("Do after the probe = %v, want nil", err)
		}
	})
}

func TestRetryThatFindsNoRoomReturnsTheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		call := upstream.Call{Policy: &upstream.Policy{MaxPerNode: 1}}
		var wg sync.WaitGroup
		wg.Go(func() { _ = set.Do(t.Context(), upstream.Call{}, takes(time.Second)) })
		synctest.Wait()
		err := set.Do(t.Context(), call, refuse)
		if !errors.Is(err, errRefused) {
			t.Errorf("Do = %v, want the failure of its try", err)
		}
		wg.Wait()
	})
}

func TestPolicyOfTheService(t *testing.T) {
	pools := upstream.NewPools(&upstream.Options{Policy: func(service string) *upstream.Policy {
		if service == "greeter" {
			return &upstream.Policy{Tries: 5}
		}
		return nil
	}})
	count := func(name string, pol *upstream.Policy) (tries int) {
		set := pools.Update(name, []*registry.Service{service("1", nodes(9)...)}).All()
		_ = set.Do(t.Context(), upstream.Call{Policy: pol}, func(context.Context, *upstream.Try) error {
			tries++
			return errRefused
		})
		return tries
	}
	tests := []struct {
		name, service string
		policy        *upstream.Policy
		want          int
	}{
		{"of the service", "greeter", nil, 5},
		{"of the service, where the route says nothing", "greeter", &upstream.Policy{TryTimeout: time.Second}, 5},
		{"of the route", "greeter", &upstream.Policy{Tries: 2}, 2},
		{"of no one", "other", nil, 3},
	}
	for _, tt := range tests {
		if got := count(tt.service, tt.policy); got != tt.want {
			t.Errorf("tries by the policy %s = %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestNoStorm(t *testing.T) { // a service that fails gets at most a fifth more
	tests := []struct {
		name string
		do   func(context.Context, *upstream.Try) error
	}{
		{"breaks off", breakOff},
		{"is silent", func(ctx context.Context, try *upstream.Try) error {
			if try.Node.ID == "3" { // or there is nowhere to go
				time.Sleep(10 * ms)
				return answer(ctx, try)
			}
			return hang(ctx, try)
		}},
		{"breaks off late", func(ctx context.Context, try *upstream.Try) error {
			time.Sleep(50 * ms)
			return breakOff(ctx, try)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set, _ := settled(t, 3)
				const requests = 20_000 // 200 a second
				var wg sync.WaitGroup
				var mu sync.Mutex
				tries := 0
				call := upstream.Call{Idempotent: true, Policy: &upstream.Policy{TryTimeout: time.Second}}
				for range requests {
					wg.Go(func() {
						_ = set.Do(t.Context(), call, func(ctx context.Context, try *upstream.Try) error {
							mu.Lock()
							tries++
							mu.Unlock()
							return tt.do(ctx, try)
						})
					})
					time.Sleep(5 * ms)
				}
				wg.Wait()
				if most := requests + requests/5; tries > most {
					t.Errorf("%d requests to a service that fails were %d tries, want at most %d", requests, tries, most)
				}
				t.Logf("%d tries", tries)
			})
		})
	}
}
