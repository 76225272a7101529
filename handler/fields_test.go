package handler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// helloRequest describes a message as a go-micro v6 service announces it.
func helloRequest() *registry.Value {
	field := func(name, typ string, values ...*registry.Value) *registry.Value {
		return &registry.Value{Name: name, Type: typ, Values: values}
	}
	return field("HelloRequest", "HelloRequest",
		field("name", "string"),
		field("age", "int32"),
		field("tags", "[]string"),
		field("inner", "Inner", field("first_name", "string"), field("score", "float64")),
		field("loud", "bool"),
		field("big", "int64"),
		field("count", "uint64"),
		field("level", "int8"),
		field("ratio", "float32"),
		field("ids", "[]int64"),
		field("data", "[]uint8"),
		field("labels", ""),
		field("kind", "Kind"),
		field("items", "[]Item"),
	)
}

// oldHelloRequest is the same as a service of v1 or v2 announces it, with the
// internals of its generated type.
func oldHelloRequest() *registry.Value {
	v := helloRequest()
	v.Values = append([]*registry.Value{{Name: "MessageState", Type: "MessageState", Values: []*registry.Value{
		{Name: "DoNotCopy", Type: "DoNotCopy"},
	}}}, v.Values...)
	v.Values = append(v.Values, &registry.Value{Name: "unknownFields", Type: "[]uint8"}, &registry.Value{Name: "int32", Type: "int32"},
		&registry.Value{Name: "XXX_unrecognized", Type: "[]uint8"}, &registry.Value{Name: "-", Type: "struct"}, nil)
	return v
}

// typed returns a route whose message is described by v.
func typed(v *registry.Value) *goapi.Route {
	rt := helloRoute()
	rt.Endpoint.Request = v
	return rt
}

