package middleware_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/middleware"
)

// A crowd is requests that are served until they are let go.
type crowd struct {
	handler http.Handler
	inside  chan struct{}
	leave   chan struct{}
	all     sync.WaitGroup
}

func newCrowd(t testing.TB, opts *middleware.LimitsOptions) (*crowd, *middleware.Limits) {
	t.Helper()
	limits, err := middleware.NewLimits(opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{inside: make(chan struct{}), leave: make(chan struct{})}
	c.handler = limits.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		c.inside <- struct{}{}
		<-c.leave
	}))
	t.Cleanup(c.all.Wait)
	return c, limits
}

// enter has a request served; it returns its status if it is refused, and else 0.
func (c *crowd) enter(client string, header ...string) int {
	w, refused := httptest.NewRecorder(), make(chan struct{})
	c.all.Go(func() {
		r, ex := withExchange(httptest.NewRequest("GET", "/", nil))
		ex.Client = netip.MustParseAddr(client)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		c.handler.ServeHTTP(w, r)
		close(refused)
	})
	select {
	case <-c.inside:
		return 0
	case <-refused:
		if w.Header().Get("Retry-After") != "1" {
			return -w.Code // which no test wants
		}
		return w.Code
	}
}

func TestLimits(t *testing.T) {
	upgrade := []string{"Upgrade", "websocket", "Connection", "Upgrade"}
	events := []string{"Accept", "text/event-stream"}
	type visit struct {
		client string
		header []string
		want   int // 0 is served
	}
	tests := []struct {
		name   string
		opts   middleware.LimitsOptions
		visits []visit
		want   [2]int64 // in flight, streams
	}{
		{"no limit", middleware.LimitsOptions{}, []visit{{"192.0.2.1", nil, 0}, {"192.0.2.1", nil, 0}, {"192.0.2.1", upgrade, 0}}, [2]int64{2, 1}},
		{"in flight", middleware.LimitsOptions{InFlight: 2}, []visit{{"192.0.2.1", nil, 0}, {"192.0.2.2", nil, 0}, {"192.0.2.3", nil, 503}}, [2]int64{2, 0}},
		{"streams leave room", middleware.LimitsOptions{InFlight: 1}, []visit{
			{"192.0.2.1", events, 0}, {"192.0.2.1", events, 503}, {"192.0.2.1", nil, 0}, {"192.0.2.1", nil, 503},
		}, [2]int64{1, 1}},
		{"streams have a limit of their own", middleware.LimitsOptions{InFlight: 1, Streams: 2}, []visit{
			{"192.0.2.1", events, 0}, {"192.0.2.1", upgrade, 0}, {"192.0.2.1", events, 503}, {"192.0.2.1", nil, 0},
		}, [2]int64{1, 2}},
		{"streams only", middleware.LimitsOptions{Streams: 1}, []visit{{"192.0.2.1", events, 0}, {"192.0.2.1", upgrade, 503}, {"192.0.2.1", nil, 0}}, [2]int64{1, 1}},
		{"per client", middleware.LimitsOptions{PerClient: 2}, []visit{
			{"192.0.2.1", nil, 0}, {"192.0.2.1", events, 0}, {"192.0.2.1", nil, 429}, {"192.0.2.2", nil, 0}, {"::ffff:192.0.2.1", nil, 429},
		}, [2]int64{2, 1}},
		{"per network", middleware.LimitsOptions{PerClient: 1}, []visit{
			{"2001:db8::1", nil, 0}, {"2001:db8::ffff", nil, 429}, {"2001:db8:0:1::1", nil, 0},
		}, [2]int64{2, 0}},
		{"a client that is refused takes no place", middleware.LimitsOptions{InFlight: 2, PerClient: 1}, []visit{
			{"192.0.2.1", nil, 0}, {"192.0.2.1", nil, 429}, {"192.0.2.1", nil, 429}, {"192.0.2.2", nil, 0}, {"192.0.2.3", nil, 503}, {"192.0.2.3", nil, 503},
		}, [2]int64{2, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, limits := newCrowd(t, &tt.opts)
			for range 2 { // all leave, and the next find what the first have found
				var refused int64
				for i, v := range tt.visits {
					got := c.enter(v.client, v.header...)
					if got != v.want {
						t.Errorf("visit %d: status = %d, want %d", i, got, v.want)
					}
					if got != 0 {
						refused++
					}
				}
				counts := limits.Counts()
				if got := [2]int64{counts.InFlight, counts.Streams}; got != tt.want {
					t.Errorf("Counts() = %v, want %v", got, tt.want)
				}
				for range tt.want[0] + tt.want[1] {
					c.leave <- struct{}{}
				}
				c.all.Wait()
				if got := limits.Counts(); got.InFlight != 0 || got.Streams != 0 || got.Shed.InFlight+got.Shed.Streams+got.Shed.PerClient < refused {
					t.Errorf("Counts() = %+v when all have left, want nothing in flight and %d refused", got, refused)
				}
			}
		})
	}
}

