package handler

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// lingering is how long a client gets to answer that a WebSocket is closed, so
// that it reads why and not a reset.
const lingering = 2 * time.Second

// The first bytes of frames that end with them, as a server writes them.
const (
	frameClose = 0x88
	framePing  = 0x89
)

// upgrading is a ResponseWriter that keeps hold of the connection which it is
// asked for.
type upgrading struct {
	http.ResponseWriter

	silence, take time.Duration
	frames        *frames
}

// Hijack implements http.Hijacker.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.frames = &frames{Conn: c, silence: u.silence, take: u.take}
	rw.Writer.Reset(u.frames)
	return u.frames, rw, nil
}

// frames is the connection of a WebSocket. It bounds how long the client may
// be silent, and take nothing; and it knows where frames begin that are written
// to it.
type frames struct {
	net.Conn

	silence time.Duration // how long a read may take, of a client that is pinged
	take    time.Duration // how long the client may take nothing

	reading sync.Mutex // guards what follows
	armed   time.Time  // when the deadline for reading was moved
	last    bool       // it is not moved again

	ended atomic.Bool // for reading

	writing sync.Mutex // guards what follows
	left    int        // bytes of the frame that is being written
	closed  bool       // a close frame was written
}

// Read implements net.Conn.
func (f *frames) Read(p []byte) (int, error) {
	f.arm()
	n, err := f.Conn.Read(p)
	if n > 0 {
		return n, nil // the error comes again
	}
	if err != nil {
		f.ended.Store(true)
	}
	return n, err
}

// arm moves the deadline for reading, if that is due.
func (f *frames) arm() {
	f.reading.Lock()
	defer f.reading.Unlock()
	now := time.Now()
	if f.last || now.Sub(f.armed) <= f.silence/idleGrain {
		return
	}
	f.armed = now
	_ = f.SetReadDeadline(now.Add(f.silence)) // a connection that is closed tells the one who reads
}

// linger bounds the time in which anything more is read.
func (f *frames) linger() {
	f.reading.Lock()
	defer f.reading.Unlock()
	f.last = true
	_ = f.SetReadDeadline(time.Now().Add(lingering)) // as above
}

// Write implements net.Conn. What it is given is, or belongs to, one frame.
func (f *frames) Write(p []byte) (int, error) {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.left == 0 {
		f.left = frameSize(p)
		if p[0] == frameClose {
			f.closed = true
			if len(p) > 4 && !utf8.Valid(p[4:]) {
				// The client's own reason, which the library says again.
				refused := binary.BigEndian.AppendUint16([]byte{frameClose, 2}, uint16(websocket.StatusInvalidFramePayloadData))
				f.left = 0
				_, err := f.write(refused)
				return len(p), err
			}
		}
	}
	n, err := f.write(p)
	f.left -= n
	return n, err
}

// write writes, as long as the client takes something. The caller holds
// f.writing.
func (f *frames) write(p []byte) (int, error) {
	written := 0
	for {
		step := p[written:min(len(p), written+takeStep)]
		_ = f.SetWriteDeadline(time.Now().Add(f.take)) // a connection that is closed tells the one who writes
		n, err := f.Conn.Write(step)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// ping writes a ping, unless a frame is on its way, which says as much. The
// library's would wait for the answer, and give up a client that takes nothing
// for 5 s.
func (f *frames) ping() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.left > 0 || f.closed {
		return nil
	}
	_, err := f.write([]byte{framePing, 0})
	return err
}

// frameSize returns how long the frame is that begins with b, as a server
// writes it: not masked. The library writes a header in one piece.
func frameSize(b []byte) int {
	switch n := int(b[1]); n {
	case 127:
		return 10 + int(binary.BigEndian.Uint64(b[2:])) //nolint:gosec // of a message in memory
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	default:
		return 2 + n
	}
}
