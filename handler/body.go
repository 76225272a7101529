package handler

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	// maxReplay is how much of a body is kept to be sent a second time.
	maxReplay = 64 << 10
	// lateBody is how long the rest of a body that no service wants is waited
	// for, so that the client reads its answer and not a reset.
	lateBody = time.Second
)

var errDetached = errors.New("handler: the attempt is over")

// body is what the client sends, on its way to a service. It is read by one
// attempt after the other, each with a reader of its own.
type body struct {
	src       io.Reader
	from      *http.Request // whose Trailer is complete when src is at its end
	announced []string      // names of its trailer that travel on
	rc        *http.ResponseController
	limit     atomic.Int64 // how long a read may wait for the client, in nanoseconds

	mu    sync.Mutex // held while the client is read, which can take long
	read  int64      // bytes that the client has sent
	kept  []byte     // all of them, or nil
	keep  bool
	end   error       // why there is no more: io.EOF, or what went wrong
	tail  http.Header // the trailer that travels on; complete at the end
	armed time.Time

	lost     atomic.Bool // the beginning was not kept: there is no second attempt
	ended    atomic.Bool // the client has sent it all
	extended atomic.Bool // extend was called
	over     atomic.Bool // nobody wants more of it
	failed   atomic.Pointer[error]
}

// newBody returns the body of r, or nil for a request that has none. If keep is
// set, up to maxReplay of it are kept for another attempt. A client may be
// silent for as long as limit.
func newBody(r *http.Request, rc *http.ResponseController, limit time.Duration, keep bool) *body {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	b := &body{src: r.Body, from: r, rc: rc, keep: keep}
	b.limit.Store(int64(limit))
	for name := range r.Trailer {
		if !forbiddenTrailer(name) {
			b.announced = append(b.announced, name)
		}
	}
	return b
}

// open makes b the body of out, from its start.
func (b *body) open(out *http.Request, try *upstream.Try) {
	rd := &bodyReader{body: b, try: try}
	out.Body = rd
	if out.ContentLength < 0 {
		out.TransferEncoding = []string{"chunked"}
		rd.trailer = make(http.Header, len(b.announced))
		for _, name := range b.announced {
			rd.trailer[name] = nil // the value comes at the end
		}
		out.Trailer = rd.trailer
	}
}

// next reads on. The caller holds b.mu.
func (b *body) next(p []byte) (int, error) {
	if b.end != nil {
		return 0, b.end
	}
	b.arm(time.Now())
	if b.over.Load() {
		return 0, errDetached
	}
	n, err := b.src.Read(p)
	b.read += int64(n)
	switch {
	case !b.keep:
		b.lost.Store(b.read > 0)
	case b.read > maxReplay:
		b.keep, b.kept = false, nil
		b.lost.Store(true)
	default:
		b.kept = append(b.kept, p[:n]...)
	}
	if err == io.EOF {
		b.finish()
	}
	if err != nil {
		b.end = err
		if !b.ended.Load() {
			b.failed.Store(&err)
		}
	}
	return n, err
}

// arm moves the deadline of the client's connection, if that is due.
func (b *body) arm(now time.Time) {
	for limit := int64(-1); limit != b.limit.Load(); { // which can change meanwhile
		limit = b.limit.Load()
		if now.Sub(b.armed) <= time.Duration(limit)/idleGrain {
			return
		}
		_ = b.rc.SetReadDeadline(now.Add(time.Duration(limit))) // a writer that has none bounds its client itself
	}
	b.armed = now
}

// extend lets the client be silent for longer, also in a read under way. When the
// body has ended, which may be meanwhile, there is no limit: the server reads on for
// the client's end.
func (b *body) extend(limit time.Duration) {
	b.extended.Store(true)
	b.limit.Store(int64(limit))
	_ = b.rc.SetReadDeadline(time.Now().Add(limit))
	if b.ended.Load() {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
}

// finish takes over the trailer.
func (b *body) finish() {
	if b.from.Trailer != nil {
		b.tail = make(http.Header, len(b.from.Trailer))
	}
	for name, values := range b.from.Trailer {
		if !forbiddenTrailer(name) {
			b.tail[name] = values
		}
	}
	b.ended.Store(true)
	if b.extended.Load() { // perhaps after the server took the limit back
		_ = b.rc.SetReadDeadline(time.Time{})
	}
}

// failure returns the error that answers a request whose body did not come, or
// nil.
func (b *body) failure() error {
	if b == nil || b.failed.Load() == nil {
		return nil
	}
	err := *b.failed.Load()
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return goapi.NewError(http.StatusRequestTimeout, "the body did not come in time", err)
	}
	return goapi.NewError(http.StatusBadRequest, "the body broke off or is malformed", err)
}

// release ends the use of the client's body before its handler returns: nothing
// reads it afterwards, and the server waits for the rest of it only a moment.
func (b *body) release(w http.ResponseWriter) {
	if b == nil || b.ended.Load() {
		return
	}
	b.over.Store(true)
	if !b.mu.TryLock() { // a read waits for the client
		_ = b.rc.SetReadDeadline(time.Unix(1, 0))
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	if !b.armed.IsZero() && b.from.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // a read that failed has ended the connection for its server
	}
	_ = b.rc.SetReadDeadline(time.Now().Add(lateBody))
}

// bodyReader is the body as one attempt reads it.
type bodyReader struct {
	body    *body
	try     *upstream.Try
	off     int64
	trailer http.Header // filled at the end; nil for a body of known length
	closed  atomic.Bool
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.closed.Load() {
		return 0, errDetached
	}
	var (
		n   int
		err error
	)
	switch {
	case r.off < int64(len(b.kept)):
		n = copy(p, b.kept[r.off:])
	case r.off == b.read:
		n, err = b.next(p)
		r.try.Progress()
	default:
		return 0, errDetached // what was not kept went to another attempt
	}
	r.off += int64(n)
	if r.off == b.read {
		err = b.end
	}
	if r.trailer != nil && b.ended.Load() && err != nil {
		maps.Copy(r.trailer, b.tail)
	}
	return n, err
}

// Close implements io.Closer. A read that waits for the client goes on, but
// what it gets is kept for the next attempt or lost.
func (r *bodyReader) Close() error {
	r.closed.Store(true)
	return nil
}
