package handler

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// tunnelSize is how much of what one side sends the gateway holds while the
	// other side does not read.
	tunnelSize = 8 << 10
	// halfIdle ends a tunnel of which one direction has ended, and in which
	// nothing moves in the other.
	halfIdle = 30 * time.Second
	// waitSize is what a connection is waited for with that cannot tell
	// whether something is there.
	waitSize = 1 << 10
)

type tunnelBuffers = buffers[[tunnelSize]byte]

// A tunnel carries bytes between two connections until both directions have
// ended. For a direction in which nothing comes it holds no buffer, or a small
// one.
type tunnel struct {
	client, node end
	idle         atomic.Int64 // how long nothing may move, in nanoseconds
	start        time.Time
	moved        atomic.Int64 // when something last came or was taken, since start
	timer        *time.Timer
	over         sync.Once
}

// newTunnel returns a tunnel between two connections, which it owns from now
// on. What came of each before is first.
func newTunnel(client, node end, idle time.Duration) *tunnel {
	t := &tunnel{client: client, node: node, start: time.Now()}
	t.idle.Store(int64(idle))
	return t
}

// run carries bytes until both directions have ended, one of them has broken,
// nothing has moved for the idle time, or ctx is done. Then both connections
// are closed.
func (t *tunnel) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, t.close)
	defer stop()
	t.timer = time.AfterFunc(math.MaxInt64, t.watch)
	defer t.timer.Stop()
	t.timer.Reset(time.Duration(t.idle.Load()))
	var wg sync.WaitGroup
	wg.Go(func() { t.carry(&t.client, &t.node) })
	t.carry(&t.node, &t.client)
	wg.Wait()
	t.close()
}

// carry carries what src sends to dst. When src ends, so does dst; when either
// breaks, both are reset.
func (t *tunnel) carry(dst, src *end) {
	for {
		p, err := src.next()
		if len(p) > 0 {
			t.touch()
			_, werr := dst.Write(p)
			t.touch()
			err = cmp.Or(werr, err)
		}
		src.release()
		switch {
		case errors.Is(err, io.EOF):
			if dst.closeWrite() != nil {
				t.close() // there is no other way to tell
			}
			t.hurry()
			return
		case err != nil:
			t.fail(err)
			return
		}
	}
}

// touch says that bytes move.
func (t *tunnel) touch() { t.moved.Store(int64(time.Since(t.start))) }

// hurry lets less time pass in which nothing moves: whoever has ended what it
// sends may be gone.
func (t *tunnel) hurry() {
	t.touch()
	idle := min(t.idle.Load(), int64(halfIdle))
	t.idle.Store(idle)
	t.timer.Reset(time.Duration(idle))
}

// watch ends a tunnel in which nothing moves. It is called by the timer.
func (t *tunnel) watch() {
	left := time.Duration(t.idle.Load()+t.moved.Load()) - time.Since(t.start)
	if left > 0 {
		t.timer.Reset(left)
		return
	}
	t.close()
}

// fail ends a tunnel when one of its connections did not work: with a reset,
// unless the gateway itself has closed it.
func (t *tunnel) fail(err error) {
	if errors.Is(err, net.ErrClosed) {
		t.close()
		return
	}
	t.over.Do(func() {
		t.client.reset()
		t.node.reset()
	})
}

// close ends a tunnel.
func (t *tunnel) close() {
	t.over.Do(func() {
		_ = t.client.Close() // whoever reads or writes is told
		_ = t.node.Close()
	})
}

// An end is a connection at one end of a tunnel.
type end struct {
	net.Conn

	first   []byte // what comes before anything that is read
	buffers *tunnelBuffers
	buf     *[tunnelSize]byte // nil for none

	raw syscall.RawConn       // what Conn reads from, or nil
	try func(fd uintptr) bool // reads from raw, unless it would have to wait
	n   int                   // that try has read
	err error

	small []byte // what is waited with if there is no raw
	more  bool   // that was full: there may be more
}

// newEnd returns the end at c, of which first has been read already.
func newEnd(c net.Conn, first []byte, buffers *tunnelBuffers) end {
	return end{Conn: c, first: first, raw: rawConn(c), buffers: buffers}
}

// next returns what the connection has sent, until release is called. There may
// be something beside an error.
func (e *end) next() ([]byte, error) {
	switch {
	case len(e.first) > 0:
		p := e.first
		e.first = nil
		return p, nil
	case e.raw != nil:
		return e.readReady()
	case e.more:
		e.buf = e.buffers.get()
		return e.fill(e.buf[:])
	case e.small == nil:
		e.small = make([]byte, waitSize)
	}
	return e.fill(e.small)
}

// fill reads into p.
func (e *end) fill(p []byte) ([]byte, error) {
	n, err := e.Read(p)
	e.more = n == len(p)
	return p[:n], err
}

// release gives back what next returned.
func (e *end) release() {
	if e.buf != nil {
		e.buffers.put(e.buf)
		e.buf = nil
	}
}

// closeWrite ends what the connection is sent.
func (e *end) closeWrite() error {
	if c, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// reset closes the connection so that the other side can tell that it broke,
// where it can be told: a TLS connection by what lies beneath, since its own
// end would look like a good one.
func (e *end) reset() {
	for c := e.Conn; ; {
		if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
			_ = tcp.SetLinger(0) // a connection that is closed is
			_ = c.Close()
			break
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = outer.NetConn()
	}
	_ = e.Close() // it broke
}
