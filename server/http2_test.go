package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/goapi-dev/goapi/server"
)

func TestProtocols(t *testing.T) {
	certificate, roots := certificates(t)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+strconv.FormatBool(r.TLS != nil))
	})
	tests := []struct {
		name    string
		tls     bool
		client  func(*http.Protocols)
		want    string
		refused bool
	}{
		{"HTTP/1.1 in clear text", false, func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1 false", false},
		{"HTTP/2 in clear text", false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, "HTTP/2.0 false", false},
		{"HTTP/1.1 over TLS", true, func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1 true", false},
		{"HTTP/2 over TLS", true, func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) }, "HTTP/2.0 true", false},
		{"clear text to TLS", true, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts, scheme := &server.Options{}, "http://"
			if tt.tls {
				opts.TLS, scheme = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}, "https://"
			}
			s, _, _ := start(t, echo, opts)
			var protocols http.Protocols
			tt.client(&protocols)
			c := client(t, &protocols, roots)
			if tt.refused {
				scheme = "http://"
			}
			rsp, err := c.Do(request(t, scheme+s.Addr().String(), nil))
			if (err != nil) != tt.refused {
				t.Fatalf("Do error = %v, want one: %t", err, tt.refused)
			}
			if err != nil {
				return
			}
			defer rsp.Body.Close()
			if b, _ := io.ReadAll(rsp.Body); string(b) != tt.want {
				t.Errorf("answer = %q, want %q", b, tt.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{MaxStreams: 7, MaxHeader: 8 << 10})
	c := dialHTTP2(t, s)
	settings := map[http2.SettingID]uint32{}
	for len(settings) == 0 {
		if f, ok := c.read(t).(*http2.SettingsFrame); ok && !f.IsAck() {
			_ = f.ForeachSetting(func(s http2.Setting) error { settings[s.ID] = s.Val; return nil })
		}
	}
	for id, want := range map[http2.SettingID]uint32{
		http2.SettingMaxConcurrentStreams: 7,
		http2.SettingMaxFrameSize:         64 << 10,
		http2.SettingMaxHeaderListSize:    8<<10 + 320, // as net/http counts
		http2.SettingInitialWindowSize:    256 << 10,
	} {
		if got := settings[id]; got != want {
			t.Errorf("%v = %d, want %d", id, got, want)
		}
	}
}

func TestHeaderLimitOfHTTP2(t *testing.T) {
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{MaxHeader: 4 << 10})
	c := dialHTTP2(t, s)
	c.headers(t, 1, true, "x-a", strings.Repeat("a", 3<<10), "x-b", strings.Repeat("b", 3<<10))
	for {
		if f, ok := c.read(t).(*http2.MetaHeadersFrame); ok {
			if got := f.PseudoValue("status"); got != "431" {
				t.Errorf("status for 6 KiB of header = %s, want 431", got)
			}
			return
		}
	}
}

