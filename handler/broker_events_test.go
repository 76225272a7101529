package handler_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// TestBrokerEvents holds what a client is sent, to the byte.
func TestBrokerEvents(t *testing.T) {
	var mem broker.Memory
	url := startBroker(t, &wrapped{Broker: &mem, subscribe: func(context.Context, string, *broker.SubscribeOptions) (broker.Subscription, error) {
		return &scripted{deliveries: []broker.Delivery{
			{Message: broker.Message{ID: "1", Topic: "orders", Header: map[string]string{"Content-Type": "text/plain"}, Body: []byte("a\nb ")}, Position: "p-1"},
			{Message: broker.Message{ID: "2", Topic: "orders", Body: []byte("\xff\r")}, Position: "p-2"},
			{Message: broker.Message{Topic: "orders"}},
		}}, nil
	}}, everything())
	tests := []struct{ format, want string }{
		{"", `data: {"Header":{"Content-Type":"text/plain","Micro-Id":"1","Micro-Topic":"orders"},"Body":"YQpiIA=="}

data: {"Header":{"Micro-Id":"2","Micro-Topic":"orders"},"Body":"/w0="}

data: {"Header":{"Micro-Topic":"orders"},"Body":""}

`},
		{"&format=raw", "data: a\ndata: b \n\n" +
			"event: json\ndata: {\"Header\":{\"Micro-Id\":\"2\",\"Micro-Topic\":\"orders\"},\"Body\":\"/w0=\"}\n\n" +
			"data: \n\n"},
	}
	over := "event: error\ndata: {\"error\":\"broker\",\"id\":\"goapi\",\"code\":503,\"detail\":\"the broker cannot be reached\",\"status\":\"Service Unavailable\"}\n\n"
	for _, tt := range tests {
		t.Run(cmp.Or(tt.format, "json"), func(t *testing.T) {
			// In a group, so that nothing comes before the client is there. It keeps
			// its own place, so that events have no id.
			res := askEvents(t, url+"&queue=g"+tt.format)
			text, err := io.ReadAll(res.Body)
			if got, want := string(text), tt.want+over; got != want || err != nil {
				t.Errorf("events = %v\n%s\nwant\n%s", err, got, want)
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control = %q, want no-store", got)
			}
		})
	}
}

// scripted is a subscription that returns what it has, and is closed then.
type scripted struct {
	deliveries []broker.Delivery
	n          int
}

func (s *scripted) Next(context.Context) (*broker.Delivery, error) {
	if s.n == len(s.deliveries) {
		return nil, broker.ErrClosed
	}
	d := &s.deliveries[s.n]
	s.n++
	return broker.NewDelivery(d.Message, d.Position, max(d.Attempt, 1), unsettled{}), nil
}

func (*scripted) Close() error { return nil }

// unsettled settles nothing.
type unsettled struct{}

func (unsettled) Ack(context.Context) error                 { return nil }
func (unsettled) Nack(context.Context, time.Duration) error { return nil }
func (unsettled) Term(context.Context, string) error        { return nil }

func TestBrokerEventsStart(t *testing.T) {
	tests := []struct {
		name, query, last string // ?from= and Last-Event-ID; POSITION is that of a, TIME after b
		want              string // of a b c, which were there before
	}{
		{"the beginning", "earliest", "", "a b c"},
		{"a position", "POSITION", "", "b c"},
		{"the last event", "", "POSITION", "b c"},
		{"the last event after a reconnect", "earliest", "POSITION", "b c"},
		{"a time", "TIME", "", "c"},
		{"now", "now", "", ""},
		{"now by default", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mem broker.Memory
			url := startBroker(t, &mem, everything())
			publishText(t, &mem, "a", "b")
			since := time.Now().Add(time.Nanosecond)
			publishText(t, &mem, "c")
			first := openEvents(t, url+"&from=earliest")
			first.bodies(t, 1)
			known := strings.NewReplacer("POSITION", first.lastID, "TIME", neturl.QueryEscape(since.Format(time.RFC3339Nano)))
			if tt.query != "" {
				url += "&from=" + known.Replace(tt.query)
			}
			e := openEvents(t, url, "Last-Event-ID", known.Replace(tt.last))
			publishText(t, &mem, "d")
			want := strings.TrimSpace(tt.want + " d")
			if got := e.bodies(t, strings.Count(want, " ")+1); got != want {
				t.Errorf("events = %s, want %s", got, want)
			}
		})
	}
}

