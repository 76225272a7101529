package middleware_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/middleware/compress"
	"github.com/goapi-dev/goapi/ratelimit"
	"github.com/goapi-dev/goapi/upstream"
)

// one is a router of one route.
type one struct{ route *goapi.Route }

func (o one) Route(*http.Request) (*goapi.Route, error) { return o.route, nil }

// ringed returns a gateway before a service, with all that can lie around: limits
// and bounds, and in the route's ring what changes requests and answers.
func ringed(t *testing.T, service http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(service)
	t.Cleanup(s.Close)
	limits, err := middleware.NewLimits(&middleware.LimitsOptions{InFlight: 100, PerClient: 100})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := compress.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	web := handler.Web(nil)
	t.Cleanup(func() { web.(io.Closer).Close() })
	limiter := ratelimit.NewMemory(ratelimit.Rate{Requests: 1000}, nil)
	gw := &goapi.Gateway{
		Router:   one{&goapi.Route{Service: "s", Endpoint: &goapi.Endpoint{Handler: "web"}, Upstream: upstream.Static(s.Listener.Addr().String())}},
		Handlers: map[string]http.Handler{"web": web},
		Wrap: func(_ *goapi.Route, h http.Handler) http.Handler {
			h = mustRewrite(t, &middleware.RewriteOptions{StripPrefix: "/api"}, packed(h))
			return mustLimit(t, "client", limiter, "client", editors(t, h))
		},
	}
	gateway := httptest.NewServer(middleware.Client(nil)(limits.Wrap(middleware.Bounds(nil)(gw))))
	t.Cleanup(gateway.Close)
	gateway.Client().Transport.(*http.Transport).DisableCompression = true
	return gateway
}

// TestRing: what services do goes through all that lies around them.
func TestRing(t *testing.T) {
	const patience = 10 * time.Second
	body := strings.Repeat("all work and no play ", 500)
	leave := make(chan struct{})
	gateway := ringed(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		switch r.URL.Path {
		case "/whole":
			io.WriteString(w, body)
		case "/broken":
			io.WriteString(w, body)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/early":
			panic(http.ErrAbortHandler)
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			http.NewResponseController(w).Flush()
			<-leave
		case "/socket":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "echo")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("Hijack() error = %v", err)
				return
			}
			defer conn.Close()
			line, _ := rw.ReadString('\n')
			io.WriteString(conn, line)
		}
	})
	get := func(path string) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, "GET", gateway.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip")
		resp, err := gateway.Client().Do(r)
		if err == nil {
			t.Cleanup(func() { resp.Body.Close() })
		}
		return resp, err
	}
	t.Run("a whole answer", func(t *testing.T) {
		resp, err := get("/api/whole")
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"Content-Encoding": "gzip", "Vary": "Accept-Encoding|Origin", "X-Set": "1", "X-Frame-Options": "DENY",
			"Ratelimit": `"client";r=999;t=1`, "Access-Control-Allow-Origin": "",
		} {
			if got := strings.Join(resp.Header[name], "|"); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
	})
	t.Run("a broken answer", func(t *testing.T) {
		resp, err := get("/api/broken")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		if err == nil {
			t.Error("an answer that the service broke off looks whole")
		}
	})
	t.Run("no answer", func(t *testing.T) {
		resp, err := get("/api/early")
		if err != nil || resp.StatusCode != 502 || resp.Header.Get("X-Set") != "1" {
			t.Errorf("answer = %+v, %v; want 502, with the changes of any answer", resp, err)
		}
	})
	t.Run("an event stream", func(t *testing.T) {
		resp, err := get("/api/events")
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "data: 1\n" {
			t.Errorf("event = %q, %v; want data: 1 at once", line, err)
		}
		close(leave)
	})
	t.Run("a socket", func(t *testing.T) {
		conn, err := net.Dial("tcp", gateway.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, "GET /api/socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("answer = %+v, %v; want 101", resp, err)
		}
		io.WriteString(conn, "hello\n")
		if line, err := br.ReadString('\n'); line != "hello\n" {
			t.Errorf("echo = %q, %v; want hello", line, err)
		}
	})
}