// TestRapidReset opens streams and resets them at once: each makes a handler
// run, of which there must not be more than streams.
func TestRapidReset(t *testing.T) {
	var (
		mu          sync.Mutex
		runs, worst int
	)
	release := make(chan struct{})
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		runs++
		worst = max(worst, runs)
		mu.Unlock()
		<-release
		mu.Lock()
		runs--
		mu.Unlock()
	})
	s, _, _ := start(t, h, &server.Options{MaxStreams: 5})
	t.Cleanup(func() { close(release) })
	c := dialHTTP2(t, s)
	go func() { // until the server has had enough
		for id := uint32(1); ; id += 2 {
			if c.open(id, true) != nil || c.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	for {
		f, err := c.next()
		if g, ok := f.(*http2.GoAwayFrame); ok {
			if g.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("GOAWAY = %v, want ENHANCE_YOUR_CALM", g.ErrCode)
			}
			break
		}
		if err != nil { // the goodbye was lost with the connection
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if worst > 5 {
		t.Errorf("%d handlers ran at once for one connection, want at most 5", worst)
	}
}

// TestBodiesOfStreams has a client send two bodies that never end, of which one
// is waited for.
func TestBodiesOfStreams(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/patient" {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		_, err := io.Copy(w, r.Body)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	const timeout = 100 * time.Millisecond
	s, _, _ := start(t, h, &server.Options{BodyTimeout: timeout})
	c := client(t, unencrypted(), nil)

	body, end := io.Pipe()
	patient, err := c.Do(request(t, "http://"+s.Addr().String()+"/patient", body))
	if err != nil {
		t.Fatal(err)
	}
	defer patient.Body.Close()

	never, stop := io.Pipe()
	defer stop.Close()
	rsp, err := c.Do(request(t, "http://"+s.Addr().String()+"/", never))
	if err != nil {
		t.Fatal(err)
	}
	rsp.Body.Close()
	if rsp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status for a body that never ends = %d, want 408", rsp.StatusCode)
	}

	if _, err := io.WriteString(end, "late"); err != nil { // after the timeout, on the same connection
		t.Fatal(err)
	}
	end.Close()
	if b, err := io.ReadAll(patient.Body); string(b) != "late" || err != nil {
		t.Errorf("answer on the patient stream = %q, %v; want what was sent late", b, err)
	}
}

// TestStreamThatIsNotRead writes to a stream whose client takes nothing, on a
// connection that it uses otherwise.
func TestStreamThatIsNotRead(t *testing.T) {
	failed := make(chan error, 1)
	answer := bytes.Repeat([]byte("x"), 1<<20)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			return
		}
		for {
			if _, err := w.Write(answer); err != nil {
				failed <- err
				return
			}
		}
	})
	s, _, _ := start(t, h, &server.Options{WriteTimeout: 100 * time.Millisecond})
	c := client(t, unencrypted(), nil)
	stuck, err := c.Do(request(t, "http://"+s.Addr().String()+"/stuck", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Body.Close()
	select {
	case <-failed:
	case <-time.After(10 * time.Second):
		t.Fatal("Write still waits for a client that does not read its stream")
	}
	rsp, err := c.Do(request(t, "http://"+s.Addr().String()+"/other", nil))
	if err != nil {
		t.Fatalf("another stream of the connection: %v", err)
	}
	rsp.Body.Close()
}

// TestRestThatIsNotRead leaves something to write when the handler has returned.
func TestRestThatIsNotRead(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "rest") })
	s, _, _ := start(t, h, &server.Options{WriteTimeout: 50 * time.Millisecond})
	c := dialHTTP2(t, s, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.headers(t, 1, true)
	for {
		switch f := c.read(t).(type) {
		case *http2.RSTStreamFrame:
			return
		case *http2.DataFrame:
			t.Fatalf("%d bytes came to a client that takes none", len(f.Data()))
		}
	}
}

// TestIdleHTTP2 has connections that do nothing, or never end the headers that
// they have begun.
func TestIdleHTTP2(t *testing.T) {
	for name, begun := range map[string]bool{"nothing": false, "half a header": true} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := start(t, http.NotFoundHandler(), &server.Options{IdleTimeout: 50 * time.Millisecond, Drain: time.Millisecond})
			c := dialHTTP2(t, s)
			if begun {
				if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true}); err != nil {
					t.Fatal(err)
				}
			}
			for {
				if _, err := c.next(); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection is still open")
				} else if err != nil {
					return
				}
			}
		})
	}
}

