package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/internal/wire"
	"github.com/goapi-dev/goapi/registry"
)

var _ Streamer = (*Micro)(nil)

// errHeader is what a stream breaks off with whose service floods it.
var errHeader = fmt.Errorf("the header of a message is larger than %d bytes", maxHeaderBytes)

// Stream implements Streamer. A stream has a connection of its own; Close closes
// it, and so learns the service of it.
//
// CloseSend is for methods that read until there is no more. Services of
// go-micro that read so far do not say that they have ended, though they may
// still send: after CloseSend, a service that closes the connection or is silent
// for StreamIdle has ended well. Where only the service streams, CloseSend is
// better left out.
//
// The metadata travels once, when the stream begins. Services of v4 to v6
// overwrite messages that they send in quick succession; that cannot be made
// good here.
func (m *Micro) Stream(ctx context.Context, n *registry.Node, req *Request) (Stream, error) {
	if err := Check(ctx, req); err != nil {
		return nil, err
	}
	opening := *req
	opening.Body = nil
	r, err := m.request(ctx, n, &opening)
	if err != nil {
		return nil, err
	}
	s := &microStream{
		req:      Request{Service: req.Service, Endpoint: req.Endpoint, ContentType: req.ContentType},
		id:       r.Header.Get(mucp.HeaderID),
		url:      r.URL,
		header:   make(http.Header),
		maxReply: m.opts.MaxReply,
	}
	r.Header.Set(mucp.HeaderStream, s.id)
	setHeader(context.Background(), s.header, s.id, &s.req)
	s.header.Set(mucp.HeaderStream, s.id)

	conn, err := m.connect(ctx, n)
	if err != nil {
		return nil, CallError(ctx, req, err)
	}
	s.start(ctx, conn, m.opts.StreamIdle)
	if err := s.begin(r, m.opts.Timeout, req.Sent); err != nil {
		err = CallError(ctx, req, err)
		s.hangUp()
		return nil, err
	}
	return s, nil
}

// connect returns a connection to a node.
func (m *Micro) connect(ctx context.Context, n *registry.Node) (net.Conn, error) {
	conn, err := m.dial(ctx, "tcp", n.Address)
	if err != nil || !Secure(n) {
		return conn, err
	}
	config := m.opts.TLS.Clone()
	if host, _, err := net.SplitHostPort(n.Address); err == nil && config.ServerName == "" {
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, m.opts.ConnectTimeout)
	defer cancel()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // says nothing
		// Not wrapped: that a node is silent is not the deadline of the call.
		return nil, fmt.Errorf("TLS with %s: %v", n.Address, err) //nolint:errorlint // see above
	}
	return secured, nil
}

// microStream is one stream.
type microStream struct {
	req      Request // its names, and the content type
	id       string
	url      *url.URL    // of the node
	header   http.Header // of each message but the first
	maxReply int

	ctx    context.Context //nolint:containedctx // that of the stream, whose methods have none
	hangUp func()
	conn   net.Conn
	inlet  *inlet
	in     *bufio.Reader

	closed  bool                        // for sending; the sender's
	err     error                       // what ended it; the receiver's
	refused atomic.Pointer[goapi.Error] // why nothing can be sent any more
}

// start binds the stream to its connection, and both to ctx.
func (s *microStream) start(ctx context.Context, conn net.Conn, idle time.Duration) {
	under := conn
	if t, ok := conn.(*tls.Conn); ok {
		under = t.NetConn() // whose Close waits for nobody who reads
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = under.Close() }) // says nothing
	s.hangUp = func() {
		stop()
		cancel()
		_ = under.Close() // as above
	}
	s.ctx, s.conn = ctx, conn
	s.inlet = &inlet{conn: conn, idle: idle}
	s.in = bufio.NewReader(s.inlet)
}

// begin sends the first message within timeout, and calls sent, unless that is
// nil, if bytes of it may have left.
func (s *microStream) begin(r *http.Request, timeout time.Duration, sent func()) error {
	var trip wire.Trip
	trip.GotConn(httptrace.GotConnInfo{Conn: s.conn})
	_ = s.conn.SetWriteDeadline(time.Now().Add(timeout)) // only of a connection that is closed
	err := r.Write(s.conn)
	_ = s.conn.SetWriteDeadline(time.Time{}) // as above
	if sent != nil && trip.Sent() {
		sent()
	}
	return err
}

