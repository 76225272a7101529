package middleware_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

// A request that is cut is logged, and the panic goes on.
func TestAccessLogOfACut(t *testing.T) {
	const defect = "nil map"
	tests := []struct {
		name   string
		serve  http.HandlerFunc
		panics any
		status float64
		err    any
	}{
		{"before the answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, http.ErrAbortHandler, 0, nil},
		{"by a defect", func(http.ResponseWriter, *http.Request) { panic(defect) }, defect, 0, nil}, //nolint:forbidigo // a handler that is wrong
		{"within the answer", goapi.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "half")
			return errors.New("the service broke off")
		}).ServeHTTP, http.ErrAbortHandler, 200, "the service broke off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			l := middleware.NewAccessLog(&out, nil)
			func() {
				defer func() {
					if got := recover(); got != tt.panics {
						t.Errorf("panic = %v, want %v", got, tt.panics)
					}
				}()
				gw := &goapi.Gateway{Router: routed{}, Handlers: map[string]http.Handler{"test": tt.serve}}
				l.Middleware(gw).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}()
			got := lines(t, l, &out)
			if len(got) != 1 || got[0]["cut"] != true || got[0]["status"] != tt.status || got[0]["error"] != tt.err {
				t.Errorf("lines = %v, want one that is cut, of status %v and error %v", got, tt.status, tt.err)
			}
		})
	}
}

// A WebSocket is one line, when it has ended.
func TestAccessLogOfAWebSocket(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		kind, msg, err := c.Read(r.Context())
		if err == nil {
			err = c.Write(r.Context(), kind, msg)
		}
		if err != nil {
			t.Error(err)
		}
		_, _, _ = c.Read(r.Context()) // until the client closes
	}))
	defer service.Close()
	web := handler.Web(nil)
	gw := &goapi.Gateway{
		Router:   routed{upstream.Static(strings.TrimPrefix(service.URL, "http://"))},
		Handlers: map[string]http.Handler{"test": web},
	}
	var out bytes.Buffer
	l := middleware.NewAccessLog(&out, nil)
	ended := make(chan struct{})
	chain := l.Middleware(gw)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		chain.ServeHTTP(w, r)
	}))
	defer gateway.Close()
	c, _, err := websocket.Dial(t.Context(), gateway.URL+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := c.Read(t.Context()); err != nil || string(msg) != "hello" {
		t.Fatalf("Read = %q, %v", msg, err)
	}
	if got := lines(t, l, &out); len(got) != 0 {
		t.Errorf("lines = %v while it is open, want none", got)
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	<-ended
	got := lines(t, l, &out)
	if len(got) != 1 || got[0]["status"] != 101.0 || got[0]["service"] != "test" || got[0]["attempts"] != 1.0 {
		t.Errorf("lines = %v, want one of status 101", got)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	l := middleware.NewAccessLog(io.Discard, nil)
	h := l.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	r := httptest.NewRequest(http.MethodPost, "https://api.example.com/hello/you", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	r.Header.Set("Traceparent", trace)
	r.Header.Set("X-Request-ID", traceID)
	w, r, ex := goapi.NewExchange(&nobody{header: make(http.Header)}, r)
	ex.Route, _ = routed{}.Route(r)
	ex.Node, ex.Attempts, ex.Upstream = "greeter-1", 1, 1234567
	ex.Identity = &goapi.Identity{Subject: "alice", Method: "jwt"}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		h.ServeHTTP(w, r)
		if n++; n%1000 == 0 { // as Run does
			_ = l.Flush()
		}
	}
	if l.Lost() > 0 {
		b.Errorf("%d lines are lost", l.Lost())
	}
}

func ExampleAccessLog() {
	var out bytes.Buffer
	l := middleware.NewAccessLog(&out, nil)
	h := l.Middleware(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/nowhere", nil))
	_ = l.Flush() // in a server: go l.Run(ctx)
	_, line, _ := strings.Cut(out.String(), `"msg"`)
	line, _, _ = strings.Cut(line, `,"duration_ms"`)
	fmt.Println(line)
	// Output: :"request","method":"GET","host":"example.com","path":"/nowhere","status":404,"bytes_in":0,"bytes_out":19
}

// routed routes everything to one service.
type routed struct{ nodes *upstream.Set }

func (r routed) Route(*http.Request) (*goapi.Route, error) {
	return &goapi.Route{Service: "test", Pattern: "/hello/{name}", Endpoint: &goapi.Endpoint{Name: "Test.Serve", Handler: "test"}, Upstream: r.nodes}, nil
}
