package handler_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// callerFunc is a client.Caller in memory.
type callerFunc func(context.Context, *registry.Node, *client.Request) (*client.Response, error)

func (f callerFunc) Call(ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
	return f(ctx, n, req)
}

// answer is a caller whose service always replies the same.
func answer(body string) callerFunc {
	return func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
		req.Sent()
		return &client.Response{ContentType: req.ContentType, Body: []byte(body)}, nil
	}
}

// failure is a caller whose calls end with err, after they were sent or before.
func failure(err error, sent bool) callerFunc {
	return func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
		if sent {
			req.Sent()
		}
		return nil, err
	}
}

// recorder answers and keeps what it was called with.
type recorder struct {
	reply string
	calls []client.Request
}

func (c *recorder) Call(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
	req.Sent()
	c.calls = append(c.calls, *req)
	return &client.Response{ContentType: req.ContentType, Body: []byte(c.reply)}, nil
}

// helloRoute is a route to Greeter.Hello of the service greeter, with a node
// that only callers in memory can reach.
func helloRoute() *goapi.Route {
	return &goapi.Route{
		Service:  "greeter",
		Pattern:  "/hello",
		Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "rpc"},
		Upstream: upstream.Static("192.0.2.1:80"),
	}
}

// rpc serves a request by a call through c on rt.
func rpc(c client.Caller, rt *goapi.Route, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	goapi.With(rt, handler.RPC(c, nil)).ServeHTTP(w, r)
	return w
}

// post returns a POST with a body of a content type, if that is not empty.
func post(target, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestRPCMethods(t *testing.T) {
	tests := []struct {
		method string
		want   int
		again  bool // another node is tried after the message was sent
	}{
		{http.MethodGet, 200, true},
		{http.MethodHead, 200, true},
		{http.MethodPut, 200, true},
		{http.MethodDelete, 200, true},
		{http.MethodPost, 200, false},
		{http.MethodPatch, 200, false},
		{http.MethodOptions, 405, false},
		{http.MethodTrace, 405, false},
		{"QUERY", 405, false},
	}
	for _, tt := range tests {
		t.Run(tt.method, func(t *testing.T) {
			w := rpc(answer("{}"), helloRoute(), httptest.NewRequest(tt.method, "/hello", nil))
			if w.Code != tt.want {
				t.Fatalf("status = %d, want %d", w.Code, tt.want)
			}
			if got, want := w.Header().Get("Allow") != "", tt.want == 405; got != want {
				t.Errorf("answer has Allow: %t, want %t", got, want)
			}
			if tt.want != http.StatusOK {
				return
			}
			rt := helloRoute()
			rt.Upstream = upstream.Static("192.0.2.1:80", "192.0.2.2:80")
			calls := 0
			rpc(callerFunc(func(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
				calls++
				req.Sent()
				return nil, io.ErrUnexpectedEOF
			}), rt, httptest.NewRequest(tt.method, "/hello", nil))
			if got := calls > 1; got != tt.again {
				t.Errorf("%d calls, want another: %t", calls, tt.again)
			}
		})
	}
}

func TestRPCHead(t *testing.T) {
	w := rpc(answer(`{"a":1}`), helloRoute(), httptest.NewRequest(http.MethodHead, "/hello", nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Length") != "7" || w.Body.Len() != 0 {
		t.Errorf("HEAD = %d, Content-Length %q, %d bytes; want 200, 7 and none", w.Code, w.Header().Get("Content-Length"), w.Body.Len())
	}
}

func TestRPCBodyOfGETIsNotRead(t *testing.T) {
	c := &recorder{reply: "{}"}
	r := httptest.NewRequest(http.MethodGet, "/hello?name=x", iotest.ErrReader(errors.New("read")))
	r.Header.Set("Content-Type", "text/plain")
	w := rpc(c, helloRoute(), r)
	if w.Code != http.StatusOK || string(c.calls[0].Body) != `{"name":"x"}` {
		t.Errorf("GET = %d %s, message %s; want 200 and the query alone", w.Code, w.Body, c.calls[0].Body)
	}
}

// TestRPCErrors holds the answers to what goes wrong.
func TestRPCErrors(t *testing.T) {
	own := &goapi.Error{Code: 418, ID: "greeter.tea", Detail: "I am a teapot"}
	stream := helloRoute()
	stream.Endpoint.Stream = true
	nobody := helloRoute()
	nobody.Upstream = nil
	typed := helloRoute()
	typed.Endpoint.Request = helloRequest()
	small := helloRoute()
	small.Policy = &goapi.Policy{MaxBody: 8}
	twice := httptest.NewRequest(http.MethodGet, "/hello", nil)
	twice.Header["Authorization"] = []string{"a", "b"}

	tests := []struct {
		name   string
		caller client.Caller
		route  *goapi.Route
		req    *http.Request
		want   int
	}{
		{"service error", failure(own, true), nil, nil, 418},
		{"not a call", failure(goapi.NewError(400, "no name of a method", nil), false), nil, nil, 400},
		{"unreachable", failure(errors.New("dial tcp 192.0.2.1:80: refused"), false), nil, nil, 502},
		{"broken off", failure(io.ErrUnexpectedEOF, true), nil, nil, 502},
		{"deadline", failure(context.DeadlineExceeded, true), nil, nil, 504},
		{"deadline of the caller", failure(goapi.NewError(504, "greeter did not answer in time", context.DeadlineExceeded), true), nil, nil, 504},
		{"bad code", failure(&goapi.Error{Code: 7, ID: "greeter", Detail: "odd"}, true), nil, nil, 500},
		{"no nodes", answer("{}"), nobody, nil, 503},
		{"stream", answer("{}"), stream, nil, 501},
		{"two authorizations", answer("{}"), nil, twice, 400},
		{"method", answer("{}"), nil, httptest.NewRequest(http.MethodOptions, "/hello", nil), 405},
		{"content type", answer("{}"), nil, post("/hello", "text/plain", "x"), 415},
		{"too large", answer("{}"), small, post("/hello", "", `{"name":"x"}`), 413},
		{"not JSON", answer("{}"), nil, post("/hello", "", `{"name":x}`), 400},
		{"not UTF-8", answer("{}"), nil, post("/hello", "", "{\"name\":\"\xff\"}"), 400},
		{"no number", answer("{}"), typed, post("/hello?age=old", "", ""), 400},
		{"no field", answer("{}"), typed, post("/hello?who=x", "", ""), 400},
		{"broken body", answer("{}"), nil, httptest.NewRequest(http.MethodPost, "/hello", iotest.ErrReader(io.ErrUnexpectedEOF)), 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt, r := tt.route, tt.req
			if rt == nil {
				rt = helloRoute()
			}
			if r == nil {
				r = post("/hello", "", "{}")
			}
			w := rpc(tt.caller, rt, r)
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d", w.Code, tt.want)
			}
			if strings.Contains(w.Body.String(), "192.0.2.1") {
				t.Errorf("the answer tells an address: %s", w.Body)
			}
			golden(t, "rpc/"+strings.ReplaceAll(tt.name, " ", "-")+".json", w.Body.Bytes())
		})
	}
}

