package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const headerTimeout = "Grpc-Timeout"

// dueWithin is how far two timers for the same deadline may be apart.
const dueWithin = 10 * time.Millisecond

// unaryPatience is how long an announced method that is no stream may take to
// answer a client that named no deadline.
const unaryPatience = 30 * time.Second

// errUnprocessed is the failure of a stream that the node did not look at.
var errUnprocessed = errors.New("handler: the node refused the stream unread")

// grpcHeader returns the headers of r that a node may see. The names that gRPC
// allows beside those of HTTP, with an underscore, travel; see underscored.
func grpcHeader(r *http.Request, trusted []netip.Prefix, kind dialect) (http.Header, error) {
	h, err := requestHeader(r, trusted)
	if err != nil {
		return nil, err
	}
	own := underscored(r.Header)
	if err := dropNamed(own, r.Header["Connection"]); err != nil {
		return nil, err
	}
	maps.Copy(h, own)
	delete(h, "Timeout") // go-micro's grpc-timeout, which does not shrink
	delete(h, "Expect")
	delete(h, "Content-Length")
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // the transport would add its own
	}
	h["Te"] = []string{"trailers"}
	h["Content-Type"] = []string{kind.toService(r.Header.Get("Content-Type"))}
	return h, nil
}

// underscored returns the headers that have an underscore in their names. None
// is another way to write one that is there too, that does not travel, or that
// is the gateway's to write: some services cannot tell them apart.
func underscored(header http.Header) http.Header {
	found := make(http.Header)
	for name, values := range header {
		if strings.IndexByte(name, '_') < 0 {
			continue
		}
		dashed := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		switch dashed {
		case "Content-Length", "Content-Type", "User-Agent":
			continue
		}
		if header[dashed] == nil && !reserved(dashed) && !strings.HasPrefix(dashed, "Grpc-") {
			found[name] = values
		}
	}
	return found
}

// grpcStream is one call on its way.
type grpcStream struct {
	*grpcRelay

	w        http.ResponseWriter
	rc       *http.ResponseController
	r        *http.Request
	ex       *goapi.Exchange
	dialect  dialect
	header   http.Header
	start    time.Time
	deadline time.Time // zero for none
	target   url.URL   // without scheme and host
	body     *grpcBody // nil for none
	progress progress
	begun    bool // the answer has
}

// do relays the call to a node of the route.
func (s *grpcStream) do(ctx context.Context) error {
	rt := s.ex.Route
	call := upstream.Call{Policy: s.policy(), Idempotent: idempotent(s.r), Header: s.r.Header, Fits: speaksGRPC}
	err := rt.Upstream.Do(ctx, call, s.attempt)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, upstream.ErrNoNodes) && noneSpeaksGRPC(rt.Upstream):
		return goapi.NewError(http.StatusNotImplemented, "service "+rt.Service+" has no node that speaks gRPC", nil)
	}
	return s.failure(err)
}

// speaksGRPC says that calls can be relayed to the node.
func speaksGRPC(n *registry.Node) bool { return n.Metadata["protocol"] == client.ProtocolGRPC }

// noneSpeaksGRPC says that the set has nodes, all of another protocol.
func noneSpeaksGRPC(set *upstream.Set) bool {
	nodes := set.Nodes()
	return len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n upstream.NodeState) bool { return speaksGRPC(n.Node) })
}

// policy returns how nodes are tried; see GRPC.
func (s *grpcStream) policy() *upstream.Policy {
	var pol upstream.Policy
	if p := s.ex.Route.Policy; p != nil {
		pol = p.Upstream
	}
	patience := s.idle
	switch e := s.ex.Route.Endpoint; {
	case !s.deadline.IsZero() || e.Stream:
	case e.Request != nil:
		patience = min(patience, unaryPatience)
	case !e.IsAnnounced() && s.ex.Route.Policy != nil && s.ex.Route.Policy.Timeout > 0: // until it answers, streaming or not
		patience = min(patience, s.ex.Route.Policy.Timeout)
	}
	if pol.TryTimeout <= 0 {
		pol.TryTimeout = patience
	}
	if pol.Timeout <= 0 {
		pol.Timeout = max(patience, pol.TryTimeout)
	}
	return &pol
}

// attempt relays the call to one node.
func (s *grpcStream) attempt(ctx context.Context, try *upstream.Try) error {
	s.ex.Node, s.ex.Attempts = try.Node.ID, try.N
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := s.roundTrip(ctx, try)
	if err != nil {
		var reset resetError
		switch {
		case s.body.failure() != nil, isTooMuchHeader(err):
			try.Blameless()
		case errors.As(err, &reset) && reset.byPeer(): // an answer of a kind
			try.Blameless()
		}
		return err
	}
	defer func() {
		cancel(nil) // so that Close does not wait for the client
		_ = resp.Body.Close()
	}()
	return s.answer(ctx, cancel, try, resp)
}

