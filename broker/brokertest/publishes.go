package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

func publishIsDelivered(c *check) {
	s := c.subscribe("orders.created", nil)
	other := c.subscribeTo(c.another, "orders.created", nil)
	m := &broker.Message{
		ID:     "order 1/ü",
		Header: map[string]string{"Content-Type": "application/json", "x-Trace": "t1"},
		Body:   []byte(`{"id":1}`),
		Time:   time.Now().Add(-time.Hour),
	}
	before := *m
	c.publishMessage("orders.created", m)
	if m.ID != before.ID || m.Topic != "" || !m.Time.Equal(before.Time) || len(m.Header) != 2 {
		c.Errorf("Publish() has changed the message to %s", text(m))
	}
	for _, s := range []*subscription{s, other} {
		d := s.take()
		c.wantMessage(d, m)
		if d.Attempt != 1 {
			c.Errorf("Attempt of a first delivery = %d, want 1", d.Attempt)
		}
		if known := d.Position != ""; known != c.caps.History {
			c.Errorf("Position = %q with a history: %t", d.Position, c.caps.History)
		}
	}
}

func publishKeepsItsOwnCopy(c *check) {
	s := c.subscribe("orders", nil)
	m := &broker.Message{ID: "1", Header: map[string]string{"A": "a"}, Body: []byte("body"), Time: time.Now()}
	want := &broker.Message{ID: "1", Header: maps.Clone(m.Header), Body: bytes.Clone(m.Body), Time: m.Time}
	c.publishMessage("orders", m)
	m.Header["A"], m.Header["B"] = "changed", "new"
	copy(m.Body, "gone")
	c.wantMessage(s.take(), want)
}

func publishMakesWhatIsMissing(c *check) {
	s := c.subscribe("orders", nil)
	seen := make(map[string]bool)
	for range 3 {
		before := time.Now().Truncate(time.Millisecond)
		c.publishMessage("orders", &broker.Message{Body: []byte("the same")})
		after := time.Now()
		d := s.take()
		if d.ID == "" || seen[d.ID] {
			c.Errorf("the ID of a message that had none = %q, want one that no other has", d.ID)
		}
		seen[d.ID] = true
		if d.Time.Before(before) || d.Time.After(after) {
			c.Errorf("the time of a message that had none = %v, want between %v and %v", d.Time, before, after)
		}
	}
}

func publishHonoursContext(c *check) {
	s := c.subscribe("orders", nil)
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	if err := c.b.Publish(ctx, "orders", message("late")); !errors.Is(err, context.Canceled) {
		c.Errorf("Publish() with a canceled context error = %v, want %v", err, context.Canceled)
	}
	if got, err := c.b.Subscribe(ctx, "orders", nil); !errors.Is(err, context.Canceled) {
		c.Errorf("Subscribe() with a canceled context = %v, %v, want %v", got, err, context.Canceled)
	}
	s.wantNone("what was published with a canceled context", c.opts.Quiet)
}

func bodiesAreKept(c *check) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	bodies := [][]byte{
		nil, {}, {0}, []byte("\r\n\r\n"), []byte("NATS/1.0\r\n"), []byte(" "), []byte("\xff\xfe"), []byte(`{"a":1}`),
		all, bytes.Repeat(all, 256),
	}
	s := c.subscribe("orders", nil)
	for i, body := range bodies {
		m := &broker.Message{ID: ids("", i+1)[i], Body: body, Time: time.Now()}
		c.publishMessage("orders", m)
		c.wantMessage(s.take(), m)
	}
}

