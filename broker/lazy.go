package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	minOpen = 250 * time.Millisecond // before a broker that could not be opened is tried again
	maxOpen = 5 * time.Second
)

// A Lazy is a broker that Run opens, as soon as that succeeds. Until then its calls
// return [ErrUnavailable], with the reason, at once. So a program can start while
// the system behind a broker is away. It may be used concurrently; closing it closes
// the broker.
type Lazy struct {
	open     func(context.Context) (Broker, error)
	expected Capabilities

	mu     sync.Mutex
	opened Broker // nil until then
	why    error  // there is none
	closed bool
}

var (
	_ Broker    = (*Lazy)(nil)
	_ io.Closer = (*Lazy)(nil)
)

// NewLazy returns a Lazy of a broker that open opens, which could not be opened a
// moment ago, and why. Expected is what it will promise.
func NewLazy(open func(context.Context) (Broker, error), expected Capabilities, why error) *Lazy {
	return &Lazy{open: open, expected: expected, why: why}
}

// Run tries to open the broker, less and less often, until that succeeds or ctx is
// done. It returns nil then. It is called once.
func (l *Lazy) Run(ctx context.Context) error {
	for wait := minOpen; ; wait = min(2*wait, maxOpen) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		b, err := l.open(ctx)
		if err != nil {
			l.note(err)
			continue
		}
		if !l.enter(b) {
			_ = closeOf(b) // it was closed meanwhile, and nobody hears of it
		}
		return nil
	}
}

// note notes why there is no broker.
func (l *Lazy) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
}

// enter takes b for the broker, unless the Lazy is closed.
func (l *Lazy) enter(b Broker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.opened = b
	return true
}

// broker returns the broker, or why there is none.
func (l *Lazy) broker() (Broker, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case l.opened != nil:
		return l.opened, nil
	case errors.Is(l.why, ErrUnavailable):
		return nil, l.why
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, l.why)
}

// Publish implements [Publisher].
func (l *Lazy) Publish(ctx context.Context, topic string, m *Message) error {
	b, err := l.broker()
	if err != nil {
		return err
	}
	return b.Publish(ctx, topic, m)
}

// Subscribe implements [Subscriber].
func (l *Lazy) Subscribe(ctx context.Context, topic string, opts *SubscribeOptions) (Subscription, error) {
	b, err := l.broker()
	if err != nil {
		return nil, err
	}
	return b.Subscribe(ctx, topic, opts)
}

// Last implements [Broker].
func (l *Lazy) Last(ctx context.Context, topic string) (string, error) {
	b, err := l.broker()
	if err != nil {
		return "", err
	}
	return b.Last(ctx, topic)
}

// Capabilities implements [Broker]. Until the broker is opened they are what was
// expected.
func (l *Lazy) Capabilities() Capabilities {
	if b, err := l.broker(); err == nil {
		return b.Capabilities()
	}
	return l.expected
}

// Close implements [io.Closer].
func (l *Lazy) Close() error {
	l.mu.Lock()
	b := l.opened
	l.closed = true
	l.mu.Unlock()
	return closeOf(b)
}

// closeOf closes b if it is an io.Closer.
func closeOf(b Broker) error {
	if c, ok := b.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
