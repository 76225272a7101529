package handler_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// breaker is a service that takes a whole request and closes the connection
// instead of answering, after as many answers as it is told.
type breaker struct {
	answers  int64
	requests atomic.Int64
	length   atomic.Int64 // of the last body
}

func (b *breaker) start(t testing.TB) string {
	t.Helper()
	return rawService(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			n, err := io.Copy(io.Discard, req.Body)
			if err != nil {
				return
			}
			b.length.Store(n)
			if b.requests.Add(1) > b.answers {
				return
			}
			if _, err := io.WriteString(c, okHead+"Content-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	})
}

// killed returns an address that refuses connections.
func killed(testing.TB) string { return "127.0.0.1:1" }

func TestHTTPTriesAgain(t *testing.T) {
	body := func(n int) string {
		return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", n, strings.Repeat("a", n))
	}
	chunked := func(n int) string {
		return fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", n, strings.Repeat("a", n))
	}
	const none = "\r\n"
	tests := []struct {
		name, method, rest string
		requests           int64 // that two nodes that break off see
	}{
		{"GET", "GET", none, 3}, // which is all tries
		{"GET with a body", "GET", body(3), 3},
		{"HEAD", "HEAD", none, 3},
		{"OPTIONS", "OPTIONS", none, 3},
		{"DELETE", "DELETE", none, 3},
		{"PUT", "PUT", body(3), 3},
		{"PUT in chunks", "PUT", chunked(3), 3},
		{"PUT of what can be kept", "PUT", body(64 << 10), 3},
		{"PUT of more than can be kept", "PUT", body(64<<10 + 1), 1},
		{"PUT of more than can be kept, in chunks", "PUT", chunked(64<<10 + 1), 1},
		{"POST", "POST", body(3), 1},
		{"POST without a body", "POST", none, 1},
		{"POST that says it can be repeated", "POST", "Idempotency-Key: 1\r\n" + body(3), 3},
		{"POST that says it can be repeated, without a body", "POST", "Idempotency-Key: 1\r\n\r\n", 3},
		{"POST with two keys", "POST", "Idempotency-Key: 1\r\nIdempotency-Key: 2\r\n\r\n", 1},
		{"POST with a header that only looks alike", "POST", "X-Idempotency-Key: 1\r\n\r\n", 1},
		{"PATCH", "PATCH", body(3), 1},
		{"a method of its own", "MERGE", none, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b breaker
			gw := serve(t, nil, nil, b.start(t), b.start(t))
			got := exchange(t, gw, tt.method+" / HTTP/1.1\r\nHost: a\r\n"+tt.rest)
			if status := finalStatus(got); status != 502 {
				t.Errorf("answer = %q, want 502", got)
			}
			if n := b.requests.Load(); n != tt.requests {
				t.Errorf("%d requests reached nodes, want %d", n, tt.requests)
			}
		})
		t.Run(tt.name+", on a dead node", func(t *testing.T) {
			b := breaker{answers: 1000}
			gw := serve(t, nil, nil, killed(t), b.start(t), "127.0.0.1:2") // which refuses, too
			for range 5 {
				got := exchange(t, gw, tt.method+" / HTTP/1.1\r\nHost: a\r\n"+tt.rest)
				if status := finalStatus(got); status != 200 {
					t.Errorf("answer = %q, want 200", got)
				}
			}
			if n := b.requests.Load(); n != 5 {
				t.Errorf("%d requests reached nodes, want 5", n)
			}
		})
		t.Run(tt.name+", on a kept connection", func(t *testing.T) {
			b := breaker{answers: 1} // the second on the connection is read and not answered
			gw := serve(t, nil, nil, b.start(t))
			for range 2 {
				exchange(t, gw, tt.method+" / HTTP/1.1\r\nHost: a\r\n"+tt.rest)
			}
			if n := b.requests.Load(); tt.requests == 1 && n != 2 {
				t.Errorf("%d requests reached nodes, want 2", n)
			}
		})
	}
}

// TestHTTPReplaysBody has a node that takes the body and breaks off, and one
// that gets it again.
func TestHTTPReplaysBody(t *testing.T) {
	for _, framing := range []string{
		"Content-Length: 3\r\n\r\nabc",
		"Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: v\r\n\r\n",
	} {
		var n atomic.Int64
		service := rawService(t, func(c net.Conn, r *bufio.Reader) {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil || n.Add(1) == 1 {
				return
			}
			answer := string(body) + req.Trailer.Get("X-T")
			fmt.Fprintf(c, okHead+"Content-Length: %d\r\n\r\n%s", len(answer), answer)
		})
		got := exchange(t, serve(t, nil, nil, service), "PUT / HTTP/1.1\r\nHost: a\r\n"+framing)
		if _, body, _ := strings.Cut(got, "\r\n\r\n"); !strings.HasPrefix(body, "abc") || n.Load() != 2 ||
			strings.Contains(framing, "X-T") != (body == "abcv") {
			t.Errorf("answer = %q after %d requests, want the body to come whole the second time", got, n.Load())
		}
	}
}

// TestHTTPHoldsNothingAgainstOthers has a node break off within a body that is
// not kept: the others, which never got the request, are well.
func TestHTTPHoldsNothingAgainstOthers(t *testing.T) {
	var b breaker
	rt := &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static(b.start(t), b.start(t), b.start(t))}
	exchange(t, serveRoute(t, rt, nil), "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("a", 100000))
	failures := 0
	for _, st := range rt.Upstream.Nodes() {
		failures += st.Failures
	}
	if failures != 1 {
		t.Errorf("%d failures are held against nodes, want 1", failures)
	}
}

// TestHTTPCountsFailures has a node answer that it cannot serve: that is an
// answer, and is held against the node.
func TestHTTPCountsFailures(t *testing.T) {
	for _, tt := range []struct{ status, failures int }{{502, 1}, {503, 1}, {504, 1}, {500, 0}, {501, 0}, {404, 0}, {200, 0}} {
		var requests atomic.Int64
		service := rawService(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				requests.Add(1)
				fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nno", tt.status)
			}
		})
		rt := &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static(service)}
		got := exchange(t, serveRoute(t, rt, nil), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if finalStatus(got) != tt.status || !strings.HasSuffix(got, "\r\n\r\nno") || requests.Load() != 1 {
			t.Errorf("answer = %q after %d requests, want the service's %d after one", got, requests.Load(), tt.status)
		}
		if n := rt.Upstream.Nodes()[0].Failures; n != tt.failures {
			t.Errorf("%d failures are held against the node for %d, want %d", n, tt.status, tt.failures)
		}
	}
}

