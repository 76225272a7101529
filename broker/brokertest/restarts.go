package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/goapi-dev/goapi/broker"
)

// stop takes the system away. It is started again when the test ends, at last.
func (c *check) stop() (start func()) {
	start = sync.OnceFunc(c.opts.Stop(c.TB, c.b))
	c.Cleanup(start)
	return start
}

// publishAgain publishes when the broker is back.
func (c *check) publishAgain(topic string, ids ...string) {
	c.Helper()
	for _, id := range ids {
		if err := c.publishUntilTaken(topic, id); err != nil {
			c.Fatalf("Publish(%q) after contact was lost: error = %v, want nil", id, err)
		}
	}
}

// resume returns the next delivery of a subscription, which may have to tell of
// a loss of contact first.
func (s *subscription) resume() *broker.Delivery {
	s.c.Helper()
	d, err := s.Next(s.c.bound())
	if errors.Is(err, broker.ErrUnavailable) {
		d, err = s.Next(s.c.bound())
	}
	if err != nil {
		s.c.Fatalf("Next() after contact was lost: error = %v, want a delivery", err)
	}
	return d
}

// wantResumed reads on until all the given IDs were delivered; some of those
// may be that were delivered before.
func (s *subscription) wantResumed(why string, ids ...string) {
	s.c.Helper()
	missing := make(map[string]bool)
	for _, id := range ids {
		missing[id] = true
	}
	for len(missing) > 0 {
		d := s.resume()
		delete(missing, d.ID)
		if err := d.Ack(s.c.bound()); err != nil && !errors.Is(err, broker.ErrUnavailable) {
			s.c.Fatalf("%s: Ack() error = %v, want nil", why, err)
		}
	}
}

func publishWithoutContactIsErrUnavailable(c *check) {
	s := c.subscribe("orders", nil)
	start := c.stop()
	for range 2 {
		if err := c.b.Publish(c.bound(), "orders", message("lost")); !errors.Is(err, broker.ErrUnavailable) {
			c.Errorf("Publish() without contact error = %v, want ErrUnavailable", err)
		}
	}
	if got, err := c.b.Subscribe(c.bound(), "orders", nil); !errors.Is(err, broker.ErrUnavailable) {
		c.Errorf("Subscribe() without contact = %v, %v, want ErrUnavailable", got, err)
	}
	if _, err := c.b.Last(c.bound(), "orders"); c.caps.History && !errors.Is(err, broker.ErrUnavailable) {
		c.Errorf("Last() without contact error = %v, want ErrUnavailable", err)
	}
	if err := c.b.Publish(c.bound(), "a.*", message("lost")); !errors.Is(err, broker.ErrTopic) {
		c.Errorf("Publish() on a bad topic without contact error = %v, want ErrTopic", err)
	}
	start()
	c.publishAgain("orders", "back")
	if c.caps.History {
		s.wantResumed("contact is back", "back")
	}
}

func nextTellsOfLossOnce(c *check) {
	c.each(broker.SubscribeOptions{}, func(s *subscription) {
		c.publishAgain(s.topic, "1")
		if d := s.resume(); d.Ack(c.bound()) != nil || d.ID != "1" {
			c.Fatalf("Next() = %s, want 1, to be acknowledged", text(&d.Message))
		}
		seen := map[string]bool{"1": true}
		for _, id := range []string{"2", "3"} {
			start := c.stop()
			s.wantLoss(c.bound(), seen, broker.ErrUnavailable)
			s.wantLoss(c.within(4*c.opts.Quiet), seen, context.DeadlineExceeded)
			start()
			s.goOn(id, seen)
		}
	})
}

// cutLosesNothing ends a connection with messages on their way. The system took
// them for delivered.
func cutLosesNothing(c *check) {
	other := *c
	other.b = c.another
	c.each(broker.SubscribeOptions{AckWait: 4 * c.opts.MinAckWait}, func(s *subscription) {
		if !s.lasts() {
			return
		}
		other.publish(s.topic, "1")
		if d := s.resume(); d.Ack(c.bound()) != nil || d.ID != "1" {
			c.Fatalf("Next() = %s, want 1, to be acknowledged", text(&d.Message))
		}
		want := []string{"2", "3", "4", "5"}
		end := sync.OnceFunc(c.opts.Cut(c.TB, c.b))
		c.Cleanup(end)
		other.publish(s.topic, want[:3]...)
		s.wantLoss(c.within(c.opts.Quiet), map[string]bool{"1": true}, context.DeadlineExceeded)
		end()
		other.publish(s.topic, want[3:]...)
		came := map[string]bool{"1": true}
		for len(want) > 0 {
			d := s.resume()
			if first := !came[d.ID]; first && !s.group && c.caps.Ordered && d.ID != want[0] {
				c.Fatalf("Next() after a cut = %s, want ID %s: it was on its way", text(&d.Message), want[0])
			}
			came[d.ID] = true
			want = slices.DeleteFunc(want, func(id string) bool { return id == d.ID })
			if err := d.Ack(c.bound()); err != nil && !errors.Is(err, broker.ErrUnavailable) {
				c.Fatalf("Ack() error = %v, want nil", err)
			}
		}
	})
}

// lasts says whether the subscription misses nothing when contact is lost.
func (s *subscription) lasts() bool {
	if s.group {
		return s.c.caps.LastingGroups
	}
	return s.c.caps.History
}

// wantLoss reads what may be on its way, and then an error.
func (s *subscription) wantLoss(ctx context.Context, seen map[string]bool, want error) {
	s.c.Helper()
	d, err := s.Next(ctx)
	for err == nil && (seen[d.ID] || !s.lasts()) {
		d, err = s.Next(ctx)
	}
	if !errors.Is(err, want) {
		s.c.Fatalf("Next() without contact = %v, %v, want %v", d, err, want)
	}
}

