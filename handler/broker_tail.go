package handler

import (
	"context"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// maxCatchUp is how many clients catch up at a time. Further ones wait in line.
const maxCatchUp = 64

// A tail is what one client receives of a topic: the shared feed; or a
// subscription of its own, in a group, or from earlier on until it has caught
// up with the feed.
type tail struct {
	hub   *hub
	feed  *feed  // nil in a group
	place uint64 // in the feed
	own   *pump  // nil once it reads the feed
	last  string // position of the latest message from own, or before
	most  int    // messages that the client is sent still
	list  []*item
}

// tail returns what a client receives, most messages at most.
func (h *hub) tail(ctx context.Context, topic string, opts broker.SubscribeOptions, most int) (*tail, error) {
	t := &tail{hub: h, last: opts.Start.After, most: most}
	var err error
	if opts.Group == "" {
		if t.feed, err = h.join(ctx, topic); err != nil {
			return nil, err
		}
		if opts.Start == (broker.Start{}) {
			t.place = t.feed.next()
			return t, nil
		}
	}
	caughtUp, err := t.turn(ctx)
	if err == nil && !caughtUp {
		t.own, err = h.pump(ctx, topic, opts, most)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// turn waits until the client may have a subscription of its own, or the feed
// has what it would receive from that.
func (t *tail) turn(ctx context.Context) (caughtUp bool, err error) {
	late := time.NewTimer(t.hub.timeout)
	defer late.Stop()
	for {
		caughtUp, changed := t.catchUp()
		if caughtUp {
			return true, nil
		}
		select {
		case t.hub.turns <- struct{}{}:
			if caughtUp, _ := t.catchUp(); caughtUp {
				<-t.hub.turns
				return true, nil
			}
			return false, nil
		case <-changed:
		case <-late.C:
			return false, unavailable("as many clients as the gateway serves at a time receive what was published before", nil)
		case <-t.hub.done:
			return false, unavailable("the gateway is going away", errGoingAway)
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// catchUp says whether the feed knows the last position, and if so moves behind
// it: what comes next is the same there as after it in any subscription. If not,
// it returns a channel that is closed when it may.
func (t *tail) catchUp() (bool, <-chan struct{}) {
	if t.feed == nil || !t.feed.ordered || t.last == "" {
		return false, nil
	}
	place, ok, changed := t.feed.after(t.last)
	if ok {
		t.place = place
	}
	return ok, changed
}

// take returns what there is for the client, which is good until the next call.
// If there is nothing, it returns a channel that can be received from when
// there may be.
func (t *tail) take() ([]*item, <-chan struct{}, error) {
	t.forget()
	if t.most == 0 {
		return nil, nil, nil
	}
	if t.own != nil {
		if caughtUp, _ := t.catchUp(); caughtUp {
			t.own.close(nil)
			t.own = nil
		}
	}
	var (
		changed <-chan struct{}
		err     error
	)
	if t.own == nil {
		t.list, changed, err = t.feed.read(t.list, t.place)
		t.cut()
		t.place += uint64(len(t.list))
	} else {
		t.list, err = t.own.read(t.list, t.most)
		changed = t.own.changed
		for _, it := range t.list {
			t.follow(it.position)
		}
	}
	t.most -= len(t.list)
	return t.list, changed, err
}

// cut releases what the client is not sent any more.
func (t *tail) cut() {
	for n := len(t.list) - 1; n >= t.most; n-- {
		t.list[n].release()
		t.list[n] = nil
		t.list = t.list[:n]
	}
}

// enough says whether the client has received what it asked for.
func (t *tail) enough() bool { return t.most == 0 && t.due() == nil }

// due returns a channel that has a value when written is to be called again,
// though nothing was written.
func (t *tail) due() <-chan time.Time {
	if t.own == nil {
		return nil
	}
	return t.own.custody.due()
}

// written settles what was taken last and written to the client, when that is
// sure to have arrived.
func (t *tail) written(ctx context.Context) {
	if t.own != nil {
		t.own.written(ctx, t.list)
	}
}

// follow notes that a message came after the last one, for those who have only
// that one.
func (t *tail) follow(position string) {
	if position == "" {
		return
	}
	if t.feed != nil && t.feed.ordered {
		t.feed.link(t.last, position)
	}
	t.last = position
}

// forget releases what was taken.
func (t *tail) forget() {
	for _, it := range t.list {
		it.release()
	}
	clear(t.list)
	t.list = t.list[:0]
}

// close ends what the client receives.
func (t *tail) close() {
	if t.own != nil {
		t.own.close(t.list)
	}
	t.forget()
	if t.feed != nil {
		t.hub.leave(t.feed)
	}
}
