package server_test

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/goapi-dev/goapi/server"
)

// TestHeaderThatNeverEnds has clients of HTTP/2 begin a header, on a connection
// that may be idle for longer.
func TestHeaderThatNeverEnds(t *testing.T) {
	const timeout = 100 * time.Millisecond
	more := func(c *http2Conn) error { return c.framer.WriteContinuation(3, false, nil) }
	pong := func(c *http2Conn) error { return c.framer.WritePing(true, [8]byte{}) }
	nothing := func(*http2Conn) error { return nil }
	tests := []struct {
		name string
		send func(*http2Conn) error // again and again
		ping func(*http2Conn) error // when the server asks
	}{
		{"and is silent", nothing, nothing},
		{"and answers pings", nothing, pong},
		{"and sends empty frames", more, nothing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			s, _, _ := start(t, h, &server.Options{HeaderTimeout: timeout, Drain: time.Millisecond})
			c := dialHTTP2(t, s)
			c.headers(t, 1, true) // so that it is not idle
			if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3}); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			ended := make(chan struct{})
			go func() { // what c.framer writes is written here, but for the pings
				for tt.send(c) == nil {
					select {
					case <-ended:
						return
					case <-time.After(time.Millisecond):
					}
				}
			}()
			defer close(ended)
			for {
				f, err := c.next()
				if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
					_ = tt.ping(c) // a connection that is closed is what is waited for
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the connection is still open")
				}
				if err != nil {
					break
				}
			}
			if took := time.Since(began); took < timeout/2 {
				t.Errorf("the connection was closed after %s, want it open for %s", took, timeout)
			}
		})
	}
}

// TestSilentStream waits on a stream for longer than a header may take: the
// client is there, and says so.
func TestSilentStream(t *testing.T) {
	const timeout = 250 * time.Millisecond
	ready := make(chan struct{})
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ready })
	s, _, _ := start(t, h, &server.Options{HeaderTimeout: timeout})
	time.AfterFunc(3*timeout, func() { close(ready) })
	rsp, err := client(t, unencrypted(), nil).Do(request(t, "http://"+s.Addr().String(), nil))
	if err != nil {
		t.Fatalf("an answer that takes its time: %v", err)
	}
	rsp.Body.Close()
}
