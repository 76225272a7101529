package brokertest

import (
	"errors"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

func historyStartsEarliest(c *check) {
	earliest := broker.Start{Earliest: true}
	empty := c.subscribe("orders", &broker.SubscribeOptions{Start: earliest})
	c.publish("orders", ids("m", 10)...)
	c.publish("other", ids("o", 10)...)
	subs := []*subscription{
		empty,
		c.subscribe("orders", &broker.SubscribeOptions{Start: earliest}),
		c.subscribeTo(c.another, "orders", &broker.SubscribeOptions{Start: earliest, InFlight: 1}),
	}
	if c.caps.Groups {
		subs = append(subs, c.subscribe("orders", &broker.SubscribeOptions{Group: "workers", Start: earliest}))
	}
	c.publish("orders", "live")
	for _, s := range subs {
		s.wantNext("a start with the earliest", append(ids("m", 10), "live")...)
		s.wantNone("that was all", c.opts.Quiet)
	}
}

// lastIsTheEnd reads topics to where they end.
func lastIsTheEnd(c *check) {
	last := func() string {
		c.Helper()
		position, err := c.b.Last(c.bound(), "orders")
		if err != nil {
			c.Fatalf("Last() error = %v, want nil", err)
		}
		return position
	}
	if got := last(); got != "" {
		c.Errorf("Last() of a topic without messages = %q, want none", got)
	}
	s := c.subscribe("orders", nil)
	for _, id := range ids("m", 5) {
		c.publish("orders", id)
		if got := last(); got == "" {
			c.Fatalf("Last() after %s = none, want its position", id)
		} else if d := s.take(); d.ID != id || d.Position != got {
			c.Errorf("Last() after %s = %q, want its position, %q", id, got, d.Position)
		}
	}
	before := last()
	c.publish("other", "1")
	if got := last(); got != before {
		c.Errorf("Last() after a message of another topic = %q, want what it was, %q", got, before)
	}
	if _, err := c.b.Last(c.bound(), "a.*"); !errors.Is(err, broker.ErrTopic) {
		c.Errorf("Last() of a bad topic error = %v, want ErrTopic", err)
	}
}

// historyStartsAfter resumes after each message, with another topic's between.
func historyStartsAfter(c *check) {
	list := ids("m", 10)
	for _, id := range list {
		c.publish("orders", id)
		c.publish("other", id)
	}
	s := c.subscribe("orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	var positions []string
	for range list {
		d := s.take()
		if len(d.Position) > 1024 || strings.IndexFunc(d.Position, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			c.Errorf("Position = %q, want at most 1 KiB of printable ASCII without spaces", d.Position)
		}
		positions = append(positions, d.Position)
	}
	s.close()
	for i, position := range positions {
		s := c.subscribeTo(c.another, "orders", &broker.SubscribeOptions{Start: broker.Start{After: position}})
		s.wantNext("a start after "+list[i], list[i+1:]...)
		s.close()
	}
	after := broker.Start{After: positions[len(positions)-1]}
	last := []*subscription{c.subscribe("orders", &broker.SubscribeOptions{Start: after})}
	if c.caps.Groups {
		last = append(last, c.subscribe("orders", &broker.SubscribeOptions{Group: "workers", Start: after}))
	}
	c.publish("orders", "live")
	for _, s := range last {
		s.wantNext("a start after the last", "live")
	}
}

func historyStartsSince(c *check) {
	begun := time.Now().Add(-time.Hour)
	c.publish("orders", "1")
	c.pause(c.opts.Quiet)
	between := time.Now()
	c.pause(c.opts.Quiet)
	c.publish("orders", "2", "3")
	c.subscribe("orders", &broker.SubscribeOptions{Start: broker.Start{Since: begun}}).
		wantNext("a start before all", "1", "2", "3")
	c.subscribeTo(c.another, "orders", &broker.SubscribeOptions{Start: broker.Start{Since: between}}).
		wantNext("a start in the middle", "2", "3")
	c.pause(c.opts.Quiet)
	late := c.subscribe("orders", &broker.SubscribeOptions{Start: broker.Start{Since: time.Now()}})
	c.publish("orders", "4")
	late.wantNext("a start with this moment", "4")
}

// unknownPositionIsErrPosition tries what is no position, and one of another
// system, which is further.
func unknownPositionIsErrPosition(c *check) {
	c.publish("orders", "1")
	foreign := *c
	foreign.b = c.open(c.TB)
	foreign.publish("orders", ids("m", 5)...)
	s := foreign.subscribe("orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	var position string
	for range 5 {
		position = s.take().Position
	}
	for _, after := range []string{"x", "-", "0-0-0", "18446744073709551616", "-1", "\x00", "a b", "ü", strings.Repeat("9", 5000), position} {
		got, err := c.b.Subscribe(c.bound(), "orders", &broker.SubscribeOptions{Start: broker.Start{After: after}})
		if !errors.Is(err, broker.ErrPosition) {
			c.Errorf("Subscribe() after %q error = %v, want ErrPosition", short(after), err)
		}
		if err == nil {
			_ = got.Close() // it is not to be there
		}
	}
}

func oldPositionIsErrPosition(c *check) {
	s := c.subscribe("orders", nil)
	c.publish("orders", "first")
	position := s.take().Position
	c.publish("orders", ids("m", c.opts.History+1)...)
	got, err := c.b.Subscribe(c.bound(), "orders", &broker.SubscribeOptions{Start: broker.Start{After: position}})
	if !errors.Is(err, broker.ErrPosition) {
		c.Errorf("Subscribe() after what is gone error = %v, want ErrPosition", err)
	}
	if err == nil {
		_ = got.Close() // it is not to be there
	}
	late := c.subscribe("orders", &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
	c.publish("orders", "last")
	for _, s := range []*subscription{s, late} {
		d := s.take()
		if d.ID == "first" {
			c.Errorf("a message is delivered that was gone")
		}
		for d.ID != "last" {
			d = s.take()
		}
	}
}
