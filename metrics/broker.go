package metrics

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// brokerMetrics counts messages.
type brokerMetrics struct {
	published, letters, received, again prometheus.Counter
	publish                             prometheus.Histogram
	failed, settled                     *prometheus.CounterVec
	subscriptions                       prometheus.Gauge

	deadLetters string // their topic
}

func newBrokerMetrics(o *Options) *brokerMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value) // is 0 from the beginning
		}
		return v
	}
	return &brokerMetrics{
		deadLetters: o.DeadLetters,

		published: counter("goapi_broker_published_total", "Messages that the broker has taken."),
		letters:   counter("goapi_broker_dead_letters_total", "Messages that could not be pushed to a service, and became dead letters."),
		received:  counter("goapi_broker_received_total", "Messages that were received, each time that they were."),
		again:     counter("goapi_broker_redelivered_total", "Messages that were received not for the first time."),
		publish: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "goapi_broker_publish_duration_seconds", Help: "Time until the broker has taken a message.", Buckets: o.Buckets,
		}),
		failed: vec("goapi_broker_errors_total", "Calls of the broker that failed, by call.", "call", "publish", "subscribe", "receive", "settle"),
		settled: vec("goapi_broker_settled_total", "Messages that were dealt with: by ack; by nack, to come again; by term, given up.",
			"how", "ack", "nack", "term"),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "goapi_broker_subscriptions", Help: "Subscriptions that are open."}),
	}
}

func (b *brokerMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{b.published, b.letters, b.received, b.again, b.publish, b.failed, b.settled, b.subscriptions}
}

// failure counts a call that failed, unless nobody wanted it any more. It
// returns err.
func (b *brokerMetrics) failure(call string, err error) error {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, broker.ErrClosed) {
		b.failed.WithLabelValues(call).Inc()
	}
	return err
}

// Broker returns b with its messages counted. It is an io.Closer if b is one.
func (m *Metrics) Broker(b broker.Broker) broker.Broker {
	counted := &countedBroker{Broker: b, metrics: m.broker}
	if c, ok := b.(io.Closer); ok {
		return struct {
			*countedBroker
			io.Closer
		}{counted, c}
	}
	return counted
}

type countedBroker struct {
	broker.Broker

	metrics *brokerMetrics
}

var _ broker.Broker = (*countedBroker)(nil)

// Publish implements broker.Publisher.
func (b *countedBroker) Publish(ctx context.Context, topic string, m *broker.Message) error {
	start := time.Now()
	if err := b.Broker.Publish(ctx, topic, m); err != nil {
		return b.metrics.failure("publish", err)
	}
	b.metrics.publish.Observe(time.Since(start).Seconds())
	if topic == b.metrics.deadLetters && push.IsDeadLetter(m) {
		b.metrics.letters.Inc()
	}
	b.metrics.published.Inc()
	return nil
}

// Subscribe implements broker.Subscriber.
func (b *countedBroker) Subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	s, err := b.Broker.Subscribe(ctx, topic, opts)
	if err != nil {
		return nil, b.metrics.failure("subscribe", err)
	}
	b.metrics.subscriptions.Inc()
	return &countedSubscription{Subscription: s, metrics: b.metrics}, nil
}

type countedSubscription struct {
	broker.Subscription

	metrics *brokerMetrics
	closed  atomic.Bool
}

// Next implements broker.Subscription.
func (s *countedSubscription) Next(ctx context.Context) (*broker.Delivery, error) {
	d, err := s.Subscription.Next(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, s.metrics.failure("receive", err)
	}
	s.metrics.received.Inc()
	if d.Attempt > 1 {
		s.metrics.again.Inc()
	}
	return broker.NewDelivery(d.Message, d.Position, d.Attempt, &countedSettler{d, s.metrics}), nil
}

// Close implements broker.Subscription.
func (s *countedSubscription) Close() error {
	if s.closed.CompareAndSwap(false, true) {
		s.metrics.subscriptions.Dec()
	}
	return s.Subscription.Close()
}

type countedSettler struct {
	delivery *broker.Delivery
	metrics  *brokerMetrics
}

var _ broker.Settler = (*countedSettler)(nil)

// Ack implements broker.Settler.
func (s *countedSettler) Ack(ctx context.Context) error { return s.settled("ack", s.delivery.Ack(ctx)) }

// Nack implements broker.Settler.
func (s *countedSettler) Nack(ctx context.Context, delay time.Duration) error {
	return s.settled("nack", s.delivery.Nack(ctx, delay))
}

// Term implements broker.Settler.
func (s *countedSettler) Term(ctx context.Context, reason string) error {
	return s.settled("term", s.delivery.Term(ctx, reason))
}

func (s *countedSettler) settled(how string, err error) error {
	if err == nil {
		s.metrics.settled.WithLabelValues(how).Inc()
	}
	return s.metrics.failure("settle", err)
}
