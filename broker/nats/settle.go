package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/broker"
)

// What settles a delivery.
const (
	acknowledged = "+ACK"
	refused      = "-NAK"
	givenUp      = "+TERM"
)

// refuse gives a message to others of the group.
func (s *subscription) refuse(m *natsgo.Msg) {
	if s.consumer.group && strings.HasPrefix(m.Reply, "$JS.ACK.") {
		_ = s.broker.conn.Publish(m.Reply, []byte(refused)) // else it goes to others when it is overdue
	}
}

// A settler settles one delivery.
type settler struct {
	subscription *subscription
	seat         *broker.Seat[string]
	sequence     uint64
}

// Ack implements [broker.Settler].
func (t *settler) Ack(ctx context.Context) error { return t.settle(ctx, acknowledged, true) }

// Nack implements [broker.Settler].
func (t *settler) Nack(ctx context.Context, delay time.Duration) error {
	body := refused
	if delay > 0 {
		body += fmt.Sprintf(` {"delay":%d}`, delay.Nanoseconds())
	}
	return t.settle(ctx, body, false)
}

// Term implements [broker.Settler].
func (t *settler) Term(ctx context.Context, reason string) error {
	const most = 200
	reason = strings.Join(strings.Fields(strings.ToValidUTF8(reason, "?")), " ")
	return t.settle(ctx, givenUp+" "+strings.ToValidUTF8(reason[:min(len(reason), most)], ""), true)
}

// settle tells the server. For a group it waits until the server knows; a
// subscription without one is nobody else's.
func (t *settler) settle(ctx context.Context, body string, done bool) error {
	s := t.subscription
	if s.life.Err() != nil {
		return broker.ErrClosed
	}
	err := s.broker.reachable(ctx)
	if err != nil {
		return err
	}
	contact := s.broker.getContact()
	m := &natsgo.Msg{Subject: t.seat.Value, Data: []byte(body)}
	if s.consumer.group {
		_, err = s.broker.request(ctx, m)
	} else {
		err = s.broker.conn.PublishMsg(m)
	}
	if errors.Is(err, natsgo.ErrNoResponders) {
		err = errors.New("the consumer is gone")
	}
	if err := s.broker.meaning(ctx, contact, err); err != nil {
		return err
	}
	if done {
		s.consumer.settle(t.sequence)
	}
	s.flight.Remove(t.seat)
	return nil
}
