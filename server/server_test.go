package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/server"
)

func TestListenOnATakenAddress(t *testing.T) {
	s, err := server.Listen(t.Context(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := server.Listen(t.Context(), s.Addr().String(), nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen on a taken address: error = %v, want EADDRINUSE", err)
	}
}

func TestRunLetsRequestsInFlightEnd(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		if err := r.Context().Err(); err != nil {
			t.Errorf("context of a request in flight = %v, want it alive", err)
		}
		_, _ = io.WriteString(w, "whole")
	})
	s, stop, done := start(t, h, nil)

	answer := make(chan string, 1)
	go func() { answer <- get(t, "http://"+s.Addr().String()) }()
	<-arrived
	stop()
	awaitRefused(t, s.Addr().String())
	close(release)
	if got := <-answer; got != "whole" {
		t.Errorf("answer to the request in flight = %q, want it whole", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestRunCutsOffWhatOutlastsTheDrain(t *testing.T) {
	arrived := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	s, stop, done := start(t, h, &server.Options{Drain: 10 * time.Millisecond})
	conn := dial(t, s.Addr().String())
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if b, err := io.ReadAll(conn); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection gave %q, %v; want it closed without an answer", b, err)
	}
}

func TestBodyThatNobodyReads(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") })
	s, _, _ := start(t, h, &server.Options{BodyTimeout: 50 * time.Millisecond})
	conn := dial(t, s.Addr().String())
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "answer") {
		t.Errorf("the connection gave %q, %v; want the answer, and its end", b, err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	var out syncBuffer
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a defect") }) //nolint:forbidigo // what is tested
	s, stop, done := start(t, h, &server.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	conn := dial(t, s.Addr().String())
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.ReadAll(conn) // until it is closed
	stop()
	<-done
	if !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "a defect") {
		t.Errorf("log = %q, want the panic as an error", out.String())
	}
}

// syncBuffer is a buffer for a log.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestHeaderLimits(t *testing.T) {
	s, _, _ := start(t, http.NotFoundHandler(), &server.Options{HeaderTimeout: 50 * time.Millisecond, MaxHeader: 4 << 10})
	t.Run("bytes", func(t *testing.T) {
		conn := dial(t, s.Addr().String())
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n", strings.Repeat("a", 64<<10))
		rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if rsp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status for 64 KiB of header = %d, want 431", rsp.StatusCode)
		}
	})
	t.Run("time", func(t *testing.T) {
		conn := dial(t, s.Addr().String())
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("reading from a connection whose header never ends: %v, want it closed", err)
		}
	})
}

// start runs a server until the test ends.
func start(t *testing.T, h http.Handler, opts *server.Options) (s *server.Server, stop func(), done <-chan error) {
	t.Helper()
	s, err := server.Listen(t.Context(), "127.0.0.1:0", opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result, ended := make(chan error, 1), make(chan struct{})
	go func() {
		result <- s.Run(ctx, h)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s, cancel, result
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	rsp, err := c.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// awaitRefused returns when nothing accepts at the address.
func awaitRefused(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return
		}
		_ = conn.Close() // it was still open
	}
	t.Error("the address still accepts connections")
}
