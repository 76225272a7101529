package handler_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/handler"
)

// FuzzCloudEventsHeader takes a binary event with any header. If it is
// published, it is valid, and comes out of the binary form of a message as the
// same event.
func FuzzCloudEventsHeader(f *testing.F) {
	for _, seed := range [][4]string{
		{"Ce-Ext", "a%20b", "application/json", `{"a":1}`},
		{"Ce-Subject", `"a \" b"`, "text/plain; charset=utf-8", "ü"},
		{"Ce-Time", "2018-04-05T17:31:00.5+02:00", "", "1"},
		{"Ce-Time", "2016-12-31t23:59:60.5z", "", "1"},
		{"Ce-Dataschema", "https://example.com/#a", "application/a+json", "{}"},
		{"Ce-Specversion", "0.3", "image/png", "\xff"},
		{"Ce-Id", "%C0%A0", "application/json", "{"},
		{"Ce-Source", "//a b", "a/b;c", ""},
		{"X", "", "text/plain ", "x"},
	} {
		f.Add(seed[0], seed[1], seed[2], []byte(seed[3]))
	}
	f.Fuzz(func(t *testing.T, name, value, contentType string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/a", bytes.NewReader(body))
		r.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}}
		name = http.CanonicalHeaderKey(name)
		if name == "" || name == "Content-Type" {
			return
		}
		r.Header[name] = []string{value}
		if contentType != "" {
			r.Header["Content-Type"] = []string{contentType}
		}
		again := r.Clone(t.Context())
		again.Body = http.NoBody
		b := new(tap)
		w := httptest.NewRecorder()
		handler.CloudEvents(b, nil).ServeHTTP(w, r)
		if (w.Code == http.StatusAccepted) != (len(b.came) == 1) || w.Code >= 500 {
			t.Fatalf("answer = %d %s with %d messages, want 202 with one, or a client's error", w.Code, w.Body, len(b.came))
		}
		if len(b.came) == 0 {
			return
		}
		want := publishedEvent(t, b)
		got := reread(t, throughBinary(t, b.came[0].Body))
		if want.DataContentType() == "" && json.Valid(want.Data()) {
			want.SetDataContentType(ce.ApplicationJSON) // as the JSON in between implied
		}
		if diff := cmp.Diff(factOf(t, want), factOf(t, got)); diff != "" {
			t.Fatalf("event (-published +came back)\n%s", diff)
		}
	})
}

// throughBinary returns a structured event that went through a message in binary
// mode.
func throughBinary(t *testing.T, event []byte) string {
	t.Helper()
	b := new(tap)
	h := handler.CloudEvents(b, &handler.CloudEventsOptions{Mode: handler.CloudEventsBinary})
	acceptedID(t, postEvent(h, "/a", string(event), "Content-Type", structuredType))
	m := b.came[0]
	if m.Header["ce-id"] == "" { // an event within an event stays structured
		return string(m.Body)
	}
	var header []string
	for name, value := range m.Header {
		if name != "ce-datacontenttype" {
			header = append(header, name, value)
		}
	}
	back := new(tap)
	acceptedID(t, postEvent(handler.CloudEvents(back, nil), "/a", string(m.Body), header...))
	return string(back.came[0].Body)
}

// reread returns an event from JSON.
func reread(t *testing.T, text string) *ce.Event {
	t.Helper()
	e := new(ce.Event)
	if err := json.Unmarshal([]byte(text), e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

// FuzzCloudEventsJSON takes any body as an event or a batch. What is published is
// valid, can be read by the library, and is published as it is when it is sent
// again.
func FuzzCloudEventsJSON(f *testing.F) {
	const attrs = `"specversion":"1.0","id":"1","source":"/s","type":"t"`
	for _, seed := range []string{
		`{` + attrs + `}`, `{` + attrs + `,"data":{"a":[1]},"ext":true,"n":-1}`, `{` + attrs + `,"data_base64":"/w==","datacontenttype":"a/b"}`,
		`{` + attrs + `,"datacontenttype":"a/b+json","data":{}}`, `{"specversion":"0.3","id":"1","source":"/s","type":"t","datacontentencoding":"base64","data":"eA=="}`,
		`{` + attrs + `,"time":"2016-12-31t18:59:60-05:00"}`, `{` + attrs + `,"time":"9999-12-31T23:59:59-01:00"}`,
		`[{` + attrs + `},{` + attrs + `}]`, `[]`, `{}`, `{` + attrs + `,"data_base64":1}`, `{` + attrs + `,"time":"2018-04-05T03:56:24Z","subject":"\ud800"}`,
		`{"datacontentencoding":null,"specversion":"0.3"}`, `{` + attrs + `,"":1}`, `{"data":1,` + attrs + `}`,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, batch bool) {
		kind := structuredType
		if batch {
			kind = batchType
		}
		b := new(tap)
		w := postEvent(handler.CloudEvents(b, nil), "/a", string(body), "Content-Type", kind)
		if w.Code != http.StatusAccepted && (w.Code >= 500 || len(b.came) > 0) {
			t.Fatalf("answer = %d %s with %d messages, want 202, or a client's error with none", w.Code, w.Body, len(b.came))
		}
		for _, m := range b.came {
			e := reread(t, string(m.Body))
			if err := e.Validate(); err != nil || e.SpecVersion() != "1.0" {
				t.Fatalf("published %s: %v", m.Body, err)
			}
			again := new(tap)
			acceptedID(t, postEvent(handler.CloudEvents(again, nil), "/a", string(m.Body), "Content-Type", structuredType))
			if got := again.came[0]; !bytes.Equal(got.Body, m.Body) || got.ID != m.ID {
				t.Fatalf("published %s as %s, then %s as %s", m.Body, m.ID, got.Body, got.ID)
			}
		}
	})
}