func headersAreKept(c *check) {
	headers := []map[string]string{
		nil,
		{},
		{"Content-Type": "a", "content-type": "b", "CONTENT-TYPE": "c", "x-a!#$%&'*+-.^_`|~": "d", "0": "e", "ce-id": "f"},
		{"Empty": "", "Colon": "a: b", "Script": "ü 👋 用户", "Tab": "a\tb", "Quote": `"quoted" \`, "Coded": "%0D%0A=?utf-8?q?x?="},
		{"Long": strings.Repeat("long ", 1000) + "end", strings.Repeat("n", 255): "long name"},
		// What means something to one system or another is a header like any other.
		{"Status": "503", "Description": "no", "Nats-Msg-Id": "1", "nats-msg-id": "2", "Nats-TTL": "1", "Nats-Rollup": "all"},
		{"Nats-Expected-Stream": "other", "Nats-Expected-Last-Sequence": "99999", "KV-Operation": "PURGE", "Nats-Schedule": "@every 1s"},
		{"Micro-Topic": "other", "Micro-Id": "other", "id": "other", "topic": "other", "time": "other", "Goapi-Time": "never"},
		{"x-delay": "5000", "x-death": "a", "reply-to": "other", "correlation-id": "other", "expiration": "1"},
	}
	many := make(map[string]string)
	for _, name := range ids("Header-", 200) {
		many[name] = name
	}
	s := c.subscribe("orders", nil)
	for i, header := range append(headers, many) {
		m := &broker.Message{ID: ids("", i+1)[i], Header: header, Body: []byte("body"), Time: time.Now()}
		c.publishMessage("orders", m)
		c.wantMessage(s.take(), m)
	}
}

// rejectsBadTopics has somebody listen where a wildcard would reach.
func rejectsBadTopics(c *check) {
	topics := []string{
		"", ".", "..", ".orders", "orders.", "orders..new", "*", "orders.*", ">", "orders.>", "#", "orders.#", "+", "orders.+",
		"ord*", "or>ders", "orders.new#", "a b", " orders", "orders ", "orders\t", "orders\n", "orders\x00", "orders\u00a0",
		"orders\u2003new", "orders\u0085", "\xff", "orders.\xc3", "$SYS", "$JS.API.STREAM.DELETE.EVENTS", "$share.g.orders",
		strings.Repeat("t", broker.MaxTopic+1),
	}
	s, within := c.subscribe("orders", nil), c.subscribe("orders.new", nil)
	for _, topic := range topics {
		if err := c.b.Publish(c.bound(), topic, message("stray")); !errors.Is(err, broker.ErrTopic) {
			c.Errorf("Publish(%q) error = %v, want ErrTopic", topic, err)
		}
		got, err := c.b.Subscribe(c.bound(), topic, nil)
		if !errors.Is(err, broker.ErrTopic) {
			c.Errorf("Subscribe(%q) error = %v, want ErrTopic", topic, err)
		}
		if err == nil {
			_ = got.Close() // it is not to be there
		}
	}
	c.publish("orders", "right")
	c.publish("orders.new", "right")
	s.wantNext("after what was refused", "right")
	within.wantNext("after what was refused", "right")
}

func rejectsBadMessages(c *check) {
	header := func(name, value string) *broker.Message {
		return &broker.Message{Header: map[string]string{name: value}}
	}
	messages := []*broker.Message{
		nil,
		{ID: strings.Repeat("i", 256)}, {ID: "a\nb"}, {ID: "\xff"}, {ID: " a"}, {ID: "a\t"}, {ID: "\x00"},
		header("", "a"), header("a b", "a"), header("a:", "a"), header("a\r\nb", "a"), header("ü", "a"), header("\xff", "a"),
		header(strings.Repeat("n", 256), "a"),
		header("a", "a\r\nNats-Rollup: all"), header("a", "a\nb"), header("a", "\x00"), header("a", "\xff"),
		header("a", " a"), header("a", "a "), header("a", "\ta"), header("a", strings.Repeat("v", 65_536)),
	}
	s := c.subscribe("orders", nil)
	for _, m := range messages {
		if err := c.b.Publish(c.bound(), "orders", m); !errors.Is(err, broker.ErrMessage) {
			c.Errorf("Publish(%s) error = %v, want ErrMessage", text(m), err)
		}
	}
	c.publish("orders", "right")
	s.wantNext("after what was refused", "right")
}

func rejectsBadOptions(c *check) {
	bad := []broker.SubscribeOptions{
		{InFlight: -1}, {InFlight: broker.MaxInFlight + 1}, {AckWait: -1},
		{Group: "a\nb"}, {Group: "\xff"}, {Group: strings.Repeat("g", 201)},
		{Start: broker.Start{Earliest: true, After: "1"}},
		{Start: broker.Start{Earliest: true, Since: time.Now()}},
		{Start: broker.Start{After: "1", Since: time.Now()}},
	}
	if !c.caps.Groups {
		bad = append(bad, broker.SubscribeOptions{Group: "workers"})
	}
	if !c.caps.History {
		bad = append(bad, broker.SubscribeOptions{Start: broker.Start{Earliest: true}},
			broker.SubscribeOptions{Start: broker.Start{Since: time.Now()}})
		if _, err := c.b.Last(c.bound(), "orders"); !errors.Is(err, broker.ErrOptions) {
			c.Errorf("Last() without a history error = %v, want ErrOptions", err)
		}
	}
	for _, o := range bad {
		got, err := c.b.Subscribe(c.bound(), "orders", &o)
		if !errors.Is(err, broker.ErrOptions) {
			c.Errorf("Subscribe(%+v) error = %v, want ErrOptions", o, err)
		}
		if err == nil {
			_ = got.Close() // it is not to be there
		}
	}
}

func tooLargeIsErrTooLarge(c *check) {
	s := c.subscribe("orders", nil)
	body := &broker.Message{ID: "1", Body: make([]byte, c.caps.MaxMessage)}
	header := &broker.Message{ID: "2", Header: make(map[string]string)}
	for _, name := range ids("Header-", c.caps.MaxMessage/32_000+1) {
		header.Header[name] = strings.Repeat("v", 32_000)
	}
	for _, m := range []*broker.Message{body, header} {
		if err := c.b.Publish(c.bound(), "orders", m); !errors.Is(err, broker.ErrTooLarge) {
			c.Errorf("Publish() of %d bytes error = %v, want ErrTooLarge over %d", m.Size(), err, c.caps.MaxMessage)
		}
	}
	fits := &broker.Message{ID: "3", Body: make([]byte, c.caps.MaxMessage-1), Time: time.Now()}
	c.publishMessage("orders", fits)
	c.wantMessage(s.take(), fits)
	for _, size := range []int{30_000, 65_000} { // a header may have a bound of its own
		m := &broker.Message{ID: fmt.Sprint(size), Header: map[string]string{"A": strings.Repeat("v", size)}, Time: time.Now()}
		err := c.b.Publish(c.bound(), "orders", m)
		switch {
		case err == nil:
			c.wantMessage(s.take(), m)
		case !errors.Is(err, broker.ErrTooLarge) || size < 32_768 && m.Size() <= c.caps.MaxMessage:
			c.Errorf("Publish() of a header of %d bytes error = %v, want nil, or ErrTooLarge from 32 KiB on", size, err)
		}
	}
}

func topicsAreSeparate(c *check) {
	topics := []string{
		"a", "a.b", "a.b.c", "A", "b", "ab", "a-b", "a_b", "a/b", "a%2Eb", "a=2Eb", "a~b", `\a`, "a:b", "a.$b", "a,b", "a;b",
		"\u00e9", "e\u0301", "用户.注册", "👋", "events", "events.a", "EVENTS",
		strings.Repeat("t", broker.MaxTopic-1) + "1", strings.Repeat("t", broker.MaxTopic-1) + "2",
		strings.Repeat("é.", broker.MaxTopic/3-1) + "é1", strings.Repeat("é.", broker.MaxTopic/3-1) + "é2",
	}
	subs := make([]*subscription, len(topics))
	for i, topic := range topics {
		subs[i] = c.subscribe(topic, nil)
	}
	for _, topic := range topics {
		m := message("first")
		m.Body = []byte(topic)
		c.publishMessage(topic, m)
		c.publish(topic, "last")
	}
	for i, topic := range topics {
		if d := subs[i].take(); string(d.Body) != topic {
			c.Errorf("topic %q was delivered %s", topic, text(&d.Message))
		}
		subs[i].wantNext("after the one message of its topic", "last")
	}
}

func everySubscriptionGetsAll(c *check) {
	subs := []*subscription{c.subscribe("orders", nil), c.subscribe("orders", nil), c.subscribeTo(c.another, "orders", nil)}
	c.publish("orders", ids("m", 20)...)
	for _, s := range subs {
		s.wantNext("a subscription without a group", ids("m", 20)...)
	}
}

func subscribeStartsNow(c *check) {
	c.publish("orders", ids("early", 3)...)
	for i := range 10 {
		s := c.subscribe("orders", nil)
		id := ids("late", i+1)[i]
		c.publish("orders", id)
		s.wantNext("a subscription that starts now", id)
	}
}

func orderIsKept(c *check) {
	opts := []*broker.SubscribeOptions{nil, {InFlight: 1}}
	if c.caps.Groups {
		opts = append(opts, &broker.SubscribeOptions{Group: "workers", InFlight: 7})
	}
	subs := make([]*subscription, len(opts))
	for i := range opts {
		subs[i] = c.subscribe("orders", opts[i])
	}
	c.publish("orders", ids("m", 200)...)
	for _, s := range subs {
		s.wantNext("what one publisher published", ids("m", 200)...)
	}
}

// sameIDIsPublishedOnce tries IDs of other topics, too, which would look the
// same to a system that joins both.
func sameIDIsPublishedOnce(c *check) {
	s, other, within := c.subscribe("a", nil), c.subscribe("b", nil), c.subscribe("a.b", nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, id := range []string{"1", "2"} {
				if err := c.another.Publish(c.bound(), "a", message(id)); err != nil {
					c.Errorf("Publish() of a message that is there error = %v, want nil", err)
				}
			}
		})
	}
	wg.Wait()
	changed := message("1")
	changed.Body = []byte("another body")
	c.publishMessage("a", changed)
	c.publish("a", "b 1", "b.1", "3")
	c.publish("b", "1", "2", "3")
	c.publish("a.b", "1", "2", "3")
	got := []string{string(s.take().Body), string(s.take().Body)}
	if got[0] == got[1] || got[0] != "1" && got[0] != "2" || got[1] != "1" && got[1] != "2" {
		c.Errorf("what was published eight times is delivered as %q, want 1 and 2", got)
	}
	s.wantNext("after it", "b 1", "b.1", "3")
	other.wantNext("the same IDs on another topic", "1", "2", "3")
	within.wantNext("the same IDs on another topic", "1", "2", "3")
}

func idsAreForgotten(c *check) {
	s := c.subscribe("orders", nil)
	c.publish("orders", "1")
	time.Sleep(c.caps.Dedup)
	c.publish("orders", "1")
	s.wantNext("an ID that was forgotten", "1", "1")
}
