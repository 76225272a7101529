package handler_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	askHead    = "GET /chat?room=1 HTTP/1.1\r\nHost: goapi.test\r\nConnection: Upgrade\r\nUpgrade: test/1\r\n"
	switchHead = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test/1\r\n"
)

func TestWebForwardsHandshake(t *testing.T) {
	const socket = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	tests := []struct {
		name   string
		header string
		want   []string // lines
		lacks  []string
	}{
		{
			name:   "a WebSocket",
			header: "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nOrigin: https://any.test\r\nCookie: a=b\r\n" + socket,
			want: []string{
				"GET /chat?room=1 HTTP/1.1", "Host: goapi.test", "Connection: Upgrade", "Upgrade: websocket", "Cookie: a=b",
				"Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Version: 13", "Sec-Websocket-Protocol: chat, superchat",
				"Sec-Websocket-Extensions: permessage-deflate; client_max_window_bits", "Origin: https://any.test",
				"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: goapi.test", "X-Forwarded-Proto: http", "Via: 1.1 goapi",
			},
			lacks: []string{"keep-alive"},
		},
		{
			name: "what does not travel",
			header: "Connection: upgrade, X-Hop, HTTP2-Settings\r\nUpgrade: websocket\r\nX-Hop: 1\r\nHTTP2-Settings: AAMA\r\nMicro-Topic: t\r\n" +
				"X-Forwarded-For: 6.6.6.6\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic x\r\nTE: gzip\r\n",
			want:  []string{"Connection: Upgrade", "Upgrade: websocket"},
			lacks: []string{"X-Hop", "Http2", "Micro", "6.6.6.6", "Keep-Alive", "Proxy", "Te:"},
		},
		{
			name:   "more than one",
			header: "Connection: UPGRADE\r\nUpgrade: websocket,, h2c\r\nUpgrade: IRC/6.9 ,TLS/1.0\r\n",
			want:   []string{"Upgrade: websocket, IRC/6.9"},
			lacks:  []string{"h2c", "TLS"},
		},
		{
			name:   "to HTTP only",
			header: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, HTTP/2.0\r\nHTTP2-Settings: AAMA\r\n",
			lacks:  []string{"Upgrade", "Connection", "Http2", "h2c"},
		},
		{
			name:   "not for the next hop",
			header: "Upgrade: websocket\r\n",
			lacks:  []string{"Upgrade", "Connection"},
		},
		{
			name:   "to nothing",
			header: "Connection: Upgrade\r\n",
			lacks:  []string{"Upgrade", "Connection"},
		},
	}
	var service echo
	gw := serveWeb(t, nil, service.start(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := exchange(t, gw, "GET /chat?room=1 HTTP/1.1\r\nHost: goapi.test\r\n"+tt.header+"\r\n")
			_, seen, _ := strings.Cut(got, "\r\n\r\n")
			for _, line := range tt.want {
				if !strings.Contains(seen, line+"\r\n") {
					t.Errorf("the service has seen\n%s\nwant %q", seen, line)
				}
			}
			for _, text := range tt.lacks {
				if strings.Contains(seen, text) {
					t.Errorf("the service has seen\n%s\nwant no %q", seen, text)
				}
			}
		})
	}
	t.Run("HTTP/1.0", func(t *testing.T) {
		got := exchange(t, gw, "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if strings.Contains(got, "Upgrade") {
			t.Errorf("the service has seen %q, want no Upgrade", got)
		}
	})
}

// TestWebIsHTTP sees that what asks for no upgrade is served as HTTP does.
func TestWebIsHTTP(t *testing.T) {
	var service echo
	gw := serveWeb(t, nil, service.start(t))
	got := exchange(t, gw, "POST /a%2Fb HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	if !strings.Contains(got, "POST /a%2Fb HTTP/1.1\r\n") || finalStatus(got) != 200 || service.whole() != 1 {
		t.Errorf("answer = %q, want 200 with the request", got)
	}
}

