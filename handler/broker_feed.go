package handler

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// crowdCost is how much longer the messages of a topic are gathered for
	// each client, until all of them are woken: about what a write takes. One
	// client gets each message at once; thousands are not woken for each.
	crowdCost = 25 * time.Microsecond
	// maxGather is the longest that messages are gathered.
	maxGather = 50 * time.Millisecond
	// feedFlight is how many messages a shared subscription has in flight.
	feedFlight = 512
	// contactWait is how long a subscription that has lost contact is left
	// alone, should it say so again and again.
	contactWait = 100 * time.Millisecond
)

// A hub has a feed for each topic that somebody receives.
type hub struct {
	broker  broker.Broker
	queue   int             // items that a feed holds
	timeout time.Duration   // of subscribing
	held    *budget         // for all items
	turns   chan struct{}   // holds a value for each client that catches up
	done    <-chan struct{} // closed when nobody waits for a turn any more; may be nil

	mu    sync.Mutex
	feeds map[string]*feed
}

func newHub(b broker.Broker, o BrokerOptions) *hub {
	return &hub{
		broker: b, queue: o.Queue, timeout: o.Timeout, done: o.Done,
		held: newBudget(o.MaxHeld), turns: make(chan struct{}, maxCatchUp),
	}
}

// hold makes the caller the user of a new item, if there is room for it. The
// largest rings make room, which cuts off the slowest of their clients.
func (h *hub) hold(it *item) bool {
	it.budget = h.held
	for !h.held.take(it.size()) {
		if !h.relieve() {
			return false
		}
	}
	it.use()
	return true
}

// relieve drops half of what the largest ring holds, and says whether that was
// anything.
func (h *hub) relieve() bool {
	h.mu.Lock()
	var (
		largest *feed
		most    int64
	)
	for _, f := range h.feeds {
		if size := f.size(); size > most {
			largest, most = f, size
		}
	}
	h.mu.Unlock()
	if largest == nil {
		return false
	}
	largest.shrink()
	largest.wake() // those who have lost their place
	return true
}

// A feed is one subscription from now on, shared by all clients of a topic. It
// never waits for them.
type feed struct {
	ring

	topic   string
	ordered bool // all subscriptions see the same order
	clients atomic.Int64
	stop    context.CancelFunc
	ready   chan struct{} // closed when it is subscribed, or failed
	failed  error         // valid then
	done    chan struct{} // closed when it has ended
}

// join returns the feed of a topic. What is published from then on is in it.
func (h *hub) join(ctx context.Context, topic string) (*feed, error) {
	f := h.get(topic)
	select {
	case <-f.ready:
	case <-ctx.Done():
		h.leave(f)
		return nil, ctx.Err()
	}
	if f.failed != nil {
		h.leave(f)
		return nil, f.failed
	}
	return f, nil
}

// get returns the feed of a topic, a new one if there is none.
func (h *hub) get(topic string) *feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[topic]
	if f == nil {
		f = &feed{ring: ring{limit: h.queue}, topic: topic, ordered: h.broker.Capabilities().Ordered, ready: make(chan struct{}), done: make(chan struct{})}
		var ctx context.Context
		ctx, f.stop = context.WithCancel(context.Background())
		if h.feeds == nil {
			h.feeds = make(map[string]*feed)
		}
		h.feeds[topic] = f
		go h.run(ctx, f) // ends when the last client leaves
	}
	f.clients.Add(1)
	return f
}

// leave is called by each client that has joined, or tried. The last one ends
// the feed.
func (h *hub) leave(f *feed) {
	h.mu.Lock()
	last := f.clients.Add(-1) == 0
	if last {
		h.drop(f)
	}
	h.mu.Unlock()
	if last {
		f.stop()
		<-f.done
		f.clear()
	}
}

// drop takes a feed away: who comes next starts another. The caller holds h.mu.
func (h *hub) drop(f *feed) {
	if h.feeds[f.topic] == f {
		delete(h.feeds, f.topic)
	}
}

// run fills a feed until its context is done, or the broker ends.
func (h *hub) run(ctx context.Context, f *feed) {
	defer close(f.done)
	sub, err := h.subscribe(ctx, f.topic, &broker.SubscribeOptions{InFlight: feedFlight})
	if err == nil {
		close(f.ready)
		err = h.fill(ctx, f, sub)
		_ = sub.Close() // it has ended
	}
	h.mu.Lock()
	h.drop(f)
	h.mu.Unlock()
	select {
	case <-f.ready:
		f.end(err)
	default:
		f.failed = err
		close(f.ready)
	}
}

// fill takes messages into the ring of a feed until it fails.
func (h *hub) fill(ctx context.Context, f *feed, sub broker.Subscription) error {
	pace := pacer{wake: f.wake}
	defer pace.stop()
	seen := newRecent(2 * feedFlight)
	for {
		d, err := receive(ctx, sub)
		if err != nil {
			return err
		}
		if !seen.knows(d) {
			it, err := newItem(d, false)
			if err != nil {
				return err
			}
			if h.hold(it) {
				f.add(it)
			} else {
				f.lose(it.position)
			}
			pace.tell(min(time.Duration(f.clients.Load())*crowdCost, maxGather))
		}
		_ = d.Ack(ctx) // it comes again, and is known
	}
}

// subscribe subscribes to a topic, within the time that a call has.
func (h *hub) subscribe(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	sub, err := h.broker.Subscribe(ctx, topic, opts)
	return sub, brokerError(err)
}

// receive returns the next delivery, over losses of contact.
func receive(ctx context.Context, sub broker.Subscription) (*broker.Delivery, error) {
	for {
		d, err := sub.Next(ctx)
		if !errors.Is(err, broker.ErrUnavailable) {
			return d, brokerError(err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(contactWait):
		}
	}
}

// A pacer wakes the clients of a feed: at once, but not again before a while
// has passed.
type pacer struct {
	wake func()

	mu    sync.Mutex
	last  time.Time
	timer *time.Timer // runs if they are to be woken; else nil
}

// tell says that there is something; clients are woken within gap.
func (p *pacer) tell(gap time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		return
	}
	now := time.Now()
	if wait := gap - now.Sub(p.last); wait > 0 {
		p.timer = time.AfterFunc(wait, p.fire)
		return
	}
	p.last = now
	p.wake()
}

func (p *pacer) fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer, p.last = nil, time.Now()
	p.wake()
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}