// goOn publishes until the subscription receives it: it may be back later than
// the publisher, and miss something where there is no history. What was seen
// may come again.
func (s *subscription) goOn(id string, seen map[string]bool) {
	s.c.Helper()
	ctx, cancel := context.WithCancel(s.c.bound())
	published := make(chan struct{})
	defer func() {
		cancel()
		<-published
	}()
	go func() { // ends with ctx
		defer close(published)
		for n := 0; ctx.Err() == nil && (n == 0 || !s.lasts()); n++ {
			if err := s.c.publishUntilTaken(s.topic, fmt.Sprintf("%s.%d", id, n)); err != nil {
				s.c.Errorf("Publish() error = %v, want nil", err)
			}
			s.c.pause(s.c.opts.Quiet)
		}
	}()
	d := s.take()
	for seen[d.ID] {
		d = s.take()
	}
	seen[d.ID] = true
	if s.lasts() && d.ID != id+".0" {
		s.c.Fatalf("Next() with contact back = %s, want ID %s.0", text(&d.Message), id)
	}
}

// subscriptionsResume restarts the system while nobody looks.
func subscriptionsResume(c *check) {
	c.each(broker.SubscribeOptions{InFlight: 4, AckWait: 4 * c.opts.MinAckWait}, func(s *subscription) {
		if !s.lasts() {
			return
		}
		c.publishAgain(s.topic, ids("before", 6)...)
		held := s.resume()
		c.stop()()
		c.publishAgain(s.topic, ids("after", 6)...)
		s.wantResumed("after a restart", append(ids("before", 6)[1:], ids("after", 6)...)...)
		if err := held.Ack(c.bound()); err != nil {
			c.Errorf("Ack() of what was delivered before error = %v, want nil", err)
		}
	})
}

func restartKeepsMessages(c *check) {
	var s *subscription
	if c.caps.LastingGroups {
		s = c.subscribe("orders", &broker.SubscribeOptions{Group: "workers", AckWait: 4 * c.opts.MinAckWait})
	}
	list := ids("m", 30)
	for _, id := range list {
		m := message(id)
		m.Header[id] = id
		c.publishMessage("orders", m)
	}
	c.stop()()
	c.publishAgain("orders", "back")
	if s != nil {
		s.wantResumed("what was published before a restart", append(list, "back")...)
	}
	if !c.caps.History {
		return
	}
	all := c.subscribe("orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	for _, id := range list {
		if d := all.take(); d.ID != id || string(d.Body) != id || d.Header[id] != id {
			c.Fatalf("a message after a restart = %s, want ID %q", text(&d.Message), id)
		}
	}
}

func restartKeepsGroups(c *check) {
	opts := &broker.SubscribeOptions{Group: "workers", AckWait: 4 * c.opts.MinAckWait}
	s := c.subscribe("orders", opts)
	c.publish("orders", ids("m", 10)...)
	s.wantNext("a group", ids("m", 5)...)
	s.next()
	s.close()
	c.pause(c.opts.Settle)
	c.stop()()
	c.publishAgain("orders", "back")
	s = c.subscribe("orders", opts)
	s.wantAny("a group after a restart", append(ids("m", 10)[5:], "back")...)
	s.wantNone("all was acknowledged", c.opts.Quiet)
}

func restartKeepsIDs(c *check) {
	s := c.subscribe("orders", nil)
	c.publish("orders", "1", "2")
	s.wantNext("before a restart", "1", "2")
	c.stop()()
	c.publishAgain("orders", "1", "2", "3")
	if d := s.resume(); d.ID != "3" {
		c.Errorf("Next() after 1 and 2 were published again = %s, want 3", text(&d.Message))
	}
}

// restartUnderLoad restarts the system while there is much to do. What Publish
// took must be delivered, to each who is there.
func restartUnderLoad(c *check) {
	const publishers, each = 4, 150
	var want []string
	for i := range publishers {
		want = append(want, ids(fmt.Sprintf("p%d-", i), each)...)
	}
	ctx, cancel := context.WithCancel(c.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var alone, shared *tally
	if c.caps.History {
		alone = newTally(want...)
		s := c.subscribe("orders", &broker.SubscribeOptions{AckWait: 2 * c.opts.MinAckWait})
		wg.Go(func() { s.drain(ctx, alone) })
	}
	if c.caps.LastingGroups {
		shared = newTally(want...)
		for range 3 {
			s := c.subscribeTo(c.another, "orders", &broker.SubscribeOptions{Group: "workers", AckWait: 2 * c.opts.MinAckWait})
			wg.Go(func() { s.drain(ctx, shared) })
		}
	}
	halfway, restarted := make(chan struct{}, 2*publishers), make(chan struct{})
	var published sync.WaitGroup
	for i := range publishers {
		published.Go(func() {
			for j, id := range want[i*each : (i+1)*each] {
				if j == each/3 || j == 2*each/3 {
					halfway <- struct{}{}
				}
				if j == each-1 { // at least one comes after it all
					<-restarted
				}
				if err := c.publishUntilTaken("orders", id); err != nil {
					c.Errorf("Publish() error = %v, want nil in the end", err)
					return
				}
			}
		})
	}
	for range 2 {
		select {
		case <-halfway:
			c.stop()()
		case <-c.bound().Done():
			c.Errorf("nothing is published")
		}
	}
	close(restarted)
	published.Wait()
	if alone != nil {
		alone.wait(c, "a subscription over two restarts")
	}
	if shared != nil {
		shared.wait(c, "a group over two restarts")
	}
}
