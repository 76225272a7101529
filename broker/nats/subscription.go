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

	// rush is how long the server holds a request for messages that it has.
	rush = time.Second

	// minRetry and maxRetry bound the wait between attempts at a consumer.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second

	// What the server writes beside messages.
	headerStatus      = "Status"
	headerDescription = "Description"
	statusHeartbeat   = "100"
	statusNone        = "404"
	statusExpired     = "408"
	statusConflict    = "409"
	tooManyBytes      = "Message Size Exceeds MaxBytes"
	batchCompleted    = "Batch Completed"
)

// errLost is what Next returns when the connection is lost.
var errLost = fmt.Errorf("%w: the connection to NATS was lost", broker.ErrUnavailable)

// A subscription receives from a stream. It runs nothing of its own: Next asks
// the server for as many messages as may be in flight. Those wait in its inbox
// for Next, and meanwhile the server is told that they are not forgotten.
type subscription struct {
	broker   *Broker
	topic    string
	consumer *consumer
	flight   *broker.Flight[string] // of where a delivery is acknowledged
	subject  string                 // begins the subjects that answers come to
	sub      *natsgo.Subscription
	inbox    inbox

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
	behind   int       // how many messages the server has for us, as far as is known
}

// subscribeStream subscribes with JetStream.
func (b *Broker) subscribeStream(ctx context.Context, topic string, o broker.SubscribeOptions) (broker.Subscription, error) {
	s := &subscription{
		broker: b, topic: topic, consumer: newConsumer(b, topic, o), flight: broker.NewFlight[string](o.InFlight),
		subject: b.conn.NewInbox(),
	}
	s.inbox.open(s)
	s.life, s.end = context.WithCancel(b.life)
	s.status = b.conn.StatusChanged(natsgo.CONNECTED, natsgo.RECONNECTING, natsgo.CLOSED)
	err := b.call(ctx, func(ctx context.Context) error {
		var err error
		s.sub, err = b.conn.Subscribe(s.subject+".*", s.receive)
		if err != nil {
			return err
		}
		_, s.behind, err = s.consumer.attach(ctx)
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
	if !s.inbox.put(m) { // the server sends no more than was asked for
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
	defer s.inbox.wanted()()
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
	var (
		messages <-chan struct{}
		place    chan<- struct{}
	)
	if room > 0 {
		if r, ok := s.inbox.take(); ok {
			return s.take(r), nil
		}
		messages, place = s.inbox.came, s.pull(room)
		until = s.heard.Add(patience)
		if place != nil {
			until = time.Now().Add(patience) // it is others who keep us waiting
		}
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case status := <-s.status:
		s.detach()
		if status != natsgo.CONNECTED {
			s.consumer.renew() // what was on its way is lost, or comes too late
			return nil, s.lose(errLost)
		}
	case <-messages:
	case place <- struct{}{}:
		s.ask(min(room, s.behind), rush)
	case <-s.flight.Freed():
	case <-timer.C:
		if room > 0 && place == nil {
			s.detach() // the server has forgotten us, or is gone: the next attempt tells
		}
	}
	return nil, nil //nolint:nilnil // Next tries again
}

// pull asks for messages, unless some of those that were asked for are to come.
// Of messages that the server has already, all subscriptions together ask for no
// more than it can send at a time, else it would end the connection: if there are
// any, pull returns where to get a place among those that do.
func (s *subscription) pull(n int) (place chan<- struct{}) {
	switch {
	case s.asked > 0:
		return nil
	case s.behind > 0:
		return s.broker.rush
	}
	s.ask(n, expires)
	return nil
}

// ask asks for up to n messages.
func (s *subscription) ask(n int, within time.Duration) {
	s.pulls++
	s.asked, s.heard = n, time.Now()
	if within == rush {
		s.inbox.rush(n, s.reply())
	}
	request := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
		n, s.broker.pullBytes(), within.Nanoseconds(), min(heartbeat, within/4).Nanoseconds())
	err := s.broker.conn.PublishRequest(s.api("MSG.NEXT"), s.reply(), request)
	if err != nil {
		s.detach()
	}
}

// answered notes that no more messages of the latest request are to come.
func (s *subscription) answered() {
	s.asked = 0
	s.inbox.rest()
}

// detach has Next find the consumer again.
func (s *subscription) detach() {
	s.answered()
	s.attached = false
}

// api returns the subject of a call about the consumer.
func (s *subscription) api(call string) string {
	return "$JS.API.CONSUMER." + call + "." + s.consumer.shelf.stream + "." + s.consumer.name
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
	s.heard, s.behind = now, count(meta.NumPending)
	if s.asked--; s.asked <= 0 {
		s.answered()
	}
	until := r.at.Add(s.consumer.patience())
	if !until.After(now) { // this process was stopped for long
		s.late()
		return nil
	}
	if now.Sub(r.at) > fresh {
		until = now.Add(s.consumer.patience())
		_ = s.broker.conn.Publish(r.Reply, []byte(working)) // if that fails, there is no contact
	}
	seat := s.flight.Add(r.Reply, until)
	s.retry = 0
	position := s.consumer.receive(meta.Sequence.Stream)
	t := &settler{s, seat, meta.Sequence.Stream}
	attempt := count(meta.NumDelivered)
	return broker.NewDelivery(decode(s.topic, r.Msg, meta.Timestamp), position, attempt, t)
}

// count returns a number of messages as one that is surely not too large.
func count(n uint64) int { return int(min(n, 1<<30)) }

// late sees to a message that waited for too long: the server sends it again, to
// whoever of a group has time. Another subscription is to have it in its order.
func (s *subscription) late() {
	if !s.consumer.group {
		s.consumer.renew()
		s.detach()
	}
}

// control sees to what the server says of a request.
func (s *subscription) control(r received) {
	if r.Subject != s.reply() {
		return // of an earlier one
	}
	s.heard = r.at
	status, reason := r.Header.Get(headerStatus), r.Header.Get(headerDescription)
	switch {
	case status == statusHeartbeat:
	case status == statusNone, status == statusExpired:
		s.behind = 0
		s.answered()
	case status == statusConflict && (reason == tooManyBytes || reason == batchCompleted):
		s.answered()
	default:
		s.detach()
		s.broker.log.Debug("consumer of NATS is looked up again", slog.String("topic", s.topic),
			slog.String("status", status), slog.String("reason", reason))
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
		made, s.behind, err = s.consumer.attach(ctx)
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
		s.inbox.clear() // the consumer that sent it is no more: it is sent again
	}
	s.attached, s.lost = true, false
	return nil
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
	s.answered()
	if s.sub == nil {
		return nil
	}
	if !s.consumer.group {
		s.inbox.close()
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
	for _, r := range s.inbox.close() {
		s.refuse(r.Msg)
	}
	for _, reply := range s.flight.Take(time.Now()) {
		_ = s.broker.conn.Publish(reply, []byte(refused)) // else it goes to others when it is overdue
	}
}
