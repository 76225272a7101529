package nats

import (
	"sync"
	"time"
)

// A flight is what a subscription has in flight, of at most limit.
type flight struct {
	limit int
	freed chan struct{} // gets a value when there is room again

	mu    sync.Mutex
	items map[*item]struct{}
}

// An item is a delivery that is in flight.
type item struct {
	reply string    // where it is acknowledged
	until time.Time // when it is overdue
}

func newFlight(limit int) *flight {
	return &flight{limit: limit, freed: make(chan struct{}, 1), items: make(map[*item]struct{})}
}

// add puts a delivery in flight.
func (f *flight) add(i *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items[i] = struct{}{}
}

// remove is for a delivery that was settled.
func (f *flight) remove(i *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.items, i)
	select {
	case f.freed <- struct{}{}:
	default: // one is there already
	}
}

// room returns how many more may be in flight now. When there is none, it
// returns when there will be, at the latest.
func (f *flight) room(now time.Time) (n int, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.limit - len(f.items); n > 0 {
		return n, time.Time{}
	}
	for i := range f.items {
		switch {
		case !i.until.After(now):
			delete(f.items, i)
		case until.IsZero() || i.until.Before(until):
			until = i.until
		}
	}
	return f.limit - len(f.items), until
}

// take empties the flight, and returns what is not overdue.
func (f *flight) take(now time.Time) []*item {
	f.mu.Lock()
	defer f.mu.Unlock()
	var items []*item
	for i := range f.items {
		if i.until.After(now) {
			items = append(items, i)
		}
	}
	clear(f.items)
	return items
}
