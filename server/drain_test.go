package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/server"
)

// TestLogOfTheDrain ends a server that has a request of HTTP/1.1, two of HTTP/2
// on one connection, a connection that was hijacked and one that is idle.
func TestLogOfTheDrain(t *testing.T) {
	const left = "requests=4 connections=4"
	tests := []struct {
		name  string
		drain time.Duration
		ends  bool // what is in flight ends by itself
		last  []string
	}{
		{"that suffices", 30 * time.Second, true, []string{"level=INFO", "msg=drained", "after="}},
		{"that does not", time.Millisecond, false, []string{"level=WARN", "requests cut off", "requests=4 connections=", "drain=1ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := &firstLine{written: make(chan struct{})}
			arrived, release := make(chan struct{}), make(chan struct{})
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/idle" {
					return
				}
				if r.URL.Path == "/hijack" {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
				}
				arrived <- struct{}{}
				<-release
			})
			s, stop, done := start(t, h, &server.Options{Drain: tt.drain, Logger: slog.New(slog.NewTextHandler(out, nil))})
			address := s.Addr().String()
			idle := dial(t, address)
			fmt.Fprint(idle, "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := idle.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"/", "/hijack"} {
				fmt.Fprintf(dial(t, address), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
				<-arrived
			}
			c := dialHTTP2(t, s)
			ended := drained(t, c)
			for _, id := range []uint32{1, 3} {
				c.headers(t, id, true)
				<-arrived
			}
			stop()
			<-out.written
			if tt.ends {
				close(release)
			}
			if err := <-done; err != nil {
				t.Errorf("Run = %v, want nil", err)
			}
			if !tt.ends {
				close(release)
			}
			<-ended
			first, rest, _ := strings.Cut(out.String(), "\n")
			for _, want := range []string{"level=INFO", "msg=draining", "address=" + address, left, "drain=" + tt.drain.String()} {
				if !strings.Contains(first, want) {
					t.Errorf("the log begins with %q, want %q in it", first, want)
				}
			}
			for _, want := range append(tt.last, "address="+address) {
				if !strings.Contains(rest, want) {
					t.Errorf("the log ends with %q, want %q in it", rest, want)
				}
			}
		})
	}
}

// firstLine is a buffer for a log, of which the first line is waited for.
type firstLine struct {
	syncBuffer

	once    sync.Once
	written chan struct{}
}

func (s *firstLine) Write(p []byte) (int, error) {
	defer s.once.Do(func() { close(s.written) })
	return s.syncBuffer.Write(p)
}

// TestLogOfAnIdleDrain ends a server whose connections are gone.
func TestLogOfAnIdleDrain(t *testing.T) {
	var out syncBuffer
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") })
	s, stop, done := start(t, h, &server.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if got := get(t, "http://"+s.Addr().String()); got != "answer" {
		t.Errorf("answer = %q, want %q", got, "answer")
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if !strings.Contains(out.String(), "msg=draining") || !strings.Contains(out.String(), "msg=drained") {
		t.Errorf("log = %q, want the begin and the end of the drain", out.String())
	}
}
