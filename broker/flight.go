package broker

import (
	"sync"
	"time"
)

// A Flight is what a subscription has in flight, with a value for each delivery.
// It is for brokers, whose systems do not count as options ask for. It may be
// used concurrently.
type Flight[T any] struct {
	limit int
	freed chan struct{}

	mu    sync.Mutex
	seats map[*Seat[T]]struct{}
}

// A Seat is the place of one delivery in a Flight.
type Seat[T any] struct {
	Value T

	until time.Time // when the delivery is overdue
}

// NewFlight returns an empty flight for at most limit deliveries.
func NewFlight[T any](limit int) *Flight[T] {
	return &Flight[T]{limit: limit, freed: make(chan struct{}, 1), seats: make(map[*Seat[T]]struct{})}
}

// Add puts a delivery in flight, until it is overdue at the latest.
func (f *Flight[T]) Add(v T, until time.Time) *Seat[T] {
	s := &Seat[T]{Value: v, until: until}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seats[s] = struct{}{}
	return s
}

// Remove is for a delivery that was settled. It may be overdue.
func (f *Flight[T]) Remove(s *Seat[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.seats, s)
	signal(f.freed)
}

// Freed returns a channel that gets a value after Remove. Values that nobody
// reads are not counted.
func (f *Flight[T]) Freed() <-chan struct{} { return f.freed }

// Room returns how many more may be in flight. When there is none, it returns
// when there will be, at the latest.
func (f *Flight[T]) Room(now time.Time) (n int, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.limit - len(f.seats); n > 0 {
		return n, time.Time{}
	}
	for s := range f.seats {
		switch {
		case !s.until.After(now):
			delete(f.seats, s)
		case until.IsZero() || s.until.Before(until):
			until = s.until
		}
	}
	return f.limit - len(f.seats), until
}

// Take empties the flight, and returns the values of what is not overdue.
func (f *Flight[T]) Take(now time.Time) []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	var values []T
	for s := range f.seats {
		if s.until.After(now) {
			values = append(values, s.Value)
		}
	}
	clear(f.seats)
	return values
}
