package nats

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// coreMessages and coreBytes bound what waits for a subscription without
	// JetStream. What comes beyond is lost.
	coreMessages = 8192
	coreBytes    = 16 << 20
)

// send publishes without JetStream, and waits until the server has it.
func (b *Broker) send(ctx context.Context, m *natsgo.Msg) error {
	if err := b.conn.PublishMsg(m); err != nil {
		return err
	}
	return b.conn.FlushWithContext(ctx)
}

// A coreSubscription receives without JetStream.
type coreSubscription struct {
	*inbox

	wait time.Duration
	mu   sync.Mutex // held by Next, and by Close for the rest
}

// subscribeCore subscribes without JetStream.
func (b *Broker) subscribeCore(ctx context.Context, topic string, o broker.SubscribeOptions) (broker.Subscription, error) {
	s := &coreSubscription{inbox: newInbox(b, topic, o), wait: o.AckWait}
	err := b.call(ctx, func(ctx context.Context) error {
		var err error
		s.sub, err = b.conn.QueueSubscribe(b.config.subject(topic), queue(topic, o.Group), s.receive)
		if err != nil {
			return err
		}
		if err := s.sub.SetPendingLimits(coreMessages, coreBytes); err != nil {
			return err
		}
		return b.conn.FlushWithContext(ctx)
	})
	if err == nil {
		err = b.add(s)
	}
	if err != nil {
		_ = s.Close() // the error above says more
		return nil, err
	}
	return s, nil
}

// queue returns the queue group of a group, which is the group if NATS allows
// it.
func queue(topic, group string) string {
	if strings.IndexFunc(group, unicode.IsSpace) < 0 {
		return group
	}
	return groupName(topic, group)
}

// receive hands a message to Next.
func (s *coreSubscription) receive(m *natsgo.Msg) {
	select {
	case s.messages <- received{m, time.Now()}:
	case <-s.life.Done():
	}
}

// Next implements [broker.Subscription].
func (s *coreSubscription) Next(ctx context.Context) (*broker.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.usable(ctx); err != nil {
			return nil, err
		}
		room, until := s.flight.room(time.Now())
		d, err := s.next(ctx, room > 0, until)
		if d != nil || err != nil {
			return d, err
		}
	}
}

// next waits for something to happen: for a message only if there is room.
func (s *coreSubscription) next(ctx context.Context, room bool, until time.Time) (*broker.Delivery, error) {
	var messages <-chan received
	var overdue <-chan time.Time
	if room {
		messages = s.messages
	} else {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		overdue = timer.C
	}
	select {
	case <-ctx.Done():
	case <-s.life.Done():
	case <-overdue:
	case <-s.flight.freed:
	case status := <-s.status:
		if status != natsgo.CONNECTED {
			return nil, s.lose(errLost)
		}
		s.lost = false
	case r := <-messages:
		return s.take(r), nil
	}
	return nil, nil //nolint:nilnil // Next tries again
}

// take returns the delivery of a message, or nil if nobody can read it.
func (s *coreSubscription) take(r received) *broker.Delivery {
	m, err := s.broker.config.decode(s.topic, r.Msg, r.at)
	if err != nil {
		s.broker.log.Warn("message is dropped", slog.String("topic", s.topic), slog.Any("error", err))
		return nil
	}
	i := &item{until: time.Now().Add(s.wait)}
	s.flight.add(i)
	return broker.NewDelivery(m, "", 1, &coreSettler{s, i})
}

// Close implements [broker.Subscription].
func (s *coreSubscription) Close() error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil {
		return nil
	}
	s.broker.remove(s)
	s.broker.conn.RemoveStatusListener(s.status)
	s.status = nil
	if s.sub != nil {
		_ = s.sub.Unsubscribe() // fails when the connection is closed, and the subscription with it
	}
	return nil
}

// A coreSettler makes room: there is nothing to tell the server.
type coreSettler struct {
	subscription *coreSubscription
	item         *item
}

// Ack implements [broker.Settler].
func (t *coreSettler) Ack(ctx context.Context) error {
	switch {
	case t.subscription.life.Err() != nil:
		return broker.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	t.subscription.flight.remove(t.item)
	return nil
}

// Nack implements [broker.Settler].
func (t *coreSettler) Nack(ctx context.Context, _ time.Duration) error { return t.Ack(ctx) }

// Term implements [broker.Settler].
func (t *coreSettler) Term(ctx context.Context, _ string) error { return t.Ack(ctx) }
