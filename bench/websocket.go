package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// hands is how many connections are opened, or echo, at a time.
const hands = 64

// A websocketBench measures what open WebSockets cost the gateway, and whether
// they outlast changes of its table.
type websocketBench struct {
	n       int
	size    int
	rounds  int
	changes int
}

func (b *websocketBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.n, "n", 5000, "WebSockets that are open at a time")
	f.IntVar(&b.size, "size", 512, "bytes of a message")
	f.IntVar(&b.rounds, "echoes", 5, "messages that each of them echoes, and again after the changes")
	f.IntVar(&b.changes, "table-changes", 100, "services that come and go meanwhile")
}

func (b *websocketBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.n < 1 || b.size < 1 || b.rounds < 1 || b.changes < 0 {
		return errors.New("-n, -size and -echoes are at least 1, -table-changes at least 0")
	}
	if err := enoughFiles(uint64(2*b.n) + 200); err != nil {
		return err
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	l.env = []string{"GODEBUG=gctrace=1"} // which is how a Go program tells of its heap
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	g, err := runGoapi(ctx, l, anyCore, address)
	if err != nil {
		return err
	}
	service := httptest.NewServer(http.HandlerFunc(serveSocket))
	defer service.Close()
	node := service.Listener.Addr().String()
	s := newService("echo", node, "web", "/echo")
	if err := g.register(ctx, s); err != nil {
		return err
	}
	m := &sockets{bench: b, gateway: g, url: "ws://" + address + "/echo"}
	defer m.close()
	m.others = &changes{writer: overAdmin{g}, client: g.client, public: "http://" + address, node: node}
	if err := m.measure(ctx); err != nil {
		return err
	}
	b.print(out, m)
	if m.lost > 0 {
		return fmt.Errorf("%d of %d connections were lost", m.lost, b.n)
	}
	return nil
}

// enoughFiles says whether a process may open as many files: the gateway and
// the load have two for each connection. Go raises the soft limit by itself.
func enoughFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < n {
		return fmt.Errorf("%d open files are needed, and %d allowed: raise the hard limit (ulimit -Hn)", n, limit.Max)
	}
	return nil
}

// serveSocket is the service: it sends back what it gets.
func serveSocket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it is answered
	}
	defer func() { _ = c.CloseNow() }() // it may be closed
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// sockets is what was measured of open connections.
type sockets struct {
	bench   *websocketBench
	gateway *gateway
	url     string
	others  *changes

	mu    sync.Mutex
	conns []*websocket.Conn
	took  []time.Duration // of an echo
	lost  int

	before, open, after memory
}

// measure opens the connections, has them echo, and again when the table has
// changed.
func (m *sockets) measure(ctx context.Context) error {
	warm := &sockets{bench: m.bench, url: m.url}
	defer warm.close()
	if err := warm.dial(ctx, hands); err != nil {
		return err
	}
	warm.close()
	var err error
	if m.before, err = m.gateway.memory(); err != nil {
		return err
	}
	if err := m.dial(ctx, m.bench.n); err != nil {
		return err
	}
	for range m.bench.rounds {
		m.echo(ctx)
	}
	if m.open, err = m.gateway.memory(); err != nil {
		return err
	}
	for i := range m.bench.changes {
		if err := m.others.comeAndGo(ctx, i); err != nil {
			return err
		}
	}
	for range m.bench.rounds {
		m.echo(ctx)
	}
	m.after, err = m.gateway.memory()
	return err
}

// dial opens n connections more.
func (m *sockets) dial(ctx context.Context, n int) error {
	var g errgroup.Group
	g.SetLimit(hands)
	client := &http.Client{Transport: new(http.Transport)}
	for range n {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, readyWithin)
			defer cancel()
			c, _, err := websocket.Dial(ctx, m.url, &websocket.DialOptions{HTTPClient: client}) //nolint:bodyclose // it needs no closing, says Dial
			if err != nil {
				return err
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.conns = append(m.conns, c)
			return nil
		})
	}
	return g.Wait()
}

// echo sends a message over each connection, and waits until it is back.
func (m *sockets) echo(ctx context.Context) {
	message := []byte(strings.Repeat("x", m.bench.size))
	var g errgroup.Group
	g.SetLimit(hands)
	for i, c := range m.conns {
		if c == nil {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, readyWithin)
			defer cancel()
			start := time.Now()
			err := c.Write(ctx, websocket.MessageBinary, message)
			if err == nil {
				_, _, err = c.Read(ctx)
			}
			took := time.Since(start)
			m.mu.Lock()
			defer m.mu.Unlock()
			if err != nil {
				m.lost++
				m.conns[i] = nil
				return nil
			}
			m.took = append(m.took, took)
			return nil
		})
	}
	_ = g.Wait() // what fails is counted
}

// close closes the connections.
func (m *sockets) close() {
	for _, c := range m.conns {
		if c != nil {
			_ = c.CloseNow() // the measurement is over
		}
	}
	m.conns = nil
}

// memory is what a process has, in KiB.
type memory struct{ resident, heap, stacks float64 }

// each is the part of m that came with n connections after before.
func (m memory) each(before memory, n int) memory {
	part := func(now, then float64) float64 { return (now - then) / float64(n) }
	return memory{part(m.resident, before.resident), part(m.heap, before.heap), part(m.stacks, before.stacks)}
}

// memory returns what the process has now; heap and stacks are those that its
// last collection left.
func (p *process) memory() (m memory, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			m.resident, err = strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 64)
			if err != nil {
				return m, fmt.Errorf("/proc/%d/status: %w", p.pid, err)
			}
		}
	}
	log, err := os.Open(p.log)
	if err != nil {
		return m, err
	}
	defer log.Close()
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if heap, stacks, ok := parseTrace(lines.Text()); ok {
			m.heap, m.stacks = heap, stacks
		}
	}
	return m, nil
}

// parseTrace returns what a line of GODEBUG=gctrace=1 says of live heap and
// stacks, in KiB: "gc 5 @…, 4->5->2 MB, 5 MB goal, 1 MB stacks, …".
func parseTrace(line string) (heap, stacks float64, ok bool) {
	line, isTrace := strings.CutPrefix(line, "gc ")
	for part := range strings.SplitSeq(line, ", ") {
		n, unit, _ := strings.Cut(part, " ")
		mib, err := strconv.ParseFloat(n[strings.LastIndexByte(n, '>')+1:], 64)
		switch {
		case err != nil:
		case unit == "MB stacks":
			stacks, ok = mib*1024, isTrace
		case unit == "MB":
			heap = mib * 1024
		}
	}
	return heap, stacks, ok
}

// print writes the table.
func (b *websocketBench) print(out io.Writer, m *sockets) {
	fmt.Fprintf(out, "\n%d WebSockets through the gateway, echoing %d bytes, %s\n\n", b.n, b.size, machine())
	fmt.Fprintln(out, "| KiB each | resident | live heap | stacks |")
	fmt.Fprintln(out, "|---|---:|---:|---:|")
	for _, row := range []struct {
		name string
		at   memory
	}{
		{"open", m.open},
		{fmt.Sprintf("after %d changes of the table", b.changes), m.after},
	} {
		each := row.at.each(m.before, b.n)
		fmt.Fprintf(out, "| %s | %.1f | %.1f | %.1f |\n", row.name, each.resident, each.heap, each.stacks)
	}
	ms := func(q float64) float64 { return float64(quantile(m.took, q).Microseconds()) / 1e3 }
	fmt.Fprintf(out, "\n%d lost. An echo took %.1f ms (median), %.1f ms (p99).\n", m.lost, ms(0.5), ms(0.99))
}
