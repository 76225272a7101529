package metrics_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/brokertest"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// A broker whose messages are counted keeps all its promises.
func TestBrokerIsABroker(t *testing.T) {
	brokertest.Run(t, func(testing.TB) broker.Broker { return metrics.New(nil).Broker(new(broker.Memory)) },
		&brokertest.Options{FakeClock: true})
}

func TestBroker(t *testing.T) {
	m := metrics.New(nil)
	b := m.Broker(new(broker.Memory))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := b.Subscribe(ctx, "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Publish(ctx, "orders", &broker.Message{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	letter := &broker.Message{Header: map[string]string{"Goapi-Dead-Letter": "given-up"}}
	for _, topic := range []string{push.DefaultDeadLetters, "forged"} { // the public may name headers
		if err := b.Publish(ctx, topic, letter); err != nil {
			t.Fatal(err)
		}
	}
	mark := &broker.Message{Header: map[string]string{"Goapi-Dead-Letter": "mark"}}
	if err := b.Publish(ctx, push.DefaultDeadLetters, mark); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(ctx, "a b", &broker.Message{}); !errors.Is(err, broker.ErrTopic) {
		t.Fatalf("Publish on no topic = %v", err)
	}
	next(ctx, t, s, func(d *broker.Delivery) error { return d.Ack(ctx) })
	next(ctx, t, s, func(d *broker.Delivery) error { return d.Term(ctx, "no use") })
	next(ctx, t, s, func(d *broker.Delivery) error { return d.Nack(ctx, 0) })
	next(ctx, t, s, func(d *broker.Delivery) error { return d.Ack(ctx) })
	if got := scrape(t, m)["goapi_broker_subscriptions"]; got != 1 {
		t.Errorf("subscriptions = %v, want 1", got)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got := scrape(t, m)
	for series, want := range map[string]float64{
		"goapi_broker_published_total":                6,
		"goapi_broker_publish_duration_seconds_count": 6,
		"goapi_broker_dead_letters_total":             1,
		`goapi_broker_errors_total{call="publish"}`:   1,
		`goapi_broker_errors_total{call="receive"}`:   0,
		"goapi_broker_received_total":                 4,
		"goapi_broker_redelivered_total":              1,
		`goapi_broker_settled_total{how="ack"}`:       2,
		`goapi_broker_settled_total{how="nack"}`:      1,
		`goapi_broker_settled_total{how="term"}`:      1,
		"goapi_broker_subscriptions":                  0,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s = %v, %t; want %v", series, v, ok, want)
		}
	}
}

// What a Pusher gives up is counted as a dead letter, on the topic that is theirs.
func TestDeadLetters(t *testing.T) {
	for _, topic := range []string{"", "_own"} {
		t.Run("topic "+topic, func(t *testing.T) {
			m := metrics.New(&metrics.Options{DeadLetters: topic})
			if got := giveUp(t, m.Broker(new(broker.Memory)), topic); got != "order-1" {
				t.Fatalf("given up was %q, want order-1", got)
			}
			if got := scrape(t, m)["goapi_broker_dead_letters_total"]; got != 1 {
				t.Errorf("dead letters = %v, want 1", got)
			}
		})
	}
}

// giveUp publishes a message on b for a service that refuses it, and returns the ID
// of the message in the dead letter when all is done.
func giveUp(t *testing.T, b broker.Broker, topic string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer s.Close()
	reg, pools := new(registry.Memory), upstream.NewPools(nil)
	err := reg.Register(ctx, &registry.Service{
		Name: "mailer", Nodes: []*registry.Node{{ID: "1", Address: s.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{Name: "On", Metadata: map[string]string{"subscriber": "true", "push": "true", "topic": "orders"}}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	group, err := b.Subscribe(ctx, "orders", &broker.SubscribeOptions{Group: "mailer"}) // which has a place in the topic then
	if err != nil {
		t.Fatal(err)
	}
	_ = group.Close()
	letters, err := b.Subscribe(ctx, cmp.Or(topic, push.DefaultDeadLetters), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer letters.Close()
	if err := b.Publish(ctx, "orders", &broker.Message{ID: "order-1"}); err != nil {
		t.Fatal(err)
	}
	live := router.NewLive(reg, pools, nil)
	var running sync.WaitGroup
	running.Go(func() { _ = live.Run(ctx) })
	running.Go(func() {
		_ = push.New(b, live, pools, &push.Options{Topics: []string{"orders"}, DeadLetters: topic}).Run(ctx)
	})
	id := ""
	next(ctx, t, letters, func(d *broker.Delivery) error {
		id = d.Header["Goapi-Dead-Letter-Id"]
		return d.Ack(ctx)
	})
	stop()
	running.Wait()
	return id
}

// What nobody waits for any more is no failure.
func TestBrokerThatFails(t *testing.T) {
	m := metrics.New(nil)
	down := errors.New("down")
	b := m.Broker(&broken{err: down})
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Publish(ctx, "a", &broker.Message{}); !errors.Is(err, down) {
		t.Errorf("Publish = %v, want the broker's error", err)
	}
	if _, err := b.Subscribe(ctx, "a", nil); !errors.Is(err, down) {
		t.Errorf("Subscribe = %v, want the broker's error", err)
	}
	cancel()
	gone := m.Broker(&broken{err: context.Canceled})
	if err := gone.Publish(ctx, "a", &broker.Message{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Publish = %v, want the context's error", err)
	}
	got := scrape(t, m)
	if n, subscribed := got[`goapi_broker_errors_total{call="publish"}`], got[`goapi_broker_errors_total{call="subscribe"}`]; n != 1 || subscribed != 1 {
		t.Errorf("errors = %v and %v, want 1 and 1", n, subscribed)
	}
}

func TestBrokerIsClosed(t *testing.T) {
	m := metrics.New(nil)
	if _, ok := m.Broker(&broken{}).(io.Closer); ok {
		t.Error("a broker that cannot be closed can be")
	}
	b := &closable{}
	c, ok := m.Broker(b).(io.Closer)
	if !ok {
		t.Fatal("a broker that is closed cannot be")
	}
	if err := c.Close(); err != nil || !b.closed {
		t.Errorf("Close = %v, closed: %t", err, b.closed)
	}
}

// next settles the next message.
func next(ctx context.Context, t *testing.T, s broker.Subscription, settle func(*broker.Delivery) error) {
	t.Helper()
	d, err := s.Next(ctx)
	if err == nil {
		err = settle(d)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// broken is a broker that fails.
type broken struct{ err error }

func (b *broken) Publish(context.Context, string, *broker.Message) error { return b.err }
func (b *broken) Subscribe(context.Context, string, *broker.SubscribeOptions) (broker.Subscription, error) {
	return nil, b.err
}
func (b *broken) Last(context.Context, string) (string, error) { return "", b.err }
func (b *broken) Capabilities() broker.Capabilities            { return broker.Capabilities{} }

type closable struct {
	broken

	closed bool
}

func (c *closable) Close() error {
	c.closed = true
	return nil
}
