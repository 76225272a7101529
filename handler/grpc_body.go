package handler

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	// firstChunk is read of a body at a time until it turns out to be large.
	firstChunk = 4 << 10
	// maxAhead is read of a body before the service takes it.
	maxAhead = copySize
)

// grpcBody is what the client sends, on its way to a service. A goroutine of its
// own reads it, so that an attempt can be given up while the client is silent:
// the transport waits for the reader of a stream that has failed.
type grpcBody struct {
	src    io.Reader
	client *http.Request
	rc     *http.ResponseController
	done   chan struct{} // the goroutine has ended

	mu       sync.Mutex
	moved    sync.Cond
	buf      []byte // only the goroutine changes what it holds
	base     int64  // where in the body buf begins; above 0 there is no second attempt
	taken    int64  // by the attempt that is under way
	final    bool   // nothing is kept for another
	end      error  // why there is no more: io.EOF, or what went wrong
	over     bool   // nobody wants more of it
	try      *upstream.Try
	progress *progress
}

// newGRPCBody returns the body of r, or nil for a request that has none.
func newGRPCBody(r *http.Request, rc *http.ResponseController, kind dialect, p *progress) *grpcBody {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	b := &grpcBody{src: r.Body, client: r, rc: rc, progress: p, done: make(chan struct{})}
	if kind == dialectText {
		b.src = &base64Reader{src: r.Body}
	}
	b.moved.L = &b.mu
	go b.pump()
	return b
}

// pump reads the client until its end, or release.
func (b *grpcBody) pump() {
	defer close(b.done)
	for {
		space := b.space()
		if space == nil {
			return
		}
		n, err := b.src.Read(space)
		b.progress.made()
		b.mu.Lock()
		if !b.over {
			b.buf = b.buf[:len(b.buf)+n]
		}
		b.end = err
		if b.try != nil {
			b.try.Progress()
		}
		b.moved.Broadcast()
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// space returns where to read to, when there is some. It is nil when nobody
// wants more.
func (b *grpcBody) space() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.over {
			return b.waste()
		}
		if ahead := b.base + int64(len(b.buf)) - b.taken; ahead < maxAhead {
			break
		}
		b.moved.Wait()
	}
	if b.final || len(b.buf) >= maxReplay {
		used := int(b.taken - b.base)
		b.buf = append(b.buf[:0], b.buf[used:]...)
		b.base = b.taken
	}
	if free := cap(b.buf) - len(b.buf); free == 0 {
		grown := make([]byte, len(b.buf), max(firstChunk, min(4*cap(b.buf), maxReplay+maxAhead)))
		copy(grown, b.buf)
		b.buf = grown
	}
	return b.buf[len(b.buf):min(cap(b.buf), len(b.buf)+maxAhead)]
}

// waste returns where to read to what nobody wants; see release.
func (b *grpcBody) waste() []byte {
	if b.client.ProtoMajor > 1 {
		return nil
	}
	return make([]byte, firstChunk)
}

// open returns the body from its start, for an attempt. It is nil when the start
// was not kept.
func (b *grpcBody) open(try *upstream.Try) *grpcReader {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.base > 0 {
		return nil
	}
	b.taken, b.try = 0, try
	return &grpcReader{body: b}
}

// commit says that there is no other attempt.
func (b *grpcBody) commit() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.final = true
	b.mu.Unlock()
}

// ended says that the client has sent it all.
func (b *grpcBody) ended() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(b.end, io.EOF)
}

// failure returns the error that answers a request whose body did not come, or
// nil.
func (b *grpcBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	err := b.end
	b.mu.Unlock()
	var tooLong *http.MaxBytesError
	switch {
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.As(err, &tooLong):
		return err
	case b.client.Context().Err() != nil:
		return clientGone(err)
	}
	return goapi.NewError(http.StatusBadRequest, "the body broke off or is malformed", err)
}

// release ends the use of the client's body before its handler returns: nothing
// reads it afterwards. A client of HTTP/1.1 that is still sending has a moment to
// end: it would lose the answer if its connection were closed before.
func (b *grpcBody) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.over = true
	b.moved.Broadcast()
	ended := b.end != nil
	b.mu.Unlock()
	if !ended {
		patience := time.Unix(1, 0)
		if b.client.ProtoMajor == 1 {
			patience = time.Now().Add(lateBody)
		}
		_ = b.rc.SetReadDeadline(patience) // a writer that has none does not make its readers wait
	}
	<-b.done
}

// grpcReader is the body as one attempt reads it.
type grpcReader struct {
	body   *grpcBody
	took   atomic.Bool // some of the body, or that there is none
	closed bool        // guarded by body.mu
}

// Read implements io.Reader.
func (r *grpcReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if r.closed {
			return 0, errDetached
		}
		rest := b.buf[b.taken-b.base:]
		if len(rest) == 0 && b.end == nil {
			b.moved.Wait()
			continue
		}
		n := copy(p, rest)
		if n > 0 || errors.Is(b.end, io.EOF) {
			r.took.Store(true)
		}
		if n > 0 {
			b.taken += int64(n)
			b.moved.Broadcast()
		}
		if n == len(rest) {
			return n, b.end
		}
		return n, nil
	}
}

// Close implements io.Closer.
func (r *grpcReader) Close() error {
	b := r.body
	b.mu.Lock()
	r.closed = true
	b.moved.Broadcast()
	b.mu.Unlock()
	return nil
}
