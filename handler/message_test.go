package handler_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
)

// TestMessages holds what a message is put together from.
func TestMessages(t *testing.T) {
	tests := []struct {
		name              string
		pattern, vars     string
		query, field      string
		contentType, body string
		value             *registry.Value
		want              string
	}{
		{name: "body alone passes as it is", body: " {\"b\" : 1e2, \"a\":[ ] } ", want: `{"b" : 1e2, "a":[ ] }`},
		{name: "null passes", body: "null", want: "null"},
		{name: "list passes", body: "[1]", want: "[1]"},
		{name: "text passes", body: `"x"`, want: `"x"`},
		{name: "white space is nothing", body: " \n", want: "{}"},
		{name: "fields of a body are the service's to judge", body: `{"who":1}`, value: helloRequest(), want: `{"who":1}`},
		{name: "variables", pattern: "/hello/{name}", vars: "name=123", want: `{"name":"123"}`},
		{name: "typed variables", pattern: "/a/{age}/{inner.score}", vars: "age=7&inner.score=1.5", value: helloRequest(), want: `{"age":7,"inner":{"score":1.5}}`},
		{name: "variables of more segments", pattern: "/a/{name=b/*}", vars: "name=x", value: helloRequest(), want: `{"name":"x"}`},
		{name: "variables of an expression", pattern: "^/a/(?P<name>.+)/(?<age>.+)$", vars: "name=x&age=7", value: helloRequest(), want: `{"age":7,"name":"x"}`},
		{name: "a variable of no field", pattern: "/{tenant}/{name}", vars: "tenant=t&name=x", value: helloRequest(), want: `{"name":"x"}`},
		{name: "a variable of no field, and no object", pattern: "/{tenant}", vars: "tenant=t", value: helloRequest(), body: "[]", want: `[]`},
		{name: "query over variables", pattern: "/{name}/{age}", vars: "name=x&age=7", query: "name=y", value: helloRequest(), want: `{"age":7,"name":"y"}`},
		{name: "body over query over variables", pattern: "/{a}/{b}/{c}", vars: "a=1&b=1&c=1", query: "b=2&c=2", body: `{"c":3}`, want: `{"a":"1","b":"2","c":3}`},
		{name: "object by object", query: "a.x=1&a.y=1&b.x=1", body: `{"a":{"y":2,"z":{"q":[1]}},"b":7}`, want: `{"a":{"x":"1","y":2,"z":{"q":[1]}},"b":7}`},
		{name: "null wins", query: "a=1", body: `{"a":null}`, want: `{"a":null}`},
		{name: "numbers stay exact", query: "a=1", body: `{"n":12345678901234567890.10}`, want: `{"a":"1","n":12345678901234567890.10}`},
		{name: "the last of equal names", query: "a=1", body: `{"b":1,"b":2}`, want: `{"a":"1","b":2}`},
		{name: "one field in two writings", query: "inner.first_name=x&name=n", body: `{"Inner":{"firstName":"y"}}`, value: helloRequest(), want: `{"Inner":{"firstName":"y"},"name":"n"}`},
		{name: "both writings in a body", query: "inner.score=1", body: `{"inner":{"first_name":"a"},"Inner":1}`, value: helloRequest(), want: `{"Inner":1,"inner":{"first_name":"a","score":1}}`},
		{name: "form over query", query: "a=1&b=1", contentType: asForm, body: "b=2", want: `{"a":"1","b":"2"}`},
		{name: "typed form", contentType: asForm, body: "age=7&tags=a&inner[score]=2", value: helloRequest(), want: `{"age":7,"inner":{"score":2},"tags":["a"]}`},
		{name: "body is a field", field: "inner", query: "name=n", body: `{"score":1}`, value: helloRequest(), want: `{"inner":{"score":1},"name":"n"}`},
		{name: "body is a field over the query", field: "name", query: "name=n&age=1", body: `"b"`, value: helloRequest(), want: `{"age":1,"name":"b"}`},
		{name: "body is a field of a field", field: "inner.score", body: `1`, value: helloRequest(), want: `{"inner":{"score":1}}`},
		{name: "body is a field, object by object", field: "inner", query: "inner.first_name=x&inner.score=1", body: `{"score":2}`, value: helloRequest(), want: `{"inner":{"first_name":"x","score":2}}`},
		{name: "body is a field in another writing", field: "inner", query: "inner.first_name=x", body: `{"firstName":"y"}`, value: helloRequest(), want: `{"inner":{"firstName":"y"}}`},
		{name: "body is a field beside others", field: "a.b", query: "a.c=1&a.b.d=2", body: `{"e":3}`, want: `{"a":{"b":{"d":"2","e":3},"c":"1"}}`},
		{name: "form is a field, object by object", field: "inner", query: "inner.first_name=x", contentType: asForm, body: "score=1", value: helloRequest(), want: `{"inner":{"first_name":"x","score":1}}`},
		{name: "body is a field, and is not there", field: "inner", query: "age=1", value: helloRequest(), want: `{"age":1}`},
		{name: "body is a field of an unknown message", field: "thing", body: `[1,2]`, want: `{"thing":[1,2]}`},
		{name: "form is a field", field: "inner", contentType: asForm, body: `score=1`, value: helloRequest(), want: `{"inner":{"score":1}}`},
		{name: "body is the whole", field: "*", body: `{"a":1}`, want: `{"a":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := typed(tt.value)
			rt.Pattern, rt.Endpoint.Body = tt.pattern, tt.field
			r := post("/?"+tt.query, tt.contentType, tt.body)
			setVariables(t, r, tt.vars)
			c := &recorder{reply: "{}"}
			if w := rpc(c, rt, r); w.Code != http.StatusOK {
				t.Fatalf("answer = %d %s, want 200", w.Code, w.Body)
			}
			if got := string(c.calls[0].Body); got != tt.want {
				t.Errorf("message = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	deep := strings.Repeat("[", 1001) + strings.Repeat("]", 1001)
	tests := []struct {
		name, query, field, contentType, body string
		want                                  int
		detail                                string
	}{
		{name: "syntax", body: `{"a":}`, want: 400, detail: "the body is not JSON: byte 6 of 6 does not fit"},
		{name: "half", body: `{"a"`, want: 400, detail: "byte 4 of 4"},
		{name: "two values", body: `{}{}`, want: 400, detail: "byte 3 of 4"},
		{name: "deep", body: deep, want: 400, detail: "the body is nested deeper than 1000"},
		{name: "no object", query: "name=x", body: `[]`, want: 400, detail: "the body is no JSON object"},
		{name: "form type", contentType: asForm, body: "age=x", want: 400, detail: `"age" takes int32, not "x"`},
		{name: "form escape", contentType: asForm, body: "age=%", want: 400, detail: "the form has a bad escape"},
		{name: "form field escape", field: "inner", contentType: asForm, body: "a=%", want: 400, detail: "the form has a bad escape"},
		{name: "form names", contentType: asForm, body: strings.Repeat("&", 1000), want: 400, detail: "the form has more than 1000 names"},
		{name: "no object for a field", query: "inner.score=1", field: "inner", body: `7`, want: 400, detail: `there is no place in it for the names below "inner"`},
		{name: "field below a text", query: "name=x", field: "name.first", body: `7`, want: 502, detail: `the service wants the body in the field "name.first"`},
		{name: "misannounced", field: "thing", body: `1`, want: 502, detail: `the service wants the body in the field "thing"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := typed(helloRequest())
			rt.Endpoint.Body = tt.field
			w := rpc(answer("{}"), rt, post("/?"+tt.query, tt.contentType, tt.body))
			if w.Code != tt.want || !strings.Contains(detail(t, w), tt.detail) {
				t.Errorf("answer = %d %s, want %d %s", w.Code, w.Body, tt.want, tt.detail)
			}
		})
	}
}

