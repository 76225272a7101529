package handler_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
)

// piped is a listener whose connections are in memory, for tests with a clock
// that is faked.
type piped struct {
	conns chan net.Conn
	done  chan struct{}
}

// streamPipes serves streams in memory until the test ends.
func streamPipes(t *testing.T, c client.Caller, opts handler.StreamOptions) *piped {
	t.Helper()
	h := goapi.With(streamRoute(), handler.RPC(c, &handler.RPCOptions{Streams: opts}))
	return inMemory(t, h)
}

// inMemory serves a handler in memory, in HTTP/1 and HTTP/2, until the test
// ends.
func inMemory(t *testing.T, h http.Handler) *piped {
	t.Helper()
	p := &piped{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(p) // ends with Close
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return p
}

// Accept implements net.Listener.
func (p *piped) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *piped) Close() error {
	close(p.done)
	return nil
}

// Addr implements net.Listener.
func (p *piped) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// transport returns what connects to p.
func (p *piped) transport() *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			p.conns <- far
			return near, nil
		},
	}
}

// A came is what came, and how long after the start.
type came struct {
	what  string
	after time.Duration
}

// open opens a WebSocket. What comes is read at once, also pings.
func (p *piped) open(t *testing.T) (*websocket.Conn, <-chan came) {
	t.Helper()
	opts := &websocket.DialOptions{HTTPClient: &http.Client{Transport: p.transport()}}
	conn, _, err := websocket.Dial(t.Context(), "ws://x/", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	list := make(chan came, 100)
	start := time.Now()
	go func() { // ends with the connection
		defer close(list)
		for {
			_, msg, err := conn.Read(context.Background())
			var closed websocket.CloseError
			switch {
			case errors.As(err, &closed):
				list <- came{strings.TrimSpace(closed.Code.String() + " " + closed.Reason), time.Since(start)}
				return
			case err != nil:
				list <- came{err.Error(), time.Since(start)}
				return
			}
			list <- came{string(msg), time.Since(start)}
		}
	}()
	return conn, list
}

// lines asks for a stream of a kind, and returns its lines, the first of which
// is the status.
func (p *piped) lines(t *testing.T, kind string) <-chan came {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", kind)
	list := make(chan came, 100)
	start := time.Now()
	go func() { // ends with the answer
		defer close(list)
		res, err := p.transport().RoundTrip(req)
		if err != nil {
			list <- came{err.Error(), time.Since(start)}
			return
		}
		defer res.Body.Close()
		list <- came{res.Status, time.Since(start)}
		for text := bufio.NewScanner(res.Body); text.Scan(); {
			if text.Text() != "" {
				list <- came{text.Text(), time.Since(start)}
			}
		}
	}()
	return list
}

// expect compares what comes.
func expect(t *testing.T, list <-chan came, want ...came) {
	t.Helper()
	for _, w := range want {
		if got := <-list; got != w {
			t.Errorf("came %q after %v, want %q after %v", got.what, got.after, w.what, w.after)
		}
	}
}

// silent is a service that waits for its client to go away.
func silent(ctx context.Context, _ *caller) error {
	<-ctx.Done()
	return ctx.Err()
}

// pause waits, unless the client goes away.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestStreamIdle(t *testing.T) {
	const text = `{"id":"goapi","code":504,"detail":"neither side has sent anything for 5m0s","status":"Gateway Timeout"}`
	t.Run("WebSocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, list := streamPipes(t, memory{serve: echoes}, handler.StreamOptions{}).open(t)
			for _, at := range []time.Duration{4 * time.Minute, 8 * time.Minute, 12 * time.Minute} { // longer in all than a stream may be silent
				time.Sleep(4 * time.Minute)
				if err := conn.Write(t.Context(), websocket.MessageText, []byte("1")); err != nil {
					t.Fatal(err)
				}
				expect(t, list, came{"1", at})
			}
			expect(t, list, came{text, 17 * time.Minute}, came{"StatusPolicyViolation neither side has sent anything for 5m0s", 17 * time.Minute})
		})
	})
	t.Run("client alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			swallows := func(_ context.Context, c *caller) (err error) {
				for err == nil {
					_, err = c.next()
				}
				return err
			}
			conn, list := streamPipes(t, memory{serve: swallows}, handler.StreamOptions{}).open(t)
			for range 3 {
				time.Sleep(4 * time.Minute)
				if err := conn.Write(t.Context(), websocket.MessageText, []byte("1")); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, list, came{text, 17 * time.Minute})
		})
	})
	t.Run("lines", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			list := streamPipes(t, memory{serve: silent}, handler.StreamOptions{}).lines(t, asLines)
			expect(t, list, came{"200 OK", time.Second}, came{`{"error":` + text + `}`, 5 * time.Minute})
		})
	})
}

