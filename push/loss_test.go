package push_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// forgetful is a broker that does not hear some settlements.
type forgetful struct {
	broker.Broker

	left chan struct{} // a value for each
}

func (b *forgetful) Subscribe(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
	s, err := b.Broker.Subscribe(ctx, topic, o)
	return &forgetfulSubscription{s, b}, err
}

type forgetfulSubscription struct {
	broker.Subscription

	broker *forgetful
}

func (s *forgetfulSubscription) Next(ctx context.Context) (*broker.Delivery, error) {
	d, err := s.Subscription.Next(ctx)
	if err != nil {
		return nil, err
	}
	return broker.NewDelivery(d.Message, d.Position, d.Attempt, &forgetfulSettler{d, s.broker}), nil
}

type forgetfulSettler struct {
	*broker.Delivery

	broker *forgetful
}

func (t *forgetfulSettler) Ack(ctx context.Context) error {
	select {
	case <-t.broker.left:
		return fmt.Errorf("%w: it did not hear", broker.ErrUnavailable)
	default:
		return t.Delivery.Ack(ctx)
	}
}

// TestBrokerIsLost: a loss is logged once, and what is published meanwhile is
// pushed when the broker is back.
func TestBrokerIsLost(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.fail(&g.next, fmt.Errorf("%w: no contact", broker.ErrUnavailable))
	g.publish(t, "orders", "0", "x") // a call that is under way returns it
	g.log.wait(t, "WARN broker lost")
	g.publish(t, "orders", "1", "x")
	g.fail(&g.next, nil)
	n.ids(t, 2)
	g.log.wait(t, "INFO broker found")
	if got := g.log.count("broker lost"); got != 1 {
		t.Errorf("the loss was logged %d times, want once", got)
	}
}

// TestSubscribesAgain: a subscription that ends, or cannot be made, is made
// again.
func TestSubscribesAgain(t *testing.T) {
	b := newTap(new(broker.Memory))
	b.fail(&b.subscribe, fmt.Errorf("%w: not there yet", broker.ErrUnavailable))
	g := start(t, b, push.Options{})
	n := serve(t, nil)
	g.publish(t, "orders", "early", "x")
	g.announce(t, "mailer", n, "orders")
	g.log.wait(t, "broker lost", "not there yet")
	g.publish(t, "orders", "meanwhile", "x")
	g.fail(&g.subscribe, nil)
	g.subscribed(t, "orders")
	g.log.wait(t, "broker found")
	if got := n.ids(t, 1); got[0] != "meanwhile" {
		t.Errorf("the service got %q first, want what came after it was seen", got)
	}

	g.fail(&g.next, broker.ErrClosed)
	g.publish(t, "orders", "0", "x")
	receive(t, g.closed)
	g.fail(&g.next, nil)
	g.log.wait(t, "subscription failed and is made again", "mailer", "orders")
	g.publish(t, "orders", "1", "x")
	n.ids(t, 2)
}

// TestStop: what is on its way when a gateway stops arrives, and is known to have
// arrived.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", func(http.ResponseWriter, *http.Request) { time.Sleep(4 * time.Second) })
		memory := new(broker.Memory)
		g := start(t, memory, push.Options{DialContext: w.DialContext})
		g.announce(t, "mailer", n, "orders")
		g.subscribed(t, "orders")
		g.publish(t, "orders", "1", "x")
		n.ids(t, 1)
		g.stop()

		g = join(t, g.registry, memory, push.Options{DialContext: w.DialContext})
		g.publish(t, "orders", "2", "x")
		if got := n.ids(t, 1)[0]; got != "2" {
			t.Errorf("the next gateway pushed %q, want 2: 1 was taken", got)
		}
	})
}

// TestSlowService: a service that takes its time holds up no other, nor another
// of its own topics.
func TestSlowService(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{InFlight: 2})
	leave := make(chan struct{})
	slow := serve(t, func(http.ResponseWriter, *http.Request) { <-leave })
	defer close(leave)
	quick := serve(t, nil)
	g.announce(t, "slow", slow, "orders")
	g.subscribed(t, "orders")
	g.announce(t, "quick", quick, "orders")
	g.subscribed(t, "orders")
	for i := range 100 {
		g.publish(t, "orders", fmt.Sprint(i), "x")
	}
	quick.ids(t, 100)
	slow.ids(t, 2)
	wantNone(t, slow)
}
