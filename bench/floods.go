package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A floodBench measures what one client does to others that sends frames of HTTP/2
// as fast as it can.
type floodBench struct {
	rate   int
	length time.Duration
}

func (b *floodBench) flags(f *flag.FlagSet) {
	f.IntVar(&b.rate, "honest", 200, "requests a second of the other clients")
	f.DurationVar(&b.length, "flood", 2*time.Second, "how long each flood takes, and what it is compared with")
}

const (
	// mostGrown, in MiB, and mostStreams are what a flood may cost in memory and at
	// the service; mostSlower is how often the others' p99 may be what it was.
	mostGrown   = 64
	mostStreams = 250
	mostSlower  = 2
)

func (b *floodBench) run(ctx context.Context, out io.Writer) (err error) {
	if b.rate < 1 || b.length < 100*time.Millisecond {
		return errors.New("-honest is at least 1, -flood at least 100ms")
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
	g, err := runGoapi(ctx, l, anyCore, address)
	if err != nil {
		return err
	}
	var working flooded
	service := httptest.NewServer(&working)
	defer service.Close()
	if err := g.register(ctx, newService("flooded", service.Listener.Addr().String(), "http", "/**")); err != nil {
		return err
	}
	f := &flooding{bench: b, gateway: g, working: &working, address: address}
	f.others = &asker{url: "http://" + address + "/other", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	defer f.others.client.CloseIdleConnections()
	if err := g.await(ctx, f.others.url); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nFloods: %v each, beside %d requests/s of others, %s\n\n", b.length, b.rate, machine())
	fmt.Fprintln(out, "| one client sends | connections | p99 of others, ms | without | × | at most | memory, MiB | at most | streams at the service | at most |")
	fmt.Fprintln(out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, again := range []bool{false, true} {
		for _, kind := range floodKinds() {
			if err := f.measure(ctx, out, kind.name, again); err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
		}
	}
	return nil
}

// flooded is the service: it works on streams of a flood until they are given up,
// and counts them.
type flooded struct{ now, most atomic.Int64 }

// ServeHTTP implements http.Handler.
func (f *flooded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/other" {
		_, _ = io.WriteString(w, "answer") // a client that is gone shows by itself
		return
	}
	n := f.now.Add(1)
	defer f.now.Add(-1)
	for most := f.most.Load(); n > most && !f.most.CompareAndSwap(most, n); most = f.most.Load() {
	}
	_, _ = io.Copy(io.Discard, r.Body) // as above
	_ = sleep(r.Context(), time.Second)
}

// flooding is a gateway that is flooded.
type flooding struct {
	bench   *floodBench
	gateway *gateway
	working *flooded
	address string
	others  *asker
}

// measure writes the row of a flood, on one connection or again and again. In the
// latter case it goes elsewhere first, where nobody answers: so both times the
// machine has as much to do.
func (f *flooding) measure(ctx context.Context, out io.Writer, kind string, again bool) error {
	sink, err := drain(ctx)
	if err != nil {
		return err
	}
	defer sink.Close()
	elsewhere, name, most := sink.Addr().String(), kind+", again and again", ""
	if !again {
		elsewhere, name, most = "", kind, strconv.Itoa(mostSlower)
	}
	without, _, err := f.flood(ctx, kind, elsewhere, again)
	if err != nil {
		return err
	}
	before, err := f.gateway.memory()
	if err != nil {
		return err
	}
	if err := f.gateway.resetPeak(); err != nil {
		return err
	}
	f.working.most.Store(0)
	with, told, err := f.flood(ctx, kind, f.address, again)
	if err != nil {
		return err
	}
	peak, err := f.gateway.peak()
	if err != nil {
		return err
	}
	ms := func(took []time.Duration) float64 { return float64(quantile(took, 0.99).Microseconds()) / 1e3 }
	fmt.Fprintf(out, "| %s | %d | %.2f | %.2f | %.2f | %s | %.1f | %d | %d | %d |\n", name, told.Connections,
		ms(with), ms(without), ms(with)/ms(without), most,
		(peak-before.resident)/1024, mostGrown, f.working.most.Load(), mostStreams)
	return nil
}

// flood has another process flood an address, if that is not empty, and others make
// requests of the gateway meanwhile.
func (f *flooding) flood(ctx context.Context, kind, address string, again bool) (took []time.Duration, told floodTold, err error) {
	m := new(overload)
	if address == "" {
		return m.answers(f.others.open(ctx, float64(f.bench.rate), f.bench.length, m), told)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, told, err
	}
	cmd := exec.CommandContext(ctx, self, floodCommand, "-kind", kind, "-address", address, "-for", f.bench.length.String(), "-again="+strconv.FormatBool(again))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var said, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complaints
	if err := cmd.Start(); err != nil {
		return nil, told, err
	}
	loaded := f.others.open(ctx, float64(f.bench.rate), f.bench.length, m)
	if err := cmd.Wait(); err != nil {
		return nil, told, fmt.Errorf("%w: %s", err, complaints.Bytes())
	}
	if err := json.Unmarshal(said.Bytes(), &told); err != nil {
		return nil, told, err
	}
	return m.answers(loaded, told)
}

// answers returns the latencies of requests that must all be answered.
func (m *overload) answers(err error, told floodTold) ([]time.Duration, floodTold, error) {
	if n := len(m.failed.list) + len(m.refused.list); err == nil && n > 0 {
		err = fmt.Errorf("%d requests of others failed", n)
	}
	return m.answered.list, told, err
}

// drain returns a listener that reads what comes, and answers nothing.
func drain(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(io.Discard, c) // the client ends it
			}()
		}
	}()
	return l, nil
}

