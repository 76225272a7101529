package broker

import (
	"context"
	"sync"
	"time"
)

const (
	// feedMessages and feedBytes bound what waits in a Feed.
	feedMessages = 8192
	feedBytes    = 16 << 20
)

// A Feed is a subscription that is given messages, and delivers each at most
// once. Up to 8192 messages of up to 16 MiB wait for Next. It is for brokers
// without redelivery.
type Feed struct {
	opts   SubscribeOptions
	flight *Flight[struct{}]
	put    chan struct{} // has a value when a message was put
	told   chan struct{} // has a value when contact was lost and nobody knows

	life context.Context // until Close
	end  context.CancelFunc

	next sync.Mutex // held by Next

	mu      sync.Mutex
	waiting []Message
	bytes   int           // of waiting
	taken   chan struct{} // closed when a message is taken; nil when nobody waits for that
	lost    bool
}

var _ Subscription = (*Feed)(nil)

// NewFeed returns a Feed that follows options which [SubscribeOptions.For]
// returned.
func NewFeed(o SubscribeOptions) *Feed {
	f := &Feed{opts: o, flight: NewFlight[struct{}](o.InFlight), put: make(chan struct{}, 1), told: make(chan struct{}, 1)}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// Put hands a message to Next. It waits while there is no room, and returns
// ctx.Err() when ctx is done and ErrClosed after Close.
func (f *Feed) Put(ctx context.Context, m Message) error {
	for {
		if f.life.Err() != nil {
			return ErrClosed
		}
		taken := f.tryPut(m)
		if taken == nil {
			return nil
		}
		select {
		case <-taken:
		case <-f.life.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryPut has a message wait. If there is no room it returns a channel that is
// closed when there may be.
func (f *Feed) tryPut(m Message) (taken <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := m.Size()
	if len(f.waiting) > 0 && (len(f.waiting) >= feedMessages || f.bytes+size > feedBytes) {
		if f.taken == nil {
			f.taken = make(chan struct{})
		}
		return f.taken
	}
	f.waiting = append(f.waiting, m)
	f.bytes += size
	signal(f.put)
	return nil
}

// take returns the message that has waited longest, if there is one.
func (f *Feed) take() (m Message, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == 0 {
		return Message{}, false
	}
	m = f.waiting[0]
	f.waiting[0] = Message{}
	f.waiting = f.waiting[1:]
	f.bytes -= m.Size()
	if f.taken != nil {
		close(f.taken)
		f.taken = nil
	}
	return m, true
}

// signal gives a channel a value, unless it has one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Lose has Next return ErrUnavailable, once until contact is found and lost
// again.
func (f *Feed) Lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return
	}
	f.lost = true
	signal(f.told)
}

// Find says that contact is back.
func (f *Feed) Find() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = false
}

// Next implements [Subscription].
func (f *Feed) Next(ctx context.Context) (*Delivery, error) {
	f.next.Lock()
	defer f.next.Unlock()
	for {
		switch {
		case f.life.Err() != nil:
			return nil, ErrClosed
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		now := time.Now()
		room, until := f.flight.Room(now)
		if room > 0 {
			if m, ok := f.take(); ok {
				seat := f.flight.Add(struct{}{}, now.Add(f.opts.AckWait))
				return NewDelivery(m, "", 1, &feedSettler{f, seat}), nil
			}
		}
		if err := f.wait(ctx, until); err != nil {
			return nil, err
		}
	}
}

// wait waits for something to happen, until there is room if there is none.
func (f *Feed) wait(ctx context.Context, until time.Time) error {
	var overdue <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		overdue = timer.C
	}
	select {
	case <-ctx.Done():
	case <-f.life.Done():
	case <-overdue:
	case <-f.flight.Freed():
	case <-f.put:
	case <-f.told:
		return ErrUnavailable
	}
	return nil
}

// Done returns a channel that is closed by Close.
func (f *Feed) Done() <-chan struct{} { return f.life.Done() }

// Close implements [Subscription].
func (f *Feed) Close() error {
	f.end()
	return nil
}

// A feedSettler makes room: nothing comes again.
type feedSettler struct {
	feed *Feed
	seat *Seat[struct{}]
}

// Ack implements [Settler].
func (t *feedSettler) Ack(ctx context.Context) error {
	switch {
	case t.feed.life.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	t.feed.flight.Remove(t.seat)
	return nil
}

// Nack implements [Settler].
func (t *feedSettler) Nack(ctx context.Context, _ time.Duration) error { return t.Ack(ctx) }

// Term implements [Settler].
func (t *feedSettler) Term(ctx context.Context, _ string) error { return t.Ack(ctx) }
