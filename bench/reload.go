package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A reloadBench measures what becomes of requests, connections and streams while
// the gateway takes over another configuration.
type reloadBench struct {
	reloads int
	clients int
	streams int
	every   time.Duration
}

func (b *reloadBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.reloads, "reloads", 3, "how often the configuration changes")
	f.IntVar(&b.clients, "reload-clients", 32, "clients that make one request after the other, each on a connection of its own")
	f.IntVar(&b.streams, "reload-streams", 20, "event streams that are open")
	f.DurationVar(&b.every, "reload-every", 2*time.Second, "time between two changes")
}

// headerReload says which configuration answered.
const headerReload = "X-Reload"

// version returns a configuration that says which it is.
func (b *reloadBench) version(i int) string {
	return fmt.Sprintf("policy: {timeout: %ds, headers: {response: {set: {%s: \"%d\"}}}}\n", 10+i, headerReload, i)
}

func (b *reloadBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.reloads < 1 || b.clients < 1 || b.streams < 0 || b.every < 100*time.Millisecond {
		return errors.New("-reloads and -reload-clients are at least 1, -reload-streams at least 0, -reload-every at least 100ms")
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	program, err := buildGoapi(ctx, l)
	if err != nil {
		return err
	}
	c, err := startConfig(ctx, l, program, anyCore, b.version(0))
	if err != nil {
		return err
	}
	service := httptest.NewServer(http.HandlerFunc(ticking))
	defer service.Close()
	defer service.CloseClientConnections()
	if err := c.register(ctx, newService("reloaded", service.Listener.Addr().String(), "web", "/**")); err != nil {
		return err
	}
	m := &reloaded{bench: b, to: c}
	if err := m.measure(ctx); err != nil {
		return err
	}
	b.print(out, m)
	if n := m.failed.Load() + m.dropped.Load() + m.broken.Load(); n > 0 {
		return fmt.Errorf("%d requests, connections and streams did not outlast the reloads", n)
	}
	return nil
}

// ticking is the service: streams say something now and then.
func ticking(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/stream" {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for {
		if _, err := io.WriteString(w, "data: tick\n\n"); err != nil || rc.Flush() != nil {
			return
		}
		if sleep(r.Context(), 100*time.Millisecond) != nil {
			return
		}
	}
}

// reloaded is what was measured.
type reloaded struct {
	bench *reloadBench
	to    *configured

	seen     atomic.Int64 // the latest configuration that has answered
	requests atomic.Int64
	failed   atomic.Int64
	dropped  atomic.Int64 // connections
	broken   atomic.Int64 // streams
	took     []time.Duration
	quiet    durations // latencies while nothing changes
	busy     durations // and in the second after a change
	changing atomic.Bool
}

// measure changes the configuration under load.
func (m *reloaded) measure(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx) // a failure ends it all
	defer func() { _ = group.Wait() }()     // when they are stopped
	if err := m.openStreams(ctx, group); err != nil {
		return err
	}
	ended := make(chan struct{}) // no more requests
	for range m.bench.clients {
		group.Go(func() error { return m.ask(ctx, ended) })
	}
	err := m.change(ctx)
	close(ended)
	stop()
	return errors.Join(err, group.Wait())
}

// openStreams opens the streams, each of which counts as broken that ends before
// ctx is done.
func (m *reloaded) openStreams(ctx context.Context, group *errgroup.Group) error {
	client := &http.Client{Transport: new(http.Transport)}
	for range m.bench.streams {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.to.public+"/stream", http.NoBody)
		if err != nil {
			return err
		}
		rsp, err := client.Do(req)
		if err != nil {
			return err
		}
		group.Go(func() error {
			defer rsp.Body.Close()
			if _, err := io.Copy(io.Discard, rsp.Body); ctx.Err() == nil {
				m.broken.Add(1)
				return err
			}
			return nil
		})
	}
	return nil
}

// ask makes one request after the other, on one connection as long as that is kept,
// until it is to end.
func (m *reloaded) ask(ctx context.Context, ended <-chan struct{}) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &kept{Conn: conn, dropped: &m.dropped}, nil
	}}}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		began := time.Now()
		version, err := m.request(ctx, client)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			m.failed.Add(1)
			return err
		}
		m.requests.Add(1)
		for seen := m.seen.Load(); version > seen && !m.seen.CompareAndSwap(seen, version); seen = m.seen.Load() {
		}
		if m.changing.Load() {
			m.busy.add(time.Since(began))
		} else {
			m.quiet.add(time.Since(began))
		}
	}
}

// kept is a connection that its server is to keep: when it is not we who close it,
// it was dropped.
type kept struct {
	net.Conn

	dropped *atomic.Int64
	ended   atomic.Bool
}

func (c *kept) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !c.ended.Swap(true) {
		c.dropped.Add(1)
	}
	return n, err
}

func (c *kept) Close() error {
	c.ended.Store(true)
	return c.Conn.Close()
}

// request makes a request, and returns which configuration answered.
func (m *reloaded) request(ctx context.Context, client *http.Client) (version int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.to.public+"/", http.NoBody)
	if err != nil {
		return 0, err
	}
	rsp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer rsp.Body.Close()
	if _, err := io.Copy(io.Discard, rsp.Body); err != nil {
		return 0, err
	}
	if rsp.Close { // the server says so, and we close it
		m.dropped.Add(1)
	}
	if rsp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", rsp.StatusCode)
	}
	return strconv.ParseInt(rsp.Header.Get(headerReload), 10, 64)
}

// change changes the configuration, again and again, and waits each time until it
// answers.
func (m *reloaded) change(ctx context.Context) error {
	for i := range m.bench.reloads {
		if err := sleep(ctx, m.bench.every); err != nil {
			return err
		}
		next := m.to.file + ".new"
		if err := os.WriteFile(next, []byte(m.bench.version(i+1)), 0o600); err != nil {
			return err
		}
		m.changing.Store(true)
		began := time.Now()
		if err := os.Rename(next, m.to.file); err != nil {
			return err
		}
		for m.seen.Load() <= int64(i) {
			if time.Since(began) > readyWithin {
				return fmt.Errorf("the configuration is not taken over: %s", m.to.lastWords())
			}
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		m.took = append(m.took, time.Since(began))
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		m.changing.Store(false)
	}
	return sleep(ctx, m.bench.every)
}

// print writes the table.
func (b *reloadBench) print(out io.Writer, m *reloaded) {
	ms := func(took []time.Duration, q float64) float64 { return float64(quantile(took, q).Microseconds()) / 1e3 }
	fmt.Fprintf(out, "\nReload: %d changes of the configuration, %d clients, %d streams, %s\n\n", b.reloads, b.clients, b.streams, machine())
	fmt.Fprintln(out, "| requests | failed | connections dropped | streams broken | change to request, ms, most | p99, ms | in the second after a change |")
	fmt.Fprintln(out, "|---:|---:|---:|---:|---:|---:|---:|")
	fmt.Fprintf(out, "| %d | %d | %d | %d | %.0f | %.2f | %.2f |\n", m.requests.Load(), m.failed.Load(), m.dropped.Load(), m.broken.Load(),
		ms(m.took, 1), ms(m.quiet.list, 0.99), ms(m.busy.list, 0.99))
}
