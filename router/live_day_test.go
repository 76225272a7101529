package router_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// TestLiveOfADay has services come, go and move for a day, every ten seconds, each
// under a name, nodes and a path of its own: neither goroutines nor memory grow, and
// the pools are those of what is there.
func TestLiveOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, pools := new(registry.Memory), upstream.NewPools(nil)
		steady := registry.NewSteady(reg, nil)
		live := router.NewLive(steady, pools, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{}, 2)
		for _, run := range []func(context.Context) error{live.Run, steady.Run} {
			go func() { _ = run(ctx); done <- struct{}{} }() // ends with ctx
		}
		defer func() { cancel(); <-done; <-done }()
		flapping := func(i int) *registry.Service {
			s := service(fmt.Sprint("flaps-", i), fmt.Sprint("path=/flaps/", i))
			s.Nodes = append(s.Nodes, nodes(fmt.Sprint("other-", i), fmt.Sprint("third-", i))...)
			return s
		}
		var goroutines, heap uint64
		const each, day = 10 * time.Second, 24 * time.Hour
		for i := range int(day / each) {
			if err := reg.Register(ctx, flapping(i), 0); err != nil {
				t.Fatal(err)
			}
			if i >= 3 {
				if err := reg.Deregister(ctx, flapping(i-3)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(each)
			if rt, err := live.Route(get(fmt.Sprint("/flaps/", i))); err != nil || rt.Upstream.Len() != 3 {
				t.Fatalf("Route = %v, %v after %d changes, want the service that came last", rt, err, i)
			}
			if i == int(time.Hour/each) { // all that is kept for a while is there
				goroutines, heap = inUse()
			}
		}
		time.Sleep(time.Minute) // what is held back is let go
		if after, left := inUse(); after > goroutines || left > heap+1<<20 {
			t.Errorf("%d goroutines and %d bytes at the end, %d and %d after an hour; want no more", after, left, goroutines, heap)
		}
		last := int(day/each) - 1
		for i := range last + 1 {
			if there := pools.Pool(fmt.Sprint("flaps-", i)) != nil; there != (i > last-3) {
				t.Fatalf("there is a pool of service %d of %d: %t", i, last, there)
			}
		}
	})
}

// inUse returns how many goroutines there are, and the live heap in bytes.
func inUse() (goroutines, heap uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return uint64(runtime.NumGoroutine()), m.HeapAlloc
}
