package broker

import (
	"context"
	"sync"
	"time"
)

// A Feed is a subscription that is given messages, and delivers each at most
// once. It is for brokers without redelivery.
type Feed struct {
	opts     SubscribeOptions
	messages chan Message
	flight   *Flight[struct{}]
	told     chan struct{} // has a value when contact was lost and nobody knows

	life context.Context // until Close
	end  context.CancelFunc

	mu   sync.Mutex
	lost bool
	next sync.Mutex // held by Next
}

var _ Subscription = (*Feed)(nil)

// NewFeed returns a Feed that follows options which [SubscribeOptions.For]
// returned.
func NewFeed(o SubscribeOptions) *Feed {
	f := &Feed{opts: o, messages: make(chan Message, 16), flight: NewFlight[struct{}](o.InFlight), told: make(chan struct{}, 1)}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// Put hands a message to Next. It waits while there is no room, and returns
// ctx.Err() when ctx is done and ErrClosed after Close.
func (f *Feed) Put(ctx context.Context, m Message) error {
	select {
	case f.messages <- m:
		return nil
	case <-f.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
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
	select {
	case f.told <- struct{}{}:
	default: // the loss before was not told yet: once is enough
	}
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
		room, until := f.flight.Room(time.Now())
		d, err := f.wait(ctx, room > 0, until)
		if d != nil || err != nil {
			return d, err
		}
	}
}

// wait waits for something to happen: for a message only if there is room.
func (f *Feed) wait(ctx context.Context, room bool, until time.Time) (*Delivery, error) {
	var messages <-chan Message
	var overdue <-chan time.Time
	if room {
		messages = f.messages
	} else {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		overdue = timer.C
	}
	select {
	case <-ctx.Done():
	case <-f.life.Done():
	case <-overdue:
	case <-f.flight.Freed():
	case <-f.told:
		return nil, ErrUnavailable
	case m := <-messages:
		seat := f.flight.Add(struct{}{}, time.Now().Add(f.opts.AckWait))
		return NewDelivery(m, "", 1, &feedSettler{f, seat}), nil
	}
	return nil, nil //nolint:nilnil // Next tries again
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
