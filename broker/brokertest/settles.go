package brokertest

import (
	"context"
	"errors"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

func nextHonoursContext(c *check) {
	opening, cancel := context.WithCancel(c.bound())
	opened, err := c.b.Subscribe(opening, "orders", nil)
	if err != nil {
		c.Fatalf("Subscribe() error = %v, want nil", err)
	}
	defer opened.Close()
	cancel() // it bounds the call of Subscribe, not the subscription
	s := &subscription{Subscription: opened, c: c, topic: "orders"}
	s.wantNone("nothing is published", c.opts.Quiet)
	c.publish("orders", "1")
	over, cancel := context.WithCancel(c.bound())
	cancel()
	if d, err := s.Next(over); !errors.Is(err, context.Canceled) {
		c.Fatalf("Next() with a canceled context = %v, %v, want %v", d, err, context.Canceled)
	}
	s.wantNext("after that", "1")
}

func closeUnblocksNext(c *check) {
	s := c.subscribe("orders", nil)
	c.publish("orders", "1")
	s.take()
	ended := make(chan error, 1)
	ctx := c.bound()
	go func() {
		_, err := s.Next(ctx)
		ended <- err
	}()
	for range 2 {
		s.close()
	}
	if err := <-ended; !errors.Is(err, broker.ErrClosed) {
		c.Errorf("Next() that Close interrupts: error = %v, want ErrClosed", err)
	}
	c.publish("orders", "2")
	if _, err := s.Next(ctx); !errors.Is(err, broker.ErrClosed) {
		c.Errorf("Next() after Close: error = %v, want ErrClosed", err)
	}
}

// each calls f for a subscription without a group, and, if there are groups,
// for one with a group. Each has a topic of its own.
func (c *check) each(opts broker.SubscribeOptions, f func(s *subscription)) {
	c.Helper()
	f(c.subscribe("alone", &opts))
	if c.caps.Groups {
		opts.Group = "workers"
		f(c.subscribe("shared", &opts))
	}
}

func inFlightIsBounded(c *check) {
	c.each(broker.SubscribeOptions{InFlight: 3}, func(s *subscription) {
		c.publish(s.topic, ids("m", 10)...)
		held := []*broker.Delivery{s.next(), s.next(), s.next()}
		s.wantNone("three are in flight", c.opts.Quiet)
		c.ack(held[1])
		held[1] = s.next()
		s.wantNone("three are in flight again", c.opts.Quiet)
		if err := held[0].Term(c.bound(), "no use"); err != nil {
			c.Errorf("Term() error = %v, want nil", err)
		}
		if err := held[2].Nack(c.bound(), time.Hour); err != nil {
			c.Errorf("Nack() error = %v, want nil", err)
		}
		held[0], held[2] = s.next(), s.next()
		s.wantNone("three are in flight after both", c.opts.Quiet)

		waiting := make(chan string, 1)
		ctx := c.bound()
		go func() {
			d, err := s.Next(ctx)
			if err != nil {
				waiting <- err.Error()
				return
			}
			waiting <- d.ID
		}()
		c.ack(held[0])
		if got := <-waiting; got != "m006" && c.caps.Ordered {
			c.Errorf("Next() that waited for an Ack = %q, want m006", got)
		}
	})
}

// overdueMakesRoom holds all that may be in flight for too long.
func overdueMakesRoom(c *check) {
	c.timed(broker.SubscribeOptions{InFlight: 2}, func(s *subscription, wait time.Duration) {
		c := s.c
		c.publish(s.topic, "1", "2")
		first, second := s.next(), s.next()
		c.publish(s.topic, "3")
		s.wantNone("two are in flight", wait/2)
		missing := map[string]bool{"1": c.caps.Redelivery, "2": c.caps.Redelivery, "3": true}
		for missing["1"] || missing["2"] || missing["3"] {
			missing[s.take().ID] = false
		}
		for _, d := range []*broker.Delivery{first, second} {
			if err := d.Ack(c.bound()); err != nil {
				c.Errorf("Ack() of what is overdue error = %v, want nil", err)
			}
		}
	})
}

func settledTwiceIsErrSettled(c *check) {
	settle := []func(d *broker.Delivery) error{
		func(d *broker.Delivery) error { return d.Ack(c.bound()) },
		func(d *broker.Delivery) error { return d.Nack(c.bound(), time.Hour) },
		func(d *broker.Delivery) error { return d.Term(c.bound(), "no\nuse \xff") },
	}
	c.each(broker.SubscribeOptions{}, func(s *subscription) {
		for i, first := range settle {
			c.publish(s.topic, ids("m", 3)[i])
			d := s.next()
			if err := first(d); err != nil {
				c.Errorf("settling for the first time, way %d: error = %v, want nil", i, err)
			}
			for j, second := range settle {
				if err := second(d); !errors.Is(err, broker.ErrSettled) {
					c.Errorf("settling again, way %d after %d: error = %v, want ErrSettled", j, i, err)
				}
			}
		}
	})
}

func settledAfterCloseIsErrClosed(c *check) {
	c.each(broker.SubscribeOptions{}, func(s *subscription) {
		c.publish(s.topic, ids("m", 3)...)
		held := []*broker.Delivery{s.next(), s.next(), s.next()}
		s.close()
		errs := []error{held[0].Ack(c.bound()), held[1].Nack(c.bound(), 0), held[2].Term(c.bound(), "no use")}
		for i, err := range errs {
			if !errors.Is(err, broker.ErrClosed) {
				c.Errorf("settling after Close, way %d: error = %v, want ErrClosed", i, err)
			}
		}
	})
}

func ackEndsIt(c *check) {
	endsIt(c, func(d *broker.Delivery) error { return d.Ack(c.bound()) })
}

func termEndsIt(c *check) {
	endsIt(c, func(d *broker.Delivery) error { return d.Term(c.bound(), "no use") })
}

// endsIt settles what then must not come again.
func endsIt(c *check, settle func(d *broker.Delivery) error) {
	c.timed(broker.SubscribeOptions{}, func(s *subscription, wait time.Duration) {
		c := s.c
		c.publish(s.topic, ids("m", 5)...)
		for range 5 {
			d, begun := s.next(), time.Now()
			if err := settle(d); err != nil {
				c.Fatalf("settling error = %v, want nil", err)
			}
			c.tookFrom(begun)
		}
		s.wantNone("all was settled", 2*wait+c.opts.Quiet)
	})
}

func nackBringsItAgain(c *check) {
	c.each(broker.SubscribeOptions{InFlight: 1}, func(s *subscription) {
		m := &broker.Message{ID: "1", Header: map[string]string{"A": "a"}, Body: []byte("body"), Time: time.Now()}
		c.publishMessage(s.topic, m)
		for attempt := 1; attempt <= 4; attempt++ {
			d := s.next()
			c.wantMessage(d, m)
			if d.Attempt != attempt {
				c.Errorf("Attempt after %d refusals = %d, want %d", attempt-1, d.Attempt, attempt)
			}
			if err := d.Nack(c.bound(), -1); err != nil {
				c.Fatalf("Nack() error = %v, want nil", err)
			}
		}
		c.ack(s.next())
		s.wantNone("it was acknowledged", c.opts.Quiet)
	})
}

func nackWaits(c *check) {
	c.timed(broker.SubscribeOptions{InFlight: 1}, func(s *subscription, delay time.Duration) {
		c := s.c
		c.publish(s.topic, "1")
		d := s.next()
		begun := time.Now()
		if err := d.Nack(c.bound(), delay); err != nil {
			c.Fatalf("Nack() error = %v, want nil", err)
		}
		c.tookFrom(begun)
		c.publish(s.topic, "2", "3")
		s.wantNext("while another waits", "2", "3")
		s.wantNext("what waited", "1")
		if waited := time.Since(begun); waited < delay*9/10 {
			c.Errorf("what was refused for %v came again after %v", delay, waited)
		}
	})
}

func overdueComesAgain(c *check) {
	c.timed(broker.SubscribeOptions{}, func(s *subscription, wait time.Duration) {
		c := s.c
		c.publish(s.topic, "1", "2")
		begun := time.Now()
		first := s.next()
		s.wantNext("while another is in flight", "2")
		again := s.next()
		if waited := time.Since(begun); again.ID != "1" || again.Attempt != 2 || waited < wait*9/10 {
			c.Errorf("what is overdue = %s, attempt %d, after %v, want ID 1, attempt 2, after %v", text(&again.Message), again.Attempt, waited, wait)
		}
		c.ack(again)
		if err := first.Nack(c.bound(), 0); err != nil {
			c.Errorf("Nack() of what is overdue error = %v, want nil", err)
		}
		s.wantNone("it was acknowledged, though not the first time", 2*wait+c.opts.Quiet)
	})
}

// waitingIsNotOverdue has a receiver deal with one message at a time, and with
// all of them for longer than each may take.
func waitingIsNotOverdue(c *check) {
	c.timed(broker.SubscribeOptions{}, func(s *subscription, wait time.Duration) {
		c := s.c
		list := ids("m", 8)
		c.publish(s.topic, list...)
		came := make(map[string]bool)
		for i, id := range list {
			d := s.next()
			if d.Attempt != 1 || came[d.ID] || c.caps.Ordered && d.ID != id {
				c.Errorf("a receiver that takes its time: delivery %d = %s, attempt %d; want attempt 1, of each message once, in order", i+1, text(&d.Message), d.Attempt)
			}
			came[d.ID] = true
			c.pause(wait * 2 / 5)
			c.ack(d)
		}
		s.wantNone("all was acknowledged", wait+c.opts.Quiet)
	})
}
