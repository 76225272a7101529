package server

import (
	"bytes"
	"errors"
	"time"
)

// Why a connection is closed for what its client sent.
var (
	errFields = errors.New("server: the header of a request has too many fields")
	errFlood  = errors.New("server: its client reset too many requests, or sent too many frames that ask for nothing")
	errALPN   = errors.New("server: its client does not speak what it has agreed on")
)

// phase is where a connection is.
type phase uint8

const (
	beginning phase = iota // what is spoken is not known yet
	header                 // of a request of HTTP/1.1
	request                // of HTTP/1.1: nothing is counted
	streams                // HTTP/2
)

// watch sees what goes over a connection as net/http reads and writes it, and
// which net/http does not bound before it has paid for it: the fields of a header,
// and frames. It is used as net/http does: by one reader at a time.
type watch struct {
	conn  *conn
	alpn  alpn
	phase phase
	text  bool // the line of a header that is being read is not empty
	seen  int  // of the preface, or lines of a header
	http2 *frames
}

// alpn is what both ends of a connection have agreed on.
type alpn uint8

const (
	alpnNone  alpn = iota // in clear text, the client's first bytes tell
	alpnHTTP1             // or nothing, over TLS
	alpnHTTP2
)

// read takes what the client sent, and returns why its connection is to be closed,
// or nil.
func (w *watch) read(p []byte) error {
	switch w.phase {
	case beginning:
		return w.begin(p)
	case header:
		return w.lines(p)
	case streams:
		if !w.http2.read(p, time.Now()) {
			return errFlood
		}
	case request:
	}
	return nil
}

// wrote takes what is about to be sent.
func (w *watch) wrote(p []byte) {
	if w.http2 != nil {
		w.http2.wrote(p)
	}
}

// begin tells HTTP/2 from HTTP/1.1 as net/http does.
func (w *watch) begin(p []byte) error {
	n := min(len(p), len(preface)-w.seen)
	if string(p[:n]) != preface[w.seen:w.seen+n] {
		if w.alpn == alpnHTTP2 {
			return errALPN
		}
		w.next()
		return w.lines(p)
	}
	if w.seen += n; w.seen < len(preface) {
		return nil
	}
	if w.alpn == alpnHTTP1 {
		return errALPN
	}
	w.phase, w.http2 = streams, w.conn.frames(time.Now())
	return w.read(p[n:])
}

// next says that another request may begin.
func (w *watch) next() {
	if w.phase != streams {
		w.phase, w.seen, w.text = header, 0, false
	}
}

// lines counts the lines of a header, which an empty one ends.
func (w *watch) lines(p []byte) error {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			w.text = w.text || len(bytes.Trim(p, "\r")) > 0
			return nil
		}
		if !w.text && len(bytes.Trim(p[:i], "\r")) == 0 {
			w.phase = request
			return nil
		}
		if w.seen++; w.seen > w.conn.listener.opts.MaxFields+1 { // the first is the request's
			return errFields
		}
		w.text, p = false, p[i+1:]
	}
}
