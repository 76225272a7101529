package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// errInterim ends an attempt on a node that says that it is busy and no more.
var errInterim = errors.New("handler: too many interim answers")

// relay passes an interim answer on to the client. The transport calls it while
// the attempt waits.
func (f *forwarding) relay(code int, header textproto.MIMEHeader) error {
	f.interim.Lock()
	defer f.interim.Unlock()
	if f.came++; f.came > maxInterim {
		return errInterim
	}
	// The server itself says 100 to the client when the body is read.
	if code == http.StatusContinue || f.final || f.expect || f.relayed == maxRelayed || !f.r.ProtoAtLeast(1, 1) {
		return nil
	}
	f.relayed++
	h := f.w.Header()
	kept := maps.Clone(h)
	bad := copyAnswerHeader(h, http.Header(header))
	if bad == "" {
		f.w.WriteHeader(code)
	}
	clear(h)
	maps.Copy(h, kept)
	return nil
}

// answer passes the service's answer on to the client.
func (f *forwarding) answer(ctx context.Context, try *upstream.Try, resp *http.Response) error {
	try.Sent()
	if resp.StatusCode < http.StatusOK { // and final
		return f.upgrade(ctx, try, resp)
	}
	if err := f.answerHeader(ctx, try, resp); err != nil {
		return err
	}
	h := f.w.Header()
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // the server would guess one
	}
	if f.body != nil && !f.body.ended.Load() {
		f.body.extend(f.idle)
		if f.r.ProtoMajor == 1 {
			// The rest of the body may never be read. This also lets body and
			// answer stream at once: net/http reads the body of a connection that
			// is to be used again before it writes. EnableFullDuplex, which would
			// do so, makes it panic when a body that nobody read is short.
			h["Connection"] = []string{"close"}
		}
	}
	var trailer []string
	for name := range resp.Trailer {
		if !forbiddenTrailer(name) {
			trailer = append(trailer, name)
		}
	}
	if trailer != nil {
		h["Trailer"] = trailer
	}
	f.w.WriteHeader(resp.StatusCode)
	if resp.Body == http.NoBody {
		return nil
	}
	if err := f.copyBody(resp); err != nil {
		return err
	}
	f.setTrailer(resp.Trailer, trailer)
	return nil
}

// answerHeader takes over the header of the service's answer, with which it has
// answered.
func (f *forwarding) answerHeader(ctx context.Context, try *upstream.Try, resp *http.Response) error {
	h := f.w.Header()
	bad := copyAnswerHeader(h, resp.Header)
	if bad == "" {
		switch resp.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			try.Failed()
		default:
			try.Answered()
		}
		if ctx.Err() == nil {
			f.ex.Upstream = time.Since(f.start)
			return nil
		}
	}
	for name := range resp.Header {
		delete(h, name)
	}
	if bad != "" {
		return f.badAnswer(fmt.Sprintf("header %.40q is malformed", bad))
	}
	return context.Cause(ctx) // it came as the try was given up
}

// badAnswer is the error for an answer that cannot be passed on.
func (f *forwarding) badAnswer(why string) error {
	return goapi.NewError(http.StatusBadGateway, "service "+f.ex.Route.Service+" gave no valid answer: "+why, nil)
}

// copyBody passes the body of an answer on, each piece as it comes.
func (f *forwarding) copyBody(resp *http.Response) error {
	live := resp.ContentLength < 0 || isEventStream(resp.Header)
	if live {
		if err := f.rc.Flush(); err != nil {
			return clientGone(err)
		}
	}
	buf := f.buffers.get()
	defer f.buffers.put(buf)
	var armed time.Time
	for {
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			// An answer in one piece is written when the handler has returned,
			// which is the server's to bound.
			if now := time.Now(); err == nil && now.Sub(armed) > f.idle/idleGrain {
				armed = now
				_ = f.rc.SetWriteDeadline(now.Add(f.idle + f.idle/idleGrain)) // a writer that has none bounds its client itself
			}
			if _, werr := f.w.Write(buf[:n]); werr != nil {
				return clientGone(werr)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if failed := f.body.failure(); failed != nil {
				return failed
			}
			if f.r.Context().Err() != nil {
				return clientGone(err)
			}
			return goapi.NewError(http.StatusBadGateway, "service "+f.ex.Route.Service+" broke off its answer", err)
		}
		if live || n < len(buf) { // the next piece may take long
			if err := f.rc.Flush(); err != nil {
				return clientGone(err)
			}
		}
	}
}

func clientGone(cause error) error {
	return goapi.NewError(goapi.StatusClientClosedRequest, "the client went away", cause)
}

func isEventStream(h http.Header) bool {
	values := h["Content-Type"]
	if len(values) == 0 || !strings.HasPrefix(values[0], "text/event-stream") {
		return false
	}
	kind, _, _ := mime.ParseMediaType(values[0])
	return kind == "text/event-stream"
}

// setTrailer passes on what follows a body, announced or not.
func (f *forwarding) setTrailer(trailer http.Header, announced []string) {
	h := f.w.Header()
	for name, values := range trailer {
		if forbiddenTrailer(name) {
			continue
		}
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}