// TestDeepBody checks the bound on nesting from both sides, with brackets in
// texts, which do not count.
func TestDeepBody(t *testing.T) {
	text := `"[[[{{{\"[[["`
	for depth, want := range map[int]int{999: 200, 1000: 200, 1001: 400, 9999: 400, 20000: 400} {
		body := strings.Repeat("["+text+",", depth-1) + "[" + text + strings.Repeat("]", depth)
		if w := rpc(answer("{}"), helloRoute(), post("/", "", body)); w.Code != want {
			t.Errorf("%d levels = %d, want %d", depth, w.Code, want)
		}
	}
	many := "[" + strings.Repeat(text+",[],", 3000) + "{}]"
	if w := rpc(answer("{}"), helloRoute(), post("/", "", many)); w.Code != http.StatusOK {
		t.Errorf("a long list = %d %s, want 200", w.Code, w.Body)
	}
}

// TestVariablesOfAMux checks that a handler on a mux finds its variables.
func TestVariablesOfAMux(t *testing.T) {
	rt := helloRoute()
	rt.Pattern = ""
	c := &recorder{reply: "{}"}
	mux := http.NewServeMux()
	mux.Handle("GET /hello/{name}/{rest...}", goapi.With(rt, newRPC(c)))
	mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/hello/john/a/b", nil))
	if got, want := string(c.calls[0].Body), `{"name":"john","rest":"a/b"}`; got != want {
		t.Errorf("message = %s, want %s", got, want)
	}
}

