package handler

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/goapi-dev/goapi/internal/wire"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	connectTimeout = 2 * time.Second
	idleConn       = 90 * time.Second
	continueWait   = time.Second // for a service that does not know Expect
	copySize       = 32 << 10
	// idleGrain is the share of an idle time that may pass until a deadline is
	// moved: moving it each time costs more than the read it guards. Deadlines are
	// as much later, so that no silence is cut short.
	idleGrain = 8
)

// buffers are arrays to be used again. The zero value is ready for use.
type buffers[T any] struct{ pool sync.Pool }

func (b *buffers[T]) get() *T {
	if buf, ok := b.pool.Get().(*T); ok {
		return buf
	}
	return new(T)
}

func (b *buffers[T]) put(buf *T) { b.pool.Put(buf) }

// copyBuffers are what bodies are copied with.
type copyBuffers = buffers[[copySize]byte]

// newTransport returns a transport to services, which speaks HTTP/1.1.
func newTransport(o *HTTPOptions, buffers *copyBuffers) *http.Transport {
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{ControlContext: (*upstream.Guard)(nil).Control}).DialContext
	}
	idle := o.Idle
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &conn{Conn: wire.Conn{Conn: c}, idle: idle, buffers: buffers}, nil
		},
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    connectTimeout,
		DisableCompression:     true, // an encoding is between client and service
		MaxIdleConns:           1 << 12,
		MaxIdleConnsPerHost:    1 << 10,
		IdleConnTimeout:        idleConn,
		ExpectContinueTimeout:  continueWait,
		MaxResponseHeaderBytes: o.MaxHeader,
	}
}

// conn is a connection to a node. It knows whether bytes were written, and
// breaks when it makes no progress for the idle time.
type conn struct {
	wire.Conn

	idle    time.Duration
	buffers *copyBuffers
	armed   atomic.Int64 // when the deadlines were moved, in Unix nanoseconds
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.arm()
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.arm()
	return c.Conn.Write(p)
}

// ReadFrom implements io.ReaderFrom, which is what copies bodies of known
// length to the service, each piece as it comes.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	buf := c.buffers.get()
	defer c.buffers.put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, buf[:])
}

// CloseWrite ends what the node is sent.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn implements syscall.Conn for who reads without deadlines.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// NetConn returns the connection beneath.
func (c *conn) NetConn() net.Conn { return c.Conn.Conn }

// disarm ends the deadlines: whoever uses the connection now bounds it.
func (c *conn) disarm() {
	c.armed.Store(math.MaxInt64)
	_ = c.SetDeadline(time.Time{}) // a connection that is closed tells the one who reads it
}

// arm moves the deadlines, if that is due.
func (c *conn) arm() {
	now := time.Now()
	if now.UnixNano()-c.armed.Load() > int64(c.idle/idleGrain) {
		c.armed.Store(now.UnixNano())
		_ = c.SetDeadline(now.Add(c.idle + c.idle/idleGrain)) // a connection that is closed tells the one who reads it
	}
}
