package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/upstream"
)

// deadline bounds what a test waits for; nothing comes near it.
const deadline = 10 * time.Second

// serve returns the address of a gateway with one route to services.
func serve(t testing.TB, e *goapi.Endpoint, opts *handler.HTTPOptions, services ...string) string {
	t.Helper()
	return serveWith(t, nil, e, opts, services...)
}

func serveWith(t testing.TB, outer func(http.Handler) http.Handler, e *goapi.Endpoint, opts *handler.HTTPOptions, services ...string) string {
	t.Helper()
	if e == nil {
		e = &goapi.Endpoint{Name: "Test", Handler: "http"}
	}
	rt := &goapi.Route{Service: "test", Endpoint: e, Upstream: upstream.Static(services...)}
	h := httpHandler(t, opts)
	if outer != nil {
		h = outer(h)
	}
	return listen(t, goapi.With(rt, h))
}

// serveRoute returns the address of a gateway with one route.
func serveRoute(t testing.TB, rt *goapi.Route, opts *handler.HTTPOptions) string {
	t.Helper()
	return listen(t, goapi.With(rt, httpHandler(t, opts)))
}

// httpHandler returns an HTTP handler for the time of the test.
func httpHandler(t testing.TB, opts *handler.HTTPOptions) http.Handler {
	t.Helper()
	h := handler.HTTP(opts)
	t.Cleanup(func() {
		if c, ok := h.(io.Closer); !ok || c.Close() != nil {
			t.Error("the handler cannot be closed")
		}
	})
	return h
}

// listen returns the address of a server of h.
func listen(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(noPanic{t}, nil), slog.LevelError)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// noPanic is a log of a server in which there must be no panic.
type noPanic struct{ t testing.TB }

func (n noPanic) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("panic")) {
		n.t.Errorf("the server logged %s", p)
	}
	return len(p), nil
}

// echo is a service that answers with the head that it has seen.
type echo struct {
	mu       sync.Mutex
	requests []string
}

func (e *echo) start(t testing.TB) string {
	t.Helper()
	return rawService(t, func(c net.Conn, r *bufio.Reader) {
		for {
			var head strings.Builder
			req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(onlyHead(r), &head)))
			if err != nil {
				return
			}
			body, err := readFramed(head.String(), r)
			if err != nil {
				return
			}
			e.mu.Lock()
			e.requests = append(e.requests, head.String()+body)
			e.mu.Unlock()
			seen := head.String()
			if req.Method == http.MethodHead {
				seen = ""
			}
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(seen), seen); err != nil {
				return
			}
		}
	})
}

// whole returns how many requests have come to their end.
func (e *echo) whole() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.requests)
}

// onlyHead returns the head of the next request in r, and nothing behind it.
func onlyHead(r *bufio.Reader) io.Reader {
	var head bytes.Buffer
	for {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return &head
		}
	}
}

// readFramed reads the body that a head announces.
func readFramed(head string, r *bufio.Reader) (string, error) {
	req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), r)))
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(req.Body)
	return string(body), err
}

// rawService runs a service that handles each connection by serve, and closes
// it then. It returns its address.
func rawService(t testing.TB, serve func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// dial connects to a gateway for the time of the test.
func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{Timeout: deadline}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends bytes to a gateway, and returns what comes back until it is
// a whole answer, or the connection ends.
func exchange(t testing.TB, address, request string) string {
	t.Helper()
	c := dial(t, address)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	var got bytes.Buffer
	buf := make([]byte, 64<<10)
	for !whole(got.String(), method) {
		n, err := c.Read(buf)
		got.Write(buf[:n])
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("no whole answer in time, only %q", got.String())
		}
		if err != nil {
			break
		}
	}
	return got.String()
}

// whole says that got starts with a whole answer.
func whole(got, method string) bool {
	r := bufio.NewReader(strings.NewReader(got))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return false
		}
		if resp.StatusCode >= 200 {
			defer resp.Body.Close()
			_, err := io.Copy(io.Discard, resp.Body)
			return err == nil
		}
	}
}

// finalStatus returns the status of an answer, interim ones left out.
func finalStatus(got string) int {
	r := bufio.NewReader(strings.NewReader(got))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		if resp.StatusCode >= 200 {
			return resp.StatusCode
		}
	}
}
