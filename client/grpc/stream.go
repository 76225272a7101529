package grpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

var _ client.Streamer = (*Caller)(nil)

// Stream implements client.Streamer. A native server of a method that streams
// only its answers may wait for CloseSend before it begins.
//
// How long a stream may take to open is bounded by Timeout; after that only
// ctx ends it. A node that is there and has as many open as it takes is a 503.
func (c *Caller) Stream(ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
	if err := client.Check(ctx, req); err != nil {
		return nil, err
	}
	path, codec, err := target(n, req)
	if err != nil {
		return nil, err
	}
	conn, err := c.pool.acquire(key{address: n.Address, secure: client.Secure(n), streams: true})
	if err != nil {
		return nil, client.CallError(ctx, req, err)
	}
	s := &stream{
		call: call{sent: req.Sent, maxReply: c.opts.MaxReply},
		req:  &client.Request{Service: req.Service, Endpoint: req.Endpoint, ContentType: req.ContentType},
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.end = sync.OnceFunc(func() { s.cancel(); conn.release() })
	if err := s.open(conn, path, codec, outgoing(ctx, req), c.opts.Timeout); err != nil {
		if s.waited(ctx, conn) {
			err = goapi.NewError(http.StatusServiceUnavailable, "service "+req.Service+" has as many streams open as it takes", err)
		} else {
			err = s.failure(ctx, s.req, err)
		}
		s.end()
		return nil, err
	}
	return s, nil
}

// stream is one stream.
type stream struct {
	grpc.ClientStream
	call

	req    *client.Request // its names
	ctx    context.Context //nolint:containedctx // that of the stream, whose methods have none
	cancel context.CancelFunc
	end    func() // cancels, and releases the connection
	closed bool   // for sending; the sender's
	err    error  // what ended it; the receiver's
}

// open opens the stream within timeout. A node may have as many open as it
// takes, and let others wait.
func (s *stream) open(conn *conn, path string, c codec, md metadata.MD, timeout time.Duration) error {
	defer time.AfterFunc(timeout, s.cancel).Stop()
	ctx := context.WithValue(metadata.NewOutgoingContext(s.ctx, md), callKey{}, &s.call)
	var err error
	s.ClientStream, err = conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path,
		grpc.ForceCodecV2(copying{c}), grpc.MaxCallRecvMsgSize(s.maxReply))
	return err
}

// waited says that the opening was given up for nothing but that the node has as
// many streams open as it takes. On a connection that is there, only that keeps
// the header back.
func (s *stream) waited(ctx context.Context, conn *conn) bool {
	if s.ctx.Err() == nil || s.headers.Load() || conn.GetState() != connectivity.Ready {
		return false
	}
	tryEnded := errors.Is(ctx.Err(), context.Canceled) && errors.Is(context.Cause(ctx), context.DeadlineExceeded)
	return ctx.Err() == nil || tryEnded
}

// Send implements client.Stream.
func (s *stream) Send(msg []byte) error {
	if s.closed || s.SendMsg(msg) != nil { // the status is for Recv
		return client.ErrStreamOver
	}
	return nil
}

// CloseSend implements client.Stream.
func (s *stream) CloseSend() error {
	s.closed = true
	if s.ctx.Err() != nil || s.ClientStream.CloseSend() != nil {
		return client.ErrStreamOver
	}
	return nil
}

// Recv implements client.Stream.
func (s *stream) Recv() ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	var msg []byte
	err := s.RecvMsg(&msg)
	switch {
	case err == nil:
		return msg, nil
	case errors.Is(err, io.EOF):
		s.err = io.EOF
	default:
		s.err = s.failure(s.ctx, s.req, err)
	}
	s.cancel()
	return nil, s.err
}

// Close implements client.Stream.
func (s *stream) Close() error {
	s.end()
	return nil
}
