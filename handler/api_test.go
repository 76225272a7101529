package handler_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const formType = "application/x-www-form-urlencoded"

// echoRoute is a route to Echo.Call of the service echo, with a node that only
// callers in memory can reach.
func echoRoute() *goapi.Route {
	return &goapi.Route{
		Service:  "echo",
		Endpoint: &goapi.Endpoint{Name: "Echo.Call", Handler: "api"},
		Upstream: upstream.Static("192.0.2.1:80"),
	}
}

// api serves a request by a call through c on rt.
func api(c client.Caller, rt *goapi.Route, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	goapi.With(rt, handler.API(c, nil)).ServeHTTP(w, r)
	return w
}

// received returns the message of a call, as a strict service reads it.
func received(t *testing.T, req *client.Request) *proto.Request {
	t.Helper()
	got := new(proto.Request)
	var err error
	if req.ContentType == "application/json" {
		err = protojson.Unmarshal(req.Body, got)
	} else {
		err = protobuf.Unmarshal(req.Body, got)
	}
	if err != nil {
		t.Fatalf("the service cannot read %q: %v", req.Body, err)
	}
	return got
}

func pairs(key string, values ...string) map[string]*proto.Pair {
	return map[string]*proto.Pair{key: {Key: key, Values: values}}
}

// TestAPIRequest holds what each part of a request becomes.
func TestAPIRequest(t *testing.T) {
	tests := []struct {
		name              string
		method, target    string
		contentType, body string
		want              *proto.Request // less method, header
	}{
		{"nothing", "GET", "/", "", "", &proto.Request{Path: "/", Url: "/"}},
		{"escaped path", "GET", "/a%2Fb%20%C3%A9", "", "", &proto.Request{Path: "/a/b é", Url: "/a%2Fb%20%C3%A9"}},
		{"absolute target", "GET", "http://example.com/a?b=c", "", "", &proto.Request{Path: "/a", Url: "/a?b=c", Get: pairs("b", "c")}},
		{"path like a host", "GET", "http://example.com//a", "", "", &proto.Request{Path: "//a", Url: "//a"}},
		{"the server itself", "OPTIONS", "*", "", "", &proto.Request{Path: "*", Url: "*"}},
		{"query", "GET", "/?a=1&a=b+c%26&a", "", "", &proto.Request{Path: "/", Url: "/?a=1&a=b+c%26&a", Get: pairs("a", "1", "b c&", "")}},
		{"empty name", "GET", "/?=1", "", "", &proto.Request{Path: "/", Url: "/?=1", Get: pairs("", "1")}},
		{"bare question mark", "GET", "/?", "", "", &proto.Request{Path: "/", Url: "/?"}},

		{"text", "POST", "/", "text/plain", "a=1", &proto.Request{Path: "/", Url: "/", Body: "a=1"}},
		{"JSON", "PUT", "/", "application/json", `{"a":"<é>"}`, &proto.Request{Path: "/", Url: "/", Body: `{"a":"<é>"}`}},
		{"multipart", "POST", "/", "multipart/form-data; boundary=x", "--x\r\n\r\na\r\n--x--\r\n", &proto.Request{Path: "/", Url: "/", Body: "--x\r\n\r\na\r\n--x--\r\n"}},
		{"of a GET", "GET", "/", "text/plain", "query", &proto.Request{Path: "/", Url: "/", Body: "query"}},
		{"no text, but UTF-8", "POST", "/", "application/octet-stream", "\x00\x01", &proto.Request{Path: "/", Url: "/", Body: "\x00\x01"}},
		{"empty", "POST", "/", "application/json", "", &proto.Request{Path: "/", Url: "/"}},

		{"form", "POST", "/", formType, "a=1&a=b+%3D&c", &proto.Request{Path: "/", Url: "/", Post: map[string]*proto.Pair{
			"a": {Key: "a", Values: []string{"1", "b ="}}, "c": {Key: "c", Values: []string{""}},
		}}},
		{"form and query", "PATCH", "/?a=1", formType, "a=2", &proto.Request{Path: "/", Url: "/?a=1", Get: pairs("a", "1"), Post: pairs("a", "2")}},
		{"form with a charset", "POST", "/", formType + "; charset=utf-8", "a={}", &proto.Request{Path: "/", Url: "/", Post: pairs("a", "{}")}},
		{"form with half a parameter", "POST", "/", formType + "; charset", "a=1", &proto.Request{Path: "/", Url: "/", Post: pairs("a", "1")}},
		{"form of a DELETE", "DELETE", "/", formType, "a=1", &proto.Request{Path: "/", Url: "/", Post: pairs("a", "1")}},
		{"empty form", "POST", "/", formType, "", &proto.Request{Path: "/", Url: "/"}},

		{"no type, form", "POST", "/", "", "a=1&b.c%5B%5D=x+y", &proto.Request{Path: "/", Url: "/", Post: map[string]*proto.Pair{
			"a": {Key: "a", Values: []string{"1"}}, "b.c[]": {Key: "b.c[]", Values: []string{"x y"}},
		}}},
		{"no type, JSON", "POST", "/", "", `{"a":1}`, &proto.Request{Path: "/", Url: "/", Body: `{"a":1}`}},
		{"no type, a word", "POST", "/", "", "a", &proto.Request{Path: "/", Url: "/", Body: "a"}},
		{"no type, no name", "POST", "/", "", "=a", &proto.Request{Path: "/", Url: "/", Body: "=a"}},
		{"no type, a line", "POST", "/", "", "a=1\n", &proto.Request{Path: "/", Url: "/", Body: "a=1\n"}},
		{"no type, bad escape", "POST", "/", "", "a=1%", &proto.Request{Path: "/", Url: "/", Body: "a=1%"}},
		{"no type, one that is none", "POST", "/", "", "a=1&b", &proto.Request{Path: "/", Url: "/", Body: "a=1&b"}},
		{"no type", "POST", "/", "", "", &proto.Request{Path: "/", Url: "/"}},
		{"malformed type, form", "POST", "/", "//", "a=1", &proto.Request{Path: "/", Url: "/", Post: pairs("a", "1")}},
		{"malformed type, JSON", "POST", "/", "//", `{"a":1}`, &proto.Request{Path: "/", Url: "/", Body: `{"a":1}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, asProtobuf := range []bool{false, true} {
				c := &recorder{}
				if !asProtobuf {
					c.reply = "{}"
				}
				r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
				if tt.contentType != "" {
					r.Header.Set("Content-Type", tt.contentType)
				}
				w := httptest.NewRecorder()
				goapi.With(echoRoute(), handler.API(c, &handler.APIOptions{Protobuf: asProtobuf})).ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					t.Fatalf("answer = %d %s, want 200", w.Code, w.Body)
				}
				call := c.calls[0]
				if call.Service != "echo" || call.Endpoint != "Echo.Call" {
					t.Errorf("called %s of %s, want Echo.Call of echo", call.Endpoint, call.Service)
				}
				got := received(t, &call)
				if got.GetMethod() != tt.method {
					t.Errorf("method = %s, want %s", got.GetMethod(), tt.method)
				}
				got.Method, got.Header = "", nil
				if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
					t.Errorf("message in %s (-want +got)\n%s", call.ContentType, diff)
				}
			}
		})
	}
}

// TestAPIMessage holds the message as JSON, byte for byte.
func TestAPIMessage(t *testing.T) {
	form := post("http://example.com/echo/x?b=2&a=1&a=3", formType, "name=J%C3%BCrgen&tag=<a>&tag=%22b%22")
	form.Header["X-Many"] = []string{"a", "b"}
	tests := map[string]*http.Request{
		"get":  httptest.NewRequest(http.MethodGet, "http://example.com/echo/x?a=1", nil),
		"form": form,
		"body": post("http://example.com/echo/x", "application/json", "{\"a\":\"<b>&\u2028\"}"),
	}
	for name, r := range tests {
		t.Run(name, func(t *testing.T) {
			c := &recorder{reply: "{}"}
			api(c, echoRoute(), r)
			golden(t, "api/"+name+".request.json", append(c.calls[0].Body, '\n'))
		})
	}
}

// TestAPICodedForm checks that a form is not read in a coding that is unknown.
func TestAPICodedForm(t *testing.T) {
	for coding, isForm := range map[string]bool{"x": false, "gzip": false, "identity": true, "Identity": true, "": true} {
		c := &recorder{reply: "{}"}
		r := post("/", formType, "a=1")
		r.Header.Set("Content-Encoding", coding)
		api(c, echoRoute(), r)
		want := &proto.Request{Body: "a=1"}
		if isForm {
			want = &proto.Request{Post: pairs("a", "1")}
		}
		got := received(t, &c.calls[0])
		if diff := cmp.Diff(want, &proto.Request{Body: got.GetBody(), Post: got.GetPost()}, protocmp.Transform()); diff != "" {
			t.Errorf("form with Content-Encoding %q (-want +got)\n%s", coding, diff)
		}
	}
}

func TestAPIHeader(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/", nil)
	r.RemoteAddr = "10.1.2.3:1234"
	maps.Copy(r.Header, http.Header{
		"Authorization": {"Bearer x"}, "X-Many": {"a", "b"}, "Cookie": {"a=1", "b=2"}, "Accept-Encoding": {"gzip"}, "X-Empty": {""},
		"X-Forwarded-For": {"203.0.113.7"}, "X-Utf-8": {"é"},
		// These stay behind.
		"Micro-Endpoint": {"Admin.Drop"}, "X-Micro-Topic": {"t"}, "Proxy": {"x"}, "X_user": {"root"},
		"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Upgrade": {"h2c"}, "Trailer": {"x"},
	})
	c := &recorder{reply: "{}"}
	h := handler.API(c, &handler.APIOptions{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	goapi.With(echoRoute(), h).ServeHTTP(httptest.NewRecorder(), r)

	got := map[string][]string{}
	for name, p := range received(t, &c.calls[0]).GetHeader() {
		if p.GetKey() != name {
			t.Errorf("pair %s has the key %s", name, p.GetKey())
		}
		got[name] = p.GetValues()
	}
	want := map[string][]string{
		"Host":          {"example.com"},
		"Authorization": {"Bearer x"}, "X-Many": {"a", "b"}, "Cookie": {"a=1", "b=2"}, "Accept-Encoding": {"gzip"}, "X-Empty": {""},
		"X-Forwarded-For": {"203.0.113.7, 10.1.2.3"}, "X-Real-Ip": {"10.1.2.3"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"http"},
		"Via": {"1.1 goapi"}, "X-Utf-8": {"é"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("header of the message (-want +got)\n%s", diff)
	}
	if md := c.calls[0].Header; md["Authorization"] != "Bearer x" || md["X-Many"] != "a, b" || md["Micro-Endpoint"] != "" {
		t.Errorf("metadata = %v, want the headers that a service may see", md)
	}
}

// TestAPIResponse holds what each reply becomes.
func TestAPIResponse(t *testing.T) {
	const asJSON = "application/json"
	recorded, err := os.ReadFile("../proto/testdata/response.json")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, reply string
		status      int
		header      http.Header
		body        string
	}{
		{"empty", `{}`, 200, http.Header{"Content-Type": {asJSON}}, ""},
		{"null", `null`, 200, http.Header{"Content-Type": {asJSON}}, ""},
		{"body", `{"body":"hello"}`, 200, http.Header{"Content-Type": {asJSON}, "Content-Length": {"5"}}, "hello"},
		{"as recorded", string(recorded), 202, http.Header{"Content-Type": {"text/plain"}, "X-Echo": {"a", "b"}, "Content-Length": {"110"}},
			`method=POST path=/echo/x url=/echo/x?a=1 get=map[a:key:"a"  values:"1"] post=map[] body="raw" headers=[Host=h]`},
		{"every field, empty", `{"statusCode":0,"header":null,"body":""}`, 200, http.Header{"Content-Type": {asJSON}}, ""},
		{"empty pairs", `{"header":{"X":null,"Y":{"key":"Y","values":null},"Z":{}}}`, 200, http.Header{"Content-Type": {asJSON}}, ""},
		{"unknown fields", `{"message":"x","header":{"X":{"key":"X","values":["1"],"z":1}}}`, 200, http.Header{"Content-Type": {asJSON}, "X": {"1"}}, ""},
		{"spaces", "{ \"statusCode\" : 201 }\n", 201, http.Header{"Content-Type": {asJSON}}, ""},
		{"untagged Go", `{"StatusCode":201,"Body":"x"}`, 201, http.Header{"Content-Type": {asJSON}, "Content-Length": {"1"}}, "x"},
		{"the last status", `{"statusCode":999}`, 999, http.Header{"Content-Type": {asJSON}}, ""},
		{"redirect", `{"statusCode":302,"header":{"location":{"key":"location","values":["/x"]}}}`, 302, http.Header{"Content-Type": {asJSON}, "Location": {"/x"}}, ""},
		{"the key counts", `{"header":{"x":{"key":"Content-Type","values":["text/html"]}},"body":"a"}`, 200, http.Header{"Content-Type": {"text/html"}, "Content-Length": {"1"}}, "a"},
		{"no key", `{"header":{"x-a":{"values":["1"]}}}`, 200, http.Header{"Content-Type": {asJSON}, "X-A": {"1"}}, ""},
		{"one header twice", `{"header":{"b":{"key":"X-A","values":["2"]},"a":{"key":"x-a","values":["1"]}}}`, 200, http.Header{"Content-Type": {asJSON}, "X-A": {"1", "2"}}, ""},
		{"empty content type", `{"header":{"Content-Type":{"key":"Content-Type","values":[""]}}}`, 200, http.Header{"Content-Type": {asJSON}}, ""},
		{"cookies", `{"header":{"Set-Cookie":{"key":"Set-Cookie","values":["a=1","b=2"]}}}`, 200, http.Header{"Content-Type": {asJSON}, "Set-Cookie": {"a=1", "b=2"}}, ""},
		{"wrong length", `{"header":{"content-length":{"key":"content-length","values":["99"]}},"body":"a"}`, 200, http.Header{"Content-Type": {asJSON}, "Content-Length": {"1"}}, "a"},
		{"for one hop", `{"header":{"Connection":{"key":"Connection","values":["X-Hop"]},"X-Hop":{"key":"X-Hop","values":["1"]},
			"Transfer-Encoding":{"key":"Transfer-Encoding","values":["chunked"]},"Upgrade":{"key":"Upgrade","values":["x"]},"Trailer":{"key":"Trailer","values":["x"]}},"body":"a"}`,
			200, http.Header{"Content-Type": {asJSON}, "Content-Length": {"1"}}, "a"},
		{"content type for one hop", `{"header":{"Connection":{"key":"Connection","values":["Content-Type"]},"Content-Type":{"key":"Content-Type","values":["text/html"]}}}`,
			200, http.Header{"Content-Type": {asJSON}}, ""},
		{"no content", `{"statusCode":204,"body":"a"}`, 204, http.Header{}, ""},
		{"not modified", `{"statusCode":304,"header":{"Etag":{"key":"ETag","values":["\"x\""]}},"body":"a"}`, 304, http.Header{"Etag": {`"x"`}}, ""},
		{"error", `{"statusCode":404,"body":"{\"id\":\"x\"}"}`, 404, http.Header{"Content-Type": {asJSON}, "Content-Length": {"10"}}, `{"id":"x"}`},
		{"tab", `{"header":{"X":{"key":"X","values":["a\tb é"]}}}`, 200, http.Header{"Content-Type": {asJSON}, "X": {"a\tb é"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := api(answer(tt.reply), echoRoute(), httptest.NewRequest(http.MethodGet, "/echo", nil))
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("answer = %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			if diff := cmp.Diff(tt.header, w.Header()); diff != "" {
				t.Errorf("header (-want +got)\n%s", diff)
			}
			w = api(answer(tt.reply), echoRoute(), httptest.NewRequest(http.MethodHead, "/echo", nil))
			if diff := cmp.Diff(tt.header, w.Header()); w.Code != tt.status || w.Body.Len() != 0 || diff != "" {
				t.Errorf("HEAD = %d with %d bytes, want %d and none; header (-want +got)\n%s", w.Code, w.Body.Len(), tt.status, diff)
			}
		})
	}
}

// TestAPIErrors holds the answers to what goes wrong.
func TestAPIErrors(t *testing.T) {
	own := &goapi.Error{Code: 418, ID: "echo.tea", Detail: "I am a teapot"}
	stream, nobody, small := echoRoute(), echoRoute(), echoRoute()
	stream.Endpoint.Stream = true
	nobody.Upstream = nil
	small.Policy = &goapi.Policy{MaxBody: 2}
	with := func(r *http.Request, name string, values ...string) *http.Request {
		r.Header[name] = values
		return r
	}
	get := func(target string) *http.Request { return httptest.NewRequest(http.MethodGet, target, nil) }
	headers := func(name, value string) callerFunc {
		b, err := json.Marshal(&proto.Response{Header: pairs(name, value), Body: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		return answer(string(b))
	}
	tests := []struct {
		name   string
		caller client.Caller
		route  *goapi.Route
		req    *http.Request
		want   int
	}{
		{"service error", failure(own, true), nil, nil, 418},
		{"unreachable", failure(errors.New("dial tcp 192.0.2.1:80: refused"), false), nil, nil, 502},
		{"broken off", failure(io.ErrUnexpectedEOF, true), nil, nil, 502},
		{"deadline", failure(context.DeadlineExceeded, true), nil, nil, 504},
		{"no nodes", answer("{}"), nobody, nil, 503},
		{"stream", answer("{}"), stream, nil, 501},
		{"CONNECT", answer("{}"), nil, httptest.NewRequest(http.MethodConnect, "/", nil), 405},
		{"two authorizations", answer("{}"), nil, with(get("/"), "Authorization", "a", "b"), 400},

		{"body not UTF-8", answer("{}"), nil, post("/", "image/png", "\x89PNG"), 415},
		{"zipped form", answer("{}"), nil, with(post("/", formType, "\x1f\x8b"), "Content-Encoding", "gzip"), 415},
		{"form not UTF-8", answer("{}"), nil, post("/", formType, "a=%ff"), 415},
		{"form name not UTF-8", answer("{}"), nil, post("/", formType, "%ff=a"), 415},
		{"header not UTF-8", answer("{}"), nil, with(get("/"), "X-Name", "J", "J\xfcrgen"), 415},
		{"path not UTF-8", answer("{}"), nil, get("/%ff"), 400},
		{"query not UTF-8", answer("{}"), nil, get("/?a=%ff"), 400},
		{"URL not UTF-8", answer("{}"), nil, get("/?a=\xff"), 400},
		{"bad query", answer("{}"), nil, get("/?a=%zz"), 400},
		{"bad form", answer("{}"), nil, post("/", formType, "a=%zz"), 400},
		{"long query", answer("{}"), nil, get("/?" + strings.Repeat("a&", 1000)), 400},
		{"too large", answer("{}"), small, post("/", "text/plain", "abc"), 413},
		{"too large without a length", answer("{}"), small, httptest.NewRequest(http.MethodPost, "/", iotest.OneByteReader(strings.NewReader("abc"))), 413},
		{"broken body", answer("{}"), nil, httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(io.ErrUnexpectedEOF)), 400},

		{"no reply", answer(""), nil, nil, 502},
		{"reply not JSON", answer("<html>"), nil, nil, 502},
		{"reply not UTF-8", answer("{\"body\":\"\xff\"}"), nil, nil, 502},
		{"reply no object", answer(`"text"`), nil, nil, 502},
		{"reply of another type", answer(`{"statusCode":"ok"}`), nil, nil, 502},
		{"large status", answer(`{"statusCode":1000}`), nil, nil, 502},
		{"huge status", answer(`{"statusCode":4294967496}`), nil, nil, 502},
		{"small status", answer(`{"statusCode":99}`), nil, nil, 502},
		{"negative status", answer(`{"statusCode":-200}`), nil, nil, 502},
		{"interim status", answer(`{"statusCode":101}`), nil, nil, 502},
		{"value with a line", headers("X", "a\nSet-Cookie: b"), nil, nil, 502},
		{"value with a return", headers("X", "a\r"), nil, nil, 502},
		{"value with a NUL", headers("X", "a\x00"), nil, nil, 502},
		{"name with a space", headers("X ", "a"), nil, nil, 502},
		{"name with a line", headers("X\n", "a"), nil, nil, 502},
		{"trailer", headers(http.TrailerPrefix+"X", "a"), nil, nil, 502},
		{"no name", headers("", "a"), nil, nil, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt, r := tt.route, tt.req
			if rt == nil {
				rt = echoRoute()
			}
			if r == nil {
				r = post("/echo", "", "{}")
			}
			w := api(tt.caller, rt, r)
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d", w.Code, tt.want)
			}
			if strings.Contains(w.Body.String(), "192.0.2.1") || strings.Contains(w.Body.String(), "secret") || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("the answer tells too much: %v %s", w.Header(), w.Body)
			}
			golden(t, "api/"+strings.ReplaceAll(tt.name, " ", "-")+".json", w.Body.Bytes())
		})
	}
}

func TestAPIProtobufReply(t *testing.T) {
	message, err := protobuf.Marshal(&proto.Response{StatusCode: 201, Header: pairs("x-a", "1"), Body: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, reply string
		want        int
		body        string
	}{
		{"message", string(message), 201, "hello"},
		{"unknown field", string(message) + "\x7a\x01x", 201, "hello"},
		{"empty", "", 200, ""},
		{"cut off", string(message[:len(message)-1]), 502, ""},
		{"JSON", "{}", 502, ""},
		{"not UTF-8", "\x1a\x01\xff", 502, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			goapi.With(echoRoute(), handler.API(answer(tt.reply), &handler.APIOptions{Protobuf: true})).
				ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if w.Code != tt.want || tt.want != 502 && w.Body.String() != tt.body {
				t.Errorf("answer = %d %q, want %d %q", w.Code, w.Body, tt.want, tt.body)
			}
		})
	}
}

func TestAPIRetries(t *testing.T) {
	for method, again := range map[string]bool{
		"GET": true, "HEAD": true, "PUT": true, "DELETE": true, "OPTIONS": true, "TRACE": true, "POST": false, "PATCH": false, "QUERY": false,
	} {
		t.Run(method, func(t *testing.T) {
			rt := echoRoute()
			rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
			var nodes, bodies []string
			c := callerFunc(func(_ context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
				req.Sent()
				nodes, bodies = append(nodes, n.ID), append(bodies, string(req.Body))
				if len(nodes) == 1 {
					return nil, io.ErrUnexpectedEOF
				}
				return &client.Response{Body: []byte("{}")}, nil
			})
			rec := httptest.NewRecorder()
			w, r, ex := goapi.NewExchange(rec, httptest.NewRequest(method, "/", strings.NewReader("body")))
			goapi.With(rt, handler.API(c, nil)).ServeHTTP(w, r)
			if !again {
				if rec.Code != http.StatusBadGateway || len(nodes) != 1 {
					t.Errorf("answer = %d after %d calls, want 502 after one", rec.Code, len(nodes))
				}
				return
			}
			if rec.Code != http.StatusOK || len(nodes) != 2 || nodes[0] == nodes[1] || bodies[0] != bodies[1] {
				t.Fatalf("answer = %d from %v with %q, want 200 from the second of two with the same message", rec.Code, nodes, bodies)
			}
			if ex.Node != nodes[1] || ex.Attempts != 2 || ex.Upstream <= 0 || ex.Err != nil {
				t.Errorf("exchange = node %s, %d attempts, %v, %v; want %s, 2, a time and no error", ex.Node, ex.Attempts, ex.Upstream, ex.Err, nodes[1])
			}
		})
	}
}

func TestAPITimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := echoRoute()
		rt.Policy = &goapi.Policy{Timeout: 3 * time.Second}
		start := time.Now()
		w := api(callerFunc(func(ctx context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
			req.Sent()
			<-ctx.Done()
			return nil, ctx.Err()
		}), rt, httptest.NewRequest(http.MethodGet, "/", nil))
		if got := time.Since(start); w.Code != http.StatusGatewayTimeout || got != 3*time.Second {
			t.Errorf("answer = %d after %v, want 504 after 3s", w.Code, got)
		}
	})
}

func TestAPIWithoutRoute(t *testing.T) {
	w := httptest.NewRecorder()
	handler.API(answer("{}"), nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("status = %d, want 404", w.Code)
	}
}