// FuzzMessage checks that a body laid over a query is what a slow, simple
// merge of the two makes of them.
func FuzzMessage(f *testing.F) {
	f.Add("a.b=1&c=2", `{"a":{"b":2,"d":[1]},"e":null}`)
	f.Add("a=1", `{"a":{"b":{}}}`)
	f.Add("a.b.c=1", `{"a":{"b":7},"a":{"b":{"c":8}}}`)
	f.Add("x=1", `[]`)
	f.Fuzz(func(t *testing.T, query, body string) {
		below, code := message(t, helloRoute(), query)
		if code != http.StatusOK {
			return
		}
		c := &recorder{reply: "{}"}
		r := post("/", "application/json", body)
		r.URL.RawQuery = query
		w := rpc(c, helloRoute(), r)
		if w.Code == http.StatusBadRequest {
			return
		}
		under, ok1 := decode(string(below))
		over, ok2 := decode(body)
		got, ok3 := decode(string(c.calls[0].Body))
		if !ok1 || !ok2 || !ok3 {
			return // a number that float64 cannot hold
		}
		if want := merge(under, over); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("query %q under body %q = %v, want %v", query, body, got, want)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	body := `{"name":"` + strings.Repeat("x", 900) + `","age":7}`
	benchmarks := []struct {
		name, query, body string
	}{
		{"body", "", body},
		{"query", "name=john&age=7&inner.score=1.5", ""},
		{"both", "loud=true&inner.score=1.5", body},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			rt := typed(helloRequest())
			h := goapi.With(rt, newRPC(answer("{}")))
			w := discard{http.Header{}}
			reader := strings.NewReader(bb.body)
			r := post("/?"+bb.query, "application/json", bb.body)
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(bb.body)
				r.Body = http.NoBody
				if bb.body != "" {
					r.Body = readCloser{reader}
				}
				h.ServeHTTP(w, r)
			}
		})
	}
}

func newRPC(c client.Caller) http.Handler { return handler.RPC(c, nil) }

// setVariables sets path variables, written as a query.
func setVariables(t *testing.T, r *http.Request, vars string) {
	t.Helper()
	values, err := url.ParseQuery(vars)
	if err != nil {
		t.Fatal(err)
	}
	for name := range values {
		r.SetPathValue(name, values.Get(name))
	}
}

// detail returns the detail of an error.
func detail(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var e struct {
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	return e.Detail
}

// decode reads JSON; nothing is an empty object.
func decode(text string) (v any, ok bool) {
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	err := json.Unmarshal([]byte(text), &v)
	return v, err == nil
}

// merge lays one value over another, object by object.
func merge(under, over any) any {
	below, ok1 := under.(map[string]any)
	above, ok2 := over.(map[string]any)
	if !ok1 || !ok2 {
		return over
	}
	for name, value := range above {
		below[name] = merge(below[name], value)
	}
	return below
}

// discard is a ResponseWriter for benchmarks.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
