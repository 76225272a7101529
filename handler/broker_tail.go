package handler

import (
	"context"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// pumpFlight is how many messages a client's own subscription has in flight.
	pumpFlight = 32
	// parting bounds the time in which what a client has not been sent is given
	// back.
	parting = time.Second
)

// A tail is what one client receives of a topic: the shared feed; or a
// subscription of its own, in a group, or from earlier on until it has caught
// up with the feed.
type tail struct {
	hub   *hub
	feed  *feed  // nil in a group
	place uint64 // in the feed
	own   *pump  // nil once it reads the feed
	last  string // position of the latest message from own
	list  []*item
}

// tail returns what a client receives.
func (h *hub) tail(ctx context.Context, topic string, opts broker.SubscribeOptions) (*tail, error) {
	t := &tail{hub: h}
	var err error
	if opts.Group == "" {
		if t.feed, err = h.join(ctx, topic); err != nil {
			return nil, err
		}
		if opts.Start == (broker.Start{}) {
			t.place = t.feed.next()
			return t, nil
		}
		if t.catchUp(opts.Start.After) {
			return t, nil
		}
	}
	if t.own, err = h.pump(ctx, topic, opts); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// catchUp says whether the feed holds a position, and if so moves behind it:
// what comes next is the same there as after it in any subscription.
func (t *tail) catchUp(position string) bool {
	if t.feed == nil || !t.feed.ordered || position == "" {
		return false
	}
	place, ok := t.feed.after(position)
	if ok {
		t.place = place
	}
	return ok
}

// take returns what there is for the client, which is good until the next call.
// If there is nothing, it returns a channel that can be received from when
// there may be.
func (t *tail) take() ([]*item, <-chan struct{}, error) {
	if t.own != nil && t.catchUp(t.last) {
		t.own.close()
		t.own = nil
	}
	clear(t.list)
	var (
		changed <-chan struct{}
		err     error
	)
	if t.own == nil {
		t.list, changed, err = t.feed.read(t.list[:0], t.place)
		t.place += uint64(len(t.list))
		return t.list, changed, err
	}
	t.list, err = t.own.read(t.list[:0])
	if n := len(t.list); n > 0 {
		t.last = t.list[n-1].position
	}
	return t.list, t.own.changed, err
}

// close ends what the client receives.
func (t *tail) close() {
	if t.own != nil {
		for _, it := range t.list { // it was settled if it was written
			t.own.giveBack(it)
		}
		t.own.close()
	}
	if t.feed != nil {
		t.hub.leave(t.feed)
	}
}

// A pump is a subscription of one client. It waits for it.
type pump struct {
	sub     broker.Subscription
	group   bool
	items   chan *item
	changed chan struct{} // holds a value when there may be items, or their end
	err     error         // why there are no more; valid when items is closed
	seen    []string      // positions of the latest, as many as may come again
	stop    context.CancelFunc
}

func (h *hub) pump(ctx context.Context, topic string, opts broker.SubscribeOptions) (*pump, error) {
	opts.InFlight = pumpFlight
	sub, err := h.subscribe(ctx, topic, &opts)
	if err != nil {
		return nil, err
	}
	p := &pump{sub: sub, group: opts.Group != "", items: make(chan *item, pumpFlight), changed: make(chan struct{}, 1)}
	ctx, p.stop = context.WithCancel(context.Background())
	go p.run(ctx) // ends with close
	return p, nil
}

// run takes messages from the broker until it fails.
func (p *pump) run(ctx context.Context) {
	defer p.tell()
	defer close(p.items)
	for {
		d, err := receive(ctx, p.sub)
		if err != nil {
			p.err = err
			return
		}
		if p.again(d) {
			_ = d.Ack(ctx) // it comes again, and is known
			continue
		}
		it, err := newItem(d, true)
		if err != nil {
			p.err = err
			return
		}
		select {
		case p.items <- it:
			p.tell()
		case <-ctx.Done():
			p.err = ctx.Err()
			p.giveBack(it)
			return
		}
	}
}

// tell says that there may be items.
func (p *pump) tell() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// again says whether the client has had a message already, or is about to. One
// of a group may have been another's.
func (p *pump) again(d *broker.Delivery) bool {
	if p.group {
		return false
	}
	if d.Attempt > 1 || d.Position != "" && slices.Contains(p.seen, d.Position) {
		return true
	}
	if len(p.seen) == 2*pumpFlight {
		p.seen = append(p.seen[:0], p.seen[1:]...)
	}
	p.seen = append(p.seen, d.Position)
	return false
}

// read appends what there is to a list, as much as is sent at a time.
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
	}
	_ = p.sub.Close() // nothing is read from it any more
}