// How often a node that refuses a stream unread is asked, and how much longer
// each time until it is asked again. A burst of calls refused because the node
// takes few on a connection needs as many rounds as it needs connections.
const (
	maxRefused  = 12
	refusedWait = 2 * time.Millisecond
)

// roundTrip opens a stream to a node, and returns the head of the answer. A node
// refuses a stream unread on a connection that it is about to close, or on which
// it has as many as it takes: there are others.
func (s *grpcStream) roundTrip(ctx context.Context, try *upstream.Try) (*http.Response, error) {
	for n := range maxRefused {
		t := &grpcTrip{}
		if s.body != nil {
			if t.body = s.body.open(try); t.body == nil {
				try.Blameless() // one before failed, and the call cannot be sent again
				return nil, goapi.NewError(http.StatusBadGateway, "service "+s.ex.Route.Service+" broke off before it answered", nil)
			}
		}
		resp, err := s.transport.RoundTrip(s.request(ctx, try, t, n > 0))
		if err == nil {
			s.body.commit()
			return resp, nil
		}
		if t.sent() {
			try.Sent()
		}
		if !t.refused {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(n) * refusedWait):
		}
	}
	return nil, errUnprocessed
}

// grpcTrip is one stream to a node, and what has left by it.
type grpcTrip struct {
	body    *grpcReader // nil for none
	headers atomic.Bool // have left
	refused bool        // the node has not looked at it
}

// sent says whether the service may have got a call: its first message, or the
// end of one that has none.
func (t *grpcTrip) sent() bool {
	return !t.refused && t.headers.Load() && (t.body == nil || t.body.took.Load())
}

// request returns the request as it goes to a node.
func (s *grpcStream) request(ctx context.Context, try *upstream.Try, t *grpcTrip, again bool) *http.Request {
	u := s.target
	u.Scheme, u.Host = "http", try.Node.Address
	if client.Secure(try.Node) {
		u.Scheme = "https"
	}
	header := s.header
	if again || try.N > 1 {
		header = maps.Clone(header) // the transport may still look at the one before
	}
	if !s.deadline.IsZero() {
		header[headerTimeout] = []string{formatTimeout(time.Until(s.deadline))}
	}
	out := s.r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { t.headers.Store(true) },
	}))
	out.URL, out.Header, out.Close = &u, header, false
	out.Body, out.Trailer, out.TransferEncoding, out.ContentLength = nil, nil, nil, 0
	if t.body != nil {
		out.Body, out.ContentLength = t.body, -1
		// The transport asks for another body only when the node has not looked
		// at the stream; it would wait, and say no more of it.
		out.GetBody = func() (io.ReadCloser, error) {
			t.refused = true
			return nil, errUnprocessed
		}
	}
	return out
}

// isTooMuchHeader says that a node takes less header than the client sent. The
// transport has no value for it.
func isTooMuchHeader(err error) bool {
	return strings.Contains(err.Error(), "header list larger than peer")
}

// A resetError is how package net/http says that a stream was reset. It takes
// any type of this shape for its own.
type resetError struct {
	StreamID uint32
	Code     uint32
	Cause    error // what the transport itself has reset it for, if it did
}

// byPeer says that it was the node that has reset the stream.
func (e resetError) byPeer() bool { return e.Cause != nil && e.Cause.Error() == "received from peer" }

// Error implements error.
func (resetError) Error() string { return "handler: the stream was reset" }

// The codes of HTTP/2 that mean something of their own to gRPC.
const (
	codeRefused  = 0x7
	codeCancel   = 0x8
	codeCalm     = 0xb
	codeInsecure = 0xc
)

// failure returns the error that answers a call for which Do, or the relay of
// the answer, returned err.
func (s *grpcStream) failure(err error) error {
	service := s.ex.Route.Service
	if failed := s.body.failure(); failed != nil {
		return failed
	}
	var reset resetError
	switch {
	case s.r.Context().Err() != nil:
		return clientGone(err)
	case isTooMuchHeader(err):
		return goapi.NewError(http.StatusRequestHeaderFieldsTooLarge, "the headers are larger than service "+service+" takes", err)
	case errors.As(err, &reset) && reset.byPeer() && !s.isDue():
		return goapi.NewError(resetStatus(reset.Code), "service "+service+" reset the stream", err)
	case reset.byPeer():
		return upstreamError(service, fmt.Errorf("%w: %w", context.DeadlineExceeded, err))
	}
	return upstreamError(service, err)
}

// isDue says that the deadline is here. A service that was told of it resets the
// stream at that moment, which can be the first that the gateway sees of it.
func (s *grpcStream) isDue() bool {
	return !s.deadline.IsZero() && time.Until(s.deadline) < dueWithin
}

// resetStatus returns the status of a stream that the service has reset, as gRPC
// reads its code.
func resetStatus(code uint32) int {
	switch code {
	case codeRefused:
		return http.StatusServiceUnavailable
	case codeCancel:
		return goapi.StatusClientClosedRequest
	case codeCalm:
		return http.StatusTooManyRequests
	case codeInsecure:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}
