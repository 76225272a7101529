package handler_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
)

// rawFollower opens a WebSocket in memory to a registry that says every 20 s
// that it lives. How long the handler took comes when it has returned.
func rawFollower(t *testing.T, reg registry.Registry, done <-chan struct{}) (net.Conn, *bufio.Reader, <-chan time.Duration) {
	t.Helper()
	h := handler.Registry(reg, &handler.RegistryOptions{Heartbeat: 20 * time.Second, Done: done})
	took := make(chan time.Duration, 1)
	start := time.Now()
	p := inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { took <- time.Since(start) }()
		h.ServeHTTP(w, r)
	}))
	near, far := net.Pipe()
	p.conns <- far
	t.Cleanup(func() { _ = near.Close() })
	return near, shakeHands(t, near), took
}

// TestRegistryPings: a client over WebSocket that answers pings lives for as long
// as it likes, also among changes, and one that does not is cut off.
func TestRegistryPings(t *testing.T) {
	const seconds = 210
	register := func(reg *registry.Memory, n int) {
		s := &registry.Service{Name: "greeter", Version: strconv.Itoa(n), Nodes: []*registry.Node{{ID: "a", Address: "10.0.0.1:80"}}}
		if err := reg.Register(t.Context(), s, 0); err != nil {
			t.Error(err)
		}
	}
	tests := []struct {
		name    string
		answers bool
		every   int // seconds between changes, 0 for none
		took    time.Duration
		pings   int // at least
	}{
		{"answers", true, 0, seconds * time.Second, 10},
		{"answers among changes", true, 3, seconds * time.Second, 10},
		{"does not answer", false, 0, 40 * time.Second, 1},
		{"does not answer among changes", false, 3, 40 * time.Second, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, done := new(registry.Memory), make(chan struct{})
				time.AfterFunc(seconds*time.Second, func() { close(done) })
				conn, br, took := rawFollower(t, reg, done)
				if tt.every > 0 {
					go func() { // ends by itself
						for i := range seconds / tt.every {
							register(reg, i)
							time.Sleep(time.Duration(tt.every) * time.Second)
						}
					}()
				}
				pings := 0
				for {
					first, _, err := readServerFrame(br)
					if err != nil || first == 0x88 {
						break
					}
					if first == 0x89 {
						pings++
						if tt.answers {
							_, _ = io.WriteString(conn, clientFrame(0x8A, ""))
						}
					}
				}
				_ = conn.Close()
				if got := <-took; got != tt.took || pings < tt.pings {
					t.Errorf("the stream ended after %v and %d pings, want %v and at least %d", got, pings, tt.took, tt.pings)
				}
				time.Sleep(seconds * time.Second) // for who registers
			})
		})
	}
}

// TestRegistryLeavesAtOnce: a client that announces more than it sends does not
// hold a stream that ends.
func TestRegistryLeavesAtOnce(t *testing.T) {
	tests := []struct{ name, sends string }{
		{"nothing", ""},
		{"half a head", "\x81"},
		{"the head of a large message", "\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00"},
		{"a ping that does not end", "\x89\xfdabcdhalf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan struct{})
				conn, br, took := rawFollower(t, new(registry.Memory), done)
				if _, err := io.WriteString(conn, tt.sends); err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, br) }() // ends with the connection
				time.AfterFunc(time.Second, func() { close(done) })
				if got := <-took; got > 3*time.Second {
					t.Errorf("the stream ended after %v, want 3s at most", got)
				}
			})
		})
	}
}

// TestRegistryTakes: a client that takes nothing does not hold a stream.
func TestRegistryTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, took := rawFollower(t, new(registry.Memory), nil)
		if got := <-took; got > 50*time.Second { // and 5 s that the library waits to say so
			t.Errorf("the stream ended after %v, want 50s at most", got)
		}
	})
}
