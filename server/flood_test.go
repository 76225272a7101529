package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/goapi-dev/goapi/server"
)

// floods are what clients send as fast as they can, on a connection where stream
// 1 waits for its answer, and takes a body.
var floods = []struct {
	name string
	next func(c *http2Conn, n uint32) error
}{
	{"rapid reset", func(c *http2Conn, n uint32) error {
		if err := c.open(2*n+3, true); err != nil {
			return err
		}
		return c.framer.WriteRSTStream(2*n+3, http2.ErrCodeCancel)
	}},
	{"CONTINUATION", func(c *http2Conn, n uint32) error {
		if n == 0 {
			return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3})
		}
		return c.framer.WriteContinuation(3, false, nil)
	}},
	{"CONTINUATION with a field", func(c *http2Conn, n uint32) error {
		if n == 0 {
			return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3})
		}
		return c.framer.WriteContinuation(3, false, []byte("\x00\x01a\x01b"))
	}},
	{"PING", func(c *http2Conn, _ uint32) error { return c.framer.WritePing(false, [8]byte{}) }},
	{"PING that answers nothing", func(c *http2Conn, _ uint32) error { return c.framer.WritePing(true, [8]byte{}) }},
	{"SETTINGS", func(c *http2Conn, _ uint32) error { return c.framer.WriteSettings() }},
	{"SETTINGS that change", func(c *http2Conn, n uint32) error {
		return c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<16 + n%2})
	}},
	{"empty DATA", func(c *http2Conn, _ uint32) error { return c.framer.WriteData(1, false, nil) }},
	{"DATA that is padding", func(c *http2Conn, _ uint32) error {
		return c.framer.WriteDataPadded(1, false, nil, make([]byte, 16))
	}},
	{"PRIORITY", func(c *http2Conn, n uint32) error {
		return c.framer.WritePriority(2*n+1, http2.PriorityParam{StreamDep: 0, Weight: byte(n)})
	}},
	{"WINDOW_UPDATE", func(c *http2Conn, _ uint32) error { return c.framer.WriteWindowUpdate(0, 1) }},
	{"WINDOW_UPDATE of a stream", func(c *http2Conn, _ uint32) error { return c.framer.WriteWindowUpdate(1, 1) }},
	{"frames that nobody knows", func(c *http2Conn, _ uint32) error { return c.framer.WriteRawFrame(0xf7, 0, 0, nil) }},
	{"more streams than there may be", func(c *http2Conn, n uint32) error { return c.open(2*n+3, true) }},
}

// TestFloods sends what asks for nothing, again and again on new connections,
// while another client wants its answers.
func TestFloods(t *testing.T) {
	for _, flood := range floods {
		for _, over := range []string{"clear text", "TLS"} {
			t.Run(flood.name+" in "+over, func(t *testing.T) {
				certificate, roots := certificates(t)
				var out syncBuffer
				opts := &server.Options{Drain: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&out, nil))}
				protocols := unencrypted()
				scheme := "http://"
				if over == "TLS" {
					opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
					scheme = "https://"
					protocols.SetHTTP2(true)
				}
				var runs, worst atomic.Int64
				s, _, _ := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/other" {
						_, _ = io.WriteString(w, "answer")
						return
					}
					if n := runs.Add(1); n > worst.Load() {
						worst.Store(n)
					}
					defer runs.Add(-1)
					<-r.Context().Done()
				}), opts)
				other := client(t, protocols, roots)
				before := heap()
				for range 3 {
					conn := dial(t, s.Addr().String())
					if over == "TLS" {
						conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
					}
					sent := floodWith(t, conn, flood.next)
					if sent > 1_000_000 { // what sockets hold is sent as well
						t.Errorf("%d frames were sent until the connection was closed, want few", sent)
					}
					rsp, err := other.Do(request(t, scheme+s.Addr().String()+"/other", nil))
					if err != nil {
						t.Fatalf("another client: %v", err)
					}
					if b, _ := io.ReadAll(rsp.Body); string(b) != "answer" {
						t.Errorf("answer to another client = %q", b)
					}
					rsp.Body.Close()
				}
				if grown := heap() - before; grown > 16<<20 {
					t.Errorf("the heap grew by %d KiB, want little", grown>>10)
				}
				if n := worst.Load(); n > 3*250 {
					t.Errorf("%d handlers ran at once, want at most 250 for a connection", n)
				}
				if strings.Contains(out.String(), "level=ERROR") {
					t.Errorf("log = %q, want no error", out.String())
				}
			})
		}
	}
}

// floodWith sends frames until the connection is closed, and returns how many.
func floodWith(t *testing.T, conn net.Conn, next func(*http2Conn, uint32) error) (sent uint32) {
	t.Helper()
	c := speakHTTP2(t, conn)
	c.framer.AllowIllegalWrites = true
	c.headers(t, 1, false)
	ended := drained(t, c)
	for ; sent < 5_000_000; sent++ {
		if next(c, sent) != nil {
			break
		}
	}
	<-ended
	return sent
}

