package push

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// grace is how long what is on its way has to arrive when a subscription
	// ends.
	grace = 5 * time.Second
	// callTimeout bounds a call of the broker, and spare is what such calls may
	// take beside an attempt: afterwards the delivery is overdue.
	callTimeout = 10 * time.Second
	spare       = 30 * time.Second
	// tolerated is how many messages may fail in a row before the service is sent
	// fewer, and slowest bounds how long it is then sent none.
	tolerated = 8
	slowest   = 5 * time.Second
	// maxExcused bounds the messages that wait for nodes.
	maxExcused = 1 << 16
	// quiet is how long the log is silent about further messages that failed.
	quiet = time.Minute
)

// A subscription pushes the messages of one topic to one service.
type subscription struct {
	*Pusher
	key

	to   atomic.Pointer[subscriber]
	stop context.CancelFunc
	seen time.Time // when the service first asked

	failures atomic.Int64 // in a row

	mu      sync.Mutex
	excused map[string]int // attempts that do not count, by message
	buried  tally
	stuck   tally // that could not be
}

// run receives until ctx is done, and subscribes again when that fails.
func (s *subscription) run(ctx context.Context) {
	known, start := "", broker.Start{}
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		began := time.Now()
		sub, err := s.subscribe(ctx, start)
		if err != nil && s.caps.History && s.caps.LastingGroups { // the group begins where it should have begun
			start.Since = s.seen
		}
		if err == nil {
			s.back()
			err = s.receive(ctx, sub)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxWait {
			wait, known = minWait, ""
		}
		if errors.Is(err, broker.ErrUnavailable) {
			s.away(err)
		} else if text := err.Error(); text != known {
			known = text
			s.log.Warn("subscription failed and is made again", slog.String("service", s.service), slog.String("topic", s.topic), slog.Any("error", err))
		}
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// subscribe subscribes for the service. A group that the broker knows goes on
// where it was.
func (s *subscription) subscribe(ctx context.Context, start broker.Start) (broker.Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	o := &broker.SubscribeOptions{InFlight: s.opts.InFlight, AckWait: s.opts.Timeout + spare}
	if s.caps.Groups {
		o.Group, o.Start = s.service, start
	}
	return s.broker.Subscribe(ctx, s.topic, o)
}

// receive pushes what it receives until ctx is done or the subscription fails.
// Then it waits for what is on its way, and closes the subscription.
func (s *subscription) receive(ctx context.Context, sub broker.Subscription) error {
	defer sub.Close()
	var pushes errgroup.Group
	pushes.SetLimit(s.opts.InFlight)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	err := s.receiveAll(ctx, sub, func(d *broker.Delivery) {
		pushes.Go(func() error {
			s.deliver(life, d)
			return nil
		})
	})
	defer time.AfterFunc(grace, end).Stop()
	_ = pushes.Wait() // none returns any
	return err
}

// receiveAll calls push for each delivery.
func (s *subscription) receiveAll(ctx context.Context, sub broker.Subscription, push func(*broker.Delivery)) error {
	for wait := minWait; ; {
		if err := s.slowDown(ctx); err != nil {
			return err
		}
		d, err := sub.Next(ctx)
		switch {
		case err == nil:
			s.back()
			wait = minWait
			push(d)
			continue
		case !errors.Is(err, broker.ErrUnavailable):
			return err
		}
		s.away(err)
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// slowDown waits if the service fails one message after the other: a service
// that is down is to find most of its messages where they were, and not given up.
func (s *subscription) slowDown(ctx context.Context) error {
	n := s.failures.Load() - tolerated
	if n < 0 {
		return ctx.Err()
	}
	return pause(ctx, min(minWait<<min(n, 10), slowest))
}

// deliver pushes a message and settles it. When ctx is done first, it leaves it
// to be delivered again.
func (s *subscription) deliver(ctx context.Context, d *broker.Delivery) {
	to, m := s.to.Load(), identified(&d.Message)
	err := s.push(ctx, to, m)
	if ctx.Err() != nil && err != nil {
		return
	}
	v := judge(err)
	switch v.verdict {
	case again, later:
		s.failures.Add(1)
	default:
		s.failures.Store(0)
	}
	who := m.ID + " " + d.Position
	counted, excuses := s.count(who, d.Attempt, v.verdict == later)
	retry := v.verdict == later || v.verdict == again && counted < s.opts.MaxAttempts
	switch {
	case v.verdict == taken:
		s.settle(ctx, who, d.Ack)
	case retry && s.caps.Redelivery:
		delay := max(s.backoff(counted), v.after)
		if v.verdict == later {
			delay = min(s.backoff(excuses), slowest)
		}
		s.settle(ctx, "", func(ctx context.Context) error { return d.Nack(ctx, min(delay, s.opts.MaxDelay)) })
	default:
		s.giveUp(ctx, who, d, &failed{to: to, message: m, position: d.Position, reason: v.reason, attempts: counted})
	}
}

// count returns which attempt at a message this is, less those that do not
// count, of which this may be one, and how many those are.
func (s *subscription) count(who string, attempt int, excuse bool) (counted, excuses int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if excuse {
		if len(s.excused) >= maxExcused {
			clear(s.excused) // what is forgotten counts
		}
		s.excused[who]++
	}
	excuses = s.excused[who]
	return max(attempt-excuses, 1), excuses
}

// giveUp makes a message a dead letter. If that fails it is pushed again. Where the
// broker has no history, only who subscribes to the topic of dead letters has it.
func (s *subscription) giveUp(ctx context.Context, who string, d *broker.Delivery, f *failed) {
	err := s.bury(ctx, f)
	if err == nil {
		what := "message given up; it is a dead letter"
		if !s.caps.History {
			what = "message given up and lost; the broker keeps no dead letters"
		}
		s.report(&s.buried, slog.LevelWarn, what, f, slog.Int("attempts", f.attempts))
		s.settle(ctx, who, func(ctx context.Context) error { return d.Term(ctx, f.reason) })
		return
	}
	s.report(&s.stuck, slog.LevelError, "message could not be made a dead letter, and is pushed again where the broker allows that", f, slog.Any("error", err))
	delay := min(max(s.backoff(d.Attempt), slowest), s.opts.MaxDelay)
	s.settle(ctx, "", func(ctx context.Context) error { return d.Nack(ctx, delay) })
}

// settle settles a delivery. A broker that is away is asked again for a while;
// then the message comes again. Who, if not empty, is excused no more.
func (s *subscription) settle(ctx context.Context, who string, how func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if who != "" {
		s.mu.Lock()
		delete(s.excused, who)
		s.mu.Unlock()
	}
	for wait := minWait; ; wait *= 2 {
		err := how(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, broker.ErrUnavailable) || pause(ctx, wait) != nil {
			s.log.Debug("message could not be settled and comes again", slog.String("service", s.service), slog.String("topic", s.topic), slog.Any("error", err))
			return
		}
	}
}

// A tally is of what is logged once in a while.
type tally struct {
	more int       // that the log does not know of
	next time.Time // when it may be told
}

// report logs what became of a message, at most once a minute.
func (s *subscription) report(t *tally, level slog.Level, what string, f *failed, more slog.Attr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(t.next) {
		t.more++
		return
	}
	s.log.LogAttrs(context.Background(), level, what, slog.String("service", s.service), slog.String("topic", s.topic),
		slog.String("id", f.message.ID), slog.String("reason", f.reason), more, slog.Int("more", t.more))
	*t = tally{next: now.Add(quiet)}
}