func TestQueryMessages(t *testing.T) {
	v, none := helloRequest(), (*registry.Value)(nil)
	tests := []struct {
		query string
		value *registry.Value
		want  string
	}{
		{"", v, `{}`},
		{"&&", v, `{}`},
		{"name=123", v, `{"name":"123"}`},
		{"name=true", v, `{"name":"true"}`},
		{"name=", v, `{"name":""}`},
		{"name", v, `{"name":""}`},
		{"name=a%20b+c%26%3D%22%5C", v, `{"name":"a b c&=\"\\"}`},
		{"name=<%E2%80%A8>", v, `{"name":"<\u2028>"}`},
		{"name=a=b", v, `{"name":"a=b"}`},
		{"age=7&loud=true&big=9007199254740993", v, `{"age":7,"big":9007199254740993,"loud":true}`},
		{"big=-9223372036854775808&count=18446744073709551615", v, `{"big":-9223372036854775808,"count":18446744073709551615}`},
		{"age=%2B7", v, `{"age":7}`},
		{"ratio=1.50&inner.score=-2e3", v, `{"inner":{"score":-2e3},"ratio":1.50}`},
		{"tags=a", v, `{"tags":["a"]}`},
		{"tags=a&tags=b&tags[]=c", v, `{"tags":["a","b","c"]}`},
		{"ids=1&ids=2", v, `{"ids":[1,2]}`},
		{"data=aGVsbG8=", v, `{"data":"aGVsbG8="}`},
		{"inner.first_name=x&inner[score]=1", v, `{"inner":{"first_name":"x","score":1}}`},
		{"inner[firstName]=x", v, `{"inner":{"first_name":"x"}}`},
		{"INNER.FirstName=x", v, `{"inner":{"first_name":"x"}}`},
		{"labels[a]=1&labels.b=2&labels[c.d/e]=3", v, `{"labels":{"a":"1","b":"2","c.d/e":"3"}}`},
		{"kind=ACTIVE", v, `{"kind":"ACTIVE"}`},
		{"inner=2024-01-02T03:04:05Z", v, `{"inner":"2024-01-02T03:04:05Z"}`},
		{"items=a", v, `{"items":["a"]}`},

		{"name=123&age=7", none, `{"age":"7","name":"123"}`},
		{"a=1&a=2", none, `{"a":["1","2"]}`},
		{"a[]=1", none, `{"a":["1"]}`},
		{"a=1&a[]=2&a=3", none, `{"a":["1","2","3"]}`},
		{"a.b.c=1&a[b][d]=2", none, `{"a":{"b":{"c":"1","d":"2"}}}`},
		{"a[b].c=1", none, `{"a":{"b":{"c":"1"}}}`},
		{"a.b[]=1&a.b[]=2", none, `{"a":{"b":["1","2"]}}`},
		{"a=1", &registry.Value{Name: "Context", Type: "Context"}, `{"a":"1"}`},
		{strings.Repeat("a.", 31) + "a=1", none, strings.Repeat(`{"a":`, 32) + `"1"` + strings.Repeat("}", 32)},

		{"name=x&age=7&inner.score=1", oldHelloRequest(), `{"age":7,"inner":{"score":1},"name":"x"}`},
		// A field without a name of its own says that there may be others.
		{"other=1&id=7", &registry.Value{Type: "Plain", Values: []*registry.Value{{Name: "string", Type: "string"}, {Name: "id", Type: "int64"}}}, `{"id":7,"other":"1"}`},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			c := &recorder{reply: "{}"}
			w := rpc(c, typed(tt.value), httptest.NewRequest(http.MethodGet, "/hello?"+tt.query, nil))
			if w.Code != http.StatusOK {
				t.Fatalf("answer = %d %s, want 200", w.Code, w.Body)
			}
			if got := string(c.calls[0].Body); got != tt.want {
				t.Errorf("message = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBadQueries(t *testing.T) {
	v, none := helloRequest(), (*registry.Value)(nil)
	tests := []struct {
		query  string
		value  *registry.Value
		detail string
	}{
		{"age=old", v, `"age" takes int32, not "old"`},
		{"age=", v, `"age" takes int32, not ""`},
		{"age=1.5", v, `"age" takes int32, not "1.5"`},
		{"age=2147483648", v, `"age" takes int32, not "2147483648"`},
		{"level=128", v, `"level" takes int8, not "128"`},
		{"count=-1", v, `"count" takes uint64, not "-1"`},
		{"big=9223372036854775808", v, `"big" takes int64, not "9223372036854775808"`},
		{"ratio=1e99", v, `"ratio" takes float32, not "1e99"`},
		{"ratio=NaN", v, `"ratio" takes float32, not "NaN"`},
		{"ratio=0x1p4", v, `"ratio" takes float32, not "0x1p4"`},
		{"loud=yes", v, `"loud" takes bool, not "yes"`},
		{"ids=1&ids=x", v, `"ids" takes int64, not "x"`},
		{"inner.score=high", v, `"inner.score" takes float64, not "high"`},
		{"age=" + strings.Repeat("x", 500), v, `"age" takes int32, not "` + strings.Repeat("x", 64) + `…"`},
		{"who=x", v, `"who" is no field of HelloRequest, which has age, big, count, data, ids, inner, items, kind, labels, level, loud, name, ratio, tags`},
		{"inner.last=x", v, `"inner.last" is no field of Inner, which has first_name, score`},
		{"age.x=1", v, `"age.x": age is int32 and has no fields`},
		{"tags[0]=a", v, `"tags[0]": tags is []string and has no fields`},
		{"name[]=a", v, `"name" takes one string, not a list`},
		{"name=a&name=b", v, `"name" is there more than once, and takes one string`},
		{"first_name=x&inner.first_name=x&inner.firstName=y", &registry.Value{Type: "R", Values: []*registry.Value{
			{Name: "first_name", Type: "string"}, {Name: "inner", Type: "Inner", Values: []*registry.Value{{Name: "first_name", Type: "string"}}},
		}}, `"inner.firstName" is there more than once, and takes one string`},
		{"int32=1", oldHelloRequest(), `"int32" is no field of HelloRequest`},
		{"MessageState.DoNotCopy=1", oldHelloRequest(), `"MessageState.DoNotCopy" is no field of HelloRequest`},

		{"a=1&a[b]=2", none, `"a[b]" is there both with and without fields of its own`},
		{"a[b]=2&a=1", none, `"a" is there both with and without fields of its own`},
		{"a[]=1&a.b=2", none, `"a.b" is there both with and without fields of its own`},
		{"a;b=1", none, `the query has a semicolon, which must be written as %3B`},
		{"a=%zz", none, `the query has a bad escape in "a=%zz"`},
		{"%=1", none, `the query has a bad escape in "%=1"`},
		{"a=%ff", none, `"a" or its value is not UTF-8`},
		{"%ff=a", none, `"\xff" or its value is not UTF-8`},
		{"=1", none, `"" is no name of a field; write a.b or a[b]`},
		{"a[=1", none, `"a[" is no name of a field; write a.b or a[b]`},
		{"a]=1", none, `"a]" is no name of a field; write a.b or a[b]`},
		{"[a]=1", none, `"[a]" is no name of a field; write a.b or a[b]`},
		{"a..b=1", none, `"a..b" is no name of a field; write a.b or a[b]`},
		{"a.=1", none, `"a." is no name of a field; write a.b or a[b]`},
		{"a[b]c=1", none, `"a[b]c" is no name of a field; write a.b or a[b]`},
		{"a[[b]]=1", none, `"a[[b]]" is no name of a field; write a.b or a[b]`},
		{"a[][b]=1", none, `"a[][b]" is no name of a field; write a.b or a[b]`},
		{strings.Repeat("a.", 32) + "a=1", none, `is nested deeper than 32`},
		{strings.Repeat("a&", 1000), none, `the query has more than 1000 names`},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			w := rpc(answer("{}"), typed(tt.value), httptest.NewRequest(http.MethodGet, "/hello?"+tt.query, nil))
			if got := detail(t, w); w.Code != http.StatusBadRequest || !strings.Contains(got, tt.detail) {
				t.Errorf("answer = %d %s, want 400 %s", w.Code, got, tt.detail)
			}
		})
	}
}

// TestManyFields: of a message with very many fields none is looked for, so
// that a long query costs no more.
func TestManyFields(t *testing.T) {
	for n, want := range map[int]string{1000: `{"f0":7}`, 1001: `{"f0":"7"}`} {
		v := &registry.Value{Name: "Wide", Type: "Wide"}
		for i := range n {
			v.Values = append(v.Values, &registry.Value{Name: fmt.Sprint("f", i), Type: "int32"})
		}
		if got, code := message(t, typed(v), "F_0=7"); n == 1000 && (string(got) != want || code != http.StatusOK) {
			t.Errorf("F_0=7 with %d fields = %d %s, want %s", n, code, got, want)
		}
		if got, code := message(t, typed(v), "f0=7"); string(got) != want || code != http.StatusOK {
			t.Errorf("f0=7 with %d fields = %d %s, want %s", n, code, got, want)
		}
		known := http.StatusBadRequest
		if n > 1000 {
			known = http.StatusOK
		}
		if got, code := message(t, typed(v), "other=7"); code != known {
			t.Errorf("other=7 with %d fields = %d %s, want %d", n, code, got, known)
		}
	}
}

// FuzzQuery checks messages that are made of a query: they are valid JSON,
// a.b and a[b] are the same, texts come through, and an error is the client's.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"name=123", "age=7", "a.b=1&a[b]=2", "a=1&a=2", "tags[]=x&tags=y", "inner[score]=1e400", "=", "a[", "%00=%ff", "a;b", "data=%F0%9F%98%80",
		"inner.firstName=x&inner.first_name=y", "labels[x.y]=1", "big=9007199254740993", "ratio=-0", "name=\u2028<>&&&name",
	} {
		f.Add(q, "text")
	}
	f.Add("", "\x00\"\\\u2028")
	f.Fuzz(func(t *testing.T, query, text string) {
		for _, v := range []*registry.Value{nil, helloRequest(), oldHelloRequest()} {
			body, code := message(t, typed(v), query)
			if code != http.StatusOK && code != http.StatusBadRequest {
				t.Fatalf("query %q = %d, want 200 or 400", query, code)
			}
			if code == http.StatusOK && (!json.Valid(body) || body[0] != '{' || !utf8.Valid(body)) {
				t.Fatalf("query %q = %q, want an object", query, body)
			}
			if again, _ := message(t, typed(v), query); !bytes.Equal(again, body) {
				t.Fatalf("query %q = %q, then %q", query, body, again)
			}
			dots, code1 := message(t, typed(v), "inner.first_name="+url.QueryEscape(text))
			brackets, code2 := message(t, typed(v), "inner[first_name]="+url.QueryEscape(text))
			if !bytes.Equal(dots, brackets) || code1 != code2 {
				t.Fatalf("with dots %d %q, with brackets %d %q", code1, dots, code2, brackets)
			}
		}
		if !utf8.ValidString(text) {
			return
		}
		body, _ := message(t, typed(helloRequest()), "name="+url.QueryEscape(text))
		var got struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Name != text {
			t.Fatalf("name = %q, error %v, want %q", got.Name, err, text)
		}
	})
}

