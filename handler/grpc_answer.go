package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	headerStatus  = "Grpc-Status"
	headerMessage = "Grpc-Message"

	statusUnavailable = "14"
)

// errIdle ends a stream on which nothing is sent.
var errIdle = errors.New("handler: the stream is idle")

// answer relays the service's answer to the client.
func (s *grpcStream) answer(ctx context.Context, cancel context.CancelCauseFunc, try *upstream.Try, resp *http.Response) error {
	try.Sent()
	if err := s.check(resp); err != nil {
		return err
	}
	h := s.w.Header()
	before := maps.Clone(h) // what is not of the answer
	trailersOnly := isTrailersOnly(resp)
	fields := resp.Header
	if trailersOnly && s.dialect != dialectGRPC {
		fields = http.Header{} // they are the trailer
	}
	if bad := copyAnswerHeader(h, fields); bad != "" {
		replace(h, before)
		return s.badAnswer(fmt.Sprintf("header %.40q is malformed", bad))
	}
	if resp.Header.Get(headerStatus) == statusUnavailable {
		try.Failed()
	} else {
		try.Answered()
	}
	if ctx.Err() != nil { // given up this instant
		replace(h, before)
		return context.Cause(ctx)
	}
	s.ex.Upstream = time.Since(s.start)
	s.begun = true
	h["Content-Length"] = nil // what the service says is of another body; the server would say 0
	h["Content-Type"] = []string{s.dialect.toClient(resp.Header.Get("Content-Type"))}
	s.leaveBody()
	s.w.WriteHeader(http.StatusOK)
	switch {
	case trailersOnly && s.dialect == dialectGRPC:
		return nil // they went with the headers
	case trailersOnly:
		return s.end(resp.Header)
	}
	g := newStreamGuard(ctx, cancel, s, resp.Body)
	err := s.copyMessages(g, resp)
	g.stop()
	if err != nil {
		return err
	}
	return s.end(resp.Trailer)
}

// replace makes h what other is.
func replace(h, other http.Header) {
	clear(h)
	maps.Copy(h, other)
}

// check returns an error for an answer that is not one of gRPC.
func (s *grpcStream) check(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK && isGRPCType(resp.Header.Get("Content-Type")):
		return nil
	case isTrailersOnly(resp):
		return nil
	}
	what := fmt.Sprintf("service %s answered %d, which is no answer of gRPC", s.ex.Route.Service, resp.StatusCode)
	switch resp.StatusCode { // as gRPC reads it
	case http.StatusBadRequest:
		return goapi.NewError(http.StatusInternalServerError, what, nil)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable:
		return goapi.NewError(resp.StatusCode, what, nil)
	}
	return goapi.NewError(http.StatusBadGateway, what, nil)
}

// isTrailersOnly says that an answer is nothing but a status.
func isTrailersOnly(resp *http.Response) bool {
	return resp.ContentLength == 0 && resp.Header[headerStatus] != nil
}

// badAnswer is the error for an answer that cannot be passed on.
func (s *grpcStream) badAnswer(why string) error {
	return goapi.NewError(http.StatusBadGateway, "service "+s.ex.Route.Service+" gave no valid answer: "+why, nil)
}

