package broker

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"
)

// A cursor is how far a group, or a subscription without one, has come in a
// topic. All is guarded by memory.mu.
type cursor struct {
	memory *Memory
	topic  string
	line   *line
	group  string // "" for a subscription without one

	last    uint64  // sequence of the latest message that was delivered
	again   waiting // what was delivered and not dealt with
	members int
	idle    *time.Timer   // forgets a group without members
	changed chan struct{} // closed by the next change; nil when nobody waits
}

// A pending is a message that was delivered and not dealt with.
type pending struct {
	entry   *entry
	attempt int
	owner   *memorySubscription // whose delivery is in flight; nil if none is
	due     time.Time           // when it is delivered again
	index   int                 // in cursor.again; -1 if it is dealt with
}

// A memorySubscription is a member of a group, or alone.
type memorySubscription struct {
	cursor *cursor
	opts   SubscribeOptions
	flight map[*pending]struct{} // guarded by memory.mu
	closed chan struct{}
	close  func()
}

// join returns a subscription that shares the cursor.
func (c *cursor) join(o SubscribeOptions) *memorySubscription {
	if c.idle != nil {
		c.idle.Stop()
		c.idle = nil
	}
	c.members++
	s := &memorySubscription{cursor: c, opts: o, flight: make(map[*pending]struct{}), closed: make(chan struct{})}
	s.close = sync.OnceFunc(s.leave)
	return s
}

// wake wakes those who wait for a change.
func (c *cursor) wake() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// next returns what is to be delivered now: what is due again, or the next new
// message, or nil.
func (c *cursor) next(now time.Time) *pending {
	for len(c.again) > 0 && !c.again[0].due.After(now) {
		p := c.again[0]
		if p.owner != nil {
			delete(p.owner.flight, p) // it is overdue
		}
		if !p.entry.dropped {
			return p
		}
		heap.Pop(&c.again)
	}
	entries := c.line.entries
	i, _ := slices.BinarySearchFunc(entries, c.last+1, func(e *entry, sequence uint64) int {
		return cmp.Compare(e.sequence, sequence)
	})
	if i == len(entries) {
		return nil
	}
	c.last = entries[i].sequence
	p := &pending{entry: entries[i], due: now}
	heap.Push(&c.again, p)
	return p
}

// expire forgets a group that has been idle.
func (c *cursor) expire() {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	if c.members == 0 {
		c.remove()
	}
}

// remove takes the cursor away from its topic.
func (c *cursor) remove() {
	delete(c.line.cursors, c)
	if c.line.groups[c.group] == c {
		delete(c.line.groups, c.group)
	}
	c.memory.forget(c.topic, c.line)
}

