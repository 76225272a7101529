package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/client"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"
	natsgo "github.com/nats-io/nats.go"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi/proto"
	"github.com/goapi-dev/goapi/registry"
)

// cloudClients are the modes in which the library of CloudEvents sends.
func cloudClients() map[string]func(t *testing.T, url string, events []ce.Event) {
	send := func(opts ...client.Option) func(*testing.T, string, []ce.Event) {
		return func(t *testing.T, url string, events []ce.Event) {
			t.Helper()
			p, err := cehttp.New(cehttp.WithTarget(url))
			if err != nil {
				t.Fatal(err)
			}
			c, err := client.New(p, opts...)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if result := c.Send(t.Context(), e); !protocol.IsACK(result) {
					t.Fatalf("Send = %v, want an acknowledgement", result)
				}
			}
		}
	}
	return map[string]func(*testing.T, string, []ce.Event){
		"binary":     send(client.WithForceBinary()),
		"structured": send(client.WithForceStructured()),
		"batched": func(t *testing.T, url string, events []ce.Event) {
			t.Helper()
			r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), url, events)
			if err != nil {
				t.Fatal(err)
			}
			rsp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = rsp.Body.Close()
			if rsp.StatusCode != http.StatusAccepted {
				t.Fatalf("batch = %s, want 202", rsp.Status)
			}
		},
	}
}

// cloudEvents returns events with data of each kind.
func cloudEvents(t *testing.T, subject string) []ce.Event {
	t.Helper()
	var list []ce.Event
	for i, d := range []struct {
		contentType string
		data        any
	}{
		{"", nil},
		{"application/json", map[string]any{"a": []int{1, 2}, "b": "<ü>"}},
		{"text/plain", "text ü\n"},
		{"application/octet-stream", []byte{0, 1, 255}},
		{"application/xml", []byte("<a>1</a>")},
	} {
		e := ce.New()
		e.SetID(fmt.Sprint("e-", i))
		e.SetSource("https://example.com/things?a=b#c")
		e.SetType("com.example.made")
		e.SetSubject(subject)
		e.SetTime(time.Date(2018, 4, 5, 17, 31, 0, 123456789, time.UTC))
		e.SetExtension("number", 7)
		e.SetExtension("truth", true)
		if d.data != nil {
			if err := e.SetData(d.contentType, d.data); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, e)
	}
	return list
}

// facts are what an event says, as it is the same in every mode.
func facts(t *testing.T, e *ce.Event) map[string]string {
	t.Helper()
	f := map[string]string{
		"id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(), "time": types.FormatTime(e.Time()),
		"datacontenttype": e.DataContentType(), "data": string(e.Data()),
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			t.Fatal(err)
		}
		f[name] = text
	}
	return f
}

// TestCloudEventsGoInAndComeOutEqual sends events with the client of sdk-go in
// each of its modes, on each kind of mount. They come out equal as messages, and
// where they are pushed to its receiver.
func TestCloudEventsGoInAndComeOutEqual(t *testing.T) {
	for mode, send := range cloudClients() {
		for _, format := range []string{"json", "structured", "binary"} {
			t.Run(mode+" as "+format, func(t *testing.T) {
				p := startGateway(t, "--mount", "/in=cloudevents?format="+format, "--publish", eventTopic, "--push", eventTopic)
				pushed := p.cloudReceiver()
				subject := `50% of "ü" 😀`
				if format == "binary" {
					subject = "plain" // sdk-go's receiver takes the escapes of HTTP's binding for text
				}
				events := cloudEvents(t, subject)
				send(t, "http://"+p.address+"/in/"+eventTopic, events)
				got := make(map[string]ce.Event)
				for len(got) < len(events) {
					select {
					case e := <-pushed:
						if e.Type() != warmUp {
							got[e.ID()] = e
						}
					case <-time.After(patience):
						t.Fatalf("%d of %d events were pushed\n%s", len(got), len(events), p.logged())
					}
				}
				messages := slices.DeleteFunc(p.published(eventTopic), func(m message) bool { return m.header["Ce-Type"] == warmUp })
				if len(messages) != len(events) {
					t.Fatalf("%d messages, want %d", len(messages), len(events))
				}
				for i, e := range events {
					out := got[e.ID()]
					if diff := cmp.Diff(facts(t, &e), facts(t, &out)); diff != "" {
						t.Errorf("event (-sent +pushed)\n%s", diff)
					}
					if format == "binary" {
						continue
					}
					var published ce.Event
					if err := json.Unmarshal([]byte(messages[i].body), &published); err != nil {
						t.Fatalf("message %q: %v", messages[i].body, err)
					}
					if diff := cmp.Diff(facts(t, &e), facts(t, &published)); diff != "" {
						t.Errorf("event (-sent +published)\n%s", diff)
					}
				}
			})
		}
	}
}

