package nats_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A cutter is between brokers and a server. It can swallow what the server
// sends, and end the connections.
type cutter struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	mute  bool
	conns map[net.Conn]struct{}
}

// startCutter serves until the test ends.
func startCutter(t testing.TB, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, server: server, conns: make(map[net.Conn]struct{})}
	var serving sync.WaitGroup
	serving.Go(func() { c.serve(&serving) })
	t.Cleanup(func() {
		_ = l.Close()
		c.end()
		serving.Wait()
	})
	return c
}

func (c *cutter) serve(serving *sync.WaitGroup) {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.server)
		if err != nil { // it is away
			_ = near.Close()
			continue
		}
		c.mu.Lock()
		c.conns[near], c.conns[far] = struct{}{}, struct{}{}
		c.mu.Unlock()
		serving.Go(func() { c.pass(far, near) })
		serving.Go(func() { c.pass(near, &swallower{far, c}) })
	}
}

// pass passes on what comes, until either end is closed.
func (c *cutter) pass(to net.Conn, from io.ReadCloser) {
	_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}) // ends when a connection does
	_ = to.Close()
	_ = from.Close()
}

// A swallower reads what a server sends.
type swallower struct {
	net.Conn

	cutter *cutter
}

func (s *swallower) Read(p []byte) (int, error) {
	for {
		n, err := s.Conn.Read(p)
		s.cutter.mu.Lock()
		mute := s.cutter.mute
		s.cutter.mu.Unlock()
		if err != nil || !mute {
			return n, err
		}
	}
}

// cut has nothing more arrive that the server sends, until end.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = true
}

// end ends all connections. Those that come after it are not cut.
func (c *cutter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
	c.mute = false
}
