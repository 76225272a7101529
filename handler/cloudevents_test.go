package handler_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	"github.com/goapi-dev/goapi/handler"
)

const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
)

// inHeaders returns the headers of a valid binary event, and more as pairs. Those
// given replace those that it has.
func inHeaders(header ...string) []string {
	all := map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
	var list []string
	for i := 0; i < len(header); i += 2 {
		delete(all, strings.ToLower(header[i]))
		list = append(list, header[i], header[i+1])
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name, all[name])
	}
	return list
}

// publishedEvent returns the only event that was published, from JSON.
func publishedEvent(t testing.TB, b *tap) *ce.Event {
	t.Helper()
	d := b.only(t)
	e := new(ce.Event)
	if err := json.Unmarshal(d.Body, e); err != nil {
		t.Fatalf("message %q: %v", d.Body, err)
	}
	if err := e.Validate(); err != nil {
		t.Fatalf("message %q: %v", d.Body, err)
	}
	return e
}

// TestCloudEvents takes events in each mode, and looks at what is published.
func TestCloudEvents(t *testing.T) {
	const attrs = `"specversion":"1.0","id":"1","source":"/s","type":"t"`
	old := strings.Replace(attrs, "1.0", "0.3", 1)
	tests := []struct {
		name   string
		body   string
		header []string
		want   string // JSON that is published
	}{
		{"binary JSON", `{"a": "<b>"}`, inHeaders("Content-Type", "application/json"), `{` + attrs + `,"datacontenttype":"application/json","data":{"a": "<b>"}}`},
		{"binary without a type", `{"a":1}`, inHeaders(), `{` + attrs + `,"data":{"a":1}}`},
		{"binary without a type, not JSON", `a`, inHeaders(), `{` + attrs + `,"data_base64":"YQ=="}`},
		{"binary text", "ü\n", inHeaders("Content-Type", "text/plain; charset=utf-8"), `{` + attrs + `,"datacontenttype":"text/plain; charset=utf-8","data":"ü\n"}`},
		{"binary bytes", "\xff", inHeaders("Content-Type", "text/plain"), `{` + attrs + `,"datacontenttype":"text/plain","data_base64":"/w=="}`},
		{"binary that says JSON and is not", "{", inHeaders("Content-Type", "application/json"), `{` + attrs + `,"datacontenttype":"application/json","data_base64":"ew=="}`},
		{"binary of another JSON", `{}`, inHeaders("Content-Type", "application/a+json"), `{` + attrs + `,"datacontenttype":"application/a+json","data_base64":"e30="}`},
		{"binary without data", "", inHeaders("Content-Type", "application/json"), `{` + attrs + `,"datacontenttype":"application/json"}`},
		{"binary with all attributes", "", inHeaders("ce-subject", "s", "ce-time", "2018-04-05T17:31:00.5+02:00", "ce-dataschema", "https://example.com/s", "ce-ext1", "x"), `{` + attrs + `,"subject":"s","dataschema":"https://example.com/s","time":"2018-04-05T15:31:00.5Z","ext1":"x"}`},
		{"binary 0.3", "x", inHeaders("ce-specversion", "0.3", "ce-schemaurl", "https://example.com/s", "Content-Type", "text/plain"), `{` + attrs + `,"datacontenttype":"text/plain","dataschema":"https://example.com/s","data":"x"}`},
		{"binary 0.3 with a relative schema", "", inHeaders("ce-specversion", "0.3", "ce-schemaurl", "/schemas/a#b"), `{` + attrs + `,"schemaurl":"/schemas/a#b"}`},
		{"binary 0.3 in base64", "eA==", inHeaders("ce-specversion", "0.3", "ce-datacontentencoding", "base64", "Content-Type", "text/plain"), `{` + attrs + `,"datacontenttype":"text/plain","data":"x"}`},
		{"structured", ` {"data":{"a" : "\u002a"}, ` + attrs + `} `, []string{"Content-Type", structuredType}, ` {"data":{"a" : "\u002a"}, ` + attrs + `} `},
		{"structured with an escaped name", `{"data":{"a" : 1},"\u0073ubject":"s",` + attrs + `}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"subject":"s","data":{"a" : 1}}`},
		{"structured with an escape", `{"data":{"a" : 1},"subject":"\u0073",` + attrs + `}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"subject":"s","data":{"a" : 1}}`},
		{"structured with an escape in base64", `{"data_base64":"e30\u003d",` + attrs + `}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"data_base64":"e30="}`},
		{"structured in capitals", `{` + attrs + `}`, []string{"Content-Type", "Application/CloudEvents+JSON; Charset=UTF-8"}, `{` + attrs + `}`},
		{"structured text", `{` + attrs + `,"datacontenttype":"text/xml","data":"<a/>"}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"datacontenttype":"text/xml","data":"<a/>"}`},
		{"structured base64", `{` + attrs + `,"datacontenttype":"text/xml","data_base64":"/w=="}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"datacontenttype":"text/xml","data_base64":"/w=="}`},
		{"structured base64 of JSON", `{` + attrs + `,"data_base64":"e30="}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"data_base64":"e30="}`},
		{"structured text of JSON", `{` + attrs + `,"data":"<ü>"}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"data":"<ü>"}`},
		{"structured with null", `{` + attrs + `,"subject":null,"a":null,"data_base64":null,"data":null}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"data":null}`},
		{"structured text of null", `{` + attrs + `,"datacontenttype":"text/xml","data":null}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"datacontenttype":"text/xml"}`},
		{"structured another JSON, as text", `{` + attrs + `,"datacontenttype":"a/b+json","data":"{}"}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"datacontenttype":"a/b+json","data":"{}"}`},
		{"structured another JSON, as object", `{` + attrs + `,"datacontenttype":"a/b+json","data":{}}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"datacontenttype":"a/b+json","data_base64":"e30="}`},
		{"structured extensions", `{` + attrs + `,"b":true,"i":-1,"s":"\"x"}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"b":true,"i":-1,"s":"\"x"}`},
		{"structured 0.3", `{` + old + `,"schemaurl":"urn:a","datacontenttype":"text/xml","datacontentencoding":"base64","data":"eA=="}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"datacontenttype":"text/xml","dataschema":"urn:a","data_base64":"eA=="}`},
		{"structured 0.3 with a relative schema", `{` + old + `,"schemaurl":"a"}`, []string{"Content-Type", structuredType}, `{` + attrs + `,"schemaurl":"a"}`},
		{"headers of the structured count for nothing", `{` + attrs + `}`, inHeaders("Content-Type", structuredType, "ce-id", "other", "ce-data", "x"), `{` + attrs + `}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := new(tap)
			w := postEvent(handler.CloudEvents(b, nil), "/orders/rest", tt.body, tt.header...)
			if got := acceptedID(t, w); got != "1" {
				t.Errorf("id = %q, want the event's", got)
			}
			_ = publishedEvent(t, b)
			if d := b.only(t); string(d.Body) != tt.want || d.Topic != "orders" {
				t.Errorf("on %s\n got %s\nwant %s", d.Topic, d.Body, tt.want)
			}
		})
	}
}

// TestCloudEventsInvalid names the attribute for which an event is refused.
func TestCloudEventsInvalid(t *testing.T) {
	inJSON := func(members string) []string {
		return []string{`{"specversion":"1.0","id":"1","source":"/s","type":"t",` + members + `}`, "Content-Type", structuredType}
	}
	inHeader := func(header ...string) []string { return append([]string{"x"}, inHeaders(header...)...) }
	tests := []struct {
		attribute string
		request   []string // body and header
	}{
		{"specversion", []string{"", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}},
		{"specversion", inHeader("ce-specversion", "2.0")},
		{"specversion", inHeader("ce-specversion", "")},
		{"specversion", []string{`{"id":"1","source":"/s","type":"t"}`, "Content-Type", structuredType}},
		{"specversion", []string{`{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, "Content-Type", structuredType}},
		{"specversion", []string{`{"specversion":1,"id":"1","source":"/s","type":"t"}`, "Content-Type", structuredType}},
		{"id", []string{"", "ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t"}},
		{"id", inHeader("ce-id", "")},
		{"id", inHeader("ce-id", "a", "ce-id", "b")},
		{"id", inHeader("ce-id", "%00")},
		{"id", inHeader("ce-id", "%C0%A0")},
		{"id", inHeader("ce-id", "\xff")},
		{"id", []string{`{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, "Content-Type", structuredType}},
		{"id", []string{`{"specversion":"1.0","id":null,"source":"/s","type":"t"}`, "Content-Type", structuredType}},
		{"id", inJSON(`"id":"2"`)},
		{"id", inHeader("ce-id", " ")},
		{"source", []string{"", "ce-specversion", "1.0", "ce-id", "1", "ce-type", "t"}},
		{"source", inHeader("ce-source", "a%20b")},
		{"source", inHeader("ce-source", "/ü")},
		{"source", inHeader("ce-source", ":")},
		{"type", []string{"", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s"}},
		{"type", inHeader("ce-type", "")},
		{"subject", inHeader("ce-subject", "")},
		{"subject", inJSON(`"subject":true`)},
		{"subject", inJSON(`"subject":"\u0007"`)},
		{"subject", inJSON(`"subject":"\ufdd0"`)},
		{"time", inHeader("ce-time", "yesterday")},
		{"time", inHeader("ce-time", "2018-04-05")},
		{"dataschema", inHeader("ce-dataschema", "/relative")},
		{"datacontenttype", inHeader("ce-datacontenttype", "text/plain")},
		{"datacontenttype", inHeader("Content-Type", ";")},
		{"datacontenttype", inHeader("Content-Type", "text/plain", "Content-Type", "text/html")},
		{"datacontenttype", inJSON(`"datacontenttype":""`)},
		{"datacontenttype", inJSON(`"datacontenttype":"text/plain "`)},
		{"datacontentencoding", inHeader("ce-specversion", "0.3", "ce-datacontentencoding", "gzip")},
		{"datacontentencoding", inHeader("ce-specversion", "0.3", "ce-datacontentencoding", "base64")},
		{"datacontentencoding", []string{`{"specversion":"0.3","id":"1","source":"/s","type":"t","datacontentencoding":"x","data":""}`, "Content-Type", structuredType}},
		{"data_base64", []string{`{"specversion":"0.3","id":"1","source":"/s","type":"t","data_base64":""}`, "Content-Type", structuredType}},
		{"schemaurl", inHeader("ce-specversion", "0.3", "ce-schemaurl", "a b")},
		{"schemaurl", inHeader("ce-specversion", "0.3", "ce-schemaurl", "")},
		{"schemaurl", []string{`{"specversion":"0.3","id":"1","source":"/s","type":"t","schemaurl":true}`, "Content-Type", structuredType}},
		{"dataschema", inHeader("ce-specversion", "0.3", "ce-dataschema", "urn:a")},
		{"ext", inJSON(`"ext":{}`)},
		{"ext", inJSON(`"ext":[]`)},
		{"ext", inJSON(`"ext":1.5`)},
		{"ext", inJSON(`"ext":1e2`)},
		{"ext", inJSON(`"ext":2147483648`)},
		{"ext", inHeader("ce-ext", "%FF")},
		{`"Ext"`, inJSON(`"Ext":"x"`)},
		{`"a-b"`, inHeader("ce-a-b", "x")},
		{`""`, inJSON(`"":"x"`)},
		{"data", inHeader("ce-data", "x")},
		{"data", inJSON(`"datacontenttype":"text/plain","data":{}`)},
		{"data", inJSON(`"data":1,"data":2`)},
		{"data_base64", inJSON(`"data_base64":"!"`)},
		{"data_base64", inJSON(`"data_base64":1`)},
		{"data_base64", inJSON(`"data_base64":"","data":1`)},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.attribute, " ", tt.request), func(t *testing.T) {
			b := new(tap)
			w := postEvent(handler.CloudEvents(b, nil), "/a", tt.request[0], tt.request[1:]...)
			wantError(t, w, http.StatusBadRequest, "invalid CloudEvent: "+tt.attribute+": ")
			if len(b.came) > 0 {
				t.Errorf("%s was published", b.came[0].Body)
			}
		})
	}
}

func TestCloudEventsMalformed(t *testing.T) {
	var attributes strings.Builder
	for i := range 100 {
		fmt.Fprintf(&attributes, `,"a%d":""`, i)
	}
	tests := []struct {
		name   string
		body   string
		header []string
		status int
	}{
		{"no JSON", "{", []string{"Content-Type", structuredType}, 400},
		{"no object", "[]", []string{"Content-Type", structuredType}, 400},
		{"empty", "", []string{"Content-Type", structuredType}, 400},
		{"two", "{}{}", []string{"Content-Type", structuredType}, 400},
		{"not UTF-8", "{\"a\":\"\xff\"}", []string{"Content-Type", structuredType}, 400},
		{"many attributes", `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + attributes.String() + `}`, []string{"Content-Type", structuredType}, 400},
		{"batch of no array", "{}", []string{"Content-Type", batchType}, 400},
		{"batch of no events", "[1]", []string{"Content-Type", batchType}, 400},
		{"batch that is no JSON", "[", []string{"Content-Type", batchType}, 400},
		{"another format", "x", []string{"Content-Type", "application/cloudevents+avro"}, 415},
		{"no format", "{}", []string{"Content-Type", "application/cloudevents"}, 415},
		{"another format of batches", "x", []string{"Content-Type", "application/cloudevents-batch+avro"}, 415},
		{"another format with binary headers", "x", inHeaders("Content-Type", "application/cloudevents+xml"), 415},
		{"another charset", "{}", []string{"Content-Type", structuredType + "; charset=utf-16"}, 415},
		{"compressed", "{}", []string{"Content-Type", structuredType, "Content-Encoding", "gzip"}, 415},
		{"compressed data", "x", inHeaders("Content-Encoding", "gzip"), 415},
		{"10 MiB", strings.Repeat("x", 10<<20), inHeaders("Content-Type", "text/plain"), 413},
		{"over the broker's bound", strings.Repeat("x", 1<<20), inHeaders("Content-Type", "text/plain"), 413},
		{"header not UTF-8", "x", inHeaders("X-A", "\xff"), 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := new(tap)
			wantError(t, postEvent(handler.CloudEvents(b, nil), "/a", tt.body, tt.header...), tt.status, "")
			if len(b.came) > 0 {
				t.Errorf("%s was published", b.came[0].Body)
			}
		})
	}
}

