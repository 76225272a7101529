// Package wire tells whether bytes of a request left, for those who send it
// through an http.Transport: what left nobody must not be lost, and what may
// have left must not be sent twice.
//
// The connections of the transport are each a [Conn], and a [Trip] follows one
// request over them.
package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// maxStale is how many connections that the other side has closed meanwhile are
// tried before it counts as unreachable.
const maxStale = 3

// errEnded is the error of a write to a connection that the other side has
// closed.
var errEnded = errors.New("wire: the other side has closed the connection")

// A Conn is a connection that knows whether bytes were written. It may be
// embedded in another.
type Conn struct {
	net.Conn

	writes atomic.Int64 // that have begun, less those that wrote nothing
	ended  atomic.Bool  // closed by the other side, and nothing was written since
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if c.ended.Load() {
		return 0, errEnded
	}
	c.writes.Add(1)
	n, err := c.Conn.Write(p)
	if n == 0 && err != nil {
		c.writes.Add(-1)
	}
	return n, err
}

// counted is what embeds a Conn, and the Conn itself.
type counted interface{ counter() *Conn }

func (c *Conn) counter() *Conn { return c }

// within returns the Conn within what a transport uses, or nil.
func within(nc net.Conn) *Conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	if c, ok := nc.(counted); ok {
		return c.counter()
	}
	return nil
}

// A Trip follows one request to one address. The zero value is ready for use,
// by one goroutine; its GotConn belongs into the request's httptrace.
type Trip struct {
	// Once says that the request must not be sent twice: what is lost on a
	// connection that has ended is lost for good, so that it is worth a system
	// call to look.
	Once bool

	conn   *Conn
	reused bool
	before int64 // writes of conn that are not this request's
	sent   bool  // something was written to a connection before conn
	stale  int   // connections that were
}

// GotConn is called when the transport has a connection for the request. One
// that was kept may have been closed a moment ago, before the transport has
// noticed: what was written to it would count as sent. If that matters, GotConn
// looks.
func (t *Trip) GotConn(info httptrace.GotConnInfo) {
	t.sent = t.Sent()
	t.conn, t.reused = within(info.Conn), info.Reused
	if t.conn == nil { // not one of ours: who knows
		t.sent = true
		return
	}
	t.before = t.conn.writes.Load()
	if t.Once && t.reused && ended(t.conn.Conn) {
		t.conn.ended.Store(true)
	}
}

// Sent says whether bytes of the request may have left. It is asked when
// RoundTrip has returned: nothing is written then, if that was an error.
func (t *Trip) Sent() bool {
	return t.sent || t.conn != nil && t.conn.writes.Load() != t.before
}

// Again says whether a request whose RoundTrip failed is to make another: the
// connection had been kept, and turned out to be closed before anything was
// written, which says nothing of the other side. That happens a few times at
// most.
func (t *Trip) Again(ctx context.Context) bool {
	t.sent = t.Sent() // which conn forgotten must not forget
	stale := t.conn != nil && t.reused && !t.sent
	t.conn = nil
	t.stale++
	return stale && t.stale < maxStale && ctx.Err() == nil
}