// copyMessages passes on what the service sends, as it comes.
func (s *grpcStream) copyMessages(g *streamGuard, resp *http.Response) error {
	if err := s.rc.Flush(); err != nil { // the client may wait for the headers
		return clientGone(err)
	}
	chunk := s.buffers.get()
	defer s.buffers.put(chunk)
	for {
		n, err := resp.Body.Read(chunk[:])
		s.progress.made()
		if n > 0 {
			if werr := s.write(g, chunk[:n]); werr != nil {
				return s.broken(g, werr)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return s.broken(g, err)
		}
	}
}

// write passes a piece of the answer on.
func (s *grpcStream) write(g *streamGuard, p []byte) error {
	g.writing.Store(true)
	defer g.writing.Store(false)
	if err := g.ctx.Err(); err != nil {
		return err
	}
	_, err := s.w.Write(s.dialect.encode(p))
	if err == nil {
		err = s.rc.Flush()
	}
	return err
}

// broken returns why an answer cannot go on.
func (s *grpcStream) broken(g *streamGuard, err error) error {
	cause := context.Cause(g.ctx)
	if errors.Is(cause, errIdle) {
		return goapi.NewError(http.StatusServiceUnavailable, fmt.Sprintf("nothing was sent on the stream for %v", s.idle), cause)
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	}
	err = s.failure(err)
	if known, ok := errors.AsType[*goapi.Error](err); ok {
		switch known.Code {
		case http.StatusBadGateway:
			known.Detail = "service " + s.ex.Route.Service + " broke off the stream"
		case http.StatusGatewayTimeout:
			known.Detail = "service " + s.ex.Route.Service + " did not end the stream in time"
		}
	}
	return err
}

// end sends the trailers of the answer.
func (s *grpcStream) end(trailer http.Header) error {
	if trailer[headerStatus] == nil {
		return s.badAnswer("it has no status")
	}
	if s.dialect != dialectGRPC {
		return s.endWeb(trailer)
	}
	h := s.w.Header()
	for name, values := range trailer {
		if !forOneHop(name) {
			h[http.TrailerPrefix+name] = values
		}
	}
	return nil
}

// breakOff ends an answer that has begun with the status of err.
func (s *grpcStream) breakOff(err error) {
	code, message := goapi.GRPCStatus(err)
	_ = s.end(http.Header{headerStatus: {code}, headerMessage: {message}}) // fails for a client that is gone
}

// leaveBody lets an answer begin before the client has sent all: over HTTP/1.1
// the server would read on first, and the connection cannot be used again.
func (s *grpcStream) leaveBody() {
	if s.r.ProtoMajor == 1 && !s.body.ended() {
		s.w.Header()["Connection"] = []string{"close"}
	}
}

// hurry sends the answer now to a client that release waits for.
func (s *grpcStream) hurry() {
	if s.r.ProtoMajor == 1 && !s.body.ended() {
		_ = s.rc.Flush() // fails for a client that is gone
	}
}

// progress is when something was last sent, in Unix nanoseconds.
type progress struct{ at atomic.Int64 }

func (p *progress) made() { p.at.Store(time.Now().UnixNano()) }

// since returns how long nothing was sent.
func (p *progress) since() time.Duration { return time.Duration(time.Now().UnixNano() - p.at.Load()) }

// A streamGuard ends a stream that is idle. When the stream has ended, it ends a
// write to a client that takes nothing, and a read from the service: while the
// client is silent, the transport does not look at the context.
type streamGuard struct {
	ctx     context.Context
	stream  *grpcStream
	answer  io.Closer
	timer   *time.Timer
	detach  func() bool
	writing atomic.Bool

	mu   sync.Mutex
	over bool
}

func newStreamGuard(ctx context.Context, cancel context.CancelCauseFunc, s *grpcStream, answer io.Closer) *streamGuard {
	g := &streamGuard{ctx: ctx, stream: s, answer: answer}
	s.progress.made()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer = time.AfterFunc(s.idle, func() {
		if left := s.idle - s.progress.since(); left > 0 {
			g.rearm(left)
			return
		}
		cancel(errIdle)
	})
	g.detach = context.AfterFunc(ctx, g.unblock)
	return g
}

func (g *streamGuard) rearm(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over {
		g.timer.Reset(d)
	}
}

// unblock ends what waits for either side.
func (g *streamGuard) unblock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	_ = g.answer.Close() // the one who reads is told
	if g.writing.Load() {
		_ = g.stream.rc.SetWriteDeadline(time.Unix(1, 0)) // a writer that has none bounds its client itself
	}
}

// stop ends the guard: it does nothing afterwards.
func (g *streamGuard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	g.timer.Stop()
	g.detach()
}
