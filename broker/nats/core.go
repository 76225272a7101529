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
	// JetStream, beside what waits in its Feed. What comes beyond is lost.
	coreMessages = 1024
	coreBytes    = 8 << 20
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
	*broker.Feed

	broker *Broker
	topic  string
	sub    *natsgo.Subscription
	close  func()
}

// subscribeCore subscribes without JetStream.
func (b *Broker) subscribeCore(ctx context.Context, topic string, o broker.SubscribeOptions) (broker.Subscription, error) {
	s := &coreSubscription{Feed: broker.NewFeed(o), broker: b, topic: topic}
	s.close = sync.OnceFunc(s.leave)
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
	msg, err := s.broker.config.decode(s.topic, m, time.Now())
	if err != nil {
		s.broker.log.Warn("message is dropped", slog.String("topic", s.topic), slog.Any("error", err))
		return
	}
	_ = s.Put(context.Background(), msg) // fails when it is closed
}

// Close implements [broker.Subscription].
func (s *coreSubscription) Close() error {
	s.close()
	return s.Feed.Close()
}

func (s *coreSubscription) leave() {
	s.broker.remove(s)
	if s.sub != nil {
		_ = s.sub.Unsubscribe() // fails when the connection is closed, and the subscription with it
	}
}
