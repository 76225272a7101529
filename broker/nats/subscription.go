package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// expires is how long the server holds a request for messages, heartbeat
	// how often it says that it does, and patience how long its silence is
	// borne.
	expires   = 30 * time.Second
	heartbeat = 5 * time.Second
	patience  = 12 * time.Second

	// minRetry and maxRetry bound the wait between attempts at a consumer.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second

	// What the server writes beside messages.
	headerStatus      = "Status"
	headerDescription = "Description"
	statusHeartbeat   = "100"
	statusNone        = "404"
	statusExpired     = "408"
)

// errLost is what Next returns when the connection is lost.
var errLost = fmt.Errorf("%w: the connection to NATS was lost", broker.ErrUnavailable)

// A received is a message, and when it came.
type received struct {
	*natsgo.Msg

	at time.Time
}

// A subscription receives from a stream. It runs nothing of its own: Next asks
// the server for as many messages as may be in flight.
type subscription struct {
	broker   *Broker
	topic    string
	consumer *consumer
	flight   *broker.Flight[string] // of where a delivery is acknowledged
	subject  string                 // begins the subjects that answers come to
	sub      *natsgo.Subscription
	messages chan received

	life context.Context // until the subscription or the broker is closed
	end  context.CancelFunc

	mu       sync.Mutex         // held by Next, and by Close for the rest
	status   chan natsgo.Status // nil once closed
	lost     bool               // the loss of contact was returned
	attached bool               // the server has the consumer, as far as is known
	retry    time.Duration
	pulls    uint64    // how often was asked
	asked    int       // how many messages of the latest are to come
	heard    time.Time // when the server was last heard of
}

// subscribeStream subscribes with JetStream.
func (b *Broker) subscribeStream(ctx context.Context, topic string, o broker.SubscribeOptions) (broker.Subscription, error) {
	s := &subscription{
		broker: b, topic: topic, consumer: newConsumer(b, topic, o), flight: broker.NewFlight[string](o.InFlight),
		subject: b.conn.NewInbox(), messages: make(chan received, 16),
	}
	s.life, s.end = context.WithCancel(b.life)
	s.status = b.conn.StatusChanged(natsgo.CONNECTED, natsgo.RECONNECTING, natsgo.CLOSED)
	err := b.call(ctx, func(ctx context.Context) error {
		var err error
		s.sub, err = b.conn.Subscribe(s.subject+".*", s.receive)
		if err != nil {
			return err
		}
		_, err = s.consumer.attach(ctx)
		return err
	})
	if err == nil {
		s.attached = true
		err = b.add(s)
	}
	if err != nil {
		_ = s.Close() // the error above says more
		return nil, err
	}
	return s, nil
}

// receive hands a message to Next. What comes too late goes to another.
func (s *subscription) receive(m *natsgo.Msg) {
	select {
	case s.messages <- received{m, time.Now()}: // the server sends no more than was asked for
	case <-s.life.Done():
		s.refuse(m)
	}
}

// Next implements [broker.Subscription].
func (s *subscription) Next(ctx context.Context) (*broker.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	caller := ctx
	ctx, cancel := s.bind(ctx)
	defer cancel()
	for {
		if err := s.usable(caller); err != nil {
			return nil, err
		}
		if !s.attached {
			if err := s.attach(ctx); err != nil {
				return nil, err
			}
			continue
		}
		d, err := s.wait(ctx)
		if d != nil || err != nil {
			return d, err
		}
	}
}

// usable returns why Next is to end, or nil.
func (s *subscription) usable(ctx context.Context) error {
	if s.life.Err() != nil {
		return broker.ErrClosed
	}
	return ctx.Err()
}

// over says whether Next is to end.
func (s *subscription) over(ctx context.Context) bool { return s.usable(ctx) != nil }

// bind returns a context that ends with the subscription, too.
func (s *subscription) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// lose returns err, once for each loss of contact.
func (s *subscription) lose(err error) error {
	if s.lost {
		return nil
	}
	s.lost = true
	return err
}

// wait waits for something to happen, and sees to it.
func (s *subscription) wait(ctx context.Context) (*broker.Delivery, error) {
	room, until := s.flight.Room(time.Now())
	var messages <-chan received
	if room > 0 {
		messages = s.messages
		s.pull(room)
		until = s.heard.Add(patience)
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case status := <-s.status:
		s.attached = false
		if status != natsgo.CONNECTED {
			return nil, s.lose(errLost)
		}
	case r := <-messages:
		return s.take(r), nil
	case <-s.flight.Freed():
	case <-timer.C:
		if room > 0 && len(messages) == 0 {
			s.attached = false // the server has forgotten us, or is gone: the next attempt tells
		}
	}
	return nil, nil //nolint:nilnil // Next tries again
}

// pull asks for messages, unless some of those that were asked for are to come.
func (s *subscription) pull(n int) {
	if s.asked > 0 {
		return
	}
	s.pulls++
	s.asked, s.heard = n, time.Now()
	request := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, n, expires.Nanoseconds(), heartbeat.Nanoseconds())
	err := s.broker.conn.PublishRequest(s.api("MSG.NEXT"), s.reply(), request)
	if err != nil {
		s.asked, s.attached = 0, false
	}
}

