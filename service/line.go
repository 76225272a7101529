package service

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// closeWait is how long the caller of a stream that has ended may take to close
// its connection: what is closed first may be lost on its way.
const closeWait = 5 * time.Second

var (
	errGone     = errors.New("the caller is gone")
	errHeader   = fmt.Errorf("the header of a message is larger than %d bytes", maxHeaderBytes)
	errStopping = &goapi.Error{Code: http.StatusServiceUnavailable, Detail: "the service is about to stop"}
)

// serveStream serves a stream that r opens, on its connection.
func (c *call) serveStream(w http.ResponseWriter, r *http.Request, f Func) {
	if _, err := c.service.read(w, r); err != nil { // the first message is not read, but for its end
		c.reply(w, r, nil, err)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		c.reply(w, r, nil, err)
		return
	}
	c.echo(r.Header)
	ctx, cancel := contextOf(r)
	defer cancel()
	l := newLine(ctx, c, conn, buffered.Reader)
	c.service.streams.add(l)
	defer c.service.streams.remove(l)
	gone := make(chan struct{})
	go func() { // ends with the connection, which close closes
		defer close(gone)
		l.listen()
	}()
	err = c.guard(func() error { return f.stream(l.ctx, codec{mucp.FamilyOf(c.contentType)}, l) })
	if cause := context.Cause(l.ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	l.close(c.errorText(err), gone)
}

// A line is the connection of a stream.
type line struct {
	call  *call
	conn  net.Conn
	inlet *inlet
	in    *bufio.Reader

	ctx      context.Context //nolint:containedctx // that of the stream, whose methods have none
	cancel   context.CancelCauseFunc
	unbound  func() bool // from the end of ctx
	messages chan []byte // closed when there are no more

	mu     sync.Mutex // of what is written
	broken bool       // nothing can be written any more
}

// newLine returns the line of a stream. What was read of it already is in
// buffered.
func newLine(ctx context.Context, c *call, conn net.Conn, buffered *bufio.Reader) *line {
	early, _ := buffered.Peek(buffered.Buffered()) // cannot fail
	in := &inlet{from: io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)}
	l := &line{call: c, conn: conn, inlet: in, in: bufio.NewReader(in), messages: make(chan []byte)}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.unbound = context.AfterFunc(l.ctx, func() { l.bound(c.service.opts.Drain) })
	return l
}

// bound bounds how long writing may take from now on.
func (l *line) bound(d time.Duration) {
	_ = l.conn.SetWriteDeadline(time.Now().Add(d)) // fails only for a connection that is closed
}

// listen reads messages until the connection ends, and throws away those that
// nobody waits for any more.
func (l *line) listen() {
	more := l.messages
	for {
		message, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			if more != nil {
				close(more)
			}
			more = nil // what comes after the end is not waited for
			continue
		case errors.Is(err, errGone):
			l.cancel(errGone)
			return
		case err != nil:
			l.cancel(err)
			_, _ = io.Copy(io.Discard, l.conn) // so that the caller hears of it: unread, what it sent would end the connection
			return
		case more == nil:
			continue
		}
		select {
		case more <- message:
		case <-l.ctx.Done():
		}
	}
}

// next reads a message; io.EOF means that the caller sends no more.
func (l *line) next() ([]byte, error) {
	l.inlet.left = maxHeaderBytes
	if _, err := l.in.Peek(1); err != nil {
		return nil, errGone
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(readBodyTimeout)) // fails only for a connection that is closed
	defer l.conn.SetReadDeadline(time.Time{})                   //nolint:errcheck // as above
	r, err := http.ReadRequest(l.in)
	if errors.Is(err, errHeader) {
		return nil, &goapi.Error{Code: http.StatusRequestHeaderFieldsTooLarge, Detail: errHeader.Error()}
	}
	if err != nil {
		return nil, &goapi.Error{Code: http.StatusBadRequest, Detail: "what was sent is no message", Cause: err}
	}
	l.inlet.left = math.MaxInt64
	limit := l.call.service.opts.MaxRequest
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, &goapi.Error{Code: http.StatusBadRequest, Detail: "a message ended early", Cause: err}
	case int64(len(body)) > limit:
		return nil, &goapi.Error{Code: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("a message is larger than %d bytes", limit)}
	case mucp.Get(r.Header, mucp.HeaderError) == mucp.EndOfStream:
		return nil, io.EOF
	}
	f, err := mucp.DecodeRequest(l.call.contentType, body)
	if err != nil {
		return nil, &goapi.Error{Code: http.StatusBadRequest, Detail: "a message is not " + l.call.contentType, Cause: err}
	}
	return f.Message, nil
}

// recv returns the next message, io.EOF after the last, or why there is none.
func (l *line) recv() ([]byte, error) {
	var (
		message []byte
		ok      bool
	)
	select {
	case message, ok = <-l.messages:
	case <-l.ctx.Done():
		select { // a caller may say that this is all, and be gone
		case message, ok = <-l.messages:
		default:
			return nil, context.Cause(l.ctx)
		}
	}
	if !ok {
		return nil, io.EOF
	}
	return message, nil
}

// send sends a message.
func (l *line) send(message []byte) error { return l.write(mucp.Frame{Message: message}, "") }

// write writes a message of the service: a frame, and what the header says of an
// error.
func (l *line) write(f mucp.Frame, text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errGone
	}
	f.ID, f.Method = mucp.Get(l.call.header, mucp.HeaderID), l.call.endpoint
	body, err := mucp.EncodeResponse(l.call.contentType, f)
	if err != nil {
		return err
	}
	h := l.call.header
	if text != "" {
		h = h.Clone()
		mucp.Set(h, mucp.HeaderError, text)
	}
	res := &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: h,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	out := bufio.NewWriterSize(l.conn, min(len(body), 32<<10)+2<<10)
	if err = errors.Join(res.Write(out), out.Flush()); err != nil {
		l.broken = true
		l.cancel(errGone)
		return errGone
	}
	return nil
}

// close writes the end of the stream, an error unless text is empty, and closes
// the connection when the caller has.
func (l *line) close(text string, gone <-chan struct{}) {
	l.unbound()
	l.cancel(nil)
	l.bound(closeWait)
	end := mucp.Frame{Error: text}
	if text == "" {
		text = mucp.EndOfStream
	}
	err := l.write(end, text)
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite() // the caller is gone, and read to its end
		select {
		case <-gone:
		case <-time.After(closeWait):
		}
	}
	_ = l.conn.Close() // says nothing
	<-gone
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true // for who sends on
}

// An inlet is what a caller sends.
type inlet struct {
	from io.Reader
	left int64 // may be read
}

// Read implements io.Reader.
func (in *inlet) Read(p []byte) (int, error) {
	if in.left <= 0 {
		return 0, errHeader
	}
	n, err := in.from.Read(p[:min(int64(len(p)), in.left)])
	in.left -= int64(n)
	return n, err
}
