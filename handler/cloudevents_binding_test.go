package handler_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/goapi-dev/goapi/handler"
)

// TestHTTPBinding has a test for each MUST of the HTTP Protocol Binding for
// CloudEvents 1.0.2, by section. What senders must is tested where this package
// sends: in messages in binary mode.
func TestHTTPBinding(t *testing.T) {
	const whole = `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`
	take := func(t *testing.T, body string, header ...string) *ce.Event {
		t.Helper()
		b := new(tap)
		if w := postEvent(handler.CloudEvents(b, nil), "/a", body, header...); w.Code != http.StatusAccepted {
			t.Fatalf("answer = %d %s, want 202", w.Code, w.Body)
		}
		return publishedEvent(t, b)
	}
	refuse := func(t *testing.T, detail, body string, header ...string) {
		t.Helper()
		wantError(t, postEvent(handler.CloudEvents(new(tap), nil), "/a", body, header...), http.StatusBadRequest, detail)
	}
	extension := func(t *testing.T, value, want string) {
		t.Helper()
		if got := take(t, "", inHeaders("ce-ext", value)...).Extensions()["ext"]; got != want {
			t.Errorf("ce-ext: %s is %q, want %q", value, got, want)
		}
	}
	// encoded returns a header of the message of an event with a text.
	encoded := func(t *testing.T, text string) string {
		t.Helper()
		body, err := json.Marshal(map[string]string{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "ext": text})
		if err != nil {
			t.Fatal(err)
		}
		b := new(tap)
		h := handler.CloudEvents(b, &handler.CloudEventsOptions{Mode: handler.CloudEventsBinary})
		acceptedID(t, postEvent(h, "/a", string(body), "Content-Type", structuredType))
		return b.only(t).Header["ce-ext"]
	}
	tests := []struct {
		name string
		run  func(*testing.T)
	}{
		{"1.4 structured mode supports the JSON event format", func(t *testing.T) {
			if e := take(t, whole, "Content-Type", structuredType); e.ID() != "1" {
				t.Errorf("event = %v", e)
			}
		}},
		{"3 modes are told by the prefix of the Content-Type", func(t *testing.T) {
			if e := take(t, whole, inHeaders("ce-id", "other", "Content-Type", structuredType+"; charset=utf-8")...); e.ID() != "1" {
				t.Errorf("id of a structured event = %q, want that of the body", e.ID())
			}
			if e := take(t, "["+whole+"]", inHeaders("ce-id", "other", "Content-Type", batchType)...); e.ID() != "1" {
				t.Errorf("id of a batched event = %q, want that of the body", e.ID())
			}
			if e := take(t, whole, inHeaders("ce-id", "other", "Content-Type", "application/json")...); e.ID() != "other" || string(e.Data()) != whole {
				t.Errorf("binary event = %v, want the id of the header, and the body as data", e)
			}
		}},
		{"3.1.1 Content-Type is datacontenttype", func(t *testing.T) {
			if got := take(t, "x", inHeaders("Content-Type", "text/plain; a=b")...).DataContentType(); got != "text/plain; a=b" {
				t.Errorf("datacontenttype = %q", got)
			}
		}},
		{"3.1.1 ce-datacontenttype is not there", func(t *testing.T) {
			refuse(t, "datacontenttype", "x", inHeaders("ce-datacontenttype", "text/plain")...)
			refuse(t, "datacontenttype", "x", inHeaders("ce-datacontenttype", "text/plain", "Content-Type", "text/plain")...)
		}},
		{"3.1.2 the body is the data as it is", func(t *testing.T) {
			for _, data := range []string{"{\n\"a\" : 1.0 }", "\x00\xff", "%41", `"x"`} {
				for _, kind := range []string{"application/json", "text/plain", "image/png", "application/a+json"} {
					if got := string(take(t, data, inHeaders("Content-Type", kind)...).Data()); got != data {
						t.Errorf("data of %s = %q, want %q", kind, got, data)
					}
				}
			}
		}},
		{"3.1.3 attributes and extensions have headers of their own", func(t *testing.T) {
			e := take(t, "", "ce-specversion", "1.0", "ce-type", "t", "ce-time", "2018-04-05T03:56:24Z", "ce-id", "1234-1234-1234",
				"ce-source", "/mycontext/subcontext", "ce-subject", "sub", "ce-dataschema", "urn:a", "ce-ext1", "a", "ce-ext2", "b")
			got := []string{e.SpecVersion(), e.Type(), e.Time().String(), e.ID(), e.Source(), e.Subject(), e.DataSchema()}
			want := []string{"1.0", "t", "2018-04-05 03:56:24 +0000 UTC", "1234-1234-1234", "/mycontext/subcontext", "sub", "urn:a"}
			if !slices.Equal(got, want) || len(e.Extensions()) != 2 || e.Extensions()["ext1"] != "a" || e.Extensions()["ext2"] != "b" {
				t.Errorf("event = %q with %v, want %q with ext1 and ext2", got, e.Extensions(), want)
			}
			refuse(t, "ext", "", inHeaders("ce-ext", "a", "ce-ext", "b")...)
		}},
		{"3.1.3 a second mapping does not stand for the first", func(t *testing.T) {
			e := take(t, "", inHeaders("traceparent", "00-1-2-01", "ce-traceparent", "00-3-4-01")...)
			if got := e.Extensions()["traceparent"]; got != "00-3-4-01" {
				t.Errorf("traceparent = %q, want that of ce-traceparent", got)
			}
			if got := take(t, "", inHeaders("traceparent", "00-1-2-01")...).Extensions(); len(got) > 0 {
				t.Errorf("extensions = %v, want none without a header ce-", got)
			}
		}},
		{"3.1.3.1 names have the prefix ce-, in any case", func(t *testing.T) {
			e := take(t, "", "CE-SpecVersion", "1.0", "Ce-ID", "1", "cE-sourCE", "/s", "ce-type", "t", "CE-MYEXT", "x", "ext", "no")
			if e.ID() != "1" || len(e.Extensions()) != 1 || e.Extensions()["myext"] != "x" {
				t.Errorf("event = %v, want id and myext", e)
			}
		}},
		{"3.1.3.2 values are percent-encoded, and nothing but printable ASCII", func(t *testing.T) {
			for text, want := range map[string]string{
				"Euro € 😀":       "Euro%20%E2%82%AC%20%F0%9F%98%80", // the example of the standard
				` "%`:            "%20%22%25",
				"!#$&'()*+,-./~": "!#$&'()*+,-./~",
				"a\u00a0":        "a%C2%A0",
			} {
				if got := encoded(t, text); got != want {
					t.Errorf("%q is encoded as %s, want %s", text, got, want)
				}
			}
		}},
		{"3.1.3.2 a surrogate pair is one character", func(t *testing.T) {
			b := new(tap)
			h := handler.CloudEvents(b, &handler.CloudEventsOptions{Mode: handler.CloudEventsBinary})
			body := `{"specversion":"1.0","id":"1","source":"/s","type":"t","ext":"\ud83d\ude00"}`
			acceptedID(t, postEvent(h, "/a", body, "Content-Type", structuredType))
			if got := b.only(t).Header["ce-ext"]; got != "%F0%9F%98%80" {
				t.Errorf("it is encoded as %s", got)
			}
		}},
		{"3.1.3.2 double quotes are unescaped first", func(t *testing.T) {
			extension(t, `"a b"`, "a b")
			extension(t, `"a \"b\" \\ \c"`, `a "b" \ c`)
			extension(t, `"%22"`, `"`)
			extension(t, `"a`, `"a`)
			extension(t, `"a" "b"`, `"a" "b"`)
			extension(t, `"a\"`, `"a\"`)
			extension(t, `say "a"`, `say "a"`)
		}},
		{"3.1.3.2 there is one round of percent-decoding", func(t *testing.T) {
			extension(t, "%2541", "%41")
			extension(t, "Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀")
		}},
		{"3.1.3.2 lower-case digits are accepted", func(t *testing.T) { extension(t, "%e2%82%aC", "€") }},
		{"3.1.3.2 needless encoding is accepted", func(t *testing.T) { extension(t, "%41%62%2D", "Ab-") }},
		{"3.1.3.2 what is not UTF-8 is rejected", func(t *testing.T) {
			for _, value := range []string{"%C0%A0", "%FF", "%E2%82", "%ED%A0%80", "a%80"} {
				refuse(t, "ext", "", inHeaders("ce-ext", value)...)
			}
		}},
		{"3.2.1 the Content-Type of a structured event is that of a format", func(t *testing.T) {
			b := new(tap)
			h := handler.CloudEvents(b, &handler.CloudEventsOptions{Mode: handler.CloudEventsStructured})
			acceptedID(t, postEvent(h, "/a", "x", inHeaders("Content-Type", "text/plain")...))
			if got := b.only(t).Header["Content-Type"]; got != structuredType {
				t.Errorf("Content-Type of the message = %q", got)
			}
		}},
		{"3.2.3 attributes are in the body, though they are headers too", func(t *testing.T) {
			refuse(t, "id", `{"specversion":"1.0","source":"/s","type":"t"}`, inHeaders("Content-Type", structuredType)...)
		}},
		{"3.3 the JSON batch format is supported", func(t *testing.T) {
			if e := take(t, "["+whole+"]", "Content-Type", batchType+"; charset=UTF-8"); e.ID() != "1" {
				t.Errorf("event = %v", e)
			}
		}},
		{"3.3.2 a batch may be empty", func(t *testing.T) {
			w := postEvent(handler.CloudEvents(new(tap), nil), "/a", " [ ] ", "Content-Type", batchType)
			if w.Code != http.StatusAccepted || w.Body.String() != "{\"ids\":[]}\n" {
				t.Errorf("answer = %d %s, want 202 without ids", w.Code, w.Body)
			}
		}},
		{"3.3.2 events of a batch are of one specversion", func(t *testing.T) {
			old := `{"specversion":"0.3","id":"2","source":"/s","type":"t"}`
			refuse(t, "specversion", "["+whole+","+old+"]", "Content-Type", batchType)
			if e := take(t, "["+old+"]", "Content-Type", batchType); e.SpecVersion() != "1.0" {
				t.Errorf("specversion = %q, want 1.0", e.SpecVersion())
			}
		}},
		{"3.3.2 other attributes of a batch may differ", func(t *testing.T) {
			b := new(tap)
			other := `{"specversion":"1.0","id":"2","source":"/t","type":"u","datacontenttype":"text/plain","data":"x"}`
			if w := postEvent(handler.CloudEvents(b, nil), "/a", "["+whole+","+other+"]", "Content-Type", batchType); w.Code != http.StatusAccepted || len(b.came) != 2 {
				t.Errorf("answer = %d %s, want 202 for both", w.Code, w.Body)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.run)
	}
}
