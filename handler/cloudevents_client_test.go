package handler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/client"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/handler"
)

// clientEvents returns events as programs make them with the library.
func clientEvents(t *testing.T, version string) []ce.Event {
	t.Helper()
	data := []struct {
		contentType string
		data        any
	}{
		{"", nil},
		{"application/json", map[string]any{"a": []int{1, 2}, "b": "<ü>"}},
		{"application/json", []byte(`{"a":1}`)},
		{"application/json", "a string"},
		{"text/plain", "text ü\n"},
		{"text/plain; charset=utf-8", []byte("bytes")},
		{"application/octet-stream", []byte{0, 1, 255}},
		{"application/xml", []byte("<a>1</a>")},
		{"application/vnd.example+json", []byte(`{"a":1}`)},
	}
	var list []ce.Event
	for i, d := range data {
		e := ce.New(version)
		e.SetID(fmt.Sprintf("%s-%d", version, i))
		e.SetSource("https://example.com/things?a=b#c")
		e.SetType("com.example.someevent")
		e.SetSubject(`50% of "ü" € 😀`)
		e.SetTime(time.Date(2018, 4, 5, 17, 31, 0, 123456789, time.FixedZone("", 7200)))
		e.SetDataSchema("https://example.com/schema")
		e.SetExtension("text", "a, b; c=\"d\" %zz")
		e.SetExtension("truth", i%2 == 0)
		e.SetExtension("number", math.MinInt32+i)
		e.SetExtension("uri", &url.URL{Scheme: "urn", Opaque: "x"})
		e.SetExtension("instant", time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC))
		e.SetExtension("bin", []byte{255, 0})
		raw, isRaw := d.data.([]byte)
		switch {
		case d.data == nil:
		case isRaw && version == "0.3": // of which the library makes texts alone
			if !utf8.Valid(raw) {
				continue
			}
			e.SetDataContentType(d.contentType)
			e.DataEncoded = raw
		default:
			if err := e.SetData(d.contentType, d.data); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// fact is all that an event says, as it is the same in every mode.
type fact struct {
	ID, Source, Type, Subject, Schema, ContentType, Time, Data string
	Extensions                                                 map[string]string
}

func factOf(t testing.TB, e *ce.Event) fact {
	t.Helper()
	f := fact{
		ID: e.ID(), Source: e.Source(), Type: e.Type(), Subject: e.Subject(), Schema: e.DataSchema(), ContentType: e.DataContentType(),
		Time: types.FormatTime(e.Time()), Data: string(e.Data()), Extensions: make(map[string]string),
	}
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			t.Fatal(err)
		}
		f.Extensions[name] = text
	}
	return f
}

// TestCloudEventsOfClient sends events with the library's own client, in each
// mode, over a connection, and gets them back equal.
func TestCloudEventsOfClient(t *testing.T) {
	for _, version := range []string{"1.0", "0.3"} {
		for mode, send := range clientModes() {
			t.Run(version+" "+mode, func(t *testing.T) {
				b := new(tap)
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				target := startServer(t, handler.CloudEvents(b, nil)) + "/orders"
				events := clientEvents(t, version)
				send(t, transport, target, events)
				for i, d := range b.receive(t, "orders", len(events)) {
					got := new(ce.Event)
					if err := json.Unmarshal(d.Body, got); err != nil {
						t.Fatalf("%s: %v", d.Body, err)
					}
					if diff := cmp.Diff(factOf(t, &events[i]), factOf(t, got)); diff != "" || got.SpecVersion() != "1.0" {
						t.Errorf("event of %s (-sent +published)\n%s", got.SpecVersion(), diff)
					}
				}
			})
		}
	}
}

// clientModes returns how the library sends events.
func clientModes() map[string]func(*testing.T, *http.Transport, string, []ce.Event) {
	sendAll := func(opt client.Option) func(*testing.T, *http.Transport, string, []ce.Event) {
		return func(t *testing.T, transport *http.Transport, target string, events []ce.Event) {
			var opts []client.Option
			if opt != nil {
				opts = append(opts, opt)
			}
			p, err := cehttp.New(cehttp.WithTarget(target), cehttp.WithRoundTripper(transport))
			if err != nil {
				t.Fatal(err)
			}
			c, err := client.New(p, opts...)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if result := c.Send(t.Context(), e); !protocol.IsACK(result) {
					t.Fatalf("Send(%s) = %v, want an acknowledgement", e.ID(), result)
				}
			}
		}
	}
	return map[string]func(*testing.T, *http.Transport, string, []ce.Event){
		"default":    sendAll(nil),
		"binary":     sendAll(client.WithForceBinary()),
		"structured": sendAll(client.WithForceStructured()),
		"batched": func(t *testing.T, transport *http.Transport, target string, events []ce.Event) {
			r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), target, events)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusAccepted {
				t.Fatalf("batch = %s", res.Status)
			}
		},
	}
}

// TestCloudEventsComeBack sends what was published in binary mode in again: what
// is published then is the same event.
func TestCloudEventsComeBack(t *testing.T) {
	for _, e := range clientEvents(t, "1.0") {
		var body bytes.Buffer
		if err := ce.WriteJson(&e, &body); err != nil {
			t.Fatal(err)
		}
		b := new(tap)
		h := handler.CloudEvents(b, &handler.CloudEventsOptions{Mode: handler.CloudEventsBinary})
		acceptedID(t, postEvent(h, "/a", body.String(), "Content-Type", structuredType))
		out := b.only(t)
		var header []string
		for name, value := range out.Header {
			if name != "ce-datacontenttype" { // which is for NATS
				header = append(header, name, value)
			}
		}
		again := new(tap)
		acceptedID(t, postEvent(handler.CloudEvents(again, nil), "/a", string(out.Body), header...))
		if diff := cmp.Diff(factOf(t, &e), factOf(t, publishedEvent(t, again))); diff != "" {
			t.Errorf("event (-sent +came back)\n%s", diff)
		}
	}
}
