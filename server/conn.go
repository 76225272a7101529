package server

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
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

// conn is a connection as it was accepted: what TLS adds is around it. It breaks
// when its client takes nothing of what is written for the timeout. net/http has
// a bound for the whole answer only, which an answer without an end cannot have.
type conn struct {
	net.Conn

	listener *listener
	timeout  time.Duration
	armed    atomic.Int64 // when the deadline was moved, in Unix nanoseconds
	foreign  atomic.Bool  // the deadline is a handler's
	closed   atomic.Bool
	from     atomic.Pointer[hijacked]
	tls      atomic.Pointer[tls.ConnectionState] // nil before the handshake, and in clear text
	proxied  *proxied                            // nil where no proxy says who the client is
	client   netip.Addr                          // as it is counted; guarded by clients
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		c.listener.leave(c)
	}
	if h := c.from.Load(); h != nil {
		h.remove(c)
	}
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.proxied == nil {
		return c.Conn.Read(p)
	}
	return c.proxied.read(c, p)
}

// RemoteAddr implements net.Conn. Where a proxy says who the client is, it waits
// for that.
func (c *conn) RemoteAddr() net.Addr {
	if c.proxied == nil {
		return c.Conn.RemoteAddr()
	}
	return c.proxied.remote(c)
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
// handler may set an earlier one for what it writes, and net/http takes that
// back behind each request.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.foreign.Swap(false) {
		return nil // there is none but its own
	}
	c.foreign.Store(!t.IsZero())
	now := time.Now()
	if own := now.Add(c.timeout); t.IsZero() || t.After(own) {
		t = own
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
	if c.proxied != nil && c.proxied.holds() {
		return nil, errors.ErrUnsupported // what was read with the proxy's header comes first
	}
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
