package handler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/upstream"
)

// TestHTTPTakesItsTime has exchanges that take long, none of which stands still
// for too long.
func TestHTTPTakesItsTime(t *testing.T) {
	pieces := func(wait time.Duration, n int) func(t *testing.T, c net.Conn) {
		return func(t *testing.T, c net.Conn) {
			t.Helper()
			for range n {
				time.Sleep(wait)
				send(t, c, "3\r\nabc\r\n")
			}
			send(t, c, "0\r\n\r\n")
		}
	}
	const chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	tests := []struct {
		name    string
		request string
		client  func(*testing.T, net.Conn)    // sends the body
		service func(net.Conn, *http.Request) // answers
	}{
		{"an upload of an hour", chunked, pieces(20*time.Second, 180), func(c net.Conn, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, okHead+"Content-Length: 0\r\n\r\n")
		}},
		{"an answer after 29 s", chunked, pieces(0, 3), func(c net.Conn, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(29 * time.Second)
			_, _ = io.WriteString(c, okHead+"Content-Length: 0\r\n\r\n")
		}},
		{"an answer of a day", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", func(*testing.T, net.Conn) {}, func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, okHead+"Content-Length: 1440\r\n\r\n")
			for range 1440 / 4 {
				time.Sleep(4 * time.Minute)
				_, _ = io.WriteString(c, "abcd")
			}
		}},
		{"an answer that rests behind quick pieces", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", func(*testing.T, net.Conn) {}, func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, okHead+"Content-Length: 8\r\n\r\n")
			for range 4 {
				time.Sleep(9 * time.Second)
				_, _ = io.WriteString(c, "a")
			}
			time.Sleep(5*time.Minute - time.Second)
			_, _ = io.WriteString(c, "abcd")
		}},
		{"a conversation of an hour", chunked, pieces(4*time.Minute, 15), func(c net.Conn, r *http.Request) {
			time.Sleep(10 * time.Second) // the body is waited for meanwhile
			_, _ = io.WriteString(c, okHead+"Transfer-Encoding: chunked\r\n\r\n")
			for buf := make([]byte, 3); ; {
				if _, err := io.ReadFull(r.Body, buf); err != nil {
					break
				}
				fmt.Fprintf(c, "3\r\n%s\r\n", buf)
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := servePipes(t, upstream.Policy{}, func(c net.Conn, r *bufio.Reader) {
					if req, err := http.ReadRequest(r); err == nil {
						tt.service(c, req)
						_, _ = io.Copy(io.Discard, r)
					}
				})
				send(t, c, tt.request)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					tt.client(t, c)
				}()
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("answer = %d, %v, want a whole 200", resp.StatusCode, err)
				}
				<-sent
			})
		})
	}
}

// TestHTTPStandsStill has every way to make no progress, and after how long the
// gateway ends it.
func TestHTTPStandsStill(t *testing.T) {
	const (
		get  = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
	)
	tests := []struct {
		name, request, answer string
		timeout               time.Duration // of a try
		status                int           // 0: the answer breaks off
		after                 time.Duration
	}{
		{"service before its answer", post + "123456789", "", 0, 504, 30 * time.Second},
		{"service before its answer, by policy", post + "123456789", "", time.Minute, 504, time.Minute},
		{"service before its answer, thrice", get, "", time.Second, 504, 3 * time.Second},
		{"service within its head", post + "123456789", "HTTP/1.1 200 OK\r\nX-A", 0, 504, 30 * time.Second},
		{"service within its answer", get, okHead + "Content-Length: 9\r\n\r\nabc", 0, 0, 5 * time.Minute},
		{"service within a chunk", get, okHead + "Transfer-Encoding: chunked\r\n\r\n9\r\nabc", 0, 0, 5 * time.Minute},
		{"client before its body", post, "", 0, 408, 30 * time.Second},
		{"client within its body", post + "abc", "", 0, 408, 30 * time.Second},
		{"client within its body, by policy", post + "abc", "", time.Minute, 408, time.Minute},
		{"client between chunks", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "", 0, 408, 30 * time.Second},
		{"both, within answer and body", post + "abc", okHead + "Content-Length: 9\r\n\r\nabc", 0, 0, 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := servePipes(t, upstream.Policy{TryTimeout: tt.timeout, Timeout: tt.timeout * 3}, func(c net.Conn, r *bufio.Reader) {
					if _, err := http.ReadRequest(r); err == nil {
						go func() { _, _ = io.WriteString(c, tt.answer) }()
						_, _ = io.Copy(io.Discard, r)
					}
				})
				start := time.Now()
				send(t, c, tt.request)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				took := time.Since(start)
				if tt.status != 0 && (resp.StatusCode != tt.status || err != nil) {
					t.Errorf("answer = %d, %v, want a whole %d", resp.StatusCode, err, tt.status)
				}
				if tt.status == 0 && err == nil {
					t.Error("the answer is whole, want one that breaks off")
				}
				if took < tt.after*7/8 || took > tt.after*9/8+time.Second { // deadlines are moved in steps
					t.Errorf("it ended after %v, want about %v", took, tt.after)
				}
			})
		})
	}
}