func TestWebRefuses(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: goapi.test\r\n"
	const ask = head + "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	tests := []struct {
		name, request string
		want          int
	}{
		{"a body", ask + "Content-Length: 1\r\n\r\na", 400},
		{"a body in chunks", ask + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"an empty body", ask + "Content-Length: 0\r\n\r\n", 200},
		{"no name", head + "Connection: Upgrade\r\nUpgrade: /1\r\n\r\n", 400},
		{"no version", head + "Connection: Upgrade\r\nUpgrade: a/\r\n\r\n", 400},
		{"no token", head + "Connection: Upgrade\r\nUpgrade: web socket\r\n\r\n", 400},
		{"too many", head + "Connection: Upgrade\r\nUpgrade: " + strings.Repeat("a,", 17) + "\r\n\r\n", 400},
		{"as many as are taken", head + "Connection: Upgrade\r\nUpgrade: " + strings.Repeat("a,", 16) + "\r\n\r\n", 200},
		{"a name that Connection may not take out", head + "Connection: Upgrade, Cookie\r\nUpgrade: websocket\r\nCookie: a=b\r\n\r\n", 400},
	}
	var service echo
	gw := serveWeb(t, nil, service.start(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := exchange(t, gw, tt.request); finalStatus(got) != tt.want {
				t.Errorf("answer = %q, want %d", got, tt.want)
			}
		})
	}
}

func TestWebOrigins(t *testing.T) {
	opts := &handler.WebOptions{Origins: []string{"https://*.example.com", "http://one.test:8080"}}
	tests := []struct {
		name, header string
		opts         *handler.WebOptions
		want         int
	}{
		{"no browser", "", opts, 200},
		{"allowed", "Origin: https://a.example.com\r\n", opts, 200},
		{"the host itself", "Origin: https://goapi.test\r\n", opts, 200},
		{"another", "Origin: https://evil.test\r\n", opts, 403},
		{"none of its own", "Origin: null\r\n", opts, 403},
		{"two", "Origin: https://a.example.com\r\nOrigin: https://evil.test\r\n", opts, 403},
		{"another, and nothing configured", "Origin: https://evil.test\r\n", nil, 200},
	}
	var service echo
	address := service.start(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gw := serveWeb(t, tt.opts, address)
			if got := exchange(t, gw, askHead+tt.header+"\r\n"); finalStatus(got) != tt.want {
				t.Errorf("answer = %q, want %d", got, tt.want)
			}
			if got := exchange(t, gw, "GET / HTTP/1.1\r\nHost: goapi.test\r\n"+tt.header+"\r\n"); finalStatus(got) != 200 {
				t.Errorf("answer without an upgrade = %q, want 200", got)
			}
		})
	}
}

