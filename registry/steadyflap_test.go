package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// TestSteadyFlaps has a registry fail in all ways for a day, each few seconds.
// It never comes back whole for long, and never does the table become empty;
// nothing is left behind.
func TestSteadyFlaps(t *testing.T) {
	const services, day = 50, 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		f := &flapping{feed: newFeed()}
		s := registry.NewSteady(f, nil)
		w := watch(t, s)
		random := rand.New(rand.NewPCG(1, 2))
		all := func() []*registry.Service {
			var list []*registry.Service
			for i := range services {
				list = append(list, serving(fmt.Sprintf("s%02d", i), "n1", "n2", "n3"))
			}
			return list
		}
		f.say(all())
		next(t, w)
		goroutines, heap := 0, uint64(0)
		begun := time.Now()
		for events := 0; time.Since(begun) < day; events++ {
			if len(f.steps) < 10 { // it is asked less often than it fails
				flap(f, random, all)
			}
			until, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(int(10*time.Second))))
			for {
				got, err := w.Next(until)
				if err == nil && len(got) < services {
					t.Fatalf("after %v there are %d services, want %d", time.Since(begun), len(got), services)
				}
				if err == nil && nodes(got) > 2*3*services {
					t.Fatalf("after %v there are %d nodes, want no more than twice as many as ever", time.Since(begun), nodes(got))
				}
				if until.Err() != nil {
					break
				}
				if err != nil && !errors.Is(err, registry.ErrUnavailable) {
					t.Fatalf("Next() error = %v", err)
				}
			}
			cancel()
			if open := f.open.Load(); open > 1 {
				t.Fatalf("%d watchers of the source are open, want one", open)
			}
			if events == 1000 {
				goroutines, heap = runtime.NumGoroutine(), heapInUse()
			}
		}
		if got := runtime.NumGoroutine(); got > goroutines+2 {
			t.Errorf("there are %d goroutines, and were %d", got, goroutines)
		}
		if got := heapInUse(); got > heap+1<<20 {
			t.Errorf("the heap has %d bytes, and had %d", got, heap)
		}

		f.refuse(nil)
		f.say(all()[:5]) // for good
		time.Sleep(time.Minute)
		settle(t, w, time.Minute)
		wantHeld(t, s)
		_ = w.Close()
		if open := f.open.Load(); open != 0 {
			t.Errorf("%d watchers of the source are open after Close, want none", open)
		}
	})
}

// flap does something that a registry may do, but for coming back for good.
func flap(f *flapping, random *rand.Rand, all func() []*registry.Service) {
	f.refuse(nil)
	switch random.IntN(7) {
	case 0:
		f.fail(registry.ErrUnavailable)
	case 1:
		f.fail(registry.ErrClosed)
	case 2:
		f.fail(errors.New("bad key"))
		f.refuse(errors.New("no such host"))
	case 3: // empty, before contact is lost again
		f.fail(registry.ErrUnavailable)
		f.say(nil)
		f.fail(registry.ErrUnavailable)
	case 4: // a part, which has other nodes
		part := all()[random.IntN(25):][:25]
		for _, s := range part {
			s.Nodes = serving("", fmt.Sprint("n", random.IntN(1000))).Nodes
		}
		f.fail(registry.ErrUnavailable)
		f.say(part)
		f.fail(registry.ErrUnavailable)
	case 5: // a part, for a moment
		f.say(all()[:random.IntN(3)])
		f.say(all())
	case 6:
		f.say(all())
	}
}

// flapping counts the watchers that are open.
type flapping struct {
	*feed

	open atomic.Int64
}

func (f *flapping) Watch(ctx context.Context) (registry.Watcher, error) {
	w, err := f.feed.Watch(ctx)
	if err != nil {
		return nil, err
	}
	f.open.Add(1)
	return &counted{w, &f.open}, nil
}

type counted struct {
	registry.Watcher

	open *atomic.Int64
}

func (c *counted) Close() error {
	c.open.Add(-1)
	return c.Watcher.Close()
}

func nodes(services []*registry.Service) int {
	n := 0
	for _, s := range services {
		n += len(s.Nodes)
	}
	return n
}

// heapInUse returns the bytes that are reachable.
func heapInUse() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
