package server

import (
	"context"
	"sync"
)

// hijacked holds the connections that handlers took over and did not close yet.
// Net/http forgets them. The zero value is ready for use.
type hijacked struct {
	mu     sync.Mutex
	conns  map[*conn]struct{}
	empty  chan struct{} // closed when there are none, for the one who waits
	closed bool
}

// add takes a connection in, until it is closed.
func (h *hijacked) add(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = c.Conn.Close() // it came too late
		return
	}
	if h.conns == nil {
		h.conns = make(map[*conn]struct{})
	}
	h.conns[c] = struct{}{}
	c.from.Store(h)
}

// remove forgets a connection.
func (h *hijacked) remove(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	if len(h.conns) == 0 && h.empty != nil {
		close(h.empty)
		h.empty = nil
	}
}

// len returns how many there are.
func (h *hijacked) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// wait returns nil when all are closed, or the error of ctx. It is called once.
func (h *hijacked) wait(ctx context.Context) error {
	h.mu.Lock()
	if len(h.conns) == 0 {
		h.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	h.empty = empty
	h.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close closes them all, and those that are still to come.
func (h *hijacked) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.conns {
		_ = c.Conn.Close() // whoever reads or writes is told
	}
	clear(h.conns)
}
