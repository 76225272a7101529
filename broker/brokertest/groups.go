package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// A tally counts deliveries by ID.
type tally struct {
	mu    sync.Mutex
	count map[string]int
	done  chan struct{} // closed when all that are wanted are there
	want  map[string]bool
}

func newTally(want ...string) *tally {
	t := &tally{count: make(map[string]int), done: make(chan struct{}), want: make(map[string]bool)}
	for _, id := range want {
		t.want[id] = true
	}
	if len(want) == 0 {
		close(t.done)
	}
	return t
}

func (t *tally) add(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count[id]++
	if t.want[id] {
		delete(t.want, id)
		if len(t.want) == 0 {
			close(t.done)
		}
	}
}

// wait waits until all is there, and fails when it is not.
func (t *tally) wait(c *check, who string) {
	c.Helper()
	select {
	case <-t.done:
	case <-c.bound().Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		missing := make([]string, 0, len(t.want))
		for id := range t.want {
			missing = append(missing, id)
		}
		slices.Sort(missing)
		c.Errorf("%s: %d messages were not delivered: %s", who, len(missing), short(fmt.Sprintf("%q", missing)))
	}
}

// twice returns an ID that was counted more than once, or "".
func (t *tally) twice() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.count {
		if n > 1 {
			return id
		}
	}
	return ""
}

// drain acknowledges what is delivered until ctx is done, and counts it.
func (s *subscription) drain(ctx context.Context, t *tally) {
	for {
		d, err := s.Next(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, broker.ErrClosed):
			return
		case errors.Is(err, broker.ErrUnavailable):
			continue
		case err != nil:
			s.c.Errorf("Next() on topic %q error = %v, want a delivery", s.topic, err)
			return
		case d.Topic != s.topic:
			s.c.Errorf("Next() on topic %q = a message of topic %q", s.topic, d.Topic)
		}
		t.add(d.ID)
		if err := d.Ack(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, broker.ErrUnavailable) {
			s.c.Errorf("Ack() error = %v, want nil", err)
		}
	}
}

func groupsShare(c *check) {
	ctx, cancel := context.WithCancel(c.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	opts := &broker.SubscribeOptions{Group: "workers", InFlight: 2}
	list := ids("m", 60)
	got := newTally(list...)
	for i := range 4 {
		b := c.b
		if i%2 == 1 {
			b = c.another
		}
		s := c.subscribeTo(b, "orders", opts)
		wg.Go(func() { s.drain(ctx, got) })
	}
	c.publish("orders", list...)
	got.wait(c, "a group of four")
	quiet := c.subscribe("quiet", nil)
	quiet.wantNone("nothing is published there", c.opts.Quiet)
	if id := got.twice(); id != "" {
		c.Errorf("message %q was delivered twice to a group", id)
	}
}

func groupsAreSeparate(c *check) {
	names := []string{
		"g", "G", "g.h", "g h", "g_h", "g/h", "g-h", `g\h`, "g*", "g>", ">", "*", ".", "ü", "u\u0308", "go.micro.srv.greeter", "%67",
		strings.Repeat("g", 199) + "1", strings.Repeat("g", 199) + "2",
	}
	var subs []*subscription
	for _, name := range names {
		for _, topic := range []string{"orders", "orders.new"} {
			subs = append(subs, c.subscribe(topic, &broker.SubscribeOptions{Group: name}))
		}
	}
	list := ids("m", 3)
	c.publish("orders", list...)
	c.publish("orders.new", list...)
	for i, s := range subs {
		s.wantNext(fmt.Sprintf("group %q", names[i/2]), list...)
	}
}

func groupsKeepTheirPlace(c *check) {
	opts := &broker.SubscribeOptions{Group: "workers"}
	s := c.subscribe("orders", opts)
	c.publish("orders", ids("m", 6)...)
	s.wantNext("a new group", ids("m", 3)...)
	s.next() // and is not settled
	s.close()
	c.publish("orders", "meanwhile")

	if c.caps.History { // a group that is known goes on where it was
		opts = &broker.SubscribeOptions{Group: "workers", Start: broker.Start{Earliest: true}}
	}
	s = c.subscribeTo(c.another, "orders", opts)
	s.wantAny("a group that comes back", "m003", "m004", "m005", "meanwhile")
	s.wantNone("all was acknowledged", c.opts.Quiet)
	s.close()
	s = c.subscribe("orders", opts)
	s.wantNone("a group that comes back to nothing", c.opts.Quiet)
}

// groupsTakeOver has a member of a group leave, and another fall silent.
func groupsTakeOver(c *check) {
	opts := &broker.SubscribeOptions{Group: "workers", AckWait: c.opts.MinAckWait, InFlight: 4}
	leaves := c.subscribe("orders", opts)
	c.publish("orders", ids("m", 6)...)
	for range 3 {
		leaves.next()
	}
	leaves.close()
	silent := c.subscribe("orders", opts)
	first := silent.next()
	stays := c.subscribeTo(c.another, "orders", opts)
	ctx, cancel := context.WithCancel(c.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	got := newTally(ids("m", 6)...)
	wg.Go(func() { stays.drain(ctx, got) })
	got.wait(c, "the rest of a group, with what others had in flight")
	if err := first.Ack(c.bound()); err != nil {
		c.Errorf("Ack() of what is overdue error = %v, want nil", err)
	}
}

// concurrentUse is of most use with the race detector.
func concurrentUse(c *check) {
	topics := []string{"orders", "orders.new"}
	list := ids("m", 100)
	ctx, cancel := context.WithCancel(c.Context())
	var receivers, publishers sync.WaitGroup
	defer receivers.Wait()
	defer cancel()
	tallies := make(map[string]*tally)
	for i, topic := range topics {
		for j := range 3 {
			who := fmt.Sprintf("subscription %d of topic %s", j, topic)
			s := c.subscribe(topic, &broker.SubscribeOptions{InFlight: 1 + 10*j})
			got := newTally(list...)
			tallies[who] = got
			receivers.Go(func() { s.drain(ctx, got) })
		}
		if c.caps.Groups {
			who := fmt.Sprintf("a group of topic %s", topic)
			got := newTally(list...)
			tallies[who] = got
			for range 3 {
				s := c.subscribeTo(c.another, topic, &broker.SubscribeOptions{Group: "workers", InFlight: 5})
				receivers.Go(func() { s.drain(ctx, got) })
			}
		}
		for part := range 4 {
			publishers.Go(func() {
				for _, id := range list[25*part : 25*(part+1)] {
					if err := c.b.Publish(ctx, topics[i], message(id)); err != nil {
						c.Errorf("Publish() error = %v, want nil", err)
					}
				}
			})
		}
	}
	publishers.Wait()
	for who, t := range tallies {
		t.wait(c, who)
		if id := t.twice(); id != "" {
			c.Errorf("%s: message %q was delivered twice", who, id)
		}
	}
}

// pause lets time go by.
func (c *check) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.Context().Done():
	}
}