// TestStreamThatPauses writes twice, with more than the timeout between.
func TestStreamThatPauses(t *testing.T) {
	const timeout = 50 * time.Millisecond
	more := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_, _ = io.WriteString(w, "once ")
		if err := rc.Flush(); err != nil {
			t.Errorf("Flush = %v", err)
		}
		<-more
		_, _ = io.WriteString(w, "upon")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, " a time")
	})
	s, _, _ := start(t, h, &server.Options{WriteTimeout: timeout})
	rsp, err := client(t, unencrypted(), nil).Do(request(t, "http://"+s.Addr().String(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	time.AfterFunc(4*timeout, func() { close(more) })
	if b, err := io.ReadAll(rsp.Body); string(b) != "once upon a time" || err != nil {
		t.Errorf("answer = %q, %v; want it whole", b, err)
	}
}

// TestGoAway ends the server while a stream is served.
func TestGoAway(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "whole")
	})
	s, stop, done := start(t, h, nil)
	c := dialHTTP2(t, s)
	c.headers(t, 1, true)
	<-arrived
	stop()
	for {
		if f, ok := c.read(t).(*http2.GoAwayFrame); ok {
			if f.ErrCode != http2.ErrCodeNo {
				t.Errorf("GOAWAY = %v, want NO_ERROR", f.ErrCode)
			}
			break
		}
	}
	close(release)
	var answer string
	for {
		if f, ok := c.read(t).(*http2.DataFrame); ok {
			if answer += string(f.Data()); f.StreamEnded() {
				break
			}
		}
	}
	if answer != "whole" {
		t.Errorf("answer to the stream in flight = %q, want it whole", answer)
	}
	c.conn.Close()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestHijackedConnections(t *testing.T) {
	certificate, roots := certificates(t)
	tests := []struct {
		name  string
		drain time.Duration
		tls   bool
		ends  bool // the client ends the connection
	}{
		{"that ends", 10 * time.Second, false, true},
		{"that ends, over TLS", 10 * time.Second, true, true},
		{"that outlasts the drain", 50 * time.Millisecond, false, false},
		{"that outlasts the drain, over TLS", 50 * time.Millisecond, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			over := make(chan error, 1)
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "hello")
				_, err = rw.ReadByte()
				over <- err
			})
			opts := &server.Options{Drain: tt.drain}
			if tt.tls {
				opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
			}
			s, stop, done := start(t, h, opts)
			conn := dial(t, s.Addr().String())
			if tt.tls {
				conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
			}
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := io.ReadFull(conn, make([]byte, len("hello"))); err != nil {
				t.Fatal(err)
			}
			stop()
			awaitRefused(t, s.Addr().String())
			if tt.ends {
				select {
				case <-done:
					t.Error("Run ended before the connection")
				case <-over:
					t.Error("the connection ended before its client")
				case <-time.After(50 * time.Millisecond):
				}
				conn.Close()
			}
			if err := <-done; err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			if err := <-over; err == nil {
				t.Error("the handler read a byte, want the end of its connection")
			}
		})
	}
}

// http2Conn is a client that says what it wants to.
type http2Conn struct {
	conn   net.Conn
	framer *http2.Framer
	mu     sync.Mutex // guards the encoder, whose state goes over the wire
	block  bytes.Buffer
	hpack  *hpack.Encoder
}

func dialHTTP2(t *testing.T, s *server.Server, settings ...http2.Setting) *http2Conn {
	t.Helper()
	return speakHTTP2(t, dial(t, s.Addr().String()), settings...)
}

func speakHTTP2(t *testing.T, conn net.Conn, settings ...http2.Setting) *http2Conn {
	t.Helper()
	c := &http2Conn{conn: conn}
	_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	c.hpack = hpack.NewEncoder(&c.block)
	c.framer = http2.NewFramer(c.conn, c.conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, _ = io.WriteString(c.conn, http2.ClientPreface)
	if err := c.framer.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return c
}

// open sends the headers of a request.
func (c *http2Conn) open(id uint32, end bool, fields ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.block.Reset()
	fields = append([]string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/"}, fields...)
	for i := 0; i < len(fields); i += 2 {
		if err := c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			return err
		}
	}
	return c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.block.Bytes(), EndStream: end, EndHeaders: true,
	})
}

func (c *http2Conn) headers(t *testing.T, id uint32, end bool, fields ...string) {
	t.Helper()
	if err := c.open(id, end, fields...); err != nil {
		t.Fatal(err)
	}
}

func (c *http2Conn) next() (http2.Frame, error) { return c.framer.ReadFrame() }

// read returns the next frame.
func (c *http2Conn) read(t *testing.T) http2.Frame {
	t.Helper()
	f, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func unencrypted() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

func client(t *testing.T, p *http.Protocols, roots *x509.CertPool) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func request(t *testing.T, url string, body io.Reader) *http.Request {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// certificates returns the certificate of package httptest, and who trusts it.
func certificates(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.TLS.Certificates[0], roots
}