// Send implements Stream.
func (s *microStream) Send(msg []byte) error {
	if s.closed {
		return ErrStreamOver
	}
	body, err := mucp.EncodeRequest(s.req.ContentType, mucp.Frame{ID: s.id, Method: s.req.Endpoint, Message: msg})
	if err != nil {
		s.refused.Store(goapi.NewError(http.StatusBadRequest, "the message is not JSON", err))
		s.hangUp()
		return ErrStreamOver
	}
	return s.write(s.header, body)
}

// CloseSend implements Stream.
func (s *microStream) CloseSend() error {
	if s.closed {
		return nil
	}
	s.closed = true
	h := s.header.Clone()
	h.Set(mucp.HeaderError, mucp.EndOfStream)
	err := s.write(h, nil)
	s.inlet.expectEnd()
	return err
}

// write sends one message.
func (s *microStream) write(h http.Header, body []byte) error {
	r := &http.Request{Method: http.MethodPost, URL: s.url, Header: h, ContentLength: int64(len(body))}
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	if err := r.Write(s.conn); err != nil {
		return ErrStreamOver // why, is read
	}
	return nil
}

// Recv implements Stream.
func (s *microStream) Recv() ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	msg, err := s.next()
	if err == nil {
		return msg, nil
	}
	refused := s.refused.Load()
	switch {
	case errors.Is(err, io.EOF):
		s.err = io.EOF
	case refused != nil:
		s.err = refused
	default:
		s.err = CallError(s.ctx, &s.req, err)
	}
	s.hangUp()
	return nil, s.err
}

// next reads a message.
func (s *microStream) next() ([]byte, error) {
	s.inlet.left = maxHeaderBytes
	if _, err := s.in.Peek(1); err != nil {
		return nil, s.inlet.silence(err)
	}
	res, err := http.ReadResponse(s.in, nil) //nolint:bodyclose // it is read to its end, or the connection is closed
	if err != nil {
		return nil, err
	}
	s.inlet.left = math.MaxInt64
	if res.ContentLength < 0 && len(res.TransferEncoding) == 0 {
		return nil, badAnswer(&s.req, "a message that has no end", nil)
	}
	body, err := read(res, &s.req, s.maxReply)
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case mucp.Get(res.Header, mucp.HeaderError) == mucp.EndOfStream:
		return nil, io.EOF
	}
	message, err := decode(res, body, &s.req)
	if err != nil {
		return nil, err
	}
	return message.Body, nil
}

// Close implements Stream.
func (s *microStream) Close() error {
	s.hangUp()
	return nil
}

// An inlet is what a service sends on the connection of a stream.
type inlet struct {
	conn   net.Conn
	left   int64         // may be read
	idle   time.Duration // that a service which may have ended is waited for
	ending atomic.Bool   // the service may end without a word
}

// Read implements io.Reader.
func (in *inlet) Read(p []byte) (int, error) {
	if in.left <= 0 {
		return 0, errHeader
	}
	if in.ending.Load() {
		_ = in.conn.SetReadDeadline(time.Now().Add(in.idle)) // only of a connection that is closed
	}
	n, err := in.conn.Read(p[:min(int64(len(p)), in.left)])
	in.left -= int64(n)
	return n, err
}

// expectEnd bounds the silence of the service from now on, also in a Read that
// waits.
func (in *inlet) expectEnd() {
	in.ending.Store(true)
	_ = in.conn.SetReadDeadline(time.Now().Add(in.idle)) // as above
}

// silence returns what it means that there is no other message: the end, or
// that the stream broke off.
func (in *inlet) silence(err error) error {
	ended := errors.Is(err, io.EOF)
	switch {
	case in.ending.Load() && (ended || errors.Is(err, os.ErrDeadlineExceeded)):
		return io.EOF
	case ended:
		return io.ErrUnexpectedEOF
	}
	return err
}
