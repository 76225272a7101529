package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/server"
)

// TestClientThatDoesNotRead asks for more than the sockets hold, and reads
// nothing: the handler must not wait for ever, nor for longer if it would.
func TestClientThatDoesNotRead(t *testing.T) {
	answer := []byte(strings.Repeat("x", 32<<20))
	for name, patience := range map[string]time.Duration{"the server's": 0, "a handler's own": time.Hour} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if patience > 0 {
					if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)); err != nil {
						t.Error(err)
					}
				}
				_, err := w.Write(answer)
				failed <- err
			})
			s, _, _ := start(t, h, &server.Options{WriteTimeout: 100 * time.Millisecond})
			conn := dial(t, s.Addr().String())
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			select {
			case err := <-failed:
				if err == nil {
					t.Error("Write to a client that does not read = nil, want a timeout")
				}
			case <-time.After(10 * time.Second):
				t.Error("Write still waits for a client that does not read")
			}
		})
	}
}

// TestClientThatReadsSlowly takes longer for an answer than the timeout, but is
// never idle for so long.
func TestClientThatReadsSlowly(t *testing.T) {
	const timeout = 400 * time.Millisecond
	done := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write([]byte(strings.Repeat("x", 32<<20)))
		done <- err
	})
	s, _, _ := start(t, h, &server.Options{WriteTimeout: timeout})
	conn := dial(t, s.Addr().String())
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	tick := time.NewTicker(timeout / 16)
	defer tick.Stop()
	buf := make([]byte, 1<<20)
	for began := time.Now(); time.Since(began) < 2*timeout; {
		<-tick.C
		if _, err := conn.Read(buf); err != nil {
			t.Fatalf("Read = %v, want the answer to go on", err)
		}
	}
	go func() { // ends with the answer, or with the connection when the test fails
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	if err := <-done; err != nil {
		t.Errorf("Write to a client that reads slowly = %v", err)
	}
	_ = conn.Close() // the reader above ends
}

// TestResetOfHijacked resets a connection that was hijacked, as one who passes
// on a reset does: the client is not to take it for an end.
func TestResetOfHijacked(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack = %v", err)
			return
		}
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil || raw.Control(func(uintptr) {}) != nil {
			t.Errorf("SyscallConn = %v, want the socket", err)
		}
		if err := conn.(interface{ SetLinger(sec int) error }).SetLinger(0); err != nil {
			t.Errorf("SetLinger = %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	s, _, _ := start(t, h, nil)
	conn := dial(t, s.Addr().String())
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read = %v, want %v", err, syscall.ECONNRESET)
	}
}