func TestStreamTotal(t *testing.T) {
	const text = `{"id":"goapi","code":504,"detail":"the stream did not end within 1m0s","status":"Gateway Timeout"}`
	opts := handler.StreamOptions{Total: time.Minute}
	synctest.Test(t, func(t *testing.T) {
		told := make(chan time.Duration, 2)
		ticks := func(ctx context.Context, c *caller) error {
			deadline, _ := ctx.Deadline()
			told <- time.Until(deadline)
			for {
				if err := pause(ctx, 25*time.Second); err != nil {
					return err
				}
				if err := c.say("1"); err != nil {
					return err
				}
			}
		}
		p := streamPipes(t, memory{serve: ticks}, opts)
		_, list := p.open(t)
		expect(t, list, came{"1", 25 * time.Second}, came{"1", 50 * time.Second},
			came{text, time.Minute}, came{"StatusInternalError the stream did not end within 1m0s", time.Minute})
		if got := <-told; got != time.Minute {
			t.Errorf("the service was given %v, want 1m", got)
		}
		expect(t, p.lines(t, asEvents), came{"200 OK", time.Second}, came{"data: 1", 25 * time.Second},
			came{":", 30 * time.Second}, came{"data: 1", 50 * time.Second})
	})
}

// TestStreamAskedTimeout: a client may ask for less than Total.
func TestStreamAskedTimeout(t *testing.T) {
	for asked, want := range map[string]time.Duration{"20S": 20 * time.Second, "20H": time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			p := streamPipes(t, memory{serve: silent}, handler.StreamOptions{Total: time.Minute})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", asLines)
			req.Header.Set("Grpc-Timeout", asked)
			start := time.Now()
			res, err := p.transport().RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if got := time.Since(start); got != want || err != nil || !strings.Contains(string(body), `"code":504`) {
				t.Errorf("%s: the stream ended after %v with %s, %v; want %v and 504", asked, got, body, err, want)
			}
		})
	}
}

// TestEventsPatience: the answer begins with the first message, or after a
// second without one.
func TestEventsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(wait time.Duration, err error) streamService {
			return func(ctx context.Context, c *caller) error {
				if err := pause(ctx, wait); err != nil {
					return err
				}
				if err != nil {
					return err
				}
				return c.say("1")
			}
		}
		refusal := &goapi.Error{Code: 403, ID: "greeter", Detail: "no"}
		const ms = time.Millisecond
		tests := []struct {
			service streamService
			want    []came
		}{
			{late(400*ms, nil), []came{{"200 OK", 400 * ms}, {"data: 1", 400 * ms}}},
			{late(1400*ms, nil), []came{{"200 OK", time.Second}, {"data: 1", 1400 * ms}}},
			{late(400*ms, refusal), []came{{"403 Forbidden", 400 * ms}}},
			{late(1400*ms, refusal), []came{{"200 OK", time.Second}, {"event: error", 1400 * ms}}},
		}
		for _, tt := range tests {
			list := streamPipes(t, memory{serve: tt.service}, handler.StreamOptions{}).lines(t, asEvents)
			expect(t, list, tt.want...)
		}
	})
}

// TestEventsSignsOfLife: a comment among events, and nothing among lines.
func TestEventsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := streamPipes(t, memory{serve: silent}, handler.StreamOptions{Ping: 2 * time.Minute})
		expect(t, p.lines(t, asEvents), came{"200 OK", time.Second}, came{":", 2 * time.Minute}, came{":", 4 * time.Minute}, came{"event: error", 5 * time.Minute})
		list := p.lines(t, asLines)
		expect(t, list, came{"200 OK", time.Second})
		if got := <-list; got.after != 5*time.Minute {
			t.Errorf("came %q after %v, want nothing until 5m", got.what, got.after)
		}
	})
}