// TestLimitsAfterAPanic: a handler that breaks off gives its place back.
func TestLimitsAfterAPanic(t *testing.T) {
	limits, err := middleware.NewLimits(&middleware.LimitsOptions{InFlight: 1, PerClient: 1})
	if err != nil {
		t.Fatal(err)
	}
	h := limits.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
	}
	if got := limits.Counts(); got.InFlight != 0 || got.Shed.PerClient+got.Shed.InFlight != 0 {
		t.Errorf("Counts() = %+v, want nothing in flight and nobody refused", got)
	}
}

// TestLimitsMemory: while too much is in use, requests are shed; garbage is not
// in use, and when there is room again they are served.
func TestLimitsMemory(t *testing.T) {
	const limit, much = 64 << 20, 128 << 20
	synctest.Test(t, func(t *testing.T) {
		limits, err := middleware.NewLimits(&middleware.LimitsOptions{Memory: limit})
		if err != nil {
			t.Fatal(err)
		}
		h := limits.Wrap(text("served"))
		status := func() int {
			synctest.Wait()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			return w.Code
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- limits.Run(ctx) }()
		if got := status(); got != 200 {
			t.Errorf("status with little in memory = %d, want 200", got)
		}
		for range 2 {
			held := make([]byte, much)
			time.Sleep(2 * time.Second) // the clock is fake
			if got := status(); got != 503 {
				t.Errorf("status with %d bytes in use = %d, want 503", len(held), got)
			}
			runtime.KeepAlive(held) // and then it is garbage
			time.Sleep(2 * time.Second)
			if got := status(); got != 200 {
				t.Errorf("status with garbage = %d, want 200", got)
			}
		}
		if got := limits.Counts().Shed.Memory; got != 2 {
			t.Errorf("%d requests were shed for memory, want 2", got)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() error = %v, want %v", err, context.Canceled)
		}
		if got := status(); got != 200 {
			t.Errorf("status when nobody looks after the memory = %d, want 200", got)
		}
	})
}

func TestLimitsRunWithoutMemory(t *testing.T) {
	limits, err := middleware.NewLimits(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := limits.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() error = %v, want %v", err, context.Canceled)
	}
}

func TestLimitsErrors(t *testing.T) {
	for name, opts := range map[string]middleware.LimitsOptions{
		"in flight": {InFlight: -1}, "streams": {Streams: -1}, "per client": {PerClient: -1}, "memory": {Memory: -1},
	} {
		if _, err := middleware.NewLimits(&opts); err == nil || !strings.Contains(err.Error(), "write 0 for none") {
			t.Errorf("%s: NewLimits() error = %v, want what to write", name, err)
		}
	}
}

// TestLimitsOverSockets: a real server sheds what is too much, at once, and goes
// on with what it has.
func TestLimitsOverSockets(t *testing.T) {
	limits, err := middleware.NewLimits(&middleware.LimitsOptions{InFlight: 2, Streams: 1})
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(limits.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		if r.Header.Get("Upgrade") != "" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("Hijack() error = %v", err)
				return
			}
			defer conn.Close()
		}
		<-leave
	})))
	defer s.Close()
	send := func(request string) net.Conn {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, request)
		return conn
	}
	const (
		plain  = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		socket = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	)
	served := []net.Conn{send(plain), send(plain)}
	send(socket)
	for range 3 {
		<-inside
	}
	for _, request := range []string{plain, socket, strings.Replace(plain, "GET", "POST", 1)} {
		resp, err := http.ReadResponse(bufio.NewReader(send(request)), nil)
		if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("one too many is answered with %+v, %v; want 503", resp, err)
		}
	}
	close(leave)
	for _, conn := range served {
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("a request that was served is answered with %+v, %v; want 200", resp, err)
		}
	}
	if got := limits.Counts(); got.Shed.InFlight != 2 || got.Shed.Streams != 1 {
		t.Errorf("Counts() = %+v, want 2 requests and 1 stream shed", got)
	}
}

func ExampleLimits() {
	limits, err := middleware.NewLimits(&middleware.LimitsOptions{InFlight: 1000, PerClient: 50, Memory: 1 << 30})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- limits.Run(ctx) }()

	h := limits.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, limits.Counts().InFlight, " in flight")
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code, w.Body)
	stop()
	fmt.Println(<-done)
	// Output:
	// 200 1 in flight
	// context canceled
}

func BenchmarkLimits(b *testing.B) {
	for name, opts := range map[string]*middleware.LimitsOptions{
		"counts": nil, "in flight": {InFlight: 1 << 20}, "per client": {InFlight: 1 << 20, PerClient: 1 << 20, Memory: 1 << 40},
	} {
		limits, err := middleware.NewLimits(opts)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) { serveMany(b, limits.Wrap(nothing()), httptest.NewRequest("GET", "/", nil)) })
	}
}