func TestBrokerEventsWithoutHistory(t *testing.T) {
	mem := &wrapped{Broker: new(broker.Memory), caps: func(c *broker.Capabilities) { c.History = false }}
	url := startBroker(t, mem, everything())
	const want = "400 the broker has no history: a subscription can only begin now; leave out from and Last-Event-ID"
	for _, res := range []*http.Response{askEvents(t, url+"&from=earliest"), askEvents(t, url, "Last-Event-ID", "x")} {
		if got := refusal(t, res); got != want {
			t.Errorf("GET = %s, want %s", got, want)
		}
	}
}

// TestBrokerEventsResume cuts clients off again and again while messages come:
// what they receive is each message once, in order.
func TestBrokerEventsResume(t *testing.T) {
	brokers := map[string]func(*testing.T) broker.Broker{
		"memory":   func(*testing.T) broker.Broker { return new(broker.Memory) },
		"embedded": openEmbedded,
	}
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) { testResume(t, open(t)) })
	}
}

func testResume(t *testing.T, b broker.Broker) {
	const (
		messages = 2000
		clients  = 8
	)
	opts := everything()
	opts.Queue = 64
	url := startBroker(t, b, opts)
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range clients {
		e := openEvents(t, url)
		wg.Go(func() {
			if err := resume(t, url, e, messages, 7+13*i); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	for i := range messages {
		publishText(t, b, fmt.Sprint(i))
	}
}

// resume reads messages that are numbered, and connects again after each so many.
func resume(t *testing.T, url string, e *eventReader, messages, each int) error {
	for i := 0; i < messages; i++ {
		next, err := e.read()
		if err != nil {
			return err
		}
		if next.name == "error" { // cut off, for being slow
			i--
			each = 1000
		} else if got := bodyOf(t, next.data); got != fmt.Sprint(i) {
			return fmt.Errorf("received %s, want %d", got, i)
		}
		if next.name == "error" || i%each == each-1 {
			_ = e.body.Close()
			id := e.lastID
			e = openEvents(t, url+"&from=earliest", "Last-Event-ID", id) // it may have received none yet
			e.lastID = id
		}
	}
	return nil
}

func TestBrokerEventsTooMany(t *testing.T) {
	var mem broker.Memory
	opts := everything()
	opts.MaxClients = 1
	url := startBroker(t, &mem, opts)
	openEvents(t, url)
	res := askEvents(t, url)
	if got, want := refusal(t, res), "503 the broker has as many subscribers as the gateway takes"; got != want || res.Header.Get("Retry-After") == "" {
		t.Errorf("GET = %s, Retry-After %q; want %s", got, res.Header.Get("Retry-After"), want)
	}
}

func TestBrokerEventsDone(t *testing.T) {
	var mem broker.Memory
	done := make(chan struct{})
	opts := everything()
	opts.Done = done
	url := startBroker(t, &mem, opts)
	e := openEvents(t, url)
	publishText(t, &mem, "a")
	if got := e.bodies(t, 1); got != "a" {
		t.Fatalf("event = %s, want a", got)
	}
	close(done)
	if next := e.next(t); next.name != "error" || !strings.Contains(next.data, `"error":"closing"`) {
		t.Errorf("the last event = %v, want that the gateway is closing", next)
	}
	if next, err := e.read(); err != io.EOF { //nolint:errorlint // as readers have it
		t.Errorf("then came %v, %v; want the end", next, err)
	}
}

// TestBrokerEventsSlow holds that a client that does not read is cut off, is
// told why, and holds up nobody.
func TestBrokerEventsSlow(t *testing.T) {
	var mem broker.Memory
	opts := everything()
	opts.Queue = 8
	url := startBroker(t, &mem, opts)
	slow, quick := openEvents(t, url), openEvents(t, url)
	large := strings.Repeat("x", 64<<10)
	const n = 400 // 35 MB in JSON: more than any system buffers
	for i := range n {
		publishText(t, &mem, fmt.Sprint(large, i))
		if got := quick.bodies(t, 1); got != fmt.Sprint(large, i) {
			t.Fatalf("the quick one received %.10s…, want message %d", got, i)
		}
	}
	for i := range n {
		next := slow.next(t)
		if next.name == "error" {
			if want := `{"error":"slow","id":"goapi","code":503,`; !strings.HasPrefix(next.data, want) {
				t.Errorf("the last event = %s, want %s…", next.data, want)
			}
			return
		}
		if got := bodyOf(t, next.data); got != fmt.Sprint(large, i) {
			t.Fatalf("the slow one received …%.10s, want message %d", got[len(large):], i)
		}
	}
	t.Error("the slow one was not cut off")
}

// TestBrokerFeed holds that clients share a subscription, and that it ends with
// the last of them.
func TestBrokerFeed(t *testing.T) {
	var mem broker.Memory
	opened, closed := make(chan string, 10), make(chan string, 10)
	b := &wrapped{Broker: &mem, subscribe: func(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
		sub, err := mem.Subscribe(ctx, topic, opts)
		opened <- topic
		return &watched{sub, func() { closed <- topic }}, err
	}}
	url := startBroker(t, b, everything())
	var clients []*eventReader
	for range 5 {
		clients = append(clients, openEvents(t, url))
	}
	other := openEvents(t, strings.Replace(url, "orders", "others", 1))
	publishText(t, &mem, "a")
	for _, e := range clients {
		if got := e.bodies(t, 1); got != "a" {
			t.Errorf("event = %s, want a", got)
		}
	}
	if a, b := receives(t, opened, "a subscription"), receives(t, opened, "a subscription"); a != "orders" || b != "others" || len(opened) > 0 {
		t.Errorf("subscriptions of %s, %s and %d more; want one of each topic", a, b, len(opened))
	}
	_ = other.body.Close()
	if got := receives(t, closed, "the end of a subscription"); got != "others" {
		t.Errorf("the subscription of %s ended, want others", got)
	}
	for _, e := range clients {
		if len(closed) > 0 {
			t.Fatal("the subscription ended before its last client")
		}
		_ = e.body.Close()
	}
	receives(t, closed, "the end of a subscription")
	if got := openEvents(t, url); got == nil || receives(t, opened, "a subscription") != "orders" {
		t.Error("a client that comes later has no subscription")
	}
}

// watched is a subscription that says when it is closed.
type watched struct {
	broker.Subscription

	closed func()
}

func (w *watched) Close() error {
	defer w.closed()
	return w.Subscription.Close()
}

// TestBrokerFeedOverLosses holds that a loss of contact, and what comes again
// after it, is nothing to clients.
func TestBrokerFeedOverLosses(t *testing.T) {
	at := func(id string, attempt int) any {
		return broker.NewDelivery(broker.Message{ID: id, Topic: "orders", Body: []byte(id)}, "p"+id, attempt, unsettled{})
	}
	steps := []any{at("1", 1), broker.ErrUnavailable, at("1", 1), at("2", 1), at("1", 2), at("2", 1), at("3", 1), broker.ErrClosed}
	for _, query := range []string{"", "&from=earliest"} {
		b := &wrapped{Broker: new(broker.Memory), subscribe: func(_ context.Context, _ string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
			s := &faulty{steps: steps}
			if query != "" && opts.Start == (broker.Start{}) { // the feed, which has nothing
				s.steps = nil
			}
			return s, nil
		}, caps: func(c *broker.Capabilities) { c.Ordered = false }}
		gate := make(chan struct{})
		if query == "" {
			b.subscribe = gated(b.subscribe, gate)
		}
		e := openEvents(t, startBroker(t, b, everything())+query)
		close(gate)
		if got := e.bodies(t, 3); got != "1 2 3" {
			t.Errorf("%s events = %s, want 1 2 3", query, got)
		}
		if next := e.next(t); next.name != "error" || !strings.Contains(next.data, "503") {
			t.Errorf("%s the last event = %v, want that the broker is away", query, next)
		}
	}
}

// TestBrokerLate holds that a message which was sent before, and lost on its way,
// reaches clients, and does not lead them back.
func TestBrokerLate(t *testing.T) {
	at := func(id string, attempt int) any {
		return broker.NewDelivery(broker.Message{ID: id, Topic: "orders", Body: []byte(id)}, "p"+id, attempt, unsettled{})
	}
	for _, query := range []string{"", "&from=earliest"} {
		steps := []any{at("1", 1), broker.ErrUnavailable, at("3", 1), at("2", 2), at("2", 3), at("4", 1)}
		gate := make(chan struct{})
		b := &wrapped{Broker: new(broker.Memory), subscribe: func(_ context.Context, _ string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
			if query != "" && opts.Start == (broker.Start{}) { // the feed, which has nothing
				return &faulty{}, nil
			}
			return &faulty{steps: steps, gate: gate}, nil
		}}
		e := openEvents(t, startBroker(t, b, everything())+query)
		close(gate)
		for _, want := range []string{"1 p1", "3 p3", "2 p3", "4 p4"} {
			next := e.next(t)
			if got := bodyOf(t, next.data) + " " + next.id; got != want {
				t.Errorf("%s event = %s, want %s", query, got, want)
			}
		}
	}
}

// TestBrokerEventsLarge holds that messages which are sent in pieces arrive as
// they are, between others.
func TestBrokerEventsLarge(t *testing.T) {
	large := strings.Repeat(strings.Repeat("x", 99)+"\n", 3000)
	for _, format := range []string{"json", "raw"} {
		var mem broker.Memory
		e := openEvents(t, startBroker(t, &mem, everything())+"&format="+format)
		bodies := []string{"a", large, "b", strings.Repeat("y", 200_000), "c\r" + large, "d"}
		publishText(t, &mem, bodies...)
		for i, want := range bodies {
			next := e.next(t)
			got := next.data
			if format == "json" || next.name == "json" {
				got = bodyOf(t, got)
			}
			if got != want {
				t.Errorf("%s event %d has %d bytes, want %d", format, i, len(got), len(want))
			}
		}
	}
}

type subscribeFunc = func(context.Context, string, *broker.SubscribeOptions) (broker.Subscription, error)

// gated returns subscriptions that wait for a gate.
func gated(subscribe subscribeFunc, gate chan struct{}) subscribeFunc {
	return func(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
		sub, err := subscribe(ctx, topic, opts)
		if s, ok := sub.(*faulty); ok {
			s.gate = gate
		}
		return sub, err
	}
}

// faulty is a subscription that does what it is told to, step by step, and then
// nothing.
type faulty struct {
	gate  chan struct{} // nil is open
	steps []any         // *broker.Delivery or error
}

func (f *faulty) Next(ctx context.Context) (*broker.Delivery, error) {
	if f.gate != nil {
		<-f.gate
	}
	if len(f.steps) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	step := f.steps[0]
	f.steps = f.steps[1:]
	if err, ok := step.(error); ok {
		return nil, err
	}
	d, _ := step.(*broker.Delivery)
	return d, nil
}

func (*faulty) Close() error { return nil }
