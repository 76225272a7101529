package goapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
)

// oneRoute is a Router that knows one route.
type oneRoute struct{ rt *goapi.Route }

func (o oneRoute) Route(r *http.Request) (*goapi.Route, error) {
	if o.rt == nil || r.URL.Path == "/nowhere" {
		return nil, goapi.NewError(404, "no route for GET /nowhere", goapi.ErrNoRoute)
	}
	r.SetPathValue("name", "john")
	return o.rt, nil
}

func route(handler string) *goapi.Route {
	return &goapi.Route{Service: "greeter", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: handler}}
}

func TestGatewayHandsTheRequestToTheNamedHandler(t *testing.T) {
	gw := &goapi.Gateway{
		Router: oneRoute{route("rpc")},
		Handlers: map[string]http.Handler{
			"rpc": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%s %s", goapi.RouteFrom(r.Context()).Service, r.PathValue("name"))
			}),
		},
	}
	w := httptest.NewRecorder()
	gw.ServeHTTP(w, httptest.NewRequest("GET", "/hello/john", nil))
	if got, want := w.Body.String(), "greeter john"; got != want {
		t.Errorf("body = %q, want %q", got, want)
	}
}

func TestGatewayErrors(t *testing.T) {
	tests := []struct {
		name, path, handler string
		want                int
	}{
		{"no route", "/nowhere", "rpc", 404},
		{"no such handler", "/", "nosuch", 501},
		{"handler fails", "/", "rpc", 418},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gw := &goapi.Gateway{
				Router: oneRoute{route(tt.handler)},
				Handlers: map[string]http.Handler{
					"rpc": goapi.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
						return goapi.NewError(418, "short and stout", nil)
					}),
				},
			}
			w := httptest.NewRecorder()
			gw.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d: %s", w.Code, tt.want, w.Body)
			}
		})
	}
}

func TestGatewayWrapsOncePerRoute(t *testing.T) {
	wrapped := 0
	rt := route("rpc")
	gw := &goapi.Gateway{
		Router:   oneRoute{rt},
		Handlers: map[string]http.Handler{"rpc": http.NotFoundHandler()},
		Wrap: func(_ *goapi.Route, h http.Handler) http.Handler {
			wrapped++
			return h
		},
	}
	for range 3 {
		gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	gw.Router = oneRoute{rt.Like(&goapi.Endpoint{Name: "Greeter.Other", Handler: "rpc"})}
	gw.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if wrapped != 1 {
		t.Errorf("Wrap was called %d times for one route, want 1", wrapped)
	}

	other := *gw
	other.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if wrapped != 2 {
		t.Errorf("Wrap was called %d times for two gateways, want 2", wrapped)
	}
}

func TestExchangeReachesTheOuterRing(t *testing.T) {
	gw := &goapi.Gateway{
		Router: oneRoute{route("rpc")},
		Handlers: map[string]http.Handler{
			"rpc": goapi.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				goapi.ExchangeFrom(r.Context()).Node = "greeter-1"
				return goapi.ErrNoRoute
			}),
		},
	}
	w, r, ex := goapi.NewExchange(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	gw.ServeHTTP(w, r)
	if ex.Route == nil || ex.Node != "greeter-1" || !errors.Is(ex.Err, goapi.ErrNoRoute) {
		t.Errorf("Exchange = %+v, want the route, the node and the error", ex)
	}
}

func TestErrorAfterTheAnswerBeganAbortsTheConnection(t *testing.T) {
	begin := map[string]func(http.ResponseWriter){
		"Write":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, "half an ans") },
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(200) },
		"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller":  func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"ReadFrom":    func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("half")) },
	}
	for name, begin := range begin {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			done := make(chan struct{})
			gw := &goapi.Gateway{
				Router: oneRoute{route("rpc")},
				Handlers: map[string]http.Handler{
					"rpc": goapi.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
						begin(w)
						return errors.New("the service broke off")
					}),
				},
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
			}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				gw.ServeHTTP(w, r)
			}))
			defer srv.Close()
			rsp, err := srv.Client().Get(srv.URL)
			if err == nil {
				_, err = io.ReadAll(rsp.Body)
				rsp.Body.Close()
			}
			if err == nil {
				t.Error("the client saw a whole answer, want a broken one")
			}
			<-done
			if !strings.Contains(log.String(), "the service broke off") {
				t.Errorf("log = %q, want the cause", log.String())
			}
		})
	}
}

func TestErrorAfterAnInterimAnswer(t *testing.T) {
	srv := httptest.NewServer(goapi.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusEarlyHints)
		return goapi.ErrNoRoute
	}))
	defer srv.Close()
	rsp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != 404 {
		t.Errorf("status = %d, want 404", rsp.StatusCode)
	}
}

func TestErrorDoesNotWaitForTheBody(t *testing.T) {
	srv := httptest.NewServer(goapi.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return goapi.ErrNoRoute }))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404") || !strings.Contains(string(answer), "Connection: close") {
		t.Errorf("answer = %q, %v; want 404 and the end of the connection", answer, err)
	}
}

func TestWith(t *testing.T) {
	rt := route("rpc")
	var got *goapi.Route
	h := goapi.With(rt, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = goapi.RouteFrom(r.Context()) }))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if got != rt {
		t.Errorf("RouteFrom = %v, want the route given to With", got)
	}
}

func TestPolicyOrDefault(t *testing.T) {
	var none *goapi.Policy
	if got := none.OrDefault(); got.MaxBody != 4<<20 || got.Timeout == 0 {
		t.Errorf("OrDefault of nil = %+v, want 4 MiB and a timeout", got)
	}
	if got := (&goapi.Policy{MaxBody: 10}).OrDefault(); got.MaxBody != 10 || got.Timeout == 0 {
		t.Errorf("OrDefault = %+v, want the set field kept and the other filled in", got)
	}
}

func BenchmarkGateway(b *testing.B) {
	gw := &goapi.Gateway{
		Router:   oneRoute{route("rpc")},
		Handlers: map[string]http.Handler{"rpc": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		gw.ServeHTTP(w, r)
	}
}

// TestTheLogIsBounded: services and clients have a word in what is logged.
func TestTheLogIsBounded(t *testing.T) {
	var log strings.Builder
	g := &goapi.Gateway{
		Router: oneRoute{route("rpc")},
		Handlers: map[string]http.Handler{"rpc": goapi.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			return goapi.NewError(http.StatusBadGateway, "broken", errors.New(strings.Repeat("é", 100_000)))
		})},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("p", 100_000), nil))
	if !strings.Contains(log.String(), "broken") || len(log.String()) > 4000 {
		t.Errorf("the log has %d bytes: %.200q", log.Len(), log.String())
	}
}