// FuzzNumbers checks that numbers keep their value, and that what is in no
// type's range is refused.
func FuzzNumbers(f *testing.F) {
	f.Add(int64(math.MinInt64), uint64(math.MaxUint64), "1e9")
	f.Add(int64(1<<53+1), uint64(7), "-0.5")
	f.Fuzz(func(t *testing.T, big int64, count uint64, ratio string) {
		body, code := message(t, typed(helloRequest()), fmt.Sprintf("big=%d&count=%d", big, count))
		var got struct {
			Big   int64  `json:"big"`
			Count uint64 `json:"count"`
		}
		if err := json.Unmarshal(body, &got); err != nil || code != http.StatusOK || got.Big != big || got.Count != count {
			t.Fatalf("big=%d&count=%d: %d %s, error %v", big, count, code, body, err)
		}
		_, code = message(t, typed(helloRequest()), fmt.Sprintf("level=%d", big))
		if fits := big == int64(int8(big)); fits != (code == http.StatusOK) {
			t.Fatalf("level=%d is %d", big, code)
		}
		body, code = message(t, typed(helloRequest()), "inner.score="+url.QueryEscape(ratio))
		if code != http.StatusOK {
			return
		}
		var inner struct {
			Inner struct {
				Score float64 `json:"score"`
			} `json:"inner"`
		}
		want, err := strconv.ParseFloat(ratio, 64)
		if err != nil {
			t.Fatalf("inner.score=%q: 200, want 400", ratio)
		}
		if err := json.Unmarshal(body, &inner); err != nil || inner.Inner.Score != want {
			t.Fatalf("inner.score=%q: %s, error %v, want %v", ratio, body, err, want)
		}
	})
}

// message returns the message that a query makes, or none, and the status.
func message(t *testing.T, rt *goapi.Route, query string) ([]byte, int) {
	t.Helper()
	c := &recorder{reply: "{}"}
	r := httptest.NewRequest(http.MethodGet, "/hello", nil)
	r.URL.RawQuery = query
	w := rpc(c, rt, r)
	if len(c.calls) == 0 {
		return nil, w.Code
	}
	return c.calls[0].Body, w.Code
}