// TestWebAnswers has services that answer in many ways a request that asks to
// upgrade to test/1.
func TestWebAnswers(t *testing.T) {
	tests := []struct {
		name, answer string
		want         int
		has, lacks   []string
	}{
		{
			name: "it switches",
			answer: switchHead[:len(switchHead)-len("Connection: Upgrade\r\nUpgrade: test/1\r\n")] +
				"connection: x-hop, UPGRADE, keep-alive\r\nupgrade: TEST/1\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\n" +
				"Content-Length: 7\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
			want: 101,
			has: []string{
				"Connection: Upgrade\r\n", "Upgrade: TEST/1\r\n", "Set-Cookie: a=b\r\n", "Set-Cookie: c=d\r\n", "Sec-Websocket-Protocol: chat\r\n",
			},
			lacks: []string{"Hop", "Keep-Alive", "keep-alive", "Proxy", "Content-Length", "Transfer-Encoding"},
		},
		{name: "it gives a hint and switches", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + switchHead + "\r\n", want: 101, has: []string{"103 Early Hints"}},
		{name: "it does not want to", answer: okHead + "Content-Length: 2\r\n\r\nok", want: 200, has: []string{"\r\n\r\nok"}},
		{name: "it wants another", answer: "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: test/2\r\nContent-Length: 2\r\n\r\nno", want: 426},
		{name: "it wants to know who", answer: "HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", want: 401, has: []string{"Www-Authenticate"}},
		{name: "it switches to another", answer: "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: test/2\r\n\r\n", want: 502},
		{name: "it switches to one too many", answer: "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: test/1, test/2\r\n\r\n", want: 502},
		{name: "it switches to it knows not what", answer: "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n", want: 502},
		{name: "it switches to nothing", answer: "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: ,\r\n\r\n", want: 502},
		{name: "it switches for all hops", answer: "HTTP/1.1 101 X\r\nUpgrade: test/1\r\n\r\n", want: 502},
		{name: "it answers with a bad header", answer: switchHead + "A : b\r\nX-Evil: 1\r\n\r\n", want: 502, lacks: []string{"Evil"}},
		{name: "it answers with a bad status", answer: "HTTP/1.1 99 X\r\nConnection: Upgrade\r\nUpgrade: test/1\r\n\r\n", want: 502},
		{name: "it answers garbage", answer: "\x81\x05hello\r\n\r\n", want: 502},
		{name: "it answers too much", answer: switchHead + "A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", want: 502},
		{name: "it breaks off", answer: "HTTP/1.1 101 Swit", want: 502},
		{name: "it ends at once", answer: "", want: 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := rawService(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(c, tt.answer)
				}
			})
			got := handshake(t, serveWeb(t, nil, service), askHead+"\r\n")
			if !strings.Contains(got, fmt.Sprintf("HTTP/1.1 %d ", tt.want)) {
				t.Errorf("answer = %q, want %d", got, tt.want)
			}
			for _, text := range tt.has {
				if !strings.Contains(got, text) {
					t.Errorf("answer = %q, want %q in it", got, text)
				}
			}
			for _, text := range tt.lacks {
				if strings.Contains(got, text) {
					t.Errorf("answer = %q, want nothing of %q", got, text)
				}
			}
		})
	}
}

// TestHTTPServesNoUpgrade sees that HTTP takes no part in an upgrade, even when
// the service offers one.
func TestHTTPServesNoUpgrade(t *testing.T) {
	var seen echo
	if got := exchange(t, serve(t, nil, nil, seen.start(t)), askHead+"\r\n"); finalStatus(got) != 200 || strings.Contains(got, "Upgrade") {
		t.Errorf("the service has seen %q, want nothing of an upgrade", got)
	}
	switches := switching(t, "", func(net.Conn, *bufio.Reader) {})
	if got := exchange(t, serve(t, nil, nil, switches), askHead+"\r\n"); finalStatus(got) != 502 {
		t.Errorf("answer = %q, want 502", got)
	}
}

