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
	"os"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// A publishBench measures what it costs to publish over HTTP, beside a Go
// program that publishes straight to the same server.
type publishBench struct {
	publishers int
	size       int
	rounds     int
	turn       time.Duration
}

func (b *publishBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.publishers, "publishers", 32, "who publish at the same time, one message after the other")
	f.IntVar(&b.size, "body", 256, "bytes of a body")
	f.IntVar(&b.rounds, "turns", 5, "rounds, in each of which every way to publish has its turn")
	f.DurationVar(&b.turn, "turn", 3*time.Second, "how long a turn takes")
}

func (b *publishBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.publishers < 1 || b.size < 2 || b.rounds < 1 || b.turn < time.Millisecond {
		return errors.New("-publishers and -turns are at least 1, -body at least 2, -turn at least 1ms")
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
	bus, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	g, err := runGoapi(ctx, l, anyCore, address, "--nats", bus, "--publish", "**",
		"--mount", "/events=event", "--mount", "/cloudevents=cloudevents", "--mount", "/broker=broker")
	if err != nil {
		return err
	}
	ways := b.ways(address, bus)
	if err := b.measure(ctx, g.process, ways); err != nil {
		return err
	}
	b.print(out, ways)
	return nil
}

// A publishWay is how one publishes, and what was measured of it.
type publishWay struct {
	name string
	// open returns what publishes, one function for each publisher, and returns
	// when the broker has the message.
	open func(ctx context.Context, publishers int) (publish []func() error, done func(), err error)

	rate             []float64 // messages a second
	server, programs []float64 // CPU µs a message: of the gateway, and of who publishes
}

// ways returns what is measured. The first is what the others are compared
// with.
func (b *publishBench) ways(address, bus string) []*publishWay {
	body := `"` + strings.Repeat("x", b.size-2) + `"`
	cloud := `{"specversion":"1.0","id":"%d-%d","source":"/bench","type":"bench","data":` + body + `}`
	post := func(path, contentType string) func(context.Context, int) ([]func() error, func(), error) {
		return func(ctx context.Context, n int) ([]func() error, func(), error) {
			return posting(ctx, address, path, contentType, n, func(int, int) string { return body })
		}
	}
	return []*publishWay{
		{name: "a Go program, straight to the server", open: func(ctx context.Context, n int) ([]func() error, func(), error) {
			return publishing(ctx, bus, "events.bench", []byte(body), n)
		}},
		{name: "event", open: post("/events/bench/made", "application/json")},
		{name: "cloudevents", open: func(ctx context.Context, n int) ([]func() error, func(), error) {
			era := time.Now().UnixNano() // so that no id comes twice
			return posting(ctx, address, "/cloudevents/bench", "application/cloudevents+json", n,
				func(publisher, i int) string { return fmt.Sprintf(cloud, era+int64(publisher), i) })
		}},
		{name: "broker", open: post("/broker?topic=bench", "application/json")},
	}
}

// publishing returns publishers that share a connection to the server, as the
// library does it.
func publishing(ctx context.Context, bus, subject string, body []byte, n int) ([]func() error, func(), error) {
	conn, err := natsgo.Connect("nats://" + bus)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	list := make([]func() error, n)
	for i := range list {
		list[i] = func() error {
			_, err := js.Publish(ctx, subject, body)
			return err
		}
	}
	return list, conn.Close, nil
}

// posting returns publishers that have a connection to the gateway each.
func posting(ctx context.Context, address, path, contentType string, n int, body func(publisher, i int) string) ([]func() error, func(), error) {
	var conns []net.Conn
	done := func() {
		for _, c := range conns {
			_ = c.Close() // nothing is left to be sent
		}
	}
	list := make([]func() error, n)
	for i := range list {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			done()
			return nil, nil, err
		}
		conns = append(conns, conn)
		p := &poster{conn: conn, in: bufio.NewReader(conn), head: fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n", path, address, contentType)}
		list[i] = func() error {
			p.sent++
			return p.post(body(i, p.sent))
		}
	}
	return list, done, nil
}

// A poster posts over one connection, for as little as it can: it is not what is
// measured.
type poster struct {
	conn    net.Conn
	in      *bufio.Reader
	head    string
	request []byte
	sent    int
}

// post sends a body, and reads the answer, which is to be 202.
func (p *poster) post(body string) error {
	p.request = fmt.Appendf(p.request[:0], "%sContent-Length: %d\r\n\r\n%s", p.head, len(body), body)
	if _, err := p.conn.Write(p.request); err != nil {
		return err
	}
	return readAccepted(p.in)
}

// readAccepted reads an answer of HTTP/1.1 whose length is in its head.
func readAccepted(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 202 ")) {
		rest, _ := in.Peek(in.Buffered()) // what there is of it
		return fmt.Errorf("answer %q %q", bytes.TrimSpace(status), rest)
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if _, err := fmt.Sscan(string(value), &length); err != nil {
				return fmt.Errorf("Content-Length %q: %w", value, err)
			}
		}
	}
	if length < 0 {
		return errors.New("the answer has no Content-Length")
	}
	_, err = in.Discard(length)
	return err
}

