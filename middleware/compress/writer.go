package compress

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// state says what has become of an answer.
type state int

const (
	fresh   state = iota // nothing is known
	holding              // its first bytes are held, until there are enough
	plain                // it goes out as it is
	coded                // it goes out compressed
	ended                // it was compressed, and is complete or broken off
)

// writer is a ResponseWriter that compresses what is worth it.
type writer struct {
	http.ResponseWriter

	c      *compressor
	r      *http.Request
	state  state
	status int
	wanted codings
	held   []byte
	lease  lease
}

// WriteHeader implements http.ResponseWriter. The header is sent at once, unless
// it is not known yet how long the body is.
func (w *writer) WriteHeader(status int) {
	switch {
	case w.state == holding: // nobody gives two
		return
	case w.state != fresh, status < http.StatusOK && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	h := w.Header()
	if status == http.StatusNotModified {
		w.notModified(h)
	}
	if !hasBody(status) || !w.c.shrinks(h["Content-Type"]) || isFinal(h) {
		w.startPlain()
		return
	}
	addVary(h)
	w.wanted = w.c.wanted(w.r)
	length, known := contentLength(h)
	switch {
	case w.wanted.best == identity, known && length < int64(w.c.minSize):
		w.startPlain()
	case w.r.Method == http.MethodHead:
		if known {
			setCoding(h, w.wanted.best)
		}
		w.startPlain()
	case known, h["Trailer"] != nil: // what comes after the body must not be taken for what comes before
		w.start()
	default:
		w.state = holding
	}
}

// hasBody says that an answer with this status has a body of its own.
func hasBody(status int) bool {
	switch status {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusPartialContent, http.StatusNotModified:
		return false
	}
	return true
}

// isFinal says that the bytes of an answer are as they must be.
func isFinal(h http.Header) bool {
	for _, name := range []string{"Content-Encoding", "Content-Range", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Signature"} {
		if h[name] != nil {
			return true
		}
	}
	return forbids(h["Cache-Control"])
}

// contentLength returns the length that an answer says it has.
func contentLength(h http.Header) (length int64, known bool) {
	values := h["Content-Length"]
	if len(values) == 0 {
		return 0, false
	}
	length, err := strconv.ParseInt(values[0], 10, 64)
	return length, err == nil
}

// addVary says that the answer depends on what encodings the client takes.
func addVary(h http.Header) {
	for _, list := range h["Vary"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Accept-Encoding") {
				return
			}
		}
	}
	h["Vary"] = append(slices.Clip(h["Vary"]), "Accept-Encoding")
}

// setCoding changes a header to that of a compressed answer.
func setCoding(h http.Header, as coding) {
	h["Content-Encoding"] = []string{string(as)}
	delete(h, "Content-Length")
	delete(h, "Accept-Ranges") // a part of it cannot be asked for
	weaken(h)
}

// weaken makes a strong ETag weak: the bytes are others.
func weaken(h http.Header) {
	if tags := h["Etag"]; len(tags) == 1 && strings.HasPrefix(tags[0], `"`) {
		h["Etag"] = []string{"W/" + tags[0]}
	}
}

// notModified says of an answer that the client has, compressed by us, what it
// would say of it again.
func (w *writer) notModified(h http.Header) {
	tags := h["Etag"]
	if len(tags) != 1 {
		return
	}
	for _, list := range w.r.Header["If-None-Match"] {
		if strings.Contains(list, "W/"+tags[0]) {
			weaken(h)
			addVary(h)
		}
	}
}

// startPlain sends the header, and what is held, as they are.
func (w *writer) startPlain() {
	w.state = plain
	w.ResponseWriter.WriteHeader(w.status)
}

// start sends the header of a compressed answer.
func (w *writer) start() {
	var as coding
	if w.lease, as = w.c.encoders.lease(w.wanted, w.ResponseWriter); as == identity {
		w.startPlain()
		return
	}
	w.state = coded
	setCoding(w.Header(), as)
	w.ResponseWriter.WriteHeader(w.status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (int, error) {
	if w.state == fresh {
		w.WriteHeader(http.StatusOK)
	}
	if w.state == holding {
		if len(w.held)+len(b) < w.c.minSize {
			w.held = append(w.held, b...)
			return len(b), nil
		}
		w.start()
		if err := w.release(); err != nil {
			return 0, err
		}
	}
	return w.pass(b)
}

// release passes on what is held.
func (w *writer) release() error {
	held := w.held
	if w.held = nil; held == nil {
		return nil
	}
	_, err := w.pass(held)
	return err
}

// pass passes bytes on, when it is known how.
func (w *writer) pass(b []byte) (int, error) {
	switch w.state {
	case coded:
		return w.lease.Write(b)
	case ended:
		return 0, io.ErrClosedPipe
	default:
		return w.ResponseWriter.Write(b)
	}
}

// ReadFrom lets the writer below copy in its own way what is not compressed.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	if w.state == fresh {
		w.WriteHeader(http.StatusOK)
	}
	if w.state == plain {
		return io.Copy(w.ResponseWriter, src)
	}
	return io.Copy(struct{ io.Writer }{w}, src)
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // a Flusher has no way to tell

// FlushError is what a ResponseController calls. The client gets what was
// written, and can decode it.
func (w *writer) FlushError() error {
	if w.state == fresh {
		w.WriteHeader(http.StatusOK)
	}
	if w.state == holding { // it comes in pieces, and nobody knows how many
		w.start()
		if err := w.release(); err != nil {
			return err
		}
	}
	if w.state == coded {
		if err := w.lease.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap gives a ResponseController the writer below.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish completes the answer.
func (w *writer) finish() {
	switch w.state {
	case holding:
		w.startPlain()
		_ = w.release() // the client is gone; nobody to tell
	case coded:
		_ = w.lease.Close() // see above
	}
}

// abandon gives back what the answer took, and sends nothing: that it is broken
// must show.
func (w *writer) abandon() {
	w.c.encoders.giveBack(w.lease)
	w.lease = lease{}
	if w.state == coded {
		w.state = ended
	}
}