// TestWebTriesAgain has nodes that fail before they answer, and one that does
// not.
func TestWebTriesAgain(t *testing.T) {
	var b breaker
	live := switching(t, "", func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	for _, method := range []string{"GET", "POST"} {
		for range 5 {
			gw := serveWeb(t, nil, killed(t), b.start(t), live)
			got := handshake(t, gw, strings.Replace(askHead, "GET", method, 1)+"\r\n")
			switched := strings.HasPrefix(got, "HTTP/1.1 101 ")
			if method == "GET" && !switched || !switched && !strings.HasPrefix(got, "HTTP/1.1 502 ") {
				t.Errorf("answer to %s = %q, want 101 of the node that is well", method, got)
			}
		}
	}
}

// TestWebServiceNeverAnswers has a service that takes the request, and that is
// all.
func TestWebServiceNeverAnswers(t *testing.T) {
	service := rawService(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	rt := webRoute(service)
	rt.Policy = &goapi.Policy{Upstream: upstream.Policy{TryTimeout: 50 * time.Millisecond}}
	gw := serveWebRoute(t, rt, &handler.WebOptions{MaxConnections: 1})
	for range 2 { // the first holds nothing when it is over
		if got := exchange(t, gw, askHead+"\r\n"); finalStatus(got) != 504 {
			t.Errorf("answer = %q, want 504", got)
		}
	}
}

// TestWebSecure has TLS on both sides.
func TestWebSecure(t *testing.T) {
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "test/1")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "hello ")
		_, _ = io.Copy(c, rw)
		_, _ = io.WriteString(c, " bye")
	}))
	service.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	service.StartTLS()
	t.Cleanup(service.Close)
	roots := x509.NewCertPool()
	roots.AddCert(service.Certificate())

	node := &registry.Node{ID: "n", Address: service.Listener.Addr().String(), Metadata: map[string]string{"scheme": "https"}}
	rt := webRoute()
	rt.Upstream = upstream.NewPools(nil).Update("test", []*registry.Service{{Name: "test", Nodes: []*registry.Node{node}}}).All()
	front := httptest.NewUnstartedServer(goapi.With(rt, webHandler(t, &handler.WebOptions{
		HTTP: handler.HTTPOptions{TLS: &tls.Config{RootCAs: roots}},
	})))
	front.StartTLS()
	t.Cleanup(front.Close)
	c := tls.Client(dial(t, front.Listener.Addr().String()), &tls.Config{RootCAs: roots, ServerName: "example.com"})
	send(t, c, askHead+"\r\n")
	r := bufio.NewReader(c)
	skipHead(t, r)
	const size = 1 << 20
	text := strings.Repeat("0123456789abcdef", size/16)
	go func() {
		_, _ = io.WriteString(c, text)
		_ = c.CloseWrite() // what the other side sees is the test
	}()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "hello "+text+" bye" {
		t.Errorf("read %d bytes, %v, want %d and that the connection ends well", len(got), err, size+len("hello  bye"))
	}
}

// serveWeb returns the address of a gateway with one route to services.
func serveWeb(t testing.TB, opts *handler.WebOptions, services ...string) string {
	t.Helper()
	return serveWebRoute(t, webRoute(services...), opts)
}

func serveWebRoute(t testing.TB, rt *goapi.Route, opts *handler.WebOptions) string {
	t.Helper()
	return listen(t, goapi.With(rt, webHandler(t, opts)))
}

func webRoute(services ...string) *goapi.Route {
	return &goapi.Route{Service: "test", Endpoint: &goapi.Endpoint{Name: "Test", Handler: "web"}, Upstream: upstream.Static(services...)}
}

// webHandler returns a Web handler for the time of the test.
func webHandler(t testing.TB, opts *handler.WebOptions) http.Handler {
	t.Helper()
	h := handler.Web(opts)
	t.Cleanup(func() {
		if c, ok := h.(io.Closer); !ok || c.Close() != nil {
			t.Error("the handler cannot be closed")
		}
	})
	return h
}

// switching runs a service that switches to test/1, and talks then. What comes
// first follows the head of its answer at once.
func switching(t testing.TB, first string, talk func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	return rawService(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := io.WriteString(c, switchHead+"\r\n"+first); err == nil {
			talk(c, r)
		}
	})
}

// handshake sends a request and returns what comes back up to the end of the head,
// and of the body if there is one.
func handshake(t testing.TB, address, request string) string {
	t.Helper()
	c := dial(t, address)
	send(t, c, request)
	var got strings.Builder
	resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &got)), nil)
	for err == nil && resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(bufio.NewReader(io.TeeReader(c, &got)), nil)
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // what came is in got
		resp.Body.Close()
	}
	return got.String()
}

// open asks for an upgrade, which it gets.
func open(t testing.TB, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := dial(t, address)
	send(t, c, askHead+"\r\n")
	r := bufio.NewReader(c)
	expectText(t, r, "HTTP/1.1 101 ")
	skipHead(t, r)
	return c, r
}