// measure gives each way its turns. A round before the first warms up.
func (b *publishBench) measure(ctx context.Context, server *process, ways []*publishWay) error {
	for round := range b.rounds + 1 {
		for _, w := range ways {
			if err := b.take(ctx, server, w, round > 0); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return nil
}

// take gives a way one turn, which counts or not.
func (b *publishBench) take(ctx context.Context, server *process, w *publishWay, counts bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	publish, done, err := w.open(ctx, b.publishers)
	if err != nil {
		return err
	}
	defer done()
	programs := &process{name: "bench", pid: os.Getpid()}
	before, err := cpuOf(server, programs)
	if err != nil {
		return err
	}
	start := time.Now()
	sent, err := together(ctx, publish, b.turn)
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := cpuOf(server, programs)
	if err != nil || !counts {
		return err
	}
	each := func(i int) float64 { return float64((after[i] - before[i]).Nanoseconds()) / 1e3 / float64(sent) }
	w.rate = append(w.rate, float64(sent)/took.Seconds())
	w.server, w.programs = append(w.server, each(0)), append(w.programs, each(1))
	return nil
}

// cpuOf returns the time that processes have had on a core.
func cpuOf(processes ...*process) ([]time.Duration, error) {
	var list []time.Duration
	for _, p := range processes {
		cpu, err := p.cpu()
		if err != nil {
			return nil, err
		}
		list = append(list, cpu)
	}
	return list, nil
}

// together has all publish one message after the other for a while, one at
// least, and returns how many they were.
func together(ctx context.Context, publish []func() error, turn time.Duration) (sent int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	counts := make([]int, len(publish))
	end := time.Now().Add(turn)
	for i, one := range publish {
		group.Go(func() error {
			for {
				if err := one(); err != nil {
					return err
				}
				counts[i]++
				if ctx.Err() != nil || !time.Now().Before(end) {
					return ctx.Err()
				}
			}
		})
	}
	err = group.Wait()
	for _, n := range counts {
		sent += n
	}
	return sent, err
}

// print writes the table: medians, and ratios taken within each round.
func (b *publishBench) print(out io.Writer, ways []*publishWay) {
	fmt.Fprintf(out, "\nPublishing on JetStream: %d publishers, %d bytes, %d turns of %v, %s\n\n", b.publishers, b.size, b.rounds, b.turn, machine())
	fmt.Fprintln(out, "| | messages/s | × straight | least–most | gateway and server, CPU µs each | publishers, CPU µs each |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|")
	for _, w := range ways {
		ratio := ratios(w.rate, ways[0].rate)
		fmt.Fprintf(out, "| %s | %.0f | %.2f | %.2f–%.2f | %.1f | %.1f |\n", w.name, median(w.rate),
			median(ratio), quantile(ratio, 0), quantile(ratio, 1), median(w.server), median(w.programs))
	}
}