// heap returns what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestFloodsBesideOthers has a client that is there at the same time as floods,
// from the same address: it is answered, and keeps its connection. What that
// costs it is measured in bench.
func TestFloodsBesideOthers(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			_, _ = io.WriteString(w, "answer")
			return
		}
		<-r.Context().Done()
	})
	s, _, _ := start(t, h, &server.Options{Drain: time.Millisecond})
	other := client(t, unencrypted(), nil)
	var dials atomic.Int64
	other.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	ask := func() error {
		rsp, err := other.Do(request(t, "http://"+s.Addr().String()+"/other", nil))
		if err != nil {
			return err
		}
		defer rsp.Body.Close()
		if b, err := io.ReadAll(rsp.Body); string(b) != "answer" {
			return fmt.Errorf("answer = %q, %w", b, err)
		}
		return nil
	}
	if err := ask(); err != nil {
		t.Fatalf("before the floods: %v", err)
	}
	over, failed := make(chan struct{}), make(chan error, 1)
	go func() { // ends with the floods
		for {
			select {
			case <-over:
				failed <- ask()
				return
			default:
			}
			if err := ask(); err != nil {
				failed <- err
				return
			}
		}
	}()
	for _, flood := range floods {
		floodWith(t, dial(t, s.Addr().String()), flood.next)
	}
	close(over)
	if err := <-failed; err != nil {
		t.Errorf("beside floods: %v", err)
	}
	if got := dials.Load(); got != 1 {
		t.Errorf("the other client made %d connections, want 1 that it keeps", got)
	}
}

// TestWhoComesBack floods again on a new connection, from an address that is
// remembered for it or not.
func TestWhoComesBack(t *testing.T) {
	const (
		rate   = 1000       // what a client may send in a second, and begins with
		hello  = 50         // what it may send besides
		doubt  = rate / 10  // what it begins with whose address is remembered
		closed = 100 * rate // pings until which a connection has to be closed
	)
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, exempt := range []bool{false, true} {
		t.Run(fmt.Sprint("exempt ", exempt), func(t *testing.T) {
			opts := &server.Options{}
			if exempt {
				opts.Exempt = local
			}
			s, _, _ := start(t, http.NotFoundHandler(), opts)
			// What was answered says little on a machine that was slow: then a client
			// may send more, the longer it takes.
			answered, took := pings(t, s, closed)
			if answered < rate {
				t.Errorf("%d pings were answered, want %d at least", answered, rate)
			}
			if most := rate + hello + int(rate*took.Seconds()); answered > most {
				t.Errorf("%d pings were answered in %s, want %d at most", answered, took, most)
			}
			answered, took = pings(t, s, closed)
			if exempt && answered < rate {
				t.Errorf("%d pings were answered on the next connection, want %d at least", answered, rate)
			}
			if most := doubt + hello + int(rate*took.Seconds()); !exempt && answered > most {
				t.Errorf("%d pings were answered in %s on the next connection, want %d at most", answered, took, most)
			}
			if got := s.Stats().Floods; got != 2 {
				t.Errorf("Stats has %d floods, want 2", got)
			}
		})
	}
}

// pings sends pings, a few at a time, until the connection is closed, and returns
// how many were answered, and how long the connection was there. A client that waits
// for the answers knows how many were read.
func pings(t *testing.T, s *server.Server, most int) (answered int, took time.Duration) {
	t.Helper()
	const few = 40
	began := time.Now()
	defer func() { took = time.Since(began) }()
	var batch bytes.Buffer
	for f := http2.NewFramer(&batch, nil); batch.Len() < few*(9+8); {
		if err := f.WritePing(false, [8]byte{}); err != nil {
			t.Fatal(err)
		}
	}
	c := dialHTTP2(t, s)
	for answered < most {
		if _, err := c.conn.Write(batch.Bytes()); err != nil {
			return answered, 0
		}
		for n := 0; n < few; {
			f, err := c.next()
			if err != nil {
				return answered, 0
			}
			if _, ok := f.(*http2.PingFrame); ok {
				n++
				answered++
			}
		}
	}
	t.Errorf("the connection is still open after %d pings", answered)
	return answered, 0
}

// TestHonestFrames has a client send what honest ones do: two updates of the
// window and a ping for each frame that it gets, for many of them, and a ping for
// each of many answers.
func TestHonestFrames(t *testing.T) {
	const size = 8 << 20
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && r.Header.Get("X-Small") != "" {
			return
		}
		part := make([]byte, 512)
		for range size / len(part) {
			if _, err := w.Write(part); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	})
	s, _, _ := start(t, h, nil)
	patient := func(t *testing.T) *http2Conn {
		t.Helper()
		c := dialHTTP2(t, s)
		_ = c.conn.SetDeadline(time.Now().Add(time.Minute)) // so many frames take a busy machine a while
		return c
	}
	t.Run("of a long answer", func(t *testing.T) {
		c := patient(t)
		c.headers(t, 1, true)
		got, pings := 0, 0
		for got < size {
			f := c.read(t)
			d, ok := f.(*http2.DataFrame)
			if !ok {
				continue
			}
			got += len(d.Data())
			if n := d.Length; n > 0 {
				if c.framer.WriteWindowUpdate(0, n) != nil || c.framer.WriteWindowUpdate(1, n) != nil || c.framer.WritePing(false, [8]byte{1}) != nil {
					t.Fatalf("the connection was closed after %d bytes", got)
				}
				pings++
			}
		}
		if pings < 10_000 {
			t.Errorf("%d pings were sent, want a flood's worth", pings)
		}
	})
	t.Run("of many answers", func(t *testing.T) {
		c := patient(t)
		for i := range uint32(5000) {
			id := 2*i + 1
			c.headers(t, id, true, "x-small", "1")
			for {
				f := c.read(t)
				if f.Header().StreamID == id && f.Header().Flags.Has(http2.FlagHeadersEndStream) {
					break
				}
			}
			for range 5 {
				if err := c.framer.WritePing(false, [8]byte{2}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
