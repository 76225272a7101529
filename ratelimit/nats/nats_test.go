package nats_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/ratelimit"
	"github.com/goapi-dev/goapi/ratelimit/nats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hourly is a rate at which nothing comes back while a test runs.
func hourly(n int) ratelimit.Rate { return ratelimit.Rate{Requests: n, Per: time.Hour} }

// TestOthersPay: what passes at one gateway is taken off at the others, key by
// key and limiter by limiter.
func TestOthersPay(t *testing.T) {
	s := startServer(t)
	a, b, c := join(t, s.Addr(), nil), join(t, s.Addr(), nil), join(t, s.Addr(), nil)
	b.Limiter("per client", hourly(10))
	b.Limiter("per user", hourly(10))
	c.Limiter("per client", hourly(10))

	if got := spend(a.Limiter("per client", hourly(10)), "x", 7); got != 7 {
		t.Fatalf("%d of 7 requests passed, want all", got)
	}
	waitFor(t, "b is told", func() bool { return b.Counts().Taken > 0 && c.Counts().Taken > 0 })
	for _, tt := range []struct {
		limiter *nats.Shared
		name    string
		key     string
		want    int // requests that pass
	}{
		{b.Limiter("per client", hourly(10)), "another gateway", "x", 3},
		{b.Limiter("per client", hourly(10)), "another key", "y", 10},
		{b.Limiter("per user", hourly(10)), "another limiter", "x", 10},
	} {
		if got := spend(tt.limiter, tt.key, 20); got != tt.want {
			t.Errorf("%s: %d requests passed, want %d", tt.name, got, tt.want)
		}
	}
	waitFor(t, "c is told of both", func() bool { return c.Counts().Taken >= 3 })
	if got := spend(c.Limiter("per client", hourly(10)), "x", 20); got != 0 {
		t.Errorf("%d requests passed at a third gateway, want none", got)
	}
}

