package server_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/goapi-dev/goapi/server"
)

// streams is what the connections of these tests may have at a time.
const streams = 10

// TestTooManyResets ends streams one after the other before they are answered, so
// that never more than one handler runs.
func TestTooManyResets(t *testing.T) {
	certificate, roots := certificates(t)
	reset := func(c *http2Conn, id uint32) error { return c.framer.WriteRSTStream(id, http2.ErrCodeCancel) }
	breakRule := func(c *http2Conn, id uint32) error {
		c.framer.AllowIllegalWrites = true
		return c.framer.WriteWindowUpdate(id, 0)
	}
	tests := []struct {
		name string
		tls  bool
		late bool // the handler answers a stream that is gone
		end  func(c *http2Conn, id uint32) error
	}{
		{"in clear text", false, false, reset},
		{"over TLS", true, false, reset},
		{"answered too late", false, true, reset},
		{"that the server was made to send", false, false, breakRule},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arrived, left := make(chan struct{}), make(chan struct{})
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case arrived <- struct{}{}:
				case <-r.Context().Done(): // with the connection
					return
				}
				<-r.Context().Done()
				if tt.late {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				left <- struct{}{}
			})
			var out syncBuffer
			opts := &server.Options{MaxStreams: streams, Logger: slog.New(slog.NewTextHandler(&out, nil))}
			if tt.tls {
				opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
			}
			s, _, _ := start(t, h, opts)
			conn := dial(t, s.Addr().String())
			if tt.tls {
				conn = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
			}
			c := speakHTTP2(t, conn)
			ended := drained(t, c)
			n := 0
			for open := true; open && n < 100*streams; {
				id := uint32(2*n + 1)
				if c.open(id, true) != nil {
					break
				}
				select {
				case <-arrived:
					n++
					_ = tt.end(c, id) // a connection that is closed ends the loop
					<-left
				case <-ended:
					open = false
				}
			}
			if n <= streams || n == 100*streams { // it may take a while until the client sees it
				t.Errorf("%d streams were reset until the connection was closed, want little more than %d", n, streams)
			}
			if got := strings.Count(out.String(), "reset too many requests"); got != 1 {
				t.Errorf("log = %q, want one line of why the connection was closed", out.String())
			}
		})
	}
}

// TestResetsWithin ends streams as a client may.
func TestResetsWithin(t *testing.T) {
	tests := []struct {
		name     string
		answered bool
		n        int
	}{
		{"few of them", false, streams},
		{"of answers that have begun", true, 20 * streams},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arrived, left := make(chan struct{}), make(chan struct{})
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.answered {
					_ = http.NewResponseController(w).Flush()
				}
				arrived <- struct{}{}
				<-r.Context().Done()
				left <- struct{}{}
			})
			s, _, _ := start(t, h, &server.Options{MaxStreams: streams})
			c := dialHTTP2(t, s)
			for i := range tt.n + 1 {
				id := uint32(2*i + 1)
				c.headers(t, id, true)
				<-arrived
				for answered := !tt.answered; !answered; {
					_, answered = c.read(t).(*http2.MetaHeadersFrame)
				}
				if i == tt.n {
					c.conn.Close() // the last one was served, and ends with it
				} else if err := c.framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
					t.Fatalf("the connection was closed after %d streams that were reset: %v", i, err)
				}
				<-left
			}
		})
	}
}

// drained reads what the server sends until the connection ends.
func drained(t *testing.T, c *http2Conn) <-chan struct{} {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_, err := c.next()
			if errors.As(err, new(http2.StreamError)) {
				continue
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { c.conn.Close(); <-ended })
	return ended
}