// floodCommand is the subcommand that floods; floods calls it.
const floodCommand = "flood"

// floodTold is what it tells.
type floodTold struct{ Connections int }

// floodFrom is where floods come from: another address than the others'.
const floodFrom = "127.0.0.2"

// serveFlood floods an address, on one connection after the other.
func serveFlood(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench "+floodCommand, flag.ContinueOnError)
	name := flags.String("kind", "PING", "what to send")
	address := flags.String("address", "127.0.0.1:8080", "where to send it")
	length := flags.Duration("for", 3*time.Second, "how long")
	again := flags.Bool("again", false, "begin again when the connection is closed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	var told floodTold
	for _, kind := range floodKinds() {
		for kind.name == *name && ctx.Err() == nil && (*again || told.Connections == 0) {
			told.Connections++
			if err := kind.flood(ctx, *address); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(out).Encode(told)
}

// A floodKind is frames that follow each other.
type floodKind struct {
	name string
	next func(f *http2.Framer, header []byte, n uint32) error // the frames of a turn
}

func floodKinds() []floodKind {
	open := func(f *http2.Framer, header []byte, id uint32, ends bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: header, EndHeaders: true, EndStream: ends})
	}
	return []floodKind{
		{"rapid reset", func(f *http2.Framer, header []byte, n uint32) error {
			return errors.Join(open(f, header, 2*n+1, true), f.WriteRSTStream(2*n+1, http2.ErrCodeCancel))
		}},
		{"CONTINUATION", func(f *http2.Framer, header []byte, n uint32) error {
			if n == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header})
			}
			return f.WriteContinuation(1, false, nil)
		}},
		{"PING", func(f *http2.Framer, _ []byte, _ uint32) error { return f.WritePing(false, [8]byte{}) }},
		{"SETTINGS", func(f *http2.Framer, _ []byte, n uint32) error {
			return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<16 + n%2})
		}},
		{"empty DATA", func(f *http2.Framer, header []byte, n uint32) error {
			if n == 0 {
				return open(f, header, 1, false)
			}
			return f.WriteData(1, false, nil)
		}},
	}
}

// flood sends frames on one connection until that is closed, or ctx is done.
func (k *floodKind) flood(ctx context.Context, address string) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(floodFrom)}}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) { // which the dialer may see a moment before
			return nil // the time is over
		}
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	go func() { _, _ = io.Copy(io.Discard, c) }() // until it is closed
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "bench"}, {":path", "/flood"}} {
		if err := enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(c, 16<<10)
	framer := http2.NewFramer(w, nil)
	if _, err := w.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	for n := range uint32(1<<30 - 1) {
		if k.next(framer, block.Bytes(), n) != nil {
			return nil // the connection was closed, which is what it takes
		}
	}
	return w.Flush()
}
