package broker

import (
	"context"
	"sync/atomic"
	"time"
)

// A Delivery is a message that was received. Its header and body may be shared
// with other deliveries: read-only.
//
// It is settled once, by Ack, Nack or Term, from any goroutine. When that fails
// it may be tried again; when it succeeded, settling it again returns
// ErrSettled. After the subscription was closed it returns ErrClosed and has no
// effect. A delivery that is settled when it is overdue is so without an error,
// but may have been delivered again.
type Delivery struct {
	Message

	// Position is the message's place in the topic, for Start.After; nothing
	// else is to be read from it. It is a line of at most 1 KiB of printable
	// ASCII without spaces, and empty where [Capabilities.History] is false. In
	// a group it may be empty.
	Position string
	// Attempt counts the deliveries of the message, to the subscription or its
	// group: 1 for the first. It may begin anew after a loss of contact, or
	// when a member of a group leaves.
	Attempt int

	settler Settler
	settled atomic.Bool
}

// A Settler is the broker's part of a delivery. One of its methods is called
// at a time, and none after one returned nil.
type Settler interface {
	Ack(ctx context.Context) error
	Nack(ctx context.Context, delay time.Duration) error
	Term(ctx context.Context, reason string) error
}

// NewDelivery returns a delivery of a message. It is for brokers.
func NewDelivery(m Message, position string, attempt int, s Settler) *Delivery {
	return &Delivery{Message: m, Position: position, Attempt: attempt, settler: s}
}

// Ack says that the message was dealt with: it does not come again. What was
// acknowledged before Close of the subscription is known to the broker when
// Close returns; until then a failure of either side, and a crash of the broker
// for a moment after, may bring it again.
func (d *Delivery) Ack(ctx context.Context) error {
	return d.settle(func() error { return d.settler.Ack(ctx) })
}

// Nack says that the message is to come again, not before the delay is over. It
// does not count as in flight meanwhile, and others do not wait for it.
func (d *Delivery) Nack(ctx context.Context, delay time.Duration) error {
	return d.settle(func() error { return d.settler.Nack(ctx, max(delay, 0)) })
}

// Term says that the message will never be dealt with: it does not come again.
// The reason, a line of text, is for those who watch the broker; it may be cut
// or dropped.
func (d *Delivery) Term(ctx context.Context, reason string) error {
	return d.settle(func() error { return d.settler.Term(ctx, reason) })
}

func (d *Delivery) settle(f func() error) error {
	if !d.settled.CompareAndSwap(false, true) {
		return ErrSettled
	}
	err := f()
	if err != nil {
		d.settled.Store(false)
	}
	return err
}
