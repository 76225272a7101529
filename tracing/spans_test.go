package tracing_test

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/tracing"
	"github.com/goapi-dev/goapi/upstream"
)

func TestSpanOfARequest(t *testing.T) {
	tr, done := recorder(t, &tracing.Options{Sample: 1, Client: true})
	h := tr.Middleware(serve(func(w http.ResponseWriter, r *http.Request, ex *goapi.Exchange) {
		ex.Route = &goapi.Route{Service: "greeter", Pattern: "/hello/{name}", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "rpc"}}
		ex.Node, ex.Attempts = "greeter-1", 2
		r.Method = "REWRITTEN"
		w.WriteHeader(http.StatusCreated)
	}))
	r := httptest.NewRequest(http.MethodPost, "https://api.example.com:8443/hello/j%20d?token=s3cret", nil)
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	r.Header.Set("User-Agent", "curl/8")
	r.Header.Set("Authorization", "Bearer s3cret")
	w, r, ex := goapi.NewExchange(httptest.NewRecorder(), r)
	ex.Client = netip.MustParseAddr("203.0.113.7")
	h.ServeHTTP(w, r)
	s := one(t, done())
	if s.Name != "POST /hello/{name}" || s.SpanKind != trace.SpanKindServer || s.Status.Code != codes.Unset {
		t.Errorf("span = %q, %v, %v", s.Name, s.SpanKind, s.Status)
	}
	for key, want := range map[string]string{
		"http.request.method": "POST", "url.scheme": "https", "url.path": "/hello/j%20d", "server.address": "api.example.com", "server.port": "8443",
		"network.protocol.version": "1.1", "user_agent.original": "curl/8", "client.address": "203.0.113.7",
		"http.route": "/hello/{name}", "http.response.status_code": "201",
		"goapi.service": "greeter", "goapi.endpoint": "Greeter.Hello", "goapi.handler": "rpc", "goapi.node": "greeter-1", "goapi.attempts": "2",
		"url.query": "", "error.type": "", "goapi.error": "",
	} {
		if got := attribute(s, key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	for _, kv := range s.Attributes {
		if strings.Contains(kv.Value.String(), "s3cret") {
			t.Errorf("%s holds a secret", kv.Key)
		}
	}
}

func TestSpansOfRequests(t *testing.T) {
	routed := func(serve http.HandlerFunc) http.Handler {
		return goapi.With(&goapi.Route{Service: "a", Pattern: "/a/{id}", Endpoint: &goapi.Endpoint{Name: "A.B", Handler: "rpc"}}, serve)
	}
	fails := func(err error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { goapi.WriteError(w, r, err) }
	}
	type attributes map[string]string
	tests := []struct {
		name  string
		set   func(*http.Request)
		serve http.Handler
		span  string
		code  codes.Code
		want  attributes
	}{
		{"no route", nil, http.NotFoundHandler(), "GET", codes.Unset, attributes{"http.route": "", "http.response.status_code": "404", "error.type": ""}},
		{"an odd method", func(r *http.Request) { r.Method = "BREW" }, http.NotFoundHandler(), "HTTP", codes.Unset,
			attributes{"http.request.method": "_OTHER", "http.request.method_original": "BREW"}},
		{"a long one", func(r *http.Request) { r.Method = strings.Repeat("B", 2000) }, http.NotFoundHandler(), "HTTP", codes.Unset,
			attributes{"http.request.method_original": strings.Repeat("B", 512)}},
		{"HTTP/2", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, http.NotFoundHandler(), "GET", codes.Unset, attributes{"network.protocol.version": "2"}},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 1, 0 }, http.NotFoundHandler(), "GET", codes.Unset, attributes{"network.protocol.version": "1.0"}},
		{"a host in IPv6", func(r *http.Request) { r.Host = "[::1]:80" }, http.NotFoundHandler(), "GET", codes.Unset, attributes{"server.address": "::1", "server.port": "80"}},
		{"bytes that are no text", func(r *http.Request) { r.Header.Set("User-Agent", "a\xff") }, http.NotFoundHandler(), "GET", codes.Unset, attributes{"user_agent.original": "a?"}},
		{"no address of the client", nil, http.NotFoundHandler(), "GET", codes.Unset, attributes{"client.address": "", "network.peer.address": ""}},
		{"an error of the client's", nil, routed(fails(goapi.NewError(400, "no such field", nil))), "GET /a/{id}", codes.Unset,
			attributes{"goapi.error": "no such field", "error.type": "", "http.response.status_code": "400"}},
		{"an error", nil, routed(fails(goapi.NewError(502, "service a could not be reached", errors.New("dial 10.0.0.1")))), "GET /a/{id}", codes.Error,
			attributes{"goapi.error": "service a could not be reached", "error.type": "502"}},
		{"an error that tells clients nothing", nil, routed(fails(&upstream.NodeError{Service: "a", Err: errors.New("dial 10.0.0.1")})), "GET /a/{id}", codes.Error,
			attributes{"goapi.error": "502 Bad Gateway", "error.type": "502"}},
		{"an answer of the service's", nil, routed(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }), "GET /a/{id}", codes.Error,
			attributes{"error.type": "503", "goapi.error": ""}},
		{"an answer that broke off", nil, routed(goapi.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "half")
			return goapi.NewError(502, "service a broke off", nil)
		}).ServeHTTP), "GET /a/{id}", codes.Error, attributes{"error.type": "cut", "http.response.status_code": "200", "goapi.error": "service a broke off"}},
		{"no answer", nil, routed(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "GET /a/{id}", codes.Error,
			attributes{"error.type": "cut", "http.response.status_code": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr, done := recorder(t, &tracing.Options{Sample: 1})
			r := httptest.NewRequest(http.MethodGet, "/a/1", nil)
			if tt.set != nil {
				tt.set(r)
			}
			func() {
				defer func() {
					if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is passed on as it is
						t.Errorf("panic = %v", p)
					}
				}()
				tr.Middleware(tt.serve).ServeHTTP(httptest.NewRecorder(), r)
			}()
			s := one(t, done())
			if s.Name != tt.span || s.Status.Code != tt.code {
				t.Errorf("span = %q with status %v; want %q with %v", s.Name, s.Status, tt.span, tt.code)
			}
			for key, want := range tt.want {
				if got := attribute(s, key); got != want {
					t.Errorf("%s = %q, want %q", key, got, want)
				}
			}
		})
	}
}