func TestHTTPTellsTheExchange(t *testing.T) {
	b := breaker{answers: 1}
	live := b.start(t)
	rt := &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static(live)}
	h := httpHandler(t, nil)
	learnt := make(chan goapi.Exchange, 1)
	gw := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, ex := goapi.NewExchange(w, r)
		goapi.With(rt, h).ServeHTTP(w, r)
		learnt <- *ex
	}))
	exchange(t, gw, "POST / HTTP/1.1\r\nHost: a\r\n\r\n")
	if ex := <-learnt; ex.Node != live || ex.Attempts != 1 || ex.Upstream <= 0 || ex.Err != nil {
		t.Errorf("exchange = %+v, want node %s, one attempt and its time", ex, live)
	}
	exchange(t, gw, "POST / HTTP/1.1\r\nHost: a\r\n\r\n")
	if ex := <-learnt; ex.Attempts != 1 || goapi.Status(ex.Err) != 502 {
		t.Errorf("exchange = %+v, want one attempt and a 502", ex)
	}
}

func TestHTTPSecureNodes(t *testing.T) {
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, r.TLS.ServerName, r.Proto)
	}))
	service.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	service.StartTLS()
	t.Cleanup(service.Close)
	roots := x509.NewCertPool()
	roots.AddCert(service.Certificate())
	for _, tt := range []struct {
		name  string
		meta  map[string]string
		roots *x509.CertPool
		want  int
	}{
		{"secure", map[string]string{"secure": "true"}, roots, 200},
		{"scheme", map[string]string{"scheme": "https"}, roots, 200},
		{"unknown root", map[string]string{"secure": "true"}, x509.NewCertPool(), 502},
		{"not secure", nil, roots, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node := &registry.Node{ID: "n", Address: service.Listener.Addr().String(), Metadata: tt.meta}
			set := upstream.NewPools(nil).Update("test", []*registry.Service{{Name: "test", Nodes: []*registry.Node{node}}}).All()
			rt := &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: set}
			gw := serveRoute(t, rt, &handler.HTTPOptions{TLS: &tls.Config{RootCAs: tt.roots}})
			got := exchange(t, gw, "POST / HTTP/1.1\r\nHost: public.test\r\nContent-Length: 1\r\n\r\na")
			if status := finalStatus(got); status != tt.want {
				t.Errorf("answer = %q, want %d", got, tt.want)
			}
			if tt.want == 200 && !strings.HasSuffix(got, "public.testHTTP/1.1") {
				t.Errorf("answer = %q, want the client's host and HTTP/1.1", got)
			}
		})
	}
}

