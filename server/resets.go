package server

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// resetBurst is how many times Options.MaxStreams a client may reset at once, on a
// connection that has been there for as many seconds less one: it begins with one
// time.
const resetBurst = 4

// resets bounds how often the client of a connection ends streams before they
// are answered. Options.MaxStreams bounds the work that a client can ask for at a
// time, but a stream that is reset counts no longer, while the service may still
// work on it. So each such stream costs as if it had lived for a second: a client
// whose calls are given up after a second or more cannot reach the bound, whatever
// it cancels. Streams that are reset while they wait for a handler are not seen:
// they reach none, and net/http ends a connection that has too many of them.
type resets struct {
	each time.Duration // what one costs: a second by MaxStreams
	paid atomic.Int64  // when all of them are paid for, in Unix nanoseconds
	over atomic.Bool   // the connection is closed for them
}

// begin leaves a client so much of its first second, from 0 to 1.
func (r *resets) begin(now time.Time, part float64) {
	r.paid.Store(now.UnixNano() + int64((resetBurst-part)*float64(time.Second)))
}

// add counts one, and reports whether that is within the bound.
func (r *resets) add(now time.Time) bool {
	for {
		old := r.paid.Load()
		paid := max(old, now.UnixNano()) + int64(r.each)
		if r.paid.CompareAndSwap(old, paid) {
			return paid-now.UnixNano() <= int64(resetBurst*time.Second)
		}
	}
}

// connKey is the key of the *conn in the context of its requests.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if w, ok := c.(watching); ok {
		c, _ := w.watched()
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// reset counts a stream that ended before it was answered, and closes its
// connection when there are too many. Net/http has no way to say why.
func (s *Server) reset(ctx context.Context) {
	c, _ := ctx.Value(connKey{}).(*conn)
	if c == nil || c.resets.add(time.Now()) {
		return
	}
	if c.resets.over.Swap(true) {
		return // another stream has closed it
	}
	_ = c.end(c, errResets) // which net/http learns from the connection
}
