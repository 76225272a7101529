package middleware

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
)

const (
	// flushEvery is how long a line may wait to be written.
	flushEvery = 200 * time.Millisecond
	// defaultLogBuffer is what lines may hold that wait, in bytes.
	defaultLogBuffer = 1 << 20
	// maxKeptLine is the largest buffer of a line that is used again.
	maxKeptLine = 16 << 10
)

// lastWrite bounds the wait for the last lines to be written.
const lastWrite = 2 * time.Second

// AccessLogOptions adjust an AccessLog. A nil *AccessLogOptions means all
// defaults.
type AccessLogOptions struct {
	// Sample is the share of the answers below 400 that are logged, from 0 to 1;
	// all others always are. A negative number is none. Default: 1, all.
	Sample float64
	// Query adds the names in the query, without their values. Default: nothing
	// of the query is logged.
	Query bool
	// Buffer bounds the lines that wait to be written, in bytes. Default: 1 MiB.
	Buffer int
	// Logger is told when lines cannot be written. Default: none.
	Logger *slog.Logger
}

// An AccessLog writes a line of JSON for each request when it has ended: also
// for one that was cut, and for a WebSocket. It may be used concurrently.
//
// A line has these fields, of which those that say nothing are left out:
//
//   - time, when the request ended, and msg, which is "request";
//   - method, host, path, which is escaped as it came; and query, if asked for;
//   - status, 0 if the connection was cut before there was one; bytes_in and
//     bytes_out, of the bodies, which a WebSocket does not have; duration_ms;
//   - route, the path as announced; service, endpoint, handler; node, the id of
//     the last one that was tried; attempts, and upstream_ms, the time to the
//     head of its answer;
//   - client, the address; subject and auth, who the caller is and how that was
//     verified;
//   - trace_id, of the header traceparent, and request_id, of X-Request-Id, as
//     the service got them;
//   - protocol, tls, user_agent; grpc_status, of an answer of gRPC;
//   - error, the cause, and cut, if the answer broke off.
//
// Each value is bounded, and what is not printable is escaped, so that nobody
// else can write a line. No headers, bodies, cookies or values of a query are in
// it, and of URLs in errors neither user nor query; what a client or a service
// puts into a path is.
//
// Requests never wait for the log. Lines wait in memory until Run writes them,
// at most a fifth of a second; when there is no room for one it is lost, and a
// line with the msg "lines lost" says later how many were.
type AccessLog struct {
	out     io.Writer
	opts    AccessLogOptions
	buffers sync.Pool // of *[]byte
	full    chan struct{}
	lost    atomic.Uint64

	mu      sync.Mutex
	waiting []byte // lines
	spare   []byte // for the lines that come while those are written
	missing uint64 // lines lost, of which no line tells yet
}

// NewAccessLog returns an AccessLog that writes to out once Run is called. Each
// write is of whole lines.
func NewAccessLog(out io.Writer, opts *AccessLogOptions) *AccessLog {
	l := &AccessLog{out: out, full: make(chan struct{}, 1)}
	if opts != nil {
		l.opts = *opts
	}
	l.opts.Sample = cmp.Or(l.opts.Sample, 1)
	l.opts.Buffer = cmp.Or(max(l.opts.Buffer, 0), defaultLogBuffer)
	if l.opts.Logger == nil {
		l.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return l
}

// Middleware returns next, with a line for each of its requests.
func (l *AccessLog) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := goapi.ExchangeFrom(r.Context())
		if ex == nil {
			w, r, ex = goapi.NewExchange(w, r)
		}
		// What is below may rewrite the request.
		a := access{ex: ex, r: r, method: r.Method, host: r.Host, path: r.URL.EscapedPath(), query: r.URL.RawQuery, cut: true}
		if r.Body != nil && r.Body != http.NoBody {
			a.body = &countedBody{ReadCloser: r.Body}
			r.Body = a.body
		}
		defer func() { l.end(&a, w.Header()) }()
		next.ServeHTTP(w, r)
		a.cut = false
	})
}

// end logs a request that has ended.
func (l *AccessLog) end(a *access, answer http.Header) {
	a.judge(answer)
	if !a.failed() && l.opts.Sample < 1 && rand.Float64() >= l.opts.Sample { //nolint:gosec // a sample
		return
	}
	buf, ok := l.buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	line := a.appendTo((*buf)[:0], time.Now(), l.opts.Query)
	l.add(line)
	if cap(line) <= maxKeptLine {
		*buf = line
		l.buffers.Put(buf)
	}
}

// add lets a line wait to be written, if there is room.
func (l *AccessLog) add(line []byte) {
	l.mu.Lock()
	if len(l.waiting)+len(line) > l.opts.Buffer {
		l.missing++
		l.mu.Unlock()
		l.lost.Add(1)
		return
	}
	l.waiting = append(l.waiting, line...)
	much := len(l.waiting) > l.opts.Buffer/2
	l.mu.Unlock()
	if much {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// Run writes lines until ctx is done, then those that wait, and returns
// ctx.Err(). A writer that takes none of them has two seconds more. Run is called
// once, and to end after the last request.
func (l *AccessLog) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // ends with ctx, or with the program if the writer never returns
		defer close(done)
		l.run(ctx)
	}()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(lastWrite):
		l.opts.Logger.Error("the access log takes no lines: the last are lost")
	}
	return ctx.Err()
}

// run writes lines until ctx is done, then those that wait.
func (l *AccessLog) run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			_, _ = l.flush() // there is nobody left to tell
			return
		case <-tick.C:
		case <-l.full:
		}
		wrote, err := l.flush()
		if err != nil && !failing {
			l.opts.Logger.Error("access log cannot be written; its lines are lost until it can", slog.Any("error", err))
		}
		if wrote {
			failing = err != nil
		}
	}
}

// Flush writes the lines that wait. It is not called beside Run, which does it.
func (l *AccessLog) Flush() error {
	_, err := l.flush()
	return err
}

// flush writes the lines that wait. It says whether there were any.
func (l *AccessLog) flush() (wrote bool, err error) {
	l.mu.Lock()
	lines, missing := l.waiting, l.missing
	l.waiting, l.missing = l.spare[:0], 0
	l.mu.Unlock()
	if missing > 0 {
		lines = appendLost(lines, missing)
	}
	l.spare = lines
	if len(lines) == 0 {
		return false, nil
	}
	if _, err := l.out.Write(lines); err != nil {
		l.lost.Add(uint64(bytes.Count(lines, []byte{'\n'}))) //nolint:gosec // a count
		return true, fmt.Errorf("middleware: access log: %w", err)
	}
	return true, nil
}

// Lost returns how many lines were lost: because there was no room for them, or
// because they could not be written.
func (l *AccessLog) Lost() uint64 { return l.lost.Load() }

// countedBody counts what is read of a body, also by those who read on when the
// request has ended.
type countedBody struct {
	io.ReadCloser

	n atomic.Int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
