package handler

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// pumpFlight is how many messages a client's own subscription has in flight,
	// and pumpBytes how much of them waits for the client, beside the latest.
	pumpFlight = 16
	pumpBytes  = 256 << 10
	// groupFlight and groupBytes are the same of a client in a group, with what
	// may not have arrived: as much as it gets within stay.
	groupFlight = 128
	groupBytes  = 1 << 20
	// pumpQuiet is how long nothing comes to a client that has caught up.
	pumpQuiet = 200 * time.Millisecond
	// pumpSlow is how long the broker has waited, all in all, for a client whose
	// turn is over, be it that it has not caught up.
	pumpSlow = time.Second
	// parting bounds the time in which what a client has not been sent is given
	// back.
	parting = time.Second
)

// A pump is a subscription of one client. It waits for it.
type pump struct {
	hub     *hub
	sub     broker.Subscription
	group   bool
	items   chan *item
	most    int           // messages that it takes still
	room    int64         // for bytes
	bytes   atomic.Int64  // of items, and of custody
	custody custody       // used by the client alone
	changed chan struct{} // holds a value when there may be items, or their end
	taken   chan struct{} // holds a value when there may be room
	err     error         // why there are no more; valid when items is closed
	seen    recent
	yield   func()        // lets another client catch up; may be called again
	waited  time.Duration // for the client
	stop    context.CancelFunc
}

// pump returns a subscription for a client whose turn it is, and who is sent most
// messages at most. It is its turn until it has caught up; but one of a group, or
// without an order, never does.
func (h *hub) pump(ctx context.Context, topic string, opts broker.SubscribeOptions, most int) (*pump, error) {
	yield := sync.OnceFunc(func() { <-h.turns })
	flight, room := pumpFlight, int64(pumpBytes)
	if opts.Group != "" {
		flight, room = groupFlight, groupBytes
	}
	opts.InFlight = min(flight, most)
	sub, err := h.subscribe(ctx, topic, &opts)
	if err != nil || opts.Group != "" || !h.broker.Capabilities().Ordered {
		yield()
	}
	if err != nil {
		return nil, err
	}
	p := &pump{
		hub: h, sub: sub, group: opts.Group != "", yield: yield, seen: newRecent(4 * pumpFlight), room: room, most: most,
		items: make(chan *item, pumpFlight), changed: make(chan struct{}, 1), taken: make(chan struct{}, 1),
	}
	ctx, p.stop = context.WithCancel(context.Background())
	go p.run(ctx) // ends with close
	return p, nil
}

// run takes messages from the broker until it fails.
func (p *pump) run(ctx context.Context) {
	defer tell(p.changed)
	defer close(p.items)
	defer p.yield() // first: who closes the pump waits for the items
	quiet := time.AfterFunc(pumpQuiet, p.yield)
	defer quiet.Stop()
	for p.err == nil {
		if p.most == 0 { // others are to have the rest
			<-ctx.Done()
			p.err = ctx.Err()
			return
		}
		d, err := receive(ctx, p.sub)
		if err != nil {
			p.err = err
			return
		}
		quiet.Stop()
		p.err = p.pass(ctx, d)
		quiet.Reset(pumpQuiet)
	}
}

// pass hands a message to the client, and waits until there is room for it. One
// of a group may have been another's: it is passed on, though it comes again.
func (p *pump) pass(ctx context.Context, d *broker.Delivery) error {
	if !p.group && p.seen.knows(d) {
		_ = d.Ack(ctx) // it comes again, and is known
		return nil
	}
	if p.group {
		d.Position = "" // an EventSource would bring it back, and a group keeps its own place
	}
	it, err := newItem(d, true)
	if err != nil {
		return err
	}
	if !p.hub.hold(it) {
		p.part(it)
		return unavailable("the gateway holds as many messages as it takes", nil)
	}
	began, slow := time.Now(), time.AfterFunc(pumpSlow-p.waited, p.yield)
	err = p.hand(ctx, it)
	slow.Stop()
	p.waited = min(p.waited+time.Since(began), pumpSlow)
	if err != nil {
		p.part(it)
		it.release()
	}
	return err
}

// part gives back an item that the client does not get.
func (p *pump) part(it *item) {
	ctx, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	p.giveBack(ctx, it)
}

// hand waits until there is room for an item.
func (p *pump) hand(ctx context.Context, it *item) error {
	for n := p.bytes.Load(); n > 0 && n+it.size() > p.room; n = p.bytes.Load() {
		select {
		case <-p.taken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.bytes.Add(it.size())
	select {
	case p.items <- it:
		p.most--
		tell(p.changed)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell puts a value into a channel of one, unless there is one.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read appends what there is to a list, as much as is sent at a time and most at
// most; the caller is its user.
func (p *pump) read(list []*item, most int) ([]*item, error) {
	for size := 0; size < maxBatch && len(list) < most; {
		select {
		case it, ok := <-p.items:
			if !ok && len(list) == 0 {
				return nil, p.err
			}
			if !ok {
				return list, nil
			}
			if !p.group {
				p.free(it)
			}
			list = append(list, it)
			size += len(it.event)
		default:
			return list, nil
		}
	}
	return list, nil
}

// written sees to items that were written to the client. One of a group has
// received them when it has stayed for a while.
func (p *pump) written(ctx context.Context, items []*item) {
	for _, it := range items {
		if p.group {
			p.custody.add(it)
			continue
		}
		_ = it.delivery.Ack(ctx) // it comes again, and is known
	}
	p.custody.settle(ctx, p.free)
}

// free makes room for others than an item.
func (p *pump) free(it *item) {
	p.bytes.Add(-it.size())
	tell(p.taken)
}

// giveBack lets others of a group have what the client does not get, or may not
// have got.
func (p *pump) giveBack(ctx context.Context, it *item) {
	if p.group {
		_ = it.delivery.Nack(ctx, 0) // they get it when it is overdue
	}
}

// close ends the subscription. The rest was read, and may have been written.
func (p *pump) close(rest []*item) {
	p.stop()
	ctx, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	p.custody.end(func(it *item) { p.giveBack(ctx, it) })
	for _, it := range rest {
		p.giveBack(ctx, it)
	}
	for it := range p.items { // until run has returned
		p.giveBack(ctx, it)
		it.release()
	}
	_ = p.sub.Close() // nothing is read from it any more
}