// batchOf returns a batch of n events, with the ids 0, 1, ….
func batchOf(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/s","type":"t"}`, i))
	}
	return "[" + strings.Join(list, ",\n") + "]"
}

func TestCloudEventsBatch(t *testing.T) {
	for _, n := range []int{0, 1, 3, 1000} {
		b := new(tap)
		w := postEvent(handler.CloudEvents(b, nil), "/a", batchOf(n), "Content-Type", batchType)
		var answer struct{ IDs *[]string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusAccepted || answer.IDs == nil || len(*answer.IDs) != n {
			t.Fatalf("%d events: answer = %d %s, want 202 with as many ids", n, w.Code, w.Body)
		}
		for i, d := range b.receive(t, "a", n) {
			e := new(ce.Event)
			if err := json.Unmarshal(d.Body, e); err != nil || e.ID() != fmt.Sprint(i) || (*answer.IDs)[i] != e.ID() {
				t.Errorf("event %d of %d: %s (%v), id %q", i, n, d.Body, err, (*answer.IDs)[i])
			}
		}
	}
	b := new(tap)
	wantError(t, postEvent(handler.CloudEvents(b, nil), "/a", batchOf(1001), "Content-Type", batchType), 413, "at most 1000")
	wantError(t, postEvent(handler.CloudEvents(b, &handler.CloudEventsOptions{MaxBatch: 2}), "/a", batchOf(3), "Content-Type", batchType), 413, "at most 2")
	const valid = `{"specversion":"1.0","id":"x","source":"/s","type":"t"`
	for _, bad := range []struct {
		event  string
		status int
		detail string
	}{
		{`{"specversion":"1.0","id":"x","source":"/s"}`, 400, "event 3 of the batch, counted from 0: invalid CloudEvent: type: "},
		{strings.Replace(valid, "1.0", "0.3", 1) + "}", 400, "event 3 of the batch, counted from 0: invalid CloudEvent: specversion: "},
		{valid + `,"data":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "broker"},
	} {
		body := strings.TrimSuffix(batchOf(3), "]") + "," + bad.event + "]"
		h := handler.CloudEvents(b, &handler.CloudEventsOptions{Publish: handler.PublishOptions{MaxBody: 2 << 20}})
		wantError(t, postEvent(h, "/a", body, "Content-Type", batchType), bad.status, bad.detail)
	}
	if len(b.came) > 0 {
		t.Errorf("%d events of invalid batches were published, want none", len(b.came))
	}
}

// TestCloudEventsBatchInPart has a broker that fails within a batch.
func TestCloudEventsBatchInPart(t *testing.T) {
	for _, err := range []error{broker.ErrUnavailable, errors.New("another")} {
		fails := true
		b := &tap{fail: func(n int) error {
			if n == 2 && fails {
				return err
			}
			return nil
		}}
		h := handler.CloudEvents(b, nil)
		w := postEvent(h, "/a", batchOf(4), "Content-Type", batchType)
		var answer struct {
			ID, Detail, Status string
			Code               int
			IDs                []string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		want := http.StatusInternalServerError
		if errors.Is(err, broker.ErrUnavailable) {
			want = http.StatusServiceUnavailable
		}
		if w.Code != want || answer.Code != want || !slices.Equal(answer.IDs, []string{"0", "1"}) || answer.ID != "goapi" ||
			!strings.Contains(answer.Detail, "the first 2 of 4 events were published") {
			t.Errorf("answer = %d %s, want %d, and that two were published", w.Code, w.Body, want)
		}
		if got := w.Header().Get("Retry-After"); (got != "") != (want == 503) {
			t.Errorf("Retry-After = %q of a %d", got, want)
		}
		fails = false
		if w := postEvent(h, "/a", batchOf(4), "Content-Type", batchType); w.Code != http.StatusAccepted {
			t.Fatalf("again: %d %s", w.Code, w.Body)
		}
		for i, d := range b.receive(t, "a", 4) { // each once
			e := new(ce.Event)
			if err := json.Unmarshal(d.Body, e); err != nil || e.ID() != fmt.Sprint(i) {
				t.Errorf("event %d: %s, %v", i, d.Body, err)
			}
		}
	}
}

// TestCloudEventsIDs publishes an event once, by its source and id.
func TestCloudEventsIDs(t *testing.T) {
	b := new(tap)
	h := handler.CloudEvents(b, nil)
	for _, header := range [][]string{
		inHeaders(), inHeaders("ce-type", "other"), inHeaders("Idempotency-Key", "k"),
		inHeaders("ce-id", "2"), inHeaders("ce-source", "/s2", "ce-id", ""), // not valid
		inHeaders("ce-source", "/s1", "ce-id", "1"), inHeaders("ce-source", "/s", "ce-id", "11"), inHeaders("ce-source", "/s1"),
	} {
		postEvent(h, "/a", "x", header...)
	}
	ids := make(map[string]int)
	for _, m := range b.came {
		ids[m.ID]++
	}
	if len(b.came) != 7 || len(ids) != 4 || ids[b.came[0].ID] != 3 {
		t.Errorf("%d messages with the IDs %v, want 7 with 4 IDs, the first 3 times", len(b.came), ids)
	}
}

// TestCloudEventsWrap publishes requests that are no events.
func TestCloudEventsWrap(t *testing.T) {
	type facts struct {
		Method, Host, Path string
		Query              map[string][]string
		Headers            map[string]string
		Body               any
		Base64             []byte `json:"body_base64"`
	}
	tests := []struct {
		name                string
		method, target      string
		contentType, body   string
		want                facts
		otherHeader, header string
	}{
		{name: "text", method: "POST", target: "http://example.com/orders/1?a=1&a=2", contentType: "text/plain", body: "ü", want: facts{Path: "/orders/1", Query: map[string][]string{"a": {"1", "2"}}, Body: "ü"}},
		{name: "JSON", method: "PUT", target: "http://example.com/orders", contentType: "application/a+json", body: `{"a":"<"}`, want: facts{Path: "/orders", Body: map[string]any{"a": "<"}}},
		{name: "no JSON", method: "POST", target: "http://example.com/orders", contentType: "application/json", body: `{`, want: facts{Path: "/orders", Body: "{"}},
		{name: "bytes", method: "POST", target: "http://example.com/orders", body: "\xff", want: facts{Path: "/orders", Base64: []byte("\xff")}},
		{name: "empty", method: "GET", target: "http://example.com/orders", want: facts{Path: "/orders"}},
		{name: "escaped", method: "DELETE", target: "http://example.com/a%2Fb%20c/..d", want: facts{Path: "/a/b c/..d"}},
		{name: "some other header of CloudEvents", method: "POST", target: "http://example.com/orders", header: "Ce-Time", want: facts{Path: "/orders"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := new(tap)
			header := []string{"X-A", "1", "X-A", "2", "Cookie", "secret"}
			tt.want.Headers = map[string]string{"X-A": "1, 2"}
			if tt.contentType != "" {
				header = append(header, "Content-Type", tt.contentType)
				tt.want.Headers["Content-Type"] = tt.contentType
			}
			if tt.header != "" {
				header = append(header, tt.header, "x")
				tt.want.Headers[tt.header] = "x"
			}
			h := handler.CloudEvents(b, &handler.CloudEventsOptions{Publish: handler.PublishOptions{
				Namespace: "ns",
				Topic:     func(*http.Request) (topic, name string, err error) { return "requests", "", nil },
			}})
			id := acceptedID(t, sendEvent(h, tt.method, tt.target, tt.body, header...))
			e := publishedEvent(t, b)
			if e.ID() != id || e.Type() != "http.request" || e.SpecVersion() != "1.0" || e.DataContentType() != "application/json" || e.Time().IsZero() {
				t.Errorf("event = %v, want an http.request with the ID %s, and a time", e, id)
			}
			if !strings.HasPrefix(e.Source(), "//example.com/") {
				t.Errorf("source = %q, want host and path", e.Source())
			}
			var got facts
			if err := json.Unmarshal(e.Data(), &got); err != nil {
				t.Fatal(err)
			}
			tt.want.Method, tt.want.Host = tt.method, "example.com"
			if tt.want.Query == nil {
				tt.want.Query = map[string][]string{}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("data (-want +got)\n%s", diff)
			}
		})
	}
	t.Run("body of a header that is left out", func(t *testing.T) {
		b := new(tap)
		h := handler.CloudEvents(b, &handler.CloudEventsOptions{Publish: handler.PublishOptions{Header: handler.BrokerHeader{Allow: []string{"X-Tenant"}}}})
		acceptedID(t, postEvent(h, "/a", `{"a":1}`, "Content-Type", "application/json", "X-Tenant", "t"))
		var got facts
		if err := json.Unmarshal(publishedEvent(t, b).Data(), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(map[string]any{"a": 1.0}), got.Body); diff != "" || !maps.Equal(got.Headers, map[string]string{"X-Tenant": "t"}) {
			t.Errorf("headers %v, and the body (-want +got)\n%s", got.Headers, diff)
		}
	})
	for target, header := range map[string][]string{"/a?a=%FF": nil, "/a?%zz": nil, "/a": {"Idempotency-Key", ""}} {
		wantError(t, postEvent(handler.CloudEvents(new(tap), nil), target, "x", header...), http.StatusBadRequest, "")
	}
}

// TestCloudEventsModes publishes one event in each of the modes that messages
// know.
func TestCloudEventsModes(t *testing.T) {
	header := inHeaders("ce-subject", "a%20%22%E2%82%AC", "ce-time", "2018-04-05T03:56:24Z", "ce-ext", "100%25", "Content-Type", "text/plain", "X-A", "1")
	keep := handler.PublishOptions{Header: handler.BrokerHeader{Allow: []string{"X-A"}}}
	publish := func(mode handler.CloudEventsMode, body string, header []string) *broker.Delivery {
		t.Helper()
		b := new(tap)
		acceptedID(t, postEvent(handler.CloudEvents(b, &handler.CloudEventsOptions{Mode: mode, Publish: keep}), "/a", body, header...))
		return b.only(t)
	}
	micro := publish(handler.CloudEventsMicro, "x", header)
	if diff := cmp.Diff(map[string]string{"Content-Type": "application/json", "X-A": "1"}, micro.Header); diff != "" {
		t.Errorf("header for go-micro (-want +got)\n%s", diff)
	}
	whole := publish(handler.CloudEventsStructured, "x", header)
	if diff := cmp.Diff(map[string]string{"Content-Type": structuredType, "X-A": "1"}, whole.Header); diff != "" {
		t.Errorf("structured header (-want +got)\n%s", diff)
	}
	if !bytes.Equal(whole.Body, micro.Body) {
		t.Errorf("structured = %s, for go-micro %s, want the same", whole.Body, micro.Body)
	}
	parts := publish(handler.CloudEventsBinary, "x", header)
	want := map[string]string{
		"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-subject": "a%20%22%E2%82%AC",
		"ce-time": "2018-04-05T03:56:24Z", "ce-ext": "100%25", "ce-datacontenttype": "text/plain",
		"Content-Type": "text/plain", "X-A": "1",
	}
	if diff := cmp.Diff(want, parts.Header); diff != "" || string(parts.Body) != "x" {
		t.Errorf("binary %q with the header (-want +got)\n%s", parts.Body, diff)
	}
	if bare := publish(handler.CloudEventsBinary, "", inHeaders()); len(bare.Body) > 0 || bare.Header["Content-Type"] != "" {
		t.Errorf("binary without data = %q as %q, want nothing", bare.Body, bare.Header["Content-Type"])
	}
	implied := publish(handler.CloudEventsBinary, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`, []string{"Content-Type", structuredType})
	if implied.Header["Content-Type"] != "application/json" || implied.Header["ce-datacontenttype"] != "application/json" || string(implied.Body) != `{"a":1}` {
		t.Errorf("binary of JSON that does not say so = %s with %v, want application/json", implied.Body, implied.Header)
	}
	within := `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/cloudevents+json","data":{}}`
	if d := publish(handler.CloudEventsBinary, within, []string{"Content-Type", structuredType}); string(d.Body) != within || d.Header["Content-Type"] != structuredType {
		t.Errorf("an event within an event = %s as %v, want it structured", d.Body, d.Header)
	}
	if micro.ID != whole.ID || micro.ID != parts.ID {
		t.Errorf("IDs = %q, %q, %q, want one", micro.ID, whole.ID, parts.ID)
	}
}

// TestCloudEventsOnTheWire has what go-micro's subscribers look at, which know
// two content types that all of them understand.
func TestCloudEventsOnTheWire(t *testing.T) {
	b := new(tap)
	acceptedID(t, postEvent(handler.CloudEvents(b, nil), "/a", `{"a":1}`, inHeaders("Content-Type", "application/json")...))
	d := b.only(t)
	data, err := micro.Marshal(d.Topic, &d.Message)
	if err != nil {
		t.Fatal(err)
	}
	var env struct {
		Header map[string]string
		Body   []byte
	}
	if err := json.Unmarshal(data, &env); err != nil {
		t.Fatal(err)
	}
	if env.Header["Content-Type"] != "application/json" || env.Header["Micro-Topic"] != "a" || !json.Valid(env.Body) {
		t.Errorf("message = %s, want JSON that says so, for the topic a", data)
	}
	for name := range env.Header {
		if strings.HasPrefix(strings.ToLower(name), "ce-") {
			t.Errorf("header %s: a structured event has none of a binary one", name)
		}
	}
}
