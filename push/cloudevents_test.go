package push_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

const structured = `{"specversion":"1.0","id":"e-1","source":"/shop","type":"order.placed","data":{"n":1}}`

// TestCloudEvents: what a node gets is an event for the library of CloudEvents,
// whatever was published.
func TestCloudEvents(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 30, 0, 5e6, time.UTC)
	tests := []struct {
		name     string
		topic    string
		message  broker.Message
		encoding binding.Encoding
		want     map[string]string // attributes
		data     string
	}{
		{
			"anything", "orders",
			broker.Message{ID: "m-1", Time: at, Header: map[string]string{"Content-Type": "text/plain; charset=utf-8"}, Body: []byte("hello")},
			binding.EncodingBinary,
			map[string]string{
				"specversion": "1.0", "id": "m-1", "source": "/topics/orders", "type": "broker.message",
				"time": "2026-03-01T12:30:00.005Z", "datacontenttype": "text/plain; charset=utf-8",
			},
			"hello",
		},
		{
			"nothing", "orders",
			broker.Message{ID: "m-1", Time: at},
			binding.EncodingBinary,
			map[string]string{"specversion": "1.0", "id": "m-1", "source": "/topics/orders", "type": "broker.message", "time": "2026-03-01T12:30:00.005Z"},
			"",
		},
		{
			"not UTF-8", "orders",
			broker.Message{ID: "m-1", Time: at, Header: map[string]string{"content-type": "image/png"}, Body: []byte{0xff, 0, 1}},
			binding.EncodingBinary,
			map[string]string{
				"specversion": "1.0", "id": "m-1", "source": "/topics/orders", "type": "broker.message",
				"time": "2026-03-01T12:30:00.005Z", "datacontenttype": "image/png",
			},
			"\xff\x00\x01",
		},
		{
			"an ID and a topic in any script", "bücher.新",
			broker.Message{ID: `naïve "1" 5%`, Time: at},
			binding.EncodingStructured,
			map[string]string{
				"specversion": "1.0", "id": `naïve "1" 5%`, "source": "/topics/b%C3%BCcher.%E6%96%B0",
				"type": "broker.message", "time": "2026-03-01T12:30:00.005Z",
			},
			"",
		},
		{
			"a text with an ID that needs escapes", "orders",
			broker.Message{ID: "a b", Time: at, Header: map[string]string{"Content-Type": "text/plain; charset=utf-8"}, Body: []byte("<é>\n")},
			binding.EncodingStructured,
			map[string]string{
				"specversion": "1.0", "id": "a b", "source": "/topics/orders", "type": "broker.message",
				"time": "2026-03-01T12:30:00.005Z", "datacontenttype": "text/plain; charset=utf-8",
			},
			"<é>\n",
		},
		{
			"bytes with an ID that needs escapes", "orders",
			broker.Message{ID: "a b", Time: at, Header: map[string]string{"Content-Type": "image/png"}, Body: []byte{0xff, 0, 1}},
			binding.EncodingStructured,
			map[string]string{
				"specversion": "1.0", "id": "a b", "source": "/topics/orders", "type": "broker.message",
				"time": "2026-03-01T12:30:00.005Z", "datacontenttype": "image/png",
			},
			"\xff\x00\x01",
		},
		{
			"JSON with an ID that needs escapes", "orders",
			broker.Message{ID: "a b", Time: at, Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(`{"a" : "<b>"}`)},
			binding.EncodingStructured,
			map[string]string{
				"specversion": "1.0", "id": "a b", "source": "/topics/orders", "type": "broker.message",
				"time": "2026-03-01T12:30:00.005Z", "datacontenttype": "application/json",
			},
			`{"a" : "<b>"}`,
		},
		{
			"a structured event", "orders",
			broker.Message{ID: "m-1", Header: map[string]string{"Content-Type": "application/cloudevents+json; charset=UTF-8"}, Body: []byte(structured)},
			binding.EncodingStructured,
			map[string]string{"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed"},
			`{"n":1}`,
		},
		{
			"a structured event as go-micro has it", "orders",
			broker.Message{ID: "m-1", Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(structured)},
			binding.EncodingStructured,
			map[string]string{"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed"},
			`{"n":1}`,
		},
		{
			"a binary event", "orders",
			broker.Message{
				ID: "m-1", Body: []byte("<a/>"), Header: map[string]string{
					"Content-Type": "text/xml", "ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/shop", "ce-type": "order.placed",
					"ce-datacontenttype": "text/xml", "CE-Subject": "caf%C3%A9 100%25", "ce-traceparent": "00-1", "ce-bad_name": "x",
				},
			},
			binding.EncodingStructured,
			map[string]string{
				"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed", "datacontenttype": "text/xml",
				"subject": "café 100%", "traceparent": "00-1",
			},
			"<a/>",
		},
		{
			"a binary event without escapes", "orders",
			broker.Message{
				ID: "m-1", Body: []byte("<a/>"), Header: map[string]string{
					"Content-Type": "text/xml", "ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/shop", "ce-type": "order.placed", "CE-Subject": "%63afe",
				},
			},
			binding.EncodingBinary,
			map[string]string{"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.placed", "datacontenttype": "text/xml", "subject": "cafe"},
			"<a/>",
		},
		{
			"a binary event of 0.3", "orders",
			broker.Message{
				ID: "m-1", Body: []byte{0xff}, Header: map[string]string{
					"Content-Type": "image/png", "ce-specversion": "0.3", "ce-id": "e 1", "ce-source": "/shop", "ce-type": "order.placed",
				},
			},
			binding.EncodingStructured,
			map[string]string{"specversion": "0.3", "id": "e 1", "source": "/shop", "type": "order.placed", "datacontenttype": "image/png"},
			"\xff",
		},
		{
			"a binary event of those who do not encode", "orders",
			broker.Message{ID: "m-1", Body: []byte("1"), Header: map[string]string{
				"ce-specversion": "1.0", "ce-id": "100%", "ce-source": "/shop", "ce-type": "é", "ce-datacontenttype": "text/x-number",
			}},
			binding.EncodingStructured,
			map[string]string{"specversion": "1.0", "id": "100%", "source": "/shop", "type": "é", "datacontenttype": "text/x-number"},
			"1",
		},
		{
			"half an event is none", "orders",
			broker.Message{ID: "m-1", Time: at, Header: map[string]string{"ce-specversion": "1.0", "ce-id": "e-1", "ce-type": "t"}},
			binding.EncodingBinary,
			map[string]string{"specversion": "1.0", "id": "m-1", "source": "/topics/orders", "type": "broker.message", "time": "2026-03-01T12:30:00.005Z"},
			"",
		},
		{
			"JSON that only looks like an event", "orders",
			broker.Message{ID: "m-1", Time: at, Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(`{"specversion":"1.0","ID":"x","source":"/s","type":"t"}`)},
			binding.EncodingBinary,
			map[string]string{
				"specversion": "1.0", "id": "m-1", "source": "/topics/orders", "type": "broker.message",
				"time": "2026-03-01T12:30:00.005Z", "datacontenttype": "application/json",
			},
			`{"specversion":"1.0","ID":"x","source":"/s","type":"t"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, new(broker.Memory), push.Options{})
			n := serve(t, nil)
			g.announce(t, "mailer", n, tt.topic)
			g.subscribed(t, tt.topic)
			if err := g.Publish(t.Context(), tt.topic, &tt.message); err != nil {
				t.Fatal(err)
			}
			r := receive(t, n.came)
			if r.Method != http.MethodPost || r.URL.String() != "/" || r.Header.Get("Ce-Datacontenttype") != "" {
				t.Errorf("request = %s %s with %v, want a POST to / without Ce-Datacontenttype", r.Method, r.URL, r.Header)
			}
			m := cehttp.NewMessage(r.Header, io.NopCloser(strings.NewReader(r.body)))
			e, err := binding.ToEvent(t.Context(), m)
			if err != nil {
				t.Fatalf("%v: %v %q", err, r.Header, r.body)
			}
			if m.ReadEncoding() != tt.encoding {
				t.Errorf("encoding = %v, want %v", m.ReadEncoding(), tt.encoding)
			}
			if diff := cmp.Diff(tt.want, attributes(e)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if string(e.Data()) != tt.data {
				t.Errorf("data = %q, want %q", e.Data(), tt.data)
			}
		})
	}
}

// attributes returns the attributes of an event as texts.
func attributes(e *ce.Event) map[string]string {
	a := map[string]string{"specversion": e.SpecVersion(), "id": e.ID(), "type": e.Type(), "source": e.Source()}
	if !e.Time().IsZero() {
		a["time"] = e.Time().Format(time.RFC3339Nano)
	}
	for name, text := range map[string]string{"subject": e.Subject(), "datacontenttype": e.DataContentType(), "dataschema": e.DataSchema()} {
		if text != "" {
			a[name] = text
		}
	}
	for name, value := range e.Extensions() {
		a[name], _ = value.(string)
	}
	return a
}

// TestHeader: of a message's header goes with it what belongs to the event, or
// tells which request it comes from, and nothing else.
func TestHeader(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders", "path", "/hook?source=bus,/other")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "m-1", "x",
		"Content-Type", "text/plain", "X-Request-Id", "r-1", "traceparent", "00-1", "tracestate", "a=b",
		"Authorization", "Bearer secret", "Cookie", "a=b", "X-Forwarded-User", "root", "Host", "evil.example", "Transfer-Encoding", "chunked",
		"Content-Length", "7", "Connection", "close", "Micro-Endpoint", "Admin.Drop", "Goapi-Dead-Letter", "given-up")
	r := receive(t, n.came)
	want := http.Header{
		"Content-Type": {"text/plain"}, "Content-Length": {"1"}, "X-Request-Id": {"r-1"}, "Traceparent": {"00-1"}, "Tracestate": {"a=b"},
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"m-1"}, "Ce-Source": {"/topics/orders"}, "Ce-Type": {"broker.message"}, "Ce-Time": r.Header["Ce-Time"],
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if r.Host != n.addr || r.URL.String() != "/hook?source=bus" {
		t.Errorf("posted to %s of %s, want the first path of the endpoint, %s", r.URL, r.Host, n.addr)
	}
}

// noID is a broker whose messages have no ID, as those of other publishers may.
type noID struct{ broker.Broker }

func (b noID) Subscribe(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
	s, err := b.Broker.Subscribe(ctx, topic, o)
	return noIDs{s}, err
}

type noIDs struct{ broker.Subscription }

func (s noIDs) Next(ctx context.Context) (*broker.Delivery, error) {
	d, err := s.Subscription.Next(ctx)
	if err == nil {
		d.ID = ""
	}
	return d, err
}

// TestNoID: a message without an ID is given one, the same each time.
func TestNoID(t *testing.T) {
	g := start(t, noID{new(broker.Memory)}, push.Options{})
	n := serve(t, statuses(500))
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "", "first")
	g.publish(t, "orders", "", "second")
	seen := map[string]map[string]bool{}
	for range 3 {
		r := receive(t, n.came)
		if seen[r.body] == nil {
			seen[r.body] = map[string]bool{}
		}
		seen[r.body][r.Header.Get("Ce-Id")] = true
	}
	if len(seen) != 2 || len(seen["first"]) != 1 || len(seen["second"]) != 1 || seen["first"][""] || seen["second"][""] {
		t.Errorf("IDs by body = %v, want one for each", seen)
	}
}

// TestSource: the source of a message is a URI-reference that names its topic.
func TestSource(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, nil)
	const topic = "a/b?c%20&d"
	g.announce(t, "mailer", n, topic)
	g.subscribed(t, topic)
	g.publish(t, topic, "m-1", "x")
	r := receive(t, n.came)
	e, err := binding.ToEvent(t.Context(), cehttp.NewMessage(r.Header, io.NopCloser(strings.NewReader(r.body))))
	if err != nil {
		t.Fatal(err)
	}
	source := e.Source()
	u, err := url.Parse(source)
	if err != nil || u.Path != "/topics/"+topic || u.RawQuery != "" {
		t.Errorf("source = %q, %v; want the path /topics/%s", source, err, topic)
	}
}
