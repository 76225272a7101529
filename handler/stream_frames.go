package handler

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
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

// badFrames is what a client is told whose frames the library does not take.
const badFrames = "the frames are not as RFC 6455 has them"

// errLate ends a message that does not come in time.
var errLate = errors.New("handler: a message did not come in time")

// tooLarge is what a client is told whose message has more than limit bytes.
func tooLarge(limit int64) string { return fmt.Sprintf("the message is larger than %d bytes", limit) }

// upgrading is a ResponseWriter that keeps hold of the connection which it is
// asked for.
type upgrading struct {
	http.ResponseWriter

	silence, take time.Duration
	limit         int64
	frames        *frames
}

// Hijack implements http.Hijacker.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.frames = &frames{Conn: c, silence: u.silence, take: u.take, heads: heads{limit: u.limit}}
	u.frames.heads.scan(buffered(rw.Reader)) // which the library does not read from frames
	rw.Writer.Reset(u.frames)
	return u.frames, rw, nil
}

// frames is the connection of a WebSocket. It bounds how long the client may
// be silent, and take nothing, and how long and how large a message of its may
// be, which it knows by what frames announce; and it knows where frames begin
// that are written to it.
type frames struct {
	net.Conn

	silence time.Duration // how long a read may take, of a client that is pinged
	take    time.Duration // how long the client may take nothing

	heads heads // of what is read, by one at a time

	reading sync.Mutex // guards what follows
	armed   time.Time  // when the deadline for reading was moved
	due     time.Time  // when a message must be here; zero for none
	set     time.Time  // the due that the deadline was moved for
	last    bool       // it is not moved again

	ended atomic.Bool // for reading

	writing sync.Mutex // guards what follows
	left    int        // bytes of the frame that is being written
	closed  bool       // a close frame was written
}

// Read implements net.Conn.
func (f *frames) Read(p []byte) (int, error) {
	lingers := f.arm()
	if f.heads.over && !lingers {
		return 0, websocket.ErrMessageTooBig
	}
	n, err := f.Conn.Read(p)
	if n > 0 {
		f.heads.scan(p[:n])
		return n, nil // the error comes again
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && f.overdue():
		return 0, errLate
	case err != nil:
		f.ended.Store(true)
	}
	return n, err
}

// arm moves the deadline for reading, if that is due. It says whether the
// connection lingers.
func (f *frames) arm() bool {
	f.reading.Lock()
	defer f.reading.Unlock()
	now := time.Now()
	if f.last || f.due.Equal(f.set) && now.Sub(f.armed) <= f.silence/idleGrain {
		return f.last
	}
	f.armed, f.set = now, f.due
	deadline := now.Add(f.silence)
	if !f.due.IsZero() && f.due.Before(deadline) {
		deadline = f.due
	}
	_ = f.SetReadDeadline(deadline) // a connection that is closed tells the one who reads
	return false
}

// expect says when the rest of a message must be here: zero is that none is on
// its way. It is called by the one who reads.
func (f *frames) expect(due time.Time) {
	f.reading.Lock()
	defer f.reading.Unlock()
	f.due = due
}

// overdue says that a message is not here when it must be.
func (f *frames) overdue() bool {
	f.reading.Lock()
	defer f.reading.Unlock()
	return !f.last && !f.due.IsZero() && !time.Now().Before(f.due)
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
			f.closed, f.left = true, 0
			_, err := f.write(f.closeFrame(p))
			return len(p), err
		}
	}
	n, err := f.write(p)
	f.left -= n
	return n, err
}

// closeFrame returns the close frame that is written in place of p, which the
// library has made: for what it refuses by itself, with a text of its own.
func (f *frames) closeFrame(p []byte) []byte {
	if len(p) < 4 {
		return p
	}
	code, reason := websocket.StatusCode(binary.BigEndian.Uint16(p[2:])), ""
	switch {
	case code == websocket.StatusProtocolError:
		reason = badFrames
	case code == websocket.StatusMessageTooBig:
		reason = tooLarge(f.heads.limit)
	case !utf8.Valid(p[4:]): // the client's own, which the library says again
		code = websocket.StatusInvalidFramePayloadData
	default:
		return p
	}
	b := binary.BigEndian.AppendUint16([]byte{frameClose, byte(2 + len(reason))}, uint16(code)) //nolint:gosec // codes have 16 bits
	return append(b, reason...)
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

// heads are the beginnings of the frames that a client sends, taken from its
// bytes, however they come. They tell how large a message is going to be before
// it is here.
type heads struct {
	limit int64 // of a message
	over  bool  // one is larger: no more is looked at

	head    [14]byte
	have    int    // bytes of head
	payload uint64 // bytes that come until the next head
	message uint64 // bytes that are announced of the message
}

// scan follows what was read.
func (h *heads) scan(p []byte) {
	for len(p) > 0 && !h.over {
		if h.payload > 0 {
			n := min(h.payload, uint64(len(p)))
			h.payload -= n
			p = p[n:]
			continue
		}
		h.head[h.have] = p[0]
		h.have++
		p = p[1:]
		if h.have >= 2 && h.have == headSize(h.head[1]) {
			h.have = 0
			h.begin()
		}
	}
}

// begin begins the frame whose head is complete. What is wrong with it but for
// its size is the library's to refuse.
func (h *heads) begin() {
	const control, continues = 0x8, 0x0
	switch n := h.head[1] & 0x7f; n {
	case 127:
		h.payload = binary.BigEndian.Uint64(h.head[2:])
	case 126:
		h.payload = uint64(binary.BigEndian.Uint16(h.head[2:]))
	default:
		h.payload = uint64(n)
	}
	opcode := h.head[0] & 0xf
	if opcode >= control || h.payload > math.MaxInt64 {
		return
	}
	if opcode != continues {
		h.message = 0
	}
	h.message += h.payload // does not overflow: more than limit is over, and a payload is below 1<<63
	h.over = h.message > uint64(max(h.limit, 0))
}

// headSize returns how long the head of a frame is whose second byte is b.
func headSize(b byte) int {
	size := 2
	switch b & 0x7f {
	case 127:
		size += 8
	case 126:
		size += 2
	}
	if b&0x80 != 0 { // masked
		size += 4
	}
	return size
}
