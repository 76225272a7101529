package handler

import (
	"context"
	"sync"
	"time"
)

// A lateContext is a context that ends at a time, or with its parent, as that of
// context.WithDeadline does. It has a timer only once somebody waits for its end:
// most calls of a broker are answered before anybody does.
type lateContext struct {
	context.Context // the parent

	end time.Time

	mu    sync.Mutex
	timed context.Context // nil until somebody waits
	stop  context.CancelFunc
	over  bool
}

// within returns a context that ends after a time at the latest. The caller calls
// cancel.
func within(parent context.Context, d time.Duration) *lateContext {
	end := time.Now().Add(d)
	if earlier, ok := parent.Deadline(); ok && earlier.Before(end) {
		end = earlier
	}
	return &lateContext{Context: parent, end: end}
}

// Deadline implements [context.Context].
func (c *lateContext) Deadline() (time.Time, bool) { return c.end, true }

// Done implements [context.Context].
func (c *lateContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.stop = context.WithDeadline(c.Context, c.end)
		if c.over {
			c.stop()
		}
	}
	return c.timed.Done()
}

// Err implements [context.Context].
func (c *lateContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.timed != nil:
		return c.timed.Err()
	case c.Context.Err() != nil:
		return c.Context.Err()
	case c.over:
		return context.Canceled
	case !time.Now().Before(c.end):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements [context.Context]. That of the one that has a timer lets
// contexts which are made of this one end with it, without a goroutine each.
func (c *lateContext) Value(key any) any {
	c.mu.Lock()
	from := c.Context
	if c.timed != nil {
		from = c.timed
	}
	c.mu.Unlock()
	return from.Value(key)
}

// cancel ends the context, and gives back what it holds.
func (c *lateContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.stop != nil {
		c.stop()
	}
}
