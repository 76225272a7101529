package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/internal/wire"
	"github.com/goapi-dev/goapi/registry"
)

const (
	idlePerNode    = 64
	idleInAll      = 4096
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 512 << 10 // services echo what they were sent, and errors stand there twice
	maxErrorBytes  = 1 << 10   // of an answer that is none, for logs
	maxPrealloc    = 1 << 20   // of an answer, on the word of its length
)

// Micro calls methods in go-micro's RPC over HTTP/1.1, as services of v1 to v6
// speak it. It knows the content types application/json, application/protobuf,
// application/json-rpc and application/proto-rpc; the last two are frames on
// the wire, and Body is the message within.
//
// Nothing of an answer's header is handed on: services echo the request's.
type Micro struct {
	opts      Options
	transport *http.Transport
	calls     atomic.Uint64 // ids of calls
}

var _ Caller = (*Micro)(nil)

// NewMicro returns a caller that keeps connections to nodes open until Close.
func NewMicro(opts *Options) *Micro {
	m := &Micro{opts: opts.OrDefault()}
	// Over HTTP/2, which listeners of v4 to v6 take, calls are answered with
	// nothing.
	m.opts.TLS.NextProtos = []string{"http/1.1"}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	m.transport = &http.Transport{
		Protocols:              &http1,
		DialContext:            m.dial,
		TLSClientConfig:        m.opts.TLS,
		TLSHandshakeTimeout:    m.opts.ConnectTimeout,
		DisableCompression:     true,
		MaxIdleConns:           idleInAll,
		MaxIdleConnsPerHost:    idlePerNode,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return m
}

// dial connects to a node.
func (m *Micro) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := m.opts.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &wire.Conn{Conn: conn}, nil
}

// Close closes the connections that no call uses. The caller may be used
// again.
func (m *Micro) Close() error {
	m.transport.CloseIdleConnections()
	return nil
}

// Call implements Caller.
func (m *Micro) Call(ctx context.Context, n *registry.Node, req *Request) (*Response, error) {
	ctx, cancel := m.opts.Deadline(ctx)
	defer cancel()
	if err := Check(ctx, req); err != nil {
		return nil, err
	}
	trip := wire.Trip{Once: true} // for all that is known here
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: trip.GotConn})
	httpReq, err := m.request(ctx, n, req)
	if err != nil {
		return nil, err
	}
	httpRes, err := m.roundTrip(httpReq, &trip, req.Sent)
	if err != nil {
		return nil, CallError(ctx, req, err)
	}
	defer httpRes.Body.Close()
	body, err := read(httpRes, req, m.opts.MaxReply)
	if err != nil {
		return nil, CallError(ctx, req, err)
	}
	return decode(httpRes, body, req)
}

// roundTrip sends a request, which trip follows, and returns the head of the
// answer; it calls sent, unless that is nil, if bytes may have left. A kept
// connection that the node has closed meanwhile costs no call: another is
// taken.
func (m *Micro) roundTrip(r *http.Request, trip *wire.Trip, sent func()) (*http.Response, error) {
	res, err := m.transport.RoundTrip(r)
	for err != nil && trip.Again(r.Context()) {
		r.Body, _ = r.GetBody() // of bytes: cannot fail
		res, err = m.transport.RoundTrip(r)
	}
	if sent != nil && (err == nil || trip.Sent()) {
		sent()
	}
	return res, err
}

// request returns the HTTP request of a call.
func (m *Micro) request(ctx context.Context, n *registry.Node, req *Request) (*http.Request, error) {
	id := strconv.FormatUint(m.calls.Add(1), 10)
	body, err := mucp.EncodeRequest(req.ContentType, mucp.Frame{ID: id, Method: req.Endpoint, Message: req.Body})
	switch {
	case errors.Is(err, mucp.ErrContentType):
		return nil, goapi.NewError(http.StatusUnsupportedMediaType,
			fmt.Sprintf("service %s is not called with the content type %q; use %s or %s", req.Service, req.ContentType, mucp.JSON, mucp.Protobuf), err)
	case err != nil:
		return nil, goapi.NewError(http.StatusBadRequest, "the message is not JSON", err)
	}
	scheme := "http://"
	if Secure(n) {
		scheme = "https://"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+n.Address+"/", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: node %s: %w", n.ID, err)
	}
	if r.URL.Host != n.Address {
		return nil, fmt.Errorf("client: node %s: address %q is not host:port", n.ID, n.Address)
	}
	setHeader(ctx, r.Header, id, req)
	return r, nil
}

// setHeader fills in the header of a call.
func setHeader(ctx context.Context, h http.Header, id string, req *Request) {
	mucp.Metadata(h, req.Header)
	// At the sight of these net/http sends a POST again by itself. That is not
	// its decision; in lower case it does not see them, and services do.
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // none, rather than net/http's
	}
	h.Set(mucp.HeaderService, req.Service)
	h.Set(mucp.HeaderEndpoint, req.Endpoint)
	h.Set(mucp.HeaderMethod, req.Endpoint)
	h.Set(mucp.HeaderID, id)
	h.Set("Content-Type", req.ContentType)
	h.Set("Accept", req.ContentType)
	if deadline, ok := ctx.Deadline(); ok {
		h.Set(mucp.HeaderTimeout, mucp.FormatTimeout(max(time.Until(deadline), 1)))
	}
}

// read returns the body of an answer, within maxReply.
func read(res *http.Response, req *Request, maxReply int) ([]byte, error) {
	limit := int64(maxReply)
	var body bytes.Buffer
	if res.ContentLength > 0 {
		body.Grow(int(min(res.ContentLength, maxPrealloc)) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(res.Body, limit+1))
	switch {
	case n > limit:
		return nil, goapi.NewError(http.StatusBadGateway,
			fmt.Sprintf("the answer of service %s is larger than %d bytes", req.Service, limit), ErrReplyTooLarge)
	case err != nil:
		return nil, err
	}
	return body.Bytes(), nil
}

// decode returns what a service answered: a message or its error.
func decode(res *http.Response, body []byte, req *Request) (*Response, error) {
	if text := mucp.Get(res.Header, mucp.HeaderError); text != "" {
		return nil, serviceError(req.Service, text)
	}
	if res.StatusCode != http.StatusOK {
		return nil, badAnswer(req, fmt.Sprintf("with status %d", res.StatusCode), body)
	}
	contentType := mucp.MediaType(res.Header.Get("Content-Type"))
	switch contentType {
	case req.ContentType:
	case "":
		return nil, badAnswer(req, "without a content type", body)
	default:
		return nil, badAnswer(req, fmt.Sprintf("%s with %q", req.ContentType, contentType), body)
	}
	f, err := mucp.DecodeResponse(contentType, body)
	if err != nil {
		return nil, goapi.NewError(http.StatusBadGateway,
			fmt.Sprintf("service %s answered %s with something else", req.Service, req.ContentType), err)
	}
	if f.Error != "" {
		return nil, serviceError(req.Service, f.Error)
	}
	return &Response{ContentType: contentType, Body: f.Message}, nil
}

// badAnswer is an answer that is none. Its text is for logs.
func badAnswer(req *Request, what string, body []byte) error {
	text := errors.New(strconv.Quote(string(body[:min(len(body), maxErrorBytes)])))
	return goapi.NewError(http.StatusBadGateway,
		fmt.Sprintf("service %s answered %s", req.Service, what), text)
}