// api returns the subject of a call about the consumer.
func (s *subscription) api(call string) string {
	return "$JS.API.CONSUMER." + call + "." + s.broker.config.stream + "." + s.consumer.name
}

// reply returns where what the server says of the latest request comes in.
func (s *subscription) reply() string { return s.subject + "." + strconv.FormatUint(s.pulls, 10) }

// take returns the delivery of a message, or nil if it is none.
func (s *subscription) take(r received) *broker.Delivery {
	meta, err := r.Metadata()
	if err != nil {
		s.control(r)
		return nil
	}
	now := time.Now()
	s.heard, s.asked = now, max(s.asked-1, 0)
	until := r.at.Add(s.consumer.patience())
	if !until.After(now) {
		return nil // it comes again, to whoever has time
	}
	seat := s.flight.Add(r.Reply, until)
	s.retry = 0
	position := s.consumer.receive(meta.Sequence.Stream)
	t := &settler{s, seat, meta.Sequence.Stream}
	attempt := int(min(meta.NumDelivered, 1<<30))
	return broker.NewDelivery(decode(s.topic, r.Msg, meta.Timestamp), position, attempt, t)
}

// control sees to what the server says of a request.
func (s *subscription) control(r received) {
	if r.Subject != s.reply() {
		return // of an earlier one
	}
	s.heard = r.at
	switch status := r.Header.Get(headerStatus); status {
	case statusHeartbeat:
	case statusNone, statusExpired:
		s.asked = 0
	default:
		s.asked, s.attached = 0, false
		s.broker.log.Debug("consumer of NATS is looked up again", slog.String("topic", s.topic),
			slog.String("status", status), slog.String("reason", r.Header.Get(headerDescription)))
	}
}

// attach finds the consumer again. It returns the first error since there was
// contact; after that, nil and not being attached ask for another attempt.
func (s *subscription) attach(ctx context.Context) error {
	if err := s.pause(ctx); err != nil || s.over(ctx) {
		return err
	}
	s.retry = min(max(2*s.retry, minRetry), maxRetry)
	var made bool
	err := s.broker.call(ctx, func(ctx context.Context) error {
		var err error
		made, err = s.consumer.attach(ctx)
		return err
	})
	if s.over(ctx) {
		return nil // Next tells
	}
	if err != nil {
		if !errors.Is(err, broker.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
		}
		return s.lose(err)
	}
	if made {
		s.forget()
	}
	s.attached, s.lost, s.asked = true, false, 0
	return nil
}

// forget drops what a consumer sent that is no more: it is sent again.
func (s *subscription) forget() {
	for {
		select {
		case <-s.messages:
		default:
			return
		}
	}
}

// pause waits before an attempt, until the connection comes back at most.
func (s *subscription) pause(ctx context.Context) error {
	if s.retry == 0 {
		return s.skipStatus()
	}
	timer := time.NewTimer(s.retry/2 + rand.N(s.retry/2)) //nolint:gosec // jitter is no secret
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return s.skipStatus()
		case status := <-s.status:
			if status == natsgo.CONNECTED {
				s.retry = 0
				return s.skipStatus()
			}
			if err := s.lose(errLost); err != nil {
				return err
			}
		}
	}
}

// skipStatus forgets what happened to the connection before an attempt, but for
// a loss.
func (s *subscription) skipStatus() error {
	for len(s.status) > 0 {
		if <-s.status != natsgo.CONNECTED {
			if err := s.lose(errLost); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close implements [broker.Subscription].
func (s *subscription) Close() error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil {
		return nil
	}
	s.broker.remove(s)
	s.broker.conn.RemoveStatusListener(s.status)
	s.status = nil
	if s.sub == nil {
		return nil
	}
	if !s.consumer.group {
		_ = s.sub.Unsubscribe() // fails when the connection is closed, and the subscription with it
		// The server would notice by itself, but only after a while. Its answer
		// goes to nobody.
		_ = s.broker.conn.PublishRequest(s.api("DELETE"), s.broker.conn.NewInbox(), nil)
		return nil
	}
	s.drain()
	return nil
}

// drain gives what was received, or is about to be, to others of the group.
func (s *subscription) drain() {
	drained := make(chan struct{})
	s.sub.SetClosedHandler(func(string) { close(drained) })
	if s.sub.Drain() == nil { // else there is no contact, and nothing comes
		contact, cancel := context.WithTimeout(s.broker.getContact(), time.Second)
		defer cancel()
		select {
		case <-drained:
		case <-contact.Done():
		}
	}
	for {
		select {
		case r := <-s.messages:
			s.refuse(r.Msg)
			continue
		default:
		}
		break
	}
	for _, reply := range s.flight.Take(time.Now()) {
		_ = s.broker.conn.Publish(reply, []byte(refused)) // else it goes to others when it is overdue
	}
}
