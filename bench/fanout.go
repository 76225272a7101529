package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A fanoutBench measures how long messages of one topic take from whoever
// publishes to many clients that get server-sent events.
type fanoutBench struct {
	subscribers int
	rate        int
	duration    time.Duration
}

func (b *fanoutBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.subscribers, "subscribers", 2000, "clients that receive one topic")
	f.IntVar(&b.rate, "rate", 100, "messages a second")
	f.DurationVar(&b.duration, "for", 10*time.Second, "how long messages are published")
}

func (b *fanoutBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.subscribers < 1 || b.rate < 1 || b.messages() < 1 {
		return errors.New("-subscribers, -rate and the messages in the time of -for are at least 1")
	}
	if err := enoughFiles(uint64(2*b.subscribers) + 200); err != nil {
		return err
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	g, err := runGoapi(ctx, l, anyCore, address, "--mount", "/broker=broker", "--publish", "ticks", "--subscribe", "ticks")
	if err != nil {
		return err
	}
	m, err := b.measure(ctx, g.process, address, "/broker?topic=ticks")
	if err != nil {
		return err
	}
	b.print(out, m)
	return nil
}

// messages returns how many are published.
func (b *fanoutBench) messages() int { return int(b.duration.Seconds() * float64(b.rate)) }

// fanout is what was measured.
type fanout struct {
	took            []time.Duration // from before the request that published to the client's read
	server, clients float64         // cores that were busy
}

// measure opens the streams, publishes, and waits until all clients have all
// messages.
func (b *fanoutBench) measure(ctx context.Context, server *process, address, path string) (*fanout, error) {
	ctx, cancel := context.WithTimeout(ctx, b.duration+2*readyWithin)
	defer cancel()
	streams, err := b.open(ctx, address, path)
	defer closeAll(streams)
	if err != nil {
		return nil, err
	}
	programs := &process{name: "bench", pid: os.Getpid()}
	before, err := cpuOf(server, programs)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { closeAll(streams) }) // one that fails ends all
	for _, s := range streams {
		group.Go(func() error { return s.read(b.messages()) })
	}
	group.Go(func() error { return b.publish(ctx, address, path) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	after, err := cpuOf(server, programs)
	if err != nil {
		return nil, err
	}
	cores := func(i int) float64 { return (after[i] - before[i]).Seconds() / elapsed.Seconds() }
	m := &fanout{server: cores(0), clients: cores(1)}
	for _, s := range streams {
		m.took = append(m.took, s.took...)
	}
	return m, nil
}

// open opens the streams, some at a time.
func (b *fanoutBench) open(ctx context.Context, address, path string) ([]*stream, error) {
	streams := make([]*stream, b.subscribers)
	var group errgroup.Group
	group.SetLimit(hands)
	for i := range streams {
		group.Go(func() error {
			var err error
			streams[i], err = openStream(ctx, address, path)
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(streams, func(s *stream) bool { return s == nil }), err
}

func closeAll(streams []*stream) {
	for _, s := range streams {
		_ = s.conn.Close() // the measurement is over
	}
}

// publish publishes messages on schedule. Each begins with the time.
func (b *fanoutBench) publish(ctx context.Context, address, path string) error {
	rest := strings.Repeat("x", 200)
	publish, done, err := posting(ctx, address, path, "text/plain", 1, func(int, int) string {
		return strconv.FormatInt(time.Now().UnixNano(), 10) + " " + rest
	})
	if err != nil {
		return err
	}
	defer done()
	tick := time.NewTicker(time.Second / time.Duration(b.rate))
	defer tick.Stop()
	for range b.messages() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := publish[0](); err != nil {
			return err
		}
	}
	return nil
}

// A stream is a client that gets server-sent events. It takes from them only
// what it must: the clients have the cores of the gateway.
type stream struct {
	conn net.Conn
	rest []byte // what was read with the head
	took []time.Duration
}

// openStream opens a stream whose data are the bodies of messages.
func openStream(ctx context.Context, address, path string) (*stream, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "GET %s&format=raw HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, address); err != nil {
		_ = conn.Close() // the error above says more
		return nil, err
	}
	in := bufio.NewReader(conn)
	rsp, err := http.ReadResponse(in, nil) //nolint:bodyclose // its body is the connection
	if err == nil && rsp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, rsp.Status)
	}
	if err != nil {
		_ = conn.Close() // the error above says more
		return nil, err
	}
	rest, err := in.Peek(in.Buffered())
	return &stream{conn: conn, rest: rest}, err
}

// read takes n messages.
func (s *stream) read(n int) error {
	buf := make([]byte, 32<<10)
	have := copy(buf, s.rest)
	for {
		taken, err := s.take(buf[:have], time.Now())
		if err != nil {
			return err
		}
		if len(s.took) == n {
			return nil
		}
		have = copy(buf, buf[taken:have])
		more, err := s.conn.Read(buf[have:])
		if err != nil {
			return fmt.Errorf("a stream ended after %d of %d messages: %w", len(s.took), n, err)
		}
		have += more
	}
}

// take notes the messages in what was read, and returns how much of that is
// dealt with. The gateway writes each event in one piece, so that the sizes of
// HTTP's chunks are between events.
func (s *stream) take(b []byte, now time.Time) (taken int, err error) {
	const mark, digits = "data: ", 19 // of nanoseconds since 1970, for 260 years
	for {
		i := bytes.Index(b[taken:], []byte(mark))
		if i < 0 {
			return max(taken, len(b)-len(mark)), nil // it may have begun
		}
		begin := taken + i + len(mark)
		if len(b) < begin+digits {
			return taken + i, nil
		}
		sent, err := strconv.ParseInt(string(b[begin:begin+digits]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("event %.200q begins with no time: %w", b[taken+i:], err)
		}
		s.took = append(s.took, now.Sub(time.Unix(0, sent)))
		taken = begin + digits
	}
}

// print writes the table.
func (b *fanoutBench) print(out io.Writer, m *fanout) {
	fmt.Fprintf(out, "\nFan-out of a topic on JetStream: %d clients, %d messages a second for %v, %s\n\n", b.subscribers, b.rate, b.duration, machine())
	fmt.Fprintln(out, "| from publish to read, ms | median | p99 | most | gateway, cores | clients, cores |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|")
	slices.Sort(m.took)
	ms := func(q float64) float64 { return float64(quantile(m.took, q).Microseconds()) / 1e3 }
	fmt.Fprintf(out, "| %d messages | %.1f | %.1f | %.1f | %.2f | %.2f |\n", len(m.took), ms(0.5), ms(0.99), ms(1), m.server, m.clients)
}