func TestHTTPNoNode(t *testing.T) {
	guard := &upstream.Guard{Listeners: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}}
	tests := []struct {
		name string
		set  *upstream.Set
		opts *handler.HTTPOptions
		want int
	}{
		{"no nodes", upstream.Static(), nil, 503},
		{"nothing", nil, nil, 503},
		{"refused", upstream.Static(killed(t)), nil, 502},
		{"link-local", upstream.Static("169.254.169.254:80"), nil, 502},
		{"no address", upstream.Static("nonsense"), nil, 502},
		{"no host", upstream.Static("http://a/b:80"), nil, 502},
		{"a listener of the gateway", upstream.Static("127.0.0.1:9"), &handler.HTTPOptions{DialContext: (&net.Dialer{ControlContext: guard.Control}).DialContext}, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gw := serveRoute(t, &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: tt.set}, tt.opts)
			c := dial(t, gw)
			r := bufio.NewReader(c)
			for range 2 { // the body, which nobody read, is not the next request
				send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != tt.want || strings.Contains(string(got), "127.0.0.1") {
					t.Errorf("answer = %d %s, %v, want %d and no address", resp.StatusCode, got, err, tt.want)
				}
			}
		})
	}
	t.Run("no route", func(t *testing.T) {
		got := exchange(t, listen(t, httpHandler(t, nil)), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if status := finalStatus(got); status != 404 {
			t.Errorf("answer = %q, want 404", got)
		}
	})
}

// TestHTTPStaleConnection has a connection break while it is kept, so that the
// next request finds out: the node is well, and gets it on another.
func TestHTTPStaleConnection(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "POST"} {
		t.Run(method, func(t *testing.T) {
			b := breaker{answers: 1000}
			var first atomic.Bool
			opts := &handler.HTTPOptions{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil && first.CompareAndSwap(false, true) {
					c = &brittle{Conn: c, writes: 2} // the head and the body of one request
				}
				return c, err
			}}
			rt := &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static(b.start(t))}
			gw := serveRoute(t, rt, opts)
			for range 2 {
				got := exchange(t, gw, method+" / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
				if status := finalStatus(got); status != 200 {
					t.Errorf("answer = %q, want 200", got)
				}
			}
			if n := b.requests.Load(); n != 2 {
				t.Errorf("%d requests reached the node, want 2", n)
			}
			if st := rt.Upstream.Nodes()[0]; st.Failures != 0 || !st.EjectedUntil.IsZero() {
				t.Errorf("node = %+v, want nothing held against it", st)
			}
		})
	}
}

// brittle is a connection that breaks after some writes.
type brittle struct {
	net.Conn

	writes int
}

func (c *brittle) Write(p []byte) (int, error) {
	if c.writes == 0 {
		return 0, syscall.EPIPE
	}
	c.writes--
	return c.Conn.Write(p)
}
