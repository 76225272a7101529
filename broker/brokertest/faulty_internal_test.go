package brokertest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// try tests one promise on a broker with a fault, in a bubble, and returns how
// it failed.
func try(t *testing.T, p promise, install func(f *faulty)) []string {
	t.Helper()
	var r *recorder
	synctest.Test(t, func(t *testing.T) {
		r = &recorder{TB: t}
		f := newFaulty()
		install(f)
		all := []*faulty{f}
		open := func(testing.TB) broker.Broker {
			other := newFaulty()
			all = append(all, other)
			return other
		}
		opts := (&Options{FakeClock: true, History: history, Stop: stop, Cut: cut}).orDefault()
		c := newCheck(r, f, open, opts)
		if p.needs != nil && !p.needs(c) {
			t.Fatalf("%s is not asked for", p.name)
		}
		done := make(chan struct{})
		go func() {
			defer close(done) // also when Fatalf ends the goroutine
			p.keep(c)
		}()
		select {
		case <-done:
		case <-time.After(time.Hour):
			r.Errorf("it hangs")
		}
		r.cleanup()
		for _, f := range all {
			f.closeAll()
		}
		<-done
	})
	return r.failures
}

// history is how many messages a faulty keeps.
const history = 700

// faulty is a Memory behind a system that can be stopped. Some of what it does
// is replaced.
type faulty struct {
	publish   func(ctx context.Context, topic string, m *broker.Message) error
	subscribe func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error)
	last      func(ctx context.Context, topic string) (string, error)
	next      func(ctx context.Context, s *faultySubscription) (*broker.Delivery, error)
	close     func(s *faultySubscription) error
	receive   func(d *broker.Delivery)              // changes what is delivered
	settler   func(s broker.Settler) broker.Settler // changes how it is settled
	restart   func()                                // happens when the system starts again
	trusts    func(s *faultySubscription) bool      // takes what was sent for received when a connection is cut
	acks      bool                                  // what is so taken

	mu     sync.Mutex
	memory *broker.Memory
	cut    chan struct{} // closed when contact is lost
	back   chan struct{} // closed when it is back; nil while it is not lost
	mute   bool          // nothing arrives
	subs   []*faultySubscription
	counts map[string]int
}

func newFaulty() *faulty {
	return &faulty{
		memory: &broker.Memory{MaxMessages: history, MaxMessage: 1 << 17},
		cut:    make(chan struct{}),
		counts: make(map[string]int),
	}
}

// count counts calls by name, from 1.
func (f *faulty) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[name]++
	return f.counts[name]
}

// state returns the memory, how contact is lost, and if it is, how it comes
// back.
func (f *faulty) state() (m *broker.Memory, cut, back chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memory, f.cut, f.back
}

// stop is Options.Stop for a faulty.
func stop(_ testing.TB, b broker.Broker) (start func()) {
	f := b.(*faulty)
	f.mu.Lock()
	defer f.mu.Unlock()
	back := make(chan struct{})
	f.back = back
	close(f.cut)
	return func() {
		f.mu.Lock()
		f.cut, f.back = make(chan struct{}), nil
		f.mu.Unlock()
		if f.restart != nil {
			f.restart()
		}
		close(back)
	}
}

// cut is Options.Cut for a faulty.
func cut(_ testing.TB, b broker.Broker) (end func()) {
	f := b.(*faulty)
	f.mu.Lock()
	f.mute = true
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, s := range f.subs {
			if f.trusts == nil || !f.trusts(s) {
				s.rejoin()
			}
		}
		close(f.cut)
		f.cut, f.mute = make(chan struct{}), false
	}
}

func (f *faulty) muted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mute
}

func (f *faulty) Capabilities() broker.Capabilities {
	c := f.memory.Capabilities()
	c.Persistent = true
	return c
}

func (f *faulty) Publish(ctx context.Context, topic string, m *broker.Message) error {
	if f.publish != nil {
		return f.publish(ctx, topic, m)
	}
	return f.keep(ctx, topic, m)
}

// keep is Publish without a fault.
func (f *faulty) keep(ctx context.Context, topic string, m *broker.Message) error {
	memory, _, back := f.state()
	if back != nil {
		if err := errors.Join(broker.CheckTopic(topic), ctx.Err()); err != nil {
			return err
		}
		return broker.ErrUnavailable
	}
	return memory.Publish(ctx, topic, m)
}

func (f *faulty) Last(ctx context.Context, topic string) (string, error) {
	if f.last != nil {
		return f.last(ctx, topic)
	}
	return f.end(ctx, topic)
}

// end is Last without a fault.
func (f *faulty) end(ctx context.Context, topic string) (string, error) {
	memory, _, back := f.state()
	if back != nil {
		return "", broker.ErrUnavailable
	}
	return memory.Last(ctx, topic)
}

func (f *faulty) Subscribe(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
	if f.subscribe != nil {
		return f.subscribe(ctx, topic, o)
	}
	return f.open(ctx, topic, o)
}