// cloudReceiver announces a service that takes events with the receiver of
// sdk-go.
func (p *process) cloudReceiver() <-chan ce.Event {
	p.t.Helper()
	events := make(chan ce.Event, 64)
	h, err := cehttp.New()
	if err != nil {
		p.t.Fatal(err)
	}
	receiver, err := client.NewHTTPReceiveHandler(p.t.Context(), h, func(e ce.Event) {
		select {
		case events <- e:
		case <-p.t.Context().Done(): // nobody wants more
		}
	})
	if err != nil {
		p.t.Fatal(err)
	}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The receiver hangs if a request is canceled before it was taken.
		receiver.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}))
	p.t.Cleanup(node.Close)
	p.register(&registry.Service{
		Name: "receiver", Nodes: []*registry.Node{{ID: "r1", Address: node.Listener.Addr().String(), Metadata: map[string]string{"protocol": "http"}}},
		Endpoints: []*registry.Endpoint{{Name: "Receive", Metadata: map[string]string{
			"subscriber": "true", "push": "true", "topic": eventTopic, "path": "/receive", "protocol": "cloudevents",
		}}},
	}, 0)
	p.await(func() bool { // a group begins with what is published after it was first seen
		got := p.post(p.admin, "/broker?topic="+eventTopic, "hello", "Ce-Specversion", "1.0", "Ce-Id", "-", "Ce-Source", "/test", "Ce-Type", warmUp)
		return got.status == http.StatusAccepted && len(events) > 0
	}, "push of a first event")
	return events
}

// warmUp is the type of events that do not count.
const warmUp = "test.first"

// envelope is a message as go-micro has it on NATS, with the keys that it needs.
type envelope struct {
	Header map[string]string
	Body   []byte
}

// microSubscriber subscribes as go-micro does: to the subject that is the topic.
// It gets what go-micro's codecs find in messages.
func microSubscriber(t *testing.T, address, topic string) func() envelope {
	t.Helper()
	conn, err := natsgo.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	sub, err := conn.SubscribeSync(topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() envelope {
		t.Helper()
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		var e envelope
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatalf("message %q: %v", m.Data, err)
		}
		for _, key := range []string{`"Header":`, `"Body":`} {
			if !strings.Contains(string(m.Data), key) || len(m.Header) > 0 {
				t.Errorf("message %q with header %v, want %s and no header of NATS", m.Data, m.Header, key)
			}
		}
		if e.Header["Micro-Topic"] != topic || e.Header["Micro-Id"] == "" {
			t.Errorf("header = %v, want the topic %s and an ID", e.Header, topic)
		}
		return e
	}
}

