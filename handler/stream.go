package handler

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	defaultPing       = 30 * time.Second
	defaultTake       = 30 * time.Second
	defaultMaxStreams = 10_000
	defaultMaxHeld    = 128 << 20
)

// StreamOptions bound and guard the streams of an RPC handler. A zero field
// means its default.
type StreamOptions struct {
	// Idle ends a stream in which neither side has sent a message for so long
	// (504; over WebSocket the close code is 1008). Default: 5 min.
	Idle time.Duration
	// Total bounds a whole stream (504), and travels to the service as the
	// deadline of the call. Default: none.
	Total time.Duration
	// Ping is how often the client is sent a sign of life: a ping over
	// WebSocket, a comment among server-sent events. A client over WebSocket
	// that has not answered when the next but one is due is taken for gone.
	// Default: 30 s.
	Ping time.Duration
	// Take bounds the time in which a client takes nothing of what it is sent.
	// Default: 30 s.
	Take time.Duration
	// MaxMessage bounds a message of a client over WebSocket, in bytes.
	// Default: the MaxBody of the route's policy.
	MaxMessage int64
	// MaxHeld bounds what messages of clients over WebSocket hold together that
	// are larger than 4 KiB, in bytes, from when they begin until the service has
	// taken them: one that finds no room ends its stream (503, and the code 1013).
	// Default: 128 MiB.
	MaxHeld int64
	// MaxStreams bounds the streams that are open, or being opened: further
	// ones are refused (503 with Retry-After). Default: 10,000.
	MaxStreams int
	// Origins are the web pages that may open a WebSocket, each as
	// [CheckOrigin] has it. Pages of the requested host itself always may, any
	// other is refused (403), as is one without an origin of its own ("null"). A
	// request without an Origin header is none of a browser's, and passes.
	// Default: none.
	Origins []string
	// Done ends all streams when it is closed: the gateway is going away, and a
	// server that drains waits for them. Default: none.
	Done <-chan struct{}
}

func (o *StreamOptions) orDefault() StreamOptions {
	d := *o
	d.Idle = orElse(d.Idle, defaultIdle)
	d.Ping = orElse(d.Ping, defaultPing)
	d.Take = orElse(d.Take, defaultTake)
	if d.MaxStreams <= 0 {
		d.MaxStreams = defaultMaxStreams
	}
	if d.MaxHeld <= 0 {
		d.MaxHeld = defaultMaxHeld
	}
	return d
}

// orElse returns d if it is positive, else other.
func orElse(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// pages returns who may open a WebSocket.
func (o *StreamOptions) pages() origins { return append(sameOrigin(), parseOrigins(o.Origins)...) }

// stream serves a request for an endpoint with stream=true.
func (h *rpc) stream(w http.ResponseWriter, r *http.Request, rt *goapi.Route) error {
	streamer, ok := h.caller.(client.Streamer)
	if !ok {
		return goapi.NewError(http.StatusNotImplemented,
			fmt.Sprintf("%s of service %s is a stream, which this gateway does not serve", rt.Endpoint.Name, rt.Service), nil)
	}
	s := &session{held: h.held, body: wholeBody{room: h.opts.Bodies}, opts: &h.opts.Streams, streamer: streamer, policy: rt.Policy.OrDefault(), w: w, r: r, ex: exchangeOf(r.Context())}
	defer s.body.release()
	var err error
	if asksWebSocket(r) {
		err = s.overWebSocket(rt, h.pages)
	} else {
		err = s.asEvents(rt)
	}
	if err == nil {
		err = s.address(rt, h.opts.TrustedProxies)
	}
	if err != nil {
		return err
	}
	if h.streams.Add(1) > int64(h.opts.Streams.MaxStreams) {
		h.streams.Add(-1)
		return unavailable("the gateway has as many streams open as it takes", nil)
	}
	defer h.streams.Add(-1)
	if err := s.open(rt); err != nil {
		return upstreamError(rt.Service, err)
	}
	return nil
}

// session is one stream on its way.
type session struct {
	opts     *StreamOptions
	streamer client.Streamer
	policy   goapi.Policy
	w        http.ResponseWriter
	r        *http.Request
	ex       *goapi.Exchange
	request  client.Request // but for its body
	total    time.Duration  // 0 for none
	held     *budget        // for what messages of clients over WebSocket hold

	carrier    carrier
	body       wholeBody     // of the request
	first      []byte        // the message that the request itself is; nil for none
	patience   time.Duration // after which the answer begins without a message
	idempotent bool

	stream   client.Stream
	try      *upstream.Try // that opened it
	protocol string        // of the node
	idle     *time.Timer
	begun    bool // the answer
}

// address fills in what the service is called with.
func (s *session) address(rt *goapi.Route, trusted []netip.Prefix) error {
	header, err := requestHeader(s.r, trusted)
	if err != nil {
		return err
	}
	for name := range header {
		if strings.HasPrefix(name, "Sec-Websocket-") { // is for one hop
			delete(header, name)
		}
	}
	s.total, err = askedTimeout(s.r, max(s.opts.Total, 0))
	s.request.Service, s.request.Endpoint, s.request.Header = rt.Service, rt.Endpoint.Name, callMetadata(header)
	return err
}

// open opens the stream on a node, and serves it until it ends. It returns an
// error if the answer has not begun.
func (s *session) open(rt *goapi.Route) error {
	start := time.Now()
	ctx := s.r.Context()
	if s.total > 0 {
		// The request's, not a try's: no node is to blame for it.
		late := goapi.NewError(http.StatusGatewayTimeout, fmt.Sprintf("the stream did not end within %v", s.total), nil)
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, s.total, late)
		defer stop()
	}
	call := upstream.Call{Policy: &s.policy.Upstream, Idempotent: s.idempotent, Header: s.r.Header, Fits: callableBy(s.streamer)}
	err := rt.Upstream.Do(ctx, call, func(ctx context.Context, try *upstream.Try) error {
		s.ex.Node, s.ex.Attempts = try.Node.ID, try.N
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var sent atomic.Bool
		req := s.request
		req.Sent = func() {
			sent.Store(true)
			try.Sent()
		}
		var err error
		if s.stream, err = s.streamer.Stream(ctx, try.Node, &req); err != nil {
			judge(try, sent.Load(), err)
			return err
		}
		defer s.stream.Close()
		s.try, s.protocol = try, try.Node.Metadata["protocol"]
		// A stream may be silent for ever, and so may a node that has stopped.
		try.Opened()
		if ctx.Err() != nil { // given up this instant
			return context.Cause(ctx)
		}
		s.ex.Upstream = time.Since(start)
		return s.run(ctx, cancel)
	})
	return noneFits(err, rt.Upstream, call.Fits)
}