func TestSpansOfHandlers(t *testing.T) {
	call := goapi.Endpoint{Name: "Greeter.Hello", Metadata: map[string]string{}}
	tests := []struct {
		handler  string
		method   string
		endpoint *goapi.Endpoint // nil for a mount
		header   http.Header     // of the request
		answer   func(http.ResponseWriter, *goapi.Exchange)
		span     string
		kind     trace.SpanKind
		code     codes.Code
		want     map[string]string
	}{
		{"rpc", "POST", &call, nil, nil, "greeter/Greeter.Hello", trace.SpanKindClient, codes.Unset,
			map[string]string{"rpc.system.name": "go_micro", "rpc.method": "greeter/Greeter.Hello", "goapi.node": "n1", "goapi.attempts": "2", "service.peer.name": "greeter"}},
		{"api", "POST", &call, nil, nil, "greeter/Greeter.Hello", trace.SpanKindClient, codes.Unset, map[string]string{"rpc.system.name": "go_micro"}},
		{"rpc", "POST", &goapi.Endpoint{Name: "Any.Thing"}, nil, nil, "greeter", trace.SpanKindClient, codes.Unset,
			map[string]string{"rpc.method": "greeter/Any.Thing"}},
		{"rpc", "POST", &call, nil, func(_ http.ResponseWriter, ex *goapi.Exchange) { ex.Err = goapi.NewError(404, "no such name", nil) },
			"greeter/Greeter.Hello", trace.SpanKindClient, codes.Error, map[string]string{"goapi.error": "no such name"}},
		{"rpc", "POST", &call, http.Header{"Content-Type": {"application/grpc+proto"}}, func(w http.ResponseWriter, _ *goapi.Exchange) {
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
		}, "greeter/Greeter.Hello", trace.SpanKindClient, codes.Error, map[string]string{"rpc.system.name": "grpc", "rpc.response.status_code": "5"}},
		{"grpc", "POST", &call, nil, func(w http.ResponseWriter, _ *goapi.Exchange) { w.Header().Set("Grpc-Status", "0") },
			"greeter/Greeter.Hello", trace.SpanKindClient, codes.Unset, map[string]string{"rpc.system.name": "grpc", "rpc.response.status_code": "0"}},
		{"http", "GET", &call, nil, nil, "GET", trace.SpanKindClient, codes.Unset,
			map[string]string{"http.request.method": "GET", "http.response.status_code": "200", "http.request.resend_count": "1", "rpc.system.name": ""}},
		{"web", "BREW", &call, nil, func(w http.ResponseWriter, _ *goapi.Exchange) { w.WriteHeader(404) }, "HTTP", trace.SpanKindClient, codes.Error,
			map[string]string{"http.request.method": "_OTHER", "http.request.method_original": "BREW", "http.response.status_code": "404", "error.type": "404"}},
		{"event", "POST", &goapi.Endpoint{Name: "A.B", Topic: "users.signup"}, nil, nil, "send users.signup", trace.SpanKindProducer, codes.Unset,
			map[string]string{"messaging.system": "nats", "messaging.operation.type": "send", "messaging.operation.name": "send", "messaging.destination.name": "users.signup"}},
		{"cloudevents", "POST", nil, nil, nil, "send", trace.SpanKindProducer, codes.Unset, map[string]string{"messaging.destination.name": "", "goapi.service": ""}},
		{"broker", "POST", nil, nil, nil, "send", trace.SpanKindProducer, codes.Unset, map[string]string{"messaging.operation.type": "send"}},
		{"broker", "GET", nil, nil, nil, "receive", trace.SpanKindConsumer, codes.Unset, map[string]string{"messaging.operation.type": "receive"}},
		{"rpc", "POST", nil, nil, nil, "rpc", trace.SpanKindClient, codes.Unset, map[string]string{"rpc.method": ""}},
		{"mine", "POST", &call, nil, nil, "mine", trace.SpanKindInternal, codes.Unset, map[string]string{"goapi.service": "greeter"}},
	}
	for _, tt := range tests {
		t.Run(tt.handler, func(t *testing.T) {
			tr, done := recorder(t, &tracing.Options{Sample: 1, Broker: "nats"})
			var header http.Header
			h := tr.Handler(tt.handler, serve(func(w http.ResponseWriter, r *http.Request, ex *goapi.Exchange) {
				header = r.Header.Clone()
				ex.Node, ex.Attempts = "n1", 2
				if tt.answer != nil {
					tt.answer(w, ex)
				}
			}))
			if tt.endpoint != nil {
				h = goapi.With(&goapi.Route{Service: "greeter", Endpoint: tt.endpoint}, h)
			}
			r := httptest.NewRequest(tt.method, "/", nil)
			maps.Copy(r.Header, tt.header)
			tr.Middleware(h).ServeHTTP(httptest.NewRecorder(), r)
			spans := done()
			if len(spans) != 2 {
				t.Fatalf("%d spans, want 2", len(spans))
			}
			s, parent := &spans[0], &spans[1]
			if s.Name != tt.span || s.SpanKind != tt.kind || s.Status.Code != tt.code {
				t.Errorf("span = %q, %v, %v; want %q, %v, %v", s.Name, s.SpanKind, s.Status, tt.span, tt.kind, tt.code)
			}
			if s.Parent.SpanID() != parent.SpanContext.SpanID() || s.SpanContext.TraceID() != parent.SpanContext.TraceID() {
				t.Errorf("parent = %v, want the span of the request, %v", s.Parent, parent.SpanContext)
			}
			if got := header["Traceparent"]; len(got) != 1 || !strings.Contains(got[0], s.SpanContext.SpanID().String()) {
				t.Errorf("the service got %q, want the handler's span %v", got, s.SpanContext.SpanID())
			}
			for key, want := range tt.want {
				if got := attribute(s, key); got != want {
					t.Errorf("%s = %q, want %q", key, got, want)
				}
			}
		})
	}
}