func TestRPCWithoutRoute(t *testing.T) {
	w := httptest.NewRecorder()
	handler.RPC(answer("{}"), nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("status = %d, want 404", w.Code)
	}
}

func TestRPCBodyLimit(t *testing.T) {
	rt := helloRoute()
	rt.Policy = &goapi.Policy{MaxBody: 16}
	tests := []struct {
		name string
		body io.Reader
		want int
	}{
		{"fits", strings.NewReader(`{"name":"12345"}`), 200},
		{"says it is too large", strings.NewReader(`{"name":"1234567890"}`), 413},
		{"does not say", iotest.OneByteReader(strings.NewReader(`{"name":"1234567890"}`)), 413},
		{"does not say, and fits", iotest.OneByteReader(strings.NewReader(`{"name":"12345"}`)), 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := rpc(answer("{}"), rt, httptest.NewRequest(http.MethodPost, "/hello", tt.body))
			if w.Code != tt.want {
				t.Errorf("answer = %d %s, want %d", w.Code, w.Body, tt.want)
			}
		})
	}
}

func TestRPCTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := helloRoute()
		rt.Policy = &goapi.Policy{Timeout: 3 * time.Second}
		start := time.Now()
		w := rpc(callerFunc(func(ctx context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
			req.Sent()
			<-ctx.Done()
			return nil, ctx.Err()
		}), rt, httptest.NewRequest(http.MethodGet, "/hello", nil))
		if got := time.Since(start); w.Code != http.StatusGatewayTimeout || got != 3*time.Second {
			t.Errorf("answer = %d after %v, want 504 after 3s", w.Code, got)
		}
	})
}

func TestRPCSlowClient(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/hello", iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("{}"))))
	if w := rpc(answer("{}"), helloRoute(), r); w.Code != http.StatusBadRequest {
		t.Errorf("a body that fails = %d, want 400", w.Code)
	}
	r = httptest.NewRequest(http.MethodPost, "/hello", iotest.ErrReader(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}))
	if w := rpc(answer("{}"), helloRoute(), r); w.Code != http.StatusRequestTimeout {
		t.Errorf("a body that is late = %d %s, want 408", w.Code, w.Body)
	}
}

