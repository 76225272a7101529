package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultInFlight is how many deliveries a subscription has in flight
	// unless its options say otherwise.
	DefaultInFlight = 64
	// MaxInFlight bounds what options may ask for.
	MaxInFlight = 10_000
	// DefaultAckWait is how long a delivery may take to be settled unless
	// options say otherwise.
	DefaultAckWait = 30 * time.Second
)

// SubscribeOptions adjust a subscription. A nil *SubscribeOptions means all
// defaults.
type SubscribeOptions struct {
	// Group names the subscriptions that share the messages of the topic, over
	// all processes; of each message one of them is given a delivery. A group
	// belongs to its topic: the same name on another topic is another group. At
	// most 200 bytes of UTF-8 without control characters. Default: none; the
	// subscription is given every message.
	Group string
	// Start is where the subscription begins. A group that the broker knows
	// goes on where it was, whatever is here. Default: now.
	Start Start
	// InFlight is how many deliveries may be in flight at a time: returned by
	// Next or set aside for it, neither settled nor overdue. It is each
	// subscription's own, also in a group. Default: DefaultInFlight; at most MaxInFlight.
	InFlight int
	// AckWait is how long a delivery may take to be settled. Then it is
	// overdue: it is in flight no more, and the message is delivered again. What
	// is set aside is neither, as long as Next is called again within AckWait. A
	// group that the broker knows may keep the AckWait that it has. Default:
	// DefaultAckWait; at least a second on most systems.
	AckWait time.Duration
}

// A Start is where a subscription begins. The zero value is now: with what is
// published from here on. At most one field is set, and none where
// [Capabilities.History] is false.
type Start struct {
	// Earliest begins with the oldest message that the broker has.
	Earliest bool
	// After begins with what follows the delivery of this Position, on the same
	// topic of the same broker.
	After string
	// Since begins with the first message that the broker took at this time or
	// later, by its own clock.
	Since time.Time
}

// check returns an error if more than one field is set.
func (s Start) check() error {
	n := 0
	for _, set := range []bool{s.Earliest, s.After != "", !s.Since.IsZero()} {
		if set {
			n++
		}
	}
	if n > 1 {
		return errors.New("a start is one of now, Earliest, After and Since")
	}
	return nil
}

// For returns the options with their defaults filled in, as a broker of the
// given capabilities is to follow them, or ErrOptions. It is for brokers.
func (o *SubscribeOptions) For(c Capabilities) (SubscribeOptions, error) {
	var d SubscribeOptions
	if o != nil {
		d = *o
	}
	if d.InFlight == 0 {
		d.InFlight = DefaultInFlight
	}
	if d.AckWait == 0 {
		d.AckWait = DefaultAckWait
	}
	err := d.Start.check()
	switch {
	case err != nil:
	case d.Group != "" && !printable(d.Group, maxGroup):
		err = fmt.Errorf("group %q is more than %d bytes, or not UTF-8 without control characters", cut(d.Group), maxGroup)
	case d.InFlight < 0 || d.InFlight > MaxInFlight:
		err = fmt.Errorf("InFlight is %d, want 1 to %d", d.InFlight, MaxInFlight)
	case d.AckWait < 0:
		err = fmt.Errorf("AckWait is %v, want more than 0", d.AckWait)
	}
	if err != nil {
		return SubscribeOptions{}, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return d, c.require(d)
}

// A Subscription receives the messages of a topic. Next is called by one
// goroutine at a time; Close, and the methods of deliveries, by any.
type Subscription interface {
	// Next returns the next delivery. It waits for one, and, while as many are
	// in flight as may be, for one of them to be settled or overdue.
	//
	// When contact with the broker is lost, Next returns ErrUnavailable once; it
	// may be called again and resumes by itself: without a gap where
	// [Capabilities.History] is true, in a group where [Capabilities.LastingGroups]
	// is. What was received before may be delivered still, and again. It returns
	// ctx.Err() when ctx is done and ErrClosed after Close; no message is lost to
	// either.
	Next(ctx context.Context) (*Delivery, error)
	// Close ends the subscription; a pending or later Next returns ErrClosed.
	// What has not been settled can be no more: it goes to others of the group,
	// at once or when it is overdue. Closing twice is no error. Whoever wants
	// to settle what he has stops calling Next, settles, then closes.
	Close() error
}
