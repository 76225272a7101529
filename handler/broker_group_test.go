package handler_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// TestBrokerEventsOfAGroup has two members of a group, then none, then one.
func TestBrokerEventsOfAGroup(t *testing.T) {
	var mem broker.Memory
	settled, closed := make(chan string, 1000), make(chan struct{}, 10)
	url := startBroker(t, settling(&mem, settled, closed), everything()) + "&queue=g"
	a, b := openEvents(t, url), openEvents(t, url)
	bodies := make(chan string, 100)
	var wg sync.WaitGroup
	for _, e := range []*eventReader{a, b} {
		wg.Go(func() {
			for {
				next, err := e.read()
				if err != nil {
					return
				}
				bodies <- next.data
			}
		})
	}
	want := make(map[string]bool)
	for i := range 100 {
		publishText(t, &mem, fmt.Sprint(i))
		want[fmt.Sprint(i)] = true
	}
	for range 100 {
		body := bodyOf(t, receives(t, bodies, "a message"))
		if !want[body] {
			t.Errorf("message %s came twice", body)
		}
		delete(want, body)
	}
	for range 100 {
		if got := receives(t, settled, "an acknowledgement"); got != "ack" {
			t.Errorf("a message was settled by %s, want ack", got)
		}
	}
	_ = a.body.Close()
	_ = b.body.Close()
	wg.Wait()
	for range 2 {
		receives(t, closed, "the end of a subscription")
	}

	// What nobody has been sent waits for the next of the group.
	publishText(t, &mem, "later")
	if got := openEvents(t, url).bodies(t, 1); got != "later" {
		t.Errorf("the next of the group received %s, want later", got)
	}
	if got, want := refusal(t, askEvents(t, url, "Last-Event-ID", "x")), "400 a group keeps its own place: leave out Last-Event-ID"; got != want {
		t.Errorf("GET = %s, want %s", got, want)
	}
}

// TestBrokerEventsToAClientThatLeft holds that what was written to a member of a
// group that leaves right then goes to the next one at once: it may not have
// arrived, whatever the system said.
func TestBrokerEventsToAClientThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		settled, closed := make(chan string, 10), make(chan struct{}, 10)
		p := brokerPipesAt(t, settling(&mem, settled, closed), "topic=orders&queue=g")
		tr := p.transport()
		one, leave := member(t, tr)
		publishText(t, &mem, "first")
		if got := bodyOf(t, one.next(t).data); got != "first" {
			t.Errorf("the group received %s, want first", got)
		}
		if got, after := <-settled, time.Now(); got != "ack" {
			t.Errorf("first was settled by %s at %v, want ack", got, after)
		}
		publishText(t, &mem, "second")
		if got := bodyOf(t, one.next(t).data); got != "second" {
			t.Errorf("the group received %s, want second", got)
		}
		left := time.Now()
		leave()
		<-closed
		other, leave := member(t, tr)
		defer leave()
		if got := bodyOf(t, other.next(t).data); got != "second" {
			t.Errorf("the next of the group received %s, want second", got)
		}
		if took := time.Since(left); took > 0 {
			t.Errorf("it came after %v, want at once", took)
		}
	})
}

// TestBrokerEventsMax holds that a client gets as many messages as it asks for,
// and that its answer ends then. In a group, that they are acknowledged first.
func TestBrokerEventsMax(t *testing.T) {
	var mem broker.Memory
	settled, closed := make(chan string, 10), make(chan struct{}, 10)
	url := startBroker(t, settling(&mem, settled, closed), everything())
	for _, queue := range []string{"", "&queue=g"} {
		e := openEvents(t, url+queue+"&max=2")
		publishText(t, &mem, "a", "b", "c")
		if got := e.bodies(t, 2); got != "a b" {
			t.Errorf("%s events = %s, want a b", queue, got)
		}
		if next, err := e.read(); err != io.EOF { //nolint:errorlint // as readers have it
			t.Errorf("%s then came %v, %v; want the end", queue, next, err)
		}
		receives(t, closed, "the end of a subscription")
	}
	if got := openEvents(t, url+"&queue=g&max=1").bodies(t, 1); got != "c" {
		t.Errorf("the next of the group received %s, want c", got)
	}
	for _, most := range []string{"0", "-1", "x", "1.5"} {
		want := "400 max=" + fmt.Sprintf("%q", most) + " is not a number of messages, at least 1"
		if got := refusal(t, askEvents(t, url+"&max="+most)); got != want {
			t.Errorf("GET = %s, want %s", got, want)
		}
	}
}

// member subscribes, until leave is called.
func member(t *testing.T, tr http.RoundTripper) (e *eventReader, leave func()) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", asEvents)
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return newEventReader(res.Body), func() { _ = res.Body.Close() }
}

// settling returns a broker that says what its deliveries are settled by, and
// when a subscription has ended.
func settling(mem *broker.Memory, settled chan<- string, closed chan<- struct{}) broker.Broker {
	return &wrapped{Broker: mem, subscribe: func(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
		sub, err := mem.Subscribe(ctx, topic, opts)
		if err != nil {
			return nil, err
		}
		return &told{&watched{sub, func() { closed <- struct{}{} }}, settled}, nil
	}}
}

// told is a subscription that says what its deliveries are settled by.
type told struct {
	broker.Subscription

	settled chan<- string
}

func (s *told) Next(ctx context.Context) (*broker.Delivery, error) {
	d, err := s.Subscription.Next(ctx)
	if err != nil {
		return nil, err
	}
	return broker.NewDelivery(d.Message, d.Position, d.Attempt, &tellingSettler{d, s.settled}), nil
}

type tellingSettler struct {
	d       *broker.Delivery
	settled chan<- string
}

func (t *tellingSettler) tell(how string, err error) error {
	if err == nil {
		t.settled <- how
	}
	return err
}

func (t *tellingSettler) Ack(ctx context.Context) error { return t.tell("ack", t.d.Ack(ctx)) }

func (t *tellingSettler) Nack(ctx context.Context, delay time.Duration) error {
	return t.tell("nack", t.d.Nack(ctx, delay))
}

func (t *tellingSettler) Term(ctx context.Context, reason string) error {
	return t.tell("term", t.d.Term(ctx, reason))
}