// open is Subscribe without a fault.
func (f *faulty) open(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
	memory, _, back := f.state()
	if back != nil {
		return nil, broker.ErrUnavailable
	}
	s, err := memory.Subscribe(ctx, topic, o)
	if err != nil {
		return nil, err
	}
	w := &faultySubscription{faulty: f, topic: topic, inner: s, closed: make(chan struct{})}
	if o != nil {
		w.opts = *o
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = append(f.subs, w)
	return w, nil
}

// resubscribe begins all subscriptions anew.
func (f *faulty) resubscribe(o *broker.SubscribeOptions) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		_ = s.inner.Close()
		s.inner, _ = f.memory.Subscribe(context.Background(), s.topic, o)
	}
}

// closeAll ends what a fault left open.
func (f *faulty) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		_ = s.inner.Close()
	}
}

type faultySubscription struct {
	faulty *faulty
	topic  string
	opts   broker.SubscribeOptions
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	inner broker.Subscription
	last  string // position of what was received last
	told  bool   // that contact is lost
	calls int
	held  []*broker.Delivery // by the memory
}

func (s *faultySubscription) Next(ctx context.Context) (*broker.Delivery, error) {
	s.calls++
	next := s.follow
	if s.faulty.next != nil {
		next = func(ctx context.Context) (*broker.Delivery, error) { return s.faulty.next(ctx, s) }
	}
	d, err := next(ctx)
	if err != nil {
		return nil, err
	}
	if s.faulty.receive != nil {
		s.faulty.receive(d)
	}
	var t broker.Settler = &link{faulty: s.faulty, delivery: d}
	if s.faulty.settler != nil {
		t = s.faulty.settler(t)
	}
	return broker.NewDelivery(d.Message, d.Position, d.Attempt, t), nil
}

// follow is Next without a fault.
func (s *faultySubscription) follow(ctx context.Context) (*broker.Delivery, error) {
	for {
		_, cut, back := s.faulty.state()
		switch {
		case back != nil && !s.told:
			s.told = true
			return nil, broker.ErrUnavailable
		case back != nil:
			select {
			case <-back:
			case <-s.closed:
				return nil, broker.ErrClosed
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		}
		s.told = false
		d, err := s.nextUntil(ctx, cut)
		if err == nil || !errors.Is(err, errCut) {
			return d, err
		}
	}
}

var errCut = errors.New("contact is lost")

// nextUntil is Next of the memory until contact is lost.
func (s *faultySubscription) nextUntil(ctx context.Context, cut <-chan struct{}) (*broker.Delivery, error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with inner
		select {
		case <-cut:
			cancel(errCut)
		case <-inner.Done():
		}
	}()
	s.mu.Lock()
	memory := s.inner
	s.mu.Unlock()
	d, err := memory.Next(inner)
	if err != nil && ctx.Err() == nil && (errors.Is(context.Cause(inner), errCut) || s.replaced(memory)) {
		return nil, errCut
	}
	switch {
	case err == nil && s.faulty.muted():
		if s.faulty.acks && s.faulty.trusts(s) {
			_ = d.Ack(ctx)
		}
		return nil, errCut // as far as the receiver knows, nothing came
	case err == nil:
		s.mu.Lock()
		s.last = d.Position
		s.mu.Unlock()
		s.held = append(s.held, d)
	}
	return d, err
}

// replaced says whether the memory's part is another by now.
func (s *faultySubscription) replaced(memory broker.Subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner != memory
}

// rejoin begins anew where the receiver was.
func (s *faultySubscription) rejoin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.opts
	if o.Group == "" && s.last != "" {
		o.Start = broker.Start{After: s.last}
	}
	_ = s.inner.Close()
	s.inner, _ = s.faulty.memory.Subscribe(context.Background(), s.topic, &o)
}

func (s *faultySubscription) Close() error {
	if s.faulty.close != nil {
		return s.faulty.close(s)
	}
	return s.end()
}

// end is Close without a fault.
func (s *faultySubscription) end() error {
	s.once.Do(func() { close(s.closed) })
	return s.inner.Close()
}

// A link settles a delivery of the memory while there is contact.
type link struct {
	faulty   *faulty
	delivery *broker.Delivery
}

func (l *link) lost() error {
	if _, _, back := l.faulty.state(); back != nil {
		return broker.ErrUnavailable
	}
	return nil
}

func (l *link) Ack(ctx context.Context) error {
	if err := l.lost(); err != nil {
		return err
	}
	return l.delivery.Ack(ctx)
}

func (l *link) Nack(ctx context.Context, delay time.Duration) error {
	if err := l.lost(); err != nil {
		return err
	}
	return l.delivery.Nack(ctx, delay)
}

func (l *link) Term(ctx context.Context, reason string) error {
	if err := l.lost(); err != nil {
		return err
	}
	return l.delivery.Term(ctx, reason)
}

// settler replaces ways to settle.
type settler struct {
	broker.Settler

	ack  func(context.Context) error
	nack func(context.Context, time.Duration) error
	term func(context.Context, string) error
}

func (s *settler) Ack(ctx context.Context) error {
	if s.ack != nil {
		return s.ack(ctx)
	}
	return s.Settler.Ack(ctx)
}

func (s *settler) Nack(ctx context.Context, delay time.Duration) error {
	if s.nack != nil {
		return s.nack(ctx, delay)
	}
	return s.Settler.Nack(ctx, delay)
}

func (s *settler) Term(ctx context.Context, reason string) error {
	if s.term != nil {
		return s.term(ctx, reason)
	}
	return s.Settler.Term(ctx, reason)
}