// TestGoMicroReceivesEvents publishes through each mount on go-micro's own form
// of NATS: its subscribers read the types application/json and
// application/protobuf, in every version.
func TestGoMicroReceivesEvents(t *testing.T) {
	bus := startGateway(t, "--nats", "127.0.0.1:0")
	p := startGateway(t, "--registry", "memory:", "--broker", "nats+micro://"+bus.nats, "--publish", "**",
		"--mount", "/json=event?namespace=go.micro.evt", "--mount", "/protobuf=event", "--mount", "/pb=event?format=protobuf&namespace=go.micro.evt",
		"--mount", "/clouds=cloudevents?namespace=go.micro.evt", "--mount", "/bus=broker")
	const topic = "go.micro.evt.user"
	next := microSubscriber(t, bus.nats, topic)
	post := func(path string, header ...string) {
		t.Helper()
		if got := p.post(p.address, path, `{"a":1}`, append(header, "Content-Type", "application/json")...); got.status != http.StatusAccepted {
			t.Fatalf("POST %s = %v, want 202", path, got)
		}
	}
	post("/json/user/login", "X-Trace", "t1")
	m := next()
	var e event
	if err := json.Unmarshal(m.Body, &e); err != nil || m.Header["Content-Type"] != "application/json" {
		t.Fatalf("message %v %s: %v; want an event as JSON", m.Header, m.Body, err)
	}
	if want := (event{"login", m.Header["Micro-Id"], `{"a":1}`}); e != want || m.Header["X-Trace"] != "t1" {
		t.Errorf("event = %+v with %v, want %+v and the request's headers", e, m.Header, want)
	}

	post("/pb/user/login")
	m = next()
	captured := capturedEvent(t)
	var got proto.Event
	if err := protobuf.Unmarshal(m.Body, &got); err != nil || m.Header["Content-Type"] != "application/protobuf" {
		t.Fatalf("message %v %q: %v; want an event as protobuf", m.Header, m.Body, err)
	}
	if got.GetName() != captured.GetName() || got.GetData() != captured.GetData() ||
		!protobuf.Equal(got.GetHeader()["Content-Type"], captured.GetHeader()["Content-Type"]) || got.GetTimestamp() == 0 {
		t.Errorf("event = %v, want what real subscribers took: %v", &got, captured)
	}

	post("/clouds/user")
	m = next()
	var cloud ce.Event
	if err := json.Unmarshal(m.Body, &cloud); err != nil || cloud.Type() != "http.request" || m.Header["Content-Type"] != "application/json" {
		t.Errorf("message %v %s: %v; want a CloudEvent as JSON", m.Header, m.Body, err)
	}

	post("/bus?topic=" + topic)
	if m = next(); string(m.Body) != `{"a":1}` || m.Header["Content-Type"] != "application/json" {
		t.Errorf("message %v %s, want the body and its type", m.Header, m.Body)
	}
}

// capturedEvent returns the event that real subscribers of go-micro received.
func capturedEvent(t *testing.T) *proto.Event {
	t.Helper()
	b, err := os.ReadFile("../broker/micro/testdata/nats-handmade-event.json")
	if err != nil {
		t.Fatal(err)
	}
	var m envelope
	e := new(proto.Event)
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if err := protobuf.Unmarshal(m.Body, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestGoMicroPublishesToBrowsers puts on the bus what a program of go-micro sent
// there, byte for byte.
func TestGoMicroPublishesToBrowsers(t *testing.T) {
	bus := startGateway(t, "--nats", "127.0.0.1:0")
	p := startGateway(t, "--registry", "memory:", "--broker", "nats+micro://"+bus.nats, "--mount", "/bus=broker", "--subscribe", "greeter.*")
	s := p.subscribe(p.address, "/bus?topic=greeter.hello")
	conn, err := natsgo.Connect("nats://" + bus.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := os.ReadFile("../broker/micro/testdata/nats-v6-publish-json.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "PUB greeter.hello 181\r\n")
	if err := conn.Publish("greeter.hello", []byte(rest[:181])); err != nil {
		t.Fatal(err)
	}
	m := p.receive(s)
	if strings.TrimSpace(m.body) != `{"name":"john","age":7}` || m.topic != "greeter.hello" || m.id != "7ed6f981-e909-47dc-9882-7d7524bcc706" || m.header["Trace"] != "t1" {
		t.Errorf("the browser got %+v, want what go-micro published", m)
	}
	if m.position != "" {
		t.Errorf("position = %q, want none: there is no history", m.position)
	}
	if got := p.request(http.MethodGet, p.address, "/bus?topic=greeter.hello&from=earliest", "", "Accept", "text/event-stream"); got.status != http.StatusBadRequest {
		t.Errorf("GET from the earliest = %v, want 400: there is no history", got)
	}
}
