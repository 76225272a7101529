package server

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// writeStep is written with one deadline: a client that takes it within the
	// write timeout makes progress.
	writeStep = 64 << 10
	// grain is the share of the write timeout that may pass until the deadline
	// is moved: moving it for each write would cost as much as the write.
	grain = 8
)

// listener accepts connections whose clients must read.
type listener struct {
	net.Listener

	timeout time.Duration
	streams int // a connection of HTTP/2 has at a time
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, timeout: l.timeout, resets: resets{each: time.Second / time.Duration(l.streams)}}, nil
}

// conn is a connection that breaks when its client takes nothing of what is
// written for the timeout. net/http has a bound for the whole answer only,
// which an answer without an end cannot have.
type conn struct {
	net.Conn

	timeout time.Duration
	armed   atomic.Int64 // when the deadline was moved, in Unix nanoseconds
	foreign atomic.Bool  // the deadline is a handler's
	from    atomic.Pointer[hijacked]
	resets  resets
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if h := c.from.Load(); h != nil {
		h.remove(c)
	}
	return c.Conn.Close()
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	written := 0
	for {
		step := p[written:]
		if len(step) > writeStep {
			step = step[:writeStep]
		}
		c.arm()
		n, err := c.Conn.Write(step)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// arm moves the deadline, if that is due.
func (c *conn) arm() {
	now := time.Now()
	if now.UnixNano()-c.armed.Load() <= int64(c.timeout/grain) {
		return
	}
	c.armed.Store(now.UnixNano())
	_ = c.Conn.SetWriteDeadline(now.Add(c.timeout)) // a connection that is closed tells the one who writes
}

// SetWriteDeadline implements net.Conn. It is not for the connection's own: a
// handler may set another for what it writes, and net/http takes that back
// behind each request.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.foreign.Swap(false) {
		return nil // there is none but its own
	}
	now := time.Now()
	if t.IsZero() {
		t = now.Add(c.timeout)
	} else {
		c.foreign.Store(true)
	}
	c.armed.Store(now.UnixNano())
	return c.Conn.SetWriteDeadline(t)
}

// CloseWrite lets net/http end a connection so that the client still reads its
// answer.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return c.Conn.Close()
}

// SyscallConn implements syscall.Conn, so that who has hijacked the connection
// can wait for what there is to read without a buffer for it.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// SetLinger lets who has hijacked the connection reset it.
func (c *conn) SetLinger(sec int) error {
	if tcp, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		return tcp.SetLinger(sec)
	}
	return errors.ErrUnsupported
}