// Next implements [Subscription].
func (s *memorySubscription) Next(ctx context.Context) (*Delivery, error) {
	for {
		select {
		case <-s.closed:
			return nil, ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, changed, due := s.take()
		if d != nil {
			return d, nil
		}
		s.wait(ctx, changed, due)
	}
}

// wait waits for a change, or until something is due, if the time is not zero.
func (s *memorySubscription) wait(ctx context.Context, changed <-chan struct{}, due time.Time) {
	var timeout <-chan time.Time
	if !due.IsZero() {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-changed:
	case <-timeout:
	case <-ctx.Done():
	case <-s.closed:
	}
}

// take returns the next delivery. If there is none it returns a channel that is
// closed when there may be, and the time when there may be, if it is known.
func (s *memorySubscription) take() (*Delivery, <-chan struct{}, time.Time) {
	c := s.cursor
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	select {
	case <-s.closed: // while we waited for the lock
		return nil, nil, time.Time{}
	default:
	}
	now := time.Now()
	due := s.full(now)
	if due.IsZero() {
		if p := c.next(now); p != nil {
			return s.deliver(p, now), nil, time.Time{}
		}
		if len(c.again) > 0 {
			due = c.again[0].due
		}
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return nil, c.changed, due
}

// full returns when one of the deliveries in flight will be overdue, if there
// are as many as may be, and else zero.
func (s *memorySubscription) full(now time.Time) (due time.Time) {
	if len(s.flight) < s.opts.InFlight {
		return time.Time{}
	}
	for p := range s.flight {
		switch {
		case !p.due.After(now):
			delete(s.flight, p)
		case due.IsZero() || p.due.Before(due):
			due = p.due
		}
	}
	if len(s.flight) < s.opts.InFlight {
		return time.Time{}
	}
	return due
}

// deliver returns a delivery of what is pending.
func (s *memorySubscription) deliver(p *pending, now time.Time) *Delivery {
	p.attempt++
	p.owner, p.due = s, now.Add(s.opts.AckWait)
	heap.Fix(&s.cursor.again, p.index)
	s.flight[p] = struct{}{}
	return NewDelivery(p.entry.message, s.cursor.memory.position(p.entry), p.attempt, &memorySettler{s, p, p.attempt})
}

// Close implements [Subscription].
func (s *memorySubscription) Close() error {
	s.close()
	return nil
}

// leave gives what is in flight to others.
func (s *memorySubscription) leave() {
	c := s.cursor
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	close(s.closed)
	now := time.Now()
	for p := range s.flight {
		if p.due.After(now) {
			p.due = now
			heap.Fix(&c.again, p.index)
		}
		p.owner = nil
	}
	clear(s.flight)
	c.members--
	c.wake()
	switch {
	case c.members > 0:
	case c.group == "":
		c.remove()
	default:
		c.idle = time.AfterFunc(cmp.Or(c.memory.GroupIdle, 24*time.Hour), c.expire)
	}
}

// A memorySettler settles one delivery.
type memorySettler struct {
	subscription *memorySubscription
	pending      *pending
	attempt      int
}

// Ack implements [Settler].
func (t *memorySettler) Ack(ctx context.Context) error {
	return t.settle(ctx, func(c *cursor, p *pending) {
		if p.owner != nil {
			delete(p.owner.flight, p)
		}
		heap.Remove(&c.again, p.index)
	})
}

// Nack implements [Settler].
func (t *memorySettler) Nack(ctx context.Context, delay time.Duration) error {
	return t.settle(ctx, func(c *cursor, p *pending) {
		if p.owner != t.subscription || p.attempt != t.attempt {
			return // it is overdue, and may be with another
		}
		delete(p.owner.flight, p)
		p.owner, p.due = nil, time.Now().Add(delay)
		heap.Fix(&c.again, p.index)
	})
}

// Term implements [Settler].
func (t *memorySettler) Term(ctx context.Context, _ string) error { return t.Ack(ctx) }

// settle does something about a message that is pending still.
func (t *memorySettler) settle(ctx context.Context, f func(*cursor, *pending)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := t.subscription.cursor
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	select {
	case <-t.subscription.closed:
		return ErrClosed
	default:
	}
	if t.pending.index >= 0 {
		f(c, t.pending)
		c.wake()
	}
	return nil
}

// waiting is a heap of what is pending: what is due first is first.
type waiting []*pending

// Len implements [heap.Interface].
func (w *waiting) Len() int { return len(*w) }

// Less implements [heap.Interface].
func (w *waiting) Less(i, j int) bool {
	a, b := (*w)[i], (*w)[j]
	if c := a.due.Compare(b.due); c != 0 {
		return c < 0
	}
	return a.entry.sequence < b.entry.sequence
}

// Swap implements [heap.Interface].
func (w *waiting) Swap(i, j int) {
	l := *w
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push implements [heap.Interface].
func (w *waiting) Push(x any) {
	p := x.(*pending) //nolint:forcetypeassert // there is nothing else in it
	p.index = len(*w)
	*w = append(*w, p)
}

// Pop implements [heap.Interface].
func (w *waiting) Pop() any {
	old := *w
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	p.index = -1
	return p
}