// A handler alone, which no Middleware is before, makes no traces.
func TestHandlerAlone(t *testing.T) {
	tr, done := recorder(t, &tracing.Options{Sample: 1})
	send(func(next http.Handler) http.Handler { return tr.Handler("rpc", next) })
	if spans := done(); len(spans) != 0 {
		t.Errorf("spans = %v, want none", spans)
	}
}

func TestHandlerOfACut(t *testing.T) {
	tr, done := recorder(t, &tracing.Options{Sample: 1})
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // it is passed on as it is
				t.Errorf("panic = %v", p)
			}
		}()
		send(func(http.Handler) http.Handler {
			return tr.Middleware(tr.Handler("http", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })))
		})
	}()
	spans := done()
	if len(spans) != 2 || !slices.ContainsFunc(spans, func(s tracetest.SpanStub) bool {
		return s.SpanKind == trace.SpanKindClient && s.Status.Code == codes.Error && attribute(&s, "error.type") == "cut"
	}) {
		t.Errorf("spans = %+v, want two that were cut", spans)
	}
}

func TestHandlerIsClosed(t *testing.T) {
	tr, done := recorder(t, nil)
	defer done()
	within := &closable{Handler: http.NotFoundHandler()}
	if err := tr.Handler("http", within).(io.Closer).Close(); err != nil || !within.closed {
		t.Errorf("Close = %v, closed: %t", err, within.closed)
	}
	if err := tr.Handler("http", http.NotFoundHandler()).(io.Closer).Close(); err != nil {
		t.Errorf("Close of nothing = %v", err)
	}
}

type closable struct {
	http.Handler

	closed bool
}

func (c *closable) Close() error {
	c.closed = true
	return nil
}
