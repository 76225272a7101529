package handler

import (
	"context"
	"time"
)

// stay is how long a client of a group stays, after a message was written to
// it, to count as having received it. A write to a client that is gone succeeds:
// the system takes it, and only then learns that nobody is there. No protocol
// here has a client say what it has.
const stay = 250 * time.Millisecond

// A custody is what was written to a client of a group that may not have
// received it. Its clock begins anew with each message.
type custody struct {
	written []written // the oldest first
	timer   *time.Timer
}

// written is an item, and when it counts as received.
type written struct {
	*item

	until time.Time
}

// add takes charge of an item, of which it is a user.
func (c *custody) add(it *item) {
	it.use()
	c.written = append(c.written, written{it, time.Now().Add(stay)})
}

// due returns a channel that has a value when the oldest item counts as
// received, nil without any.
func (c *custody) due() <-chan time.Time {
	if len(c.written) == 0 {
		return nil
	}
	wait := time.Until(c.written[0].until)
	if c.timer == nil {
		c.timer = time.NewTimer(wait)
	} else {
		c.timer.Reset(wait)
	}
	return c.timer.C
}

// settle acknowledges what counts as received, and hands it to free.
func (c *custody) settle(ctx context.Context, free func(*item)) {
	now := time.Now()
	for len(c.written) > 0 && !c.written[0].until.After(now) && ctx.Err() == nil {
		it := c.written[0].item
		c.written[0] = written{}
		c.written = c.written[1:]
		_ = it.delivery.Ack(ctx) // if that fails it comes again, as a group must expect
		free(it)
		it.release()
	}
}

// end hands what is left to giveBack.
func (c *custody) end(giveBack func(*item)) {
	for _, w := range c.written {
		giveBack(w.item)
		w.release()
	}
	c.written = nil
	if c.timer != nil {
		c.timer.Stop()
	}
}