// TestAlone: a gateway that loses contact goes on alone; what passed meanwhile is
// forgotten, and what passes afterwards is told again.
func TestAlone(t *testing.T) {
	s := startServer(t)
	line := newLine(t, s.Addr())
	var log logBuffer
	a := join(t, s.Addr(), nil)
	b := join(t, line.addr(), &nats.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	at, bt := a.Limiter("l", hourly(10)), b.Limiter("l", hourly(10))
	spend(at, "before", 4)
	waitFor(t, "b is told", func() bool { return b.Counts().Taken == 1 })

	line.cut()
	waitFor(t, "b knows that it is alone", func() bool {
		spend(bt, strconv.Itoa(time.Now().Nanosecond()), 1)
		return b.Counts().Lost > 0
	})
	if got := spend(bt, "before", 20); got != 6 {
		t.Errorf("%d requests passed at the gateway that is alone, want the 6 that were left", got)
	}
	if got := spend(bt, "meanwhile", 20); got != 10 {
		t.Errorf("%d requests of a new key passed at the gateway that is alone, want 10", got)
	}
	if got := spend(at, "meanwhile", 20); got != 10 {
		t.Errorf("%d requests passed at the other, want its own 10", got)
	}
	if !strings.Contains(log.String(), "not all that passes is told") || strings.Contains(log.String(), "meanwhile") {
		t.Errorf("log = %q, want that something is lost, and no key", log.String())
	}

	line.mend()
	before := a.Counts().Taken
	waitFor(t, "b is back", func() bool {
		spend(bt, strconv.Itoa(time.Now().Nanosecond()), 1)
		return a.Counts().Taken > before
	})
	spend(b.Limiter("m", hourly(1000)), "after", 1000)
	passed := 0
	waitFor(t, "a is told again", func() bool {
		n := spend(a.Limiter("m", hourly(1000)), "after", 1)
		passed += n
		return n == 0
	})
	if passed == 1000 {
		t.Error("a was not told what passed after the gateways had found each other again")
	}
}

// TestSameLimiter: a limiter survives a new configuration, unless its rate is
// another.
func TestSameLimiter(t *testing.T) {
	g := nats.New(nil, nil)
	l := g.Limiter("l", hourly(5))
	if spend(l, "x", 9) != 5 {
		t.Error("a limiter that nobody runs does not limit")
	}
	if g.Limiter("l", hourly(5)) != l {
		t.Error("Limiter() of the same name and rate is another")
	}
	if g.Limiter("l", hourly(6)) == l || g.Limiter("m", hourly(5)) == l {
		t.Error("Limiter() of another rate or name is the same")
	}
	if got, want := g.Limiter("l", hourly(6)).Rate(), (ratelimit.Rate{Requests: 6, Per: time.Hour, Burst: 6}); got != want {
		t.Errorf("Rate() = %+v, want %+v", got, want)
	}
	other := g.Limiter("l", hourly(6))
	g.Use(other)
	if g.Limiter("l", hourly(6)) != other {
		t.Error("Limiter() of the one in use is another")
	}
	if g.Limiter("l", hourly(5)) == l {
		t.Error("Limiter() of one that is not used any more is the same")
	}
}

// TestManyKeys: what does not fit one message is told in several.
func TestManyKeys(t *testing.T) {
	s := startServer(t)
	a, b := join(t, s.Addr(), nil), join(t, s.Addr(), nil)
	at, bt := a.Limiter("l", hourly(2)), b.Limiter("l", hourly(2))
	const keys = 3000
	for i := range keys {
		at.Allow(strconv.Itoa(i), time.Now())
	}
	waitFor(t, "b is told of all", func() bool { return b.Counts().Taken == keys })
	for i := range keys {
		if r := bt.Allow(strconv.Itoa(i), time.Now()); !r.OK || r.Remaining != 0 {
			t.Fatalf("Allow(%d) = %+v, want the last that may pass", i, r)
		}
	}
	if got := a.Counts(); got.Told != keys || got.Lost != 0 {
		t.Errorf("Counts() = %+v, want %d told and none lost", got, keys)
	}
}

// TestFloodOfKeys: what is told between two messages is bounded; what is not told
// is counted.
func TestFloodOfKeys(t *testing.T) {
	s := startServer(t)
	a := join(t, s.Addr(), &nats.Options{Every: time.Second})
	l := a.Limiter("l", hourly(2))
	const keys = 100_000
	for i := range keys {
		if !l.Allow(strconv.Itoa(i), time.Now()).OK {
			t.Fatal("Allow() of a new key is refused")
		}
	}
	waitFor(t, "the messages are sent", func() bool { c := a.Counts(); return c.Told+c.Lost >= keys })
	if c := a.Counts(); c.Lost == 0 || c.Told == 0 {
		t.Errorf("Counts() = %+v, want some told and some lost", c)
	}
}

// TestForeignMessages: what others publish is held to the form, and cannot do
// more than use keys up for a while.
func TestForeignMessages(t *testing.T) {
	s := startServer(t)
	a, b := join(t, s.Addr(), nil), join(t, s.Addr(), nil)
	conn := connect(t, s.Addr())
	heard, err := conn.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	at, bt := a.Limiter("l", hourly(10)), b.Limiter("l", hourly(10))
	at.Allow("x", time.Now())
	m, err := heard.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(m.Data), "x") && len(m.Data) < 40 {
		t.Errorf("message = %q, want no key in it", m.Data)
	}
	waitFor(t, "b is told", func() bool { return b.Counts().Taken == 1 })
	const head, count = 12, 36 // see message
	edited := func(edit func(data []byte) []byte) []byte { return edit([]byte(string(m.Data))) }
	for name, data := range map[string][]byte{
		"empty":           nil,
		"text":            []byte("hello"),
		"a head alone":    m.Data[:head],
		"cut off":         m.Data[:len(m.Data)-1],
		"too long":        append([]byte(string(m.Data)), 0),
		"another version": edited(func(d []byte) []byte { d[3]++; return d }),
		"too many":        edited(func(d []byte) []byte { return append(d, make([]byte, 28<<10)...) }),
		"another limiter": edited(func(d []byte) []byte { d[head]++; return d }),
	} {
		if err := conn.Publish(subject, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The last is a message of its form, with the largest count.
	if err := conn.Publish(subject, edited(func(d []byte) []byte {
		d[4]++ // of somebody else
		copy(d[count:], "\xff\xff\xff\xff")
		return d
	})); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "b has read it", func() bool { return b.Counts().Taken == 2 })
	if r := bt.Allow("x", time.Now()); r.OK || r.RetryAfter > time.Hour+6*time.Minute {
		t.Errorf("Allow() = %+v, want a refusal for an hour and a request's time at most", r)
	}
	if got := spend(bt, "y", 20); got != 10 {
		t.Errorf("%d requests of another key passed, want 10", got)
	}
}

func TestRunErrors(t *testing.T) {
	s := startServer(t)
	conn := connect(t, s.Addr())
	conn.Close()
	if err := nats.New(conn, nil).Run(t.Context()); !errors.Is(err, natsgo.ErrConnectionClosed) || !strings.Contains(err.Error(), "subscribe to $GOAPI.ratelimit") {
		t.Errorf("Run() on a closed connection error = %v, want that it cannot subscribe", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := nats.New(connect(t, s.Addr()), nil).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() error = %v, want %v", err, context.Canceled)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := startServer(t)
	a, b := join(t, s.Addr(), &nats.Options{Every: time.Millisecond}), join(t, s.Addr(), &nats.Options{Every: time.Millisecond})
	var wg sync.WaitGroup
	for i := range 4 {
		g := []*nats.Group{a, b}[i%2]
		wg.Go(func() {
			for i := range 3000 {
				g.Limiter("l"+strconv.Itoa(i%3), hourly(1000)).Allow(strconv.Itoa(i%100), time.Now())
			}
		})
	}
	wg.Wait()
	waitFor(t, "both are told", func() bool { return a.Counts().Taken > 0 && b.Counts().Taken > 0 })
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, err := os.MkdirTemp("", "ratelimit")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	server, err := conns.Start(ctx, dir, nil) // several gateways have one in common
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	u := &url.URL{Scheme: "embedded"}
	conn, err := (&conns.Conns{Embedded: server}).Open(ctx, u)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	group := nats.New(conn.Conn, nil)
	done := make(chan error, 1)
	go func() { done <- group.Run(ctx) }()

	limiter := group.Limiter("per client", ratelimit.Rate{Requests: 2, Per: time.Hour})
	for range 3 {
		fmt.Println(limiter.Allow("192.0.2.1", time.Now()).OK)
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// true
	// true
	// false
	// context canceled
}

func BenchmarkAllow(b *testing.B) {
	l := nats.New(nil, nil).Limiter("l", ratelimit.Rate{Requests: 1e6, Burst: 1e6})
	keys := make([]string, 1<<10)
	for i := range keys {
		keys[i] = "198.51.100." + strconv.Itoa(i)
	}
	now, i := time.Now(), 0
	b.ReportAllocs()
	for b.Loop() {
		l.Allow(keys[i&(len(keys)-1)], now)
		i++
	}
}

const (
	subject  = "$GOAPI.ratelimit"
	patience = 10 * time.Second
)

// spend asks n times, and returns how often it may pass.
func spend(l ratelimit.Limiter, key string, n int) (passed int) {
	for range n {
		if l.Allow(key, time.Now()).OK {
			passed++
		}
	}
	return passed
}

func startServer(t testing.TB) *conns.Server {
	t.Helper()
	s, err := conns.Start(t.Context(), t.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// connect returns a connection of its own, as another gateway would have.
func connect(t testing.TB, address string) *natsgo.Conn {
	t.Helper()
	c, err := new(conns.Conns).Open(t.Context(), &url.URL{Scheme: "nats", Host: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.Conn
}

// join returns a gateway that shares its limits, when it does.
func join(t testing.TB, address string, opts *nats.Options) *nats.Group {
	t.Helper()
	conn := connect(t, address)
	subscribed := conn.NumSubscriptions()
	g := nats.New(conn, opts)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() error = %v, want %v", err, context.Canceled)
		}
	})
	waitFor(t, "the gateway has subscribed", func() bool { return conn.NumSubscriptions() > subscribed })
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return g
}

// waitFor waits until something that others do is done.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// A line is a TCP connection to a server that can be cut.
type line struct {
	l      net.Listener
	target string

	mu    sync.Mutex
	down  bool
	conns []net.Conn
	wg    sync.WaitGroup
}

func newLine(t testing.TB, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &line{l: l, target: target}
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		l.Close()
		n.cut()
		n.wg.Wait()
	})
	return n
}

func (n *line) addr() string { return n.l.Addr().String() }

func (n *line) accept() {
	for {
		c, err := n.l.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", n.target)
		if err != nil {
			c.Close()
			continue
		}
		n.mu.Lock()
		n.conns = append(n.conns, c, s)
		down := n.down
		n.mu.Unlock()
		if down {
			c.Close()
			s.Close()
			continue
		}
		for _, ends := range [][2]net.Conn{{c, s}, {s, c}} {
			n.wg.Go(func() {
				io.Copy(ends[0], ends[1])
				ends[0].Close()
			})
		}
	}
}

// cut ends what is there, and lets nothing new through.
func (n *line) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	for _, c := range n.conns {
		c.Close()
	}
	n.conns = nil
}

func (n *line) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
