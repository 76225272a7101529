package server

import (
	"encoding/binary"
	"sync"
	"time"
)

// The types of frames that count, by their numbers on the wire.
const (
	typeData    = 0x0
	typeHeaders = 0x1
	typeReset   = 0x3

	flagPadded = 0x8

	frameHeader = 9
)

// preface is what a client of HTTP/2 begins with.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// What frames are worth. One that brings the client nothing but work for the
// server costs one. What the server answers earns what a client may need to say
// about it: how much of it was read, on the stream and in all, and pings that
// measure how long it took.
const (
	earnAnswer = 8   // for the header of an answer
	earnData   = 4   // for a frame of its body
	earnBytes  = 512 // so many bytes of it earn one more

	// minRate is how many frames a client may send in a second.
	minRate = 1000
	// hello is what a client may send besides, to begin with.
	hello = 50
	// burst is in how many seconds a client saves all that it may send at once. It
	// begins with what it may send in one.
	burst = 4
	// doubted is the part of that with which one begins whose address is known for
	// floods.
	doubted = 0.1
)

// frames bounds what the client of an HTTP/2 connection may send that asks for
// nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, CONTINUATION, DATA without any,
// and frames that nobody knows. Each costs net/http as much as one that is of use.
//
// It also bounds how many streams are reset before they are answered.
// Options.MaxStreams bounds the work that a client can ask for at a time, but a
// stream that is reset counts no longer, while the service may still work on it. So
// each costs as if it had lived for a second: a client whose calls are given up
// after a second or more cannot reach the bound, whatever it cancels. An answer
// earns that back. The server's own RST_STREAM counts as well: something has made
// it send that.
//
// What asks for work (a header, a body) is free here: streams, bodies and the
// time of handlers have bounds of their own.
type frames struct {
	in, out framing
	reset   float64 // what RST_STREAM costs
	budget  budget
}

// newFrames returns what bounds a client that may have so many streams, and that
// begins with a part of what it may send in a second.
func newFrames(streams int, now time.Time, part float64) *frames {
	rate := max(minRate, 4*float64(streams))
	return &frames{
		reset:  rate / float64(streams),
		budget: budget{rate: rate, most: burst * rate, left: rate*part + hello, at: now},
	}
}

// frames returns what bounds the client of a connection that begins to speak
// HTTP/2.
func (c *conn) frames(now time.Time) *frames {
	part := 1.0
	if c.listener.offenders.has(addressOf(c.RemoteAddr()), now) {
		part = doubted
	}
	return newFrames(c.listener.opts.MaxStreams, now, part)
}

// read takes what the client sent, and reports whether that is within the bound.
func (f *frames) read(p []byte, now time.Time) bool {
	for len(p) > 0 {
		var h frame
		var ok bool
		if h, p, ok = f.in.next(p); ok && !f.allow(h, now) {
			return false
		}
	}
	return true
}

// allow reports whether the client may send a frame.
func (f *frames) allow(h frame, now time.Time) bool {
	switch {
	case h.kind == typeData && h.length > h.padding:
		return true
	case h.kind == typeHeaders:
		return f.budget.spend(0, now) // unless it is in debt
	case h.kind == typeReset:
		return f.budget.spend(f.reset, now)
	}
	return f.budget.spend(1, now)
}

// wrote takes what is about to be sent to the client.
func (f *frames) wrote(p []byte) {
	for len(p) > 0 {
		var h frame
		var ok bool
		if h, p, ok = f.out.next(p); !ok {
			continue
		}
		switch h.kind {
		case typeHeaders:
			f.budget.earn(f.reset + earnAnswer)
		case typeData:
			f.budget.earn(earnData + float64(h.length/earnBytes))
		case typeReset:
			f.budget.spend(f.reset, time.Now()) // the next that the client sends tells
		}
	}
}

// frame is what its first bytes say of a frame.
type frame struct {
	kind    byte
	length  int
	padding int // of length, with the byte that says how much
}

// framing finds the frames in one direction of a connection.
type framing struct {
	head [frameHeader + 1]byte // and how much padding there is
	have int
	skip int
}

// next takes the beginning of p, and returns the rest of it, and a frame if one
// begins there.
func (f *framing) next(p []byte) (h frame, rest []byte, ok bool) {
	if n := min(f.skip, len(p)); n > 0 {
		f.skip -= n
		return frame{}, p[n:], false
	}
	n := copy(f.head[f.have:f.need()], p)
	f.have += n
	if f.have < f.need() {
		return frame{}, p[n:], false
	}
	h = frame{kind: f.head[3], length: f.length()}
	if f.need() > frameHeader {
		h.padding = 1 + int(f.head[frameHeader])
	}
	f.skip = h.length - (f.have - frameHeader)
	f.have = 0
	return h, p[n:], true
}

// need returns how many bytes say what a frame is.
func (f *framing) need() int {
	if f.have >= frameHeader && f.head[3] == typeData && f.head[4]&flagPadded != 0 && f.length() > 0 {
		return frameHeader + 1
	}
	return frameHeader
}

func (f *framing) length() int {
	return int(binary.BigEndian.Uint32(f.head[:4]) >> 8)
}

// budget is what a client may spend: so much a second, and what it earns, of which
// it can save some. It may be used concurrently.
type budget struct {
	rate, most float64

	mu   sync.Mutex
	left float64
	at   time.Time
}

// spend takes n, and reports whether it was there.
func (b *budget) spend(n float64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.most, b.left+b.rate*now.Sub(b.at).Seconds()) - n
	b.at = now
	return b.left >= 0
}

func (b *budget) earn(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.most, b.left+n)
}