func TestRPCMetadata(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		want   map[string]string
	}{
		{
			"user's",
			http.Header{"Authorization": {"Bearer x"}, "X-Many": {"a", "b"}, "Cookie": {"a=1", "b=2"}, "User-Agent": {"curl"}},
			map[string]string{"Authorization": "Bearer x", "X-Many": "a, b", "Cookie": "a=1; b=2", "User-Agent": "curl"},
		},
		{
			"protocol's",
			http.Header{
				"Micro-Endpoint": {"Admin.Drop"}, "X-Micro-Topic": {"t"}, "Micro-Error": {"e"}, "Timeout": {"1"},
				"Content-Encoding": {"gzip"}, "Accept-Encoding": {"gzip"}, "Proxy": {"x"}, "Grpc-Timeout": {"1S"}, "Grpc-Trace-Bin": {"x"},
			},
			nil,
		},
		{
			"connection's",
			http.Header{"Connection": {"close, X-Hop", "keep-alive"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Upgrade": {"h2c"}, "Trailer": {"x"}},
			nil,
		},
		{
			"forged origin",
			http.Header{"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-User": {"root"}, "Forwarded": {"for=10.0.0.1"}, "X-Real-Ip": {"10.0.0.1"}},
			nil,
		},
	}
	origin := map[string]string{
		"Via":             "1.1 goapi",
		"X-Forwarded-For": "192.0.2.9", "X-Real-Ip": "192.0.2.9", "X-Forwarded-Host": "example.com", "X-Forwarded-Proto": "https",
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/hello", nil)
			maps.Copy(r.Header, tt.header)
			r.RemoteAddr, r.TLS = "192.0.2.9:1234", new(tls.ConnectionState)
			c := &recorder{reply: "{}"}
			rpc(c, helloRoute(), r)
			want := maps.Clone(origin)
			maps.Copy(want, tt.want)
			if got := c.calls[0].Header; !maps.Equal(got, want) {
				t.Errorf("metadata = %v, want %v", got, want)
			}
		})
	}
}

func TestRPCTrustedProxy(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/hello", nil)
	r.RemoteAddr = "10.1.2.3:1234"
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	c := &recorder{reply: "{}"}
	h := handler.RPC(c, &handler.RPCOptions{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	goapi.With(helloRoute(), h).ServeHTTP(httptest.NewRecorder(), r)
	if got, want := c.calls[0].Header["X-Forwarded-For"], "203.0.113.7, 10.1.2.3"; got != want {
		t.Errorf("X-Forwarded-For = %q, want %q", got, want)
	}
}

// TestRPCOverTheWire calls a service as go-micro's are: errors are in a header
// of a 200, and the request's headers come back.
func TestRPCOverTheWire(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		maps.Copy(w.Header(), r.Header)
		w.Header().Del("Content-Length")
		if bytes.Contains(body, []byte("nobody")) {
			w.Header().Set("Micro-Error", `{"id":"greeter.hello","code":404,"detail":"no such person","status":"Not Found"}`)
			return
		}
		_, _ = w.Write(body) // an echo
	}))
	defer service.Close()
	micro := client.NewMicro(nil)
	defer micro.Close()
	rt := helloRoute()
	rt.Upstream = upstream.Static(service.Listener.Addr().String())
	gateway := httptest.NewServer(goapi.With(rt, handler.RPC(micro, nil)))
	defer gateway.Close()

	for target, want := range map[string]string{
		"/hello?name=x":      `200 {"name":"x"}`,
		"/hello?name=nobody": `404 {"id":"greeter.hello","code":404,"detail":"no such person","status":"Not Found"}` + "\n",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Secret", "s")
		rsp, err := gateway.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := rsp.Status[:3] + " " + string(body); got != want {
			t.Errorf("GET %s = %s, want %s", target, got, want)
		}
		if names := slices.Sorted(maps.Keys(rsp.Header)); !slices.Equal(names, []string{"Content-Length", "Content-Type", "Date"}) {
			t.Errorf("GET %s answers with headers %v, want none of the service's", target, names)
		}
	}
}

func BenchmarkRPC(b *testing.B) {
	rt := helloRoute()
	rt.Endpoint.Request = helloRequest()
	h := goapi.With(rt, handler.RPC(answer(`{"message":"hello"}`), nil))
	body := `{"name":"` + strings.Repeat("x", 900) + `","age":7}`
	for name, target := range map[string]string{"body": "/hello", "query": "/hello?name=john&age=7&inner.score=1.5"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
