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
	// pumpQuiet is how long nothing comes to a client that has caught up.
	pumpQuiet = 200 * time.Millisecond
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
	bytes   atomic.Int64  // of items
	changed chan struct{} // holds a value when there may be items, or their end
	taken   chan struct{} // holds a value when there may be room
	err     error         // why there are no more; valid when items is closed
	seen    recent
	yield   func() // lets another client catch up; may be called again
	stop    context.CancelFunc
}

// pump returns a subscription for a client whose turn it is. It is its turn
// until it has caught up; but one of a group, or without an order, never does.
func (h *hub) pump(ctx context.Context, topic string, opts broker.SubscribeOptions) (*pump, error) {
	yield := sync.OnceFunc(func() { <-h.turns })
	opts.InFlight = pumpFlight
	sub, err := h.subscribe(ctx, topic, &opts)
	if err != nil || opts.Group != "" || !h.broker.Capabilities().Ordered {
		yield()
	}
	if err != nil {
		return nil, err
	}
	p := &pump{
		hub: h, sub: sub, group: opts.Group != "", yield: yield, seen: newRecent(4 * pumpFlight),
		items: make(chan *item, pumpFlight), changed: make(chan struct{}, 1), taken: make(chan struct{}, 1),
	}
	ctx, p.stop = context.WithCancel(context.Background())
	go p.run(ctx) // ends with close
	return p, nil
}

// run takes messages from the broker until it fails.
func (p *pump) run(ctx context.Context) {
	defer p.yield()
	defer tell(p.changed)
	defer close(p.items)
	quiet := time.AfterFunc(pumpQuiet, p.yield)
	defer quiet.Stop()
	for p.err == nil {
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
	it, err := newItem(d, true)
	if err != nil {
		return err
	}
	if !p.hub.hold(it) {
		p.giveBack(it)
		return unavailable("the gateway holds as many messages as it takes", nil)
	}
	for n := p.bytes.Load(); n > 0 && n+it.size() > pumpBytes; n = p.bytes.Load() {
		select {
		case <-p.taken:
		case <-ctx.Done():
			p.giveBack(it)
			it.release()
			return ctx.Err()
		}
	}
	p.bytes.Add(it.size())
	select {
	case p.items <- it:
		tell(p.changed)
		return nil
	case <-ctx.Done():
		p.giveBack(it)
		it.release()
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

// read appends what there is to a list, as much as is sent at a time; the caller
// is its user.
func (p *pump) read(list []*item) ([]*item, error) {
	for size := 0; size < maxBatch; {
		select {
		case it, ok := <-p.items:
			if !ok && len(list) == 0 {
				return nil, p.err
			}
			if !ok {
				return list, nil
			}
			p.bytes.Add(-it.size())
			tell(p.taken)
			list = append(list, it)
			size += len(it.event)
		default:
			return list, nil
		}
	}
	return list, nil
}

// giveBack lets others of a group have what the client does not get.
func (p *pump) giveBack(it *item) {
	if !p.group || it == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), parting)
	defer cancel()
	_ = it.delivery.Nack(ctx, 0) // they get it when it is overdue
}

// close ends the subscription.
func (p *pump) close() {
	p.stop()
	for it := range p.items { // until run has returned
		p.giveBack(it)
		it.release()
	}
	_ = p.sub.Close() // nothing is read from it any more
}