// TestSocketPings: a client that answers stays, and one that does not is gone.
func TestSocketPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := streamPipes(t, memory{serve: silent}, handler.StreamOptions{Idle: time.Hour})
		_, list := p.open(t)
		if got := <-list; got.after != time.Hour {
			t.Errorf("a client that answers pings was cut off after %v: %s", got.after, got.what)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		p := streamPipes(t, memory{serve: waits(gone)}, handler.StreamOptions{Idle: time.Hour})
		conn, br := p.handshake(t)
		start := time.Now()
		drained := make(chan struct{})
		go func() { // ends with the connection
			defer close(drained)
			_, _ = io.Copy(io.Discard, br)
		}()
		<-gone
		if got := time.Since(start); got != time.Minute {
			t.Errorf("a client that answers no pings was given up after %v, want 1m", got)
		}
		<-drained
		_ = conn.Close()
	})
}

// TestStreamTakes: a client that does not take what it is sent is given up.
func TestStreamTakes(t *testing.T) {
	floods := func(gone chan<- error) streamService {
		return func(_ context.Context, c *caller) error {
			for {
				if err := c.say(`"` + strings.Repeat("x", 10_000) + `"`); err != nil {
					gone <- err
					return err
				}
			}
		}
	}
	t.Run("WebSocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := make(chan error, 1)
			start := time.Now()
			conn, _ := streamPipes(t, memory{serve: floods(gone)}, handler.StreamOptions{}).handshake(t)
			<-gone
			if got := time.Since(start); got != 30*time.Second {
				t.Errorf("given up after %v, want 30s", got)
			}
			_ = conn.Close()
		})
	})
	t.Run("WebSocket of a client that reads slowly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := make(chan error, 1)
			conn, br := streamPipes(t, memory{serve: floods(gone)}, handler.StreamOptions{}).handshake(t)
			for range 20 {
				time.Sleep(20 * time.Second)
				if _, _, err := readServerFrame(br); err != nil {
					t.Fatalf("after a read in time: %v", err)
				}
				if _, err := io.WriteString(conn, clientFrame(0x8A, "")); err != nil { // answers a ping
					t.Fatal(err)
				}
			}
			_ = conn.Close()
			<-gone
		})
	})
	t.Run("lines", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gone := make(chan error, 1)
			near, far := net.Pipe()
			p := streamPipes(t, memory{serve: floods(gone)}, handler.StreamOptions{})
			p.conns <- far
			if _, err := io.WriteString(near, "GET / HTTP/1.1\r\nHost: x\r\nAccept: "+asLines+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			<-gone
			if got := time.Since(start); got != 30*time.Second {
				t.Errorf("given up after %v, want 30s", got)
			}
			_ = near.Close()
		})
	})
}

// TestSocketLingers: a client that does not answer a close frame costs no more
// than two seconds, whatever it sends.
func TestSocketLingers(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":            "",
		"a message for ever": "\x82\xff\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00xx",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				conn, br := streamPipes(t, memory{serve: silent}, handler.StreamOptions{Done: done}).handshake(t)
				if _, err := io.WriteString(conn, sent); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				close(done)
				if code, err := closedWith(br); code != 1001 || err != nil {
					t.Errorf("closed with %d, %v; want 1001", code, err)
				}
				if n, err := br.Read(make([]byte, 1)); err == nil {
					t.Errorf("Read = %d bytes, want the end", n)
				}
				if got := time.Since(start); got > 2*time.Second {
					t.Errorf("the connection was held for %v, want 2s at most", got)
				}
				_ = conn.Close()
			})
		})
	}
}

// handshake opens a WebSocket of which the test reads and writes the bytes.
func (p *piped) handshake(t *testing.T, header ...string) (net.Conn, *bufio.Reader) {
	t.Helper()
	near, far := net.Pipe()
	p.conns <- far
	return near, shakeHands(t, near, header...)
}