// TestHTTPClientReadsNothing has a client that does not take its answer.
func TestHTTPClientReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		c := servePipes(t, upstream.Policy{}, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				_, err := io.WriteString(c, okHead+"Content-Length: 1000000\r\n\r\n"+strings.Repeat("a", 1000000))
				ended <- err
			}
		})
		start := time.Now()
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if err := <-ended; err == nil {
			t.Error("the service could send its answer, want a connection that ends")
		}
		if took := time.Since(start); took < 5*time.Minute || took > 5*time.Minute*9/8 {
			t.Errorf("it ended after %v, want 5m, or an eighth more", took)
		}
	})
}

// TestHTTPContinuesByItself has a service that knows nothing of Expect.
func TestHTTPContinuesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, upstream.Policy{}, func(c net.Conn, r *bufio.Reader) {
			if req, err := http.ReadRequest(r); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(c, okHead+"Content-Length: 0\r\n\r\n")
			}
		})
		start := time.Now()
		send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		expectText(t, c, "HTTP/1.1 100 Continue\r\n\r\n")
		if took := time.Since(start); took != time.Second {
			t.Errorf("the client was told to go on after %v, want 1s", took)
		}
		send(t, c, "abc")
		expectText(t, c, okHead)
	})
}

// TestHTTPBodyNeverComes has a service that answers without the body, which the
// client then does not send: the connection must end.
func TestHTTPBodyNeverComes(t *testing.T) {
	for _, rest := range []string{"Content-Length: 3\r\n\r\n", "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			c := servePipes(t, upstream.Policy{}, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
					_, _ = io.Copy(io.Discard, r)
				}
			})
			start := time.Now()
			send(t, c, "POST / HTTP/1.1\r\nHost: a\r\n"+rest)
			got, err := io.ReadAll(c)
			if status := finalStatus(string(got)); status != http.StatusForbidden || err != nil {
				t.Errorf("answer to %q = %q, %v, want a 403 and the end", rest, got, err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("the connection ended after %v, want about 1s", took)
			}
		})
	}
}

// TestHTTPBreaksOffWhileClientIsSilent has a service go away within a body that
// stands still: what the client sends on is not the next request.
func TestHTTPBreaksOffWhileClientIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := servePipes(t, upstream.Policy{}, func(_ net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
		})
		send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			time.Sleep(500 * time.Millisecond) // when the gateway has given up
			_, _ = io.WriteString(c, "defghi")
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode < 400 || !resp.Close {
			t.Errorf("answer = %d, close %v, want an error and the end of the connection", resp.StatusCode, resp.Close)
		}
		<-sent
	})
}

// TestHTTPConnectTime has a node that does not take connections.
func TestHTTPConnectTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serveOn(t, upstream.Policy{Tries: 1}, func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if took := time.Since(start); took != 2*time.Second || resp.StatusCode < 500 {
			t.Errorf("answer = %d after %v, want an error after 2s", resp.StatusCode, took)
		}
	})
}

// servePipes returns a connection to a gateway in front of a service that
// handles each connection by serve. No bytes leave the bubble.
func servePipes(t *testing.T, pol upstream.Policy, serve func(net.Conn, *bufio.Reader)) net.Conn {
	t.Helper()
	return serveOn(t, pol, pipeTo(serve))
}

// pipeTo connects to a service that handles each connection by serve.
func pipeTo(serve func(net.Conn, *bufio.Reader)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			serve(far, bufio.NewReader(far))
		}()
		return near, nil
	}
}

func serveOn(t *testing.T, pol upstream.Policy, dial func(context.Context, string, string) (net.Conn, error)) net.Conn {
	t.Helper()
	rt := &goapi.Route{
		Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static("node:80"),
		Policy: &goapi.Policy{Upstream: pol},
	}
	return servePipe(t, goapi.With(rt, httpHandler(t, &handler.HTTPOptions{DialContext: dial})))
}

// servePipe returns a connection to a server of h.
func servePipe(t *testing.T, h http.Handler) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	srv := &http.Server{Handler: h}
	l := &oneConn{conn: far, closed: make(chan struct{})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		near.Close()
		srv.Close()
	})
	return near
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.closed
	return nil, errors.New("closed")
}

func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *oneConn) Addr() net.Addr { return new(net.TCPAddr) }
