package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// A check is one promise being tested on one broker.
type check struct {
	testing.TB

	b       broker.Broker
	another broker.Broker // the same system
	caps    broker.Capabilities
	open    OpenFunc
	opts    Options
	latest  *atomic.Int64 // how late the machine was at most, in nanoseconds
}

func newCheck(t testing.TB, b broker.Broker, open OpenFunc, o Options) *check {
	return &check{TB: t, b: b, another: o.Another(t, b), caps: b.Capabilities(), open: open, opts: o, latest: new(atomic.Int64)}
}

// bound returns a context that ends with the deadline.
func (c *check) bound() context.Context { return c.within(c.opts.Deadline) }

// within returns a context that ends after a time.
func (c *check) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(c.Context(), d)
	c.Cleanup(cancel)
	return ctx
}

// publish publishes a message whose ID and body are id.
func (c *check) publish(topic string, ids ...string) {
	c.Helper()
	for _, id := range ids {
		c.publishMessage(topic, message(id))
	}
}

func (c *check) publishMessage(topic string, m *broker.Message) {
	c.Helper()
	defer c.tookFrom(time.Now())
	if err := c.b.Publish(c.bound(), topic, m); err != nil {
		c.Fatalf("Publish(%q, %s) error = %v, want nil", topic, text(m), err)
	}
}

// publishUntilTaken publishes a message as often as the broker is unavailable.
func (c *check) publishUntilTaken(topic, id string) error {
	ctx := c.bound()
	for {
		err := c.b.Publish(ctx, topic, message(id))
		if !errors.Is(err, broker.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker did not come back: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// message returns a message with an ID, and a body that says the same.
func message(id string) *broker.Message {
	return &broker.Message{ID: id, Header: map[string]string{"Content-Type": "text/plain"}, Body: []byte(id)}
}

// A subscription is one whose every delivery is checked.
type subscription struct {
	broker.Subscription

	c     *check
	topic string
	group bool
}

// subscribe opens a subscription that is closed when the test ends.
func (c *check) subscribe(topic string, opts *broker.SubscribeOptions) *subscription {
	c.Helper()
	return c.subscribeTo(c.b, topic, opts)
}

func (c *check) subscribeTo(b broker.Broker, topic string, opts *broker.SubscribeOptions) *subscription {
	c.Helper()
	s, err := b.Subscribe(c.bound(), topic, opts)
	if err != nil {
		c.Fatalf("Subscribe(%q, %+v) error = %v, want nil", topic, opts, err)
	}
	c.Cleanup(func() {
		if err := s.Close(); err != nil {
			c.Errorf("Subscription.Close() error = %v, want nil", err)
		}
	})
	return &subscription{Subscription: s, c: c, topic: topic, group: opts != nil && opts.Group != ""}
}

// next returns the next delivery.
func (s *subscription) next() *broker.Delivery {
	s.c.Helper()
	d, err := s.Next(s.c.bound())
	if err != nil {
		s.c.Fatalf("Next() on topic %q error = %v, want a delivery", s.topic, err)
	}
	if d.Topic != s.topic {
		s.c.Fatalf("Next() on topic %q = a message of topic %q: %s", s.topic, d.Topic, text(&d.Message))
	}
	return d
}

// take returns the next delivery and acknowledges it.
func (s *subscription) take() *broker.Delivery {
	s.c.Helper()
	d := s.next()
	s.c.ack(d)
	return d
}

// wantNext acknowledges the next deliveries, which are to be those with the
// given IDs, in that order if the broker keeps one.
func (s *subscription) wantNext(why string, ids ...string) {
	s.c.Helper()
	if !s.c.caps.Ordered {
		s.wantAny(why, ids...)
		return
	}
	for i, id := range ids {
		if d := s.take(); d.ID != id {
			s.c.Fatalf("%s: delivery %d on topic %q = %s, want ID %q", why, i+1, s.topic, text(&d.Message), id)
		}
	}
}

// wantAny acknowledges the next deliveries, which are to be those with the
// given IDs, in any order.
func (s *subscription) wantAny(why string, ids ...string) {
	s.c.Helper()
	missing := make(map[string]bool)
	for _, id := range ids {
		missing[id] = true
	}
	for len(missing) > 0 {
		d := s.take()
		if !missing[d.ID] {
			s.c.Fatalf("%s: a delivery on topic %q = %s, want one of %q", why, s.topic, text(&d.Message), ids)
		}
		delete(missing, d.ID)
	}
}

// wantNone fails if there is a delivery within a time.
func (s *subscription) wantNone(why string, within time.Duration) {
	s.c.Helper()
	ctx, cancel := context.WithTimeout(s.c.Context(), within)
	defer cancel()
	d, err := s.Next(ctx)
	switch {
	case err == nil:
		s.c.Fatalf("%s: Next() on topic %q = %s, attempt %d, want no delivery", why, s.topic, text(&d.Message), d.Attempt)
	case !errors.Is(err, context.DeadlineExceeded):
		s.c.Fatalf("%s: Next() on topic %q error = %v, want %v", why, s.topic, err, context.DeadlineExceeded)
	}
}

// close closes the subscription before the test ends.
func (s *subscription) close() {
	s.c.Helper()
	if err := s.Close(); err != nil {
		s.c.Fatalf("Subscription.Close() error = %v, want nil", err)
	}
}

func (c *check) ack(d *broker.Delivery) {
	c.Helper()
	defer c.tookFrom(time.Now())
	if err := d.Ack(c.bound()); err != nil {
		c.Fatalf("Ack() of %s error = %v, want nil", text(&d.Message), err)
	}
}

// wantMessage fails unless a delivery is of a message.
func (c *check) wantMessage(d *broker.Delivery, want *broker.Message) {
	c.Helper()
	got := d.Message
	same := got.ID == want.ID && maps.Equal(got.Header, want.Header) && bytes.Equal(got.Body, want.Body)
	if !same || !got.Time.Truncate(time.Millisecond).Equal(want.Time.Truncate(time.Millisecond)) {
		c.Errorf("delivery = %s, want %s", text(&got), text(want))
	}
}

// ids returns n IDs that begin with a prefix.
func ids(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	return list
}

// text returns a message for failures.
func text(m *broker.Message) string {
	if m == nil {
		return "nil"
	}
	header := fmt.Sprintf("%q", m.Header)
	body := fmt.Sprintf("%q", m.Body)
	return fmt.Sprintf("{ID %q, header %s, body %s, time %v}", m.ID, short(header), short(body), m.Time)
}

func short(s string) string {
	const most = 400
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:most], ""), len(s))
}
