package grpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
)

const (
	idleTimeout    = 5 * time.Minute
	maxHeaderBytes = 256 << 10
	streamWindow   = 256 << 10 // of what a service sends and nobody reads; bounds the memory of a stream
	connWindow     = 4 << 20
	firstBackoff   = 100 * time.Millisecond
	maxBackoff     = 250 * time.Millisecond
)

// errPoolFull is returned when every connection is in use.
var errPoolFull = errors.New("grpc: too many nodes are called at once")

// key is what connections are told apart by.
type key struct {
	address string
	secure  bool
	streams bool // which stay, and must not use up what a node takes of calls
}

// pool keeps one connection for each key. Finding one that is there takes no
// lock.
type pool struct {
	max  int
	dial func(key) (*grpc.ClientConn, error)

	conns sync.Map // of key to *conn
	mu    sync.Mutex
	size  int // of conns; guarded by mu
}

// conn is a connection and how it is used.
type conn struct {
	*grpc.ClientConn

	calls atomic.Int64 // under way; below 0 the connection is closed
	used  atomic.Int64 // when a call last ended, in Unix nanoseconds
}

// closed is far enough below 0 that no number of calls gets it back.
const closed = -1 << 62

// acquire returns the connection for k, and makes it if there is none. The
// caller releases it.
func (p *pool) acquire(k key) (*conn, error) {
	if v, ok := p.conns.Load(k); ok {
		if c := v.(*conn); c.acquire() { //nolint:forcetypeassert // the map holds nothing else
			return c, nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if v, ok := p.conns.Load(k); ok { // all writes are under mu: this one is not closed
		c := v.(*conn) //nolint:forcetypeassert // the map holds nothing else
		c.acquire()
		return c, nil
	}
	if !p.makeRoom() {
		return nil, errPoolFull
	}
	cc, err := p.dial(k)
	if err != nil {
		return nil, err
	}
	c := &conn{ClientConn: cc}
	c.acquire()
	p.conns.Store(k, c)
	p.size++
	return c, nil
}

func (c *conn) acquire() bool { return c.calls.Add(1) > 0 }

func (c *conn) release() {
	c.used.Store(time.Now().UnixNano())
	c.calls.Add(-1)
}

// makeRoom closes what was unused for idleTimeout, and if need be what was
// unused for longest. It says whether there is room for one more.
func (p *pool) makeRoom() bool {
	limit := time.Now().Add(-idleTimeout).UnixNano()
	var (
		oldest    *conn
		oldestKey any
	)
	p.conns.Range(func(k, v any) bool {
		c := v.(*conn) //nolint:forcetypeassert // the map holds nothing else
		switch used := c.used.Load(); {
		case c.calls.Load() != 0:
		case used < limit:
			p.remove(k, c)
		case oldest == nil || used < oldest.used.Load():
			oldest, oldestKey = c, k
		}
		return true
	})
	if p.size >= p.max && oldest != nil {
		p.remove(oldestKey, oldest)
	}
	return p.size < p.max
}

// remove closes a connection unless a call has just begun on it.
func (p *pool) remove(k any, c *conn) {
	if c.calls.CompareAndSwap(0, closed) {
		p.drop(k, c)
	}
}

func (p *pool) drop(k any, c *conn) {
	p.conns.Delete(k)
	p.size--
	_ = c.ClientConn.Close() // says only that it was closed before
}

// Close closes every connection.
func (p *pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns.Range(func(k, v any) bool {
		c := v.(*conn) //nolint:forcetypeassert // the map holds nothing else
		c.calls.Add(closed)
		p.drop(k, c)
		return true
	})
	return nil
}

// dial returns a connection to a node. Nothing is connected until a call.
func (c *Caller) dial(k key) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if k.secure {
		creds = credentials.NewTLS(c.opts.TLS)
	}
	return grpc.NewClient("passthrough:///"+k.address,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, address string) (conn net.Conn, err error) {
			return c.opts.Dial(ctx, "tcp", address)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: c.opts.ConnectTimeout,
		}),
		grpc.WithIdleTimeout(idleTimeout),
		grpc.WithInitialWindowSize(streamWindow), // else up to 16 MiB, as fast as the network is
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithUserAgent("goapi"),
		grpc.WithStatsHandler(follower{}),
	)
}

// follower tells each call what becomes of it.
type follower struct{}

var _ stats.Handler = follower{}

// TagRPC implements stats.Handler.
func (follower) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler. A request's header is handed to the
// connection in the goroutine of its call, just before OutHeader.
func (follower) HandleRPC(ctx context.Context, s stats.RPCStats) {
	cl, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	switch s.(type) {
	case *stats.OutHeader:
		cl.headers.Store(true)
		if cl.sent != nil {
			cl.sent()
		}
	case *stats.InHeader:
		cl.begun.Store(true)
	case *stats.InTrailer:
		cl.answered.Store(true)
	}
}

// TagConn implements stats.Handler.
func (follower) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (follower) HandleConn(context.Context, stats.ConnStats) {}
