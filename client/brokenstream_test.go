package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/clienttest"
	"github.com/goapi-dev/goapi/registry"
)

// Each of these streamers breaks a promise, and is found.
func TestConformanceFindsBrokenStreamers(t *testing.T) {
	recv := func(change func([]byte, error) ([]byte, error)) breakStream {
		return func(s client.Stream) client.Stream { return changedRecv{s, change} }
	}
	tests := []struct {
		promise string
		opens   func(client.Streamer, context.Context, *registry.Node, *client.Request) (client.Stream, error)
		breaks  breakStream
	}{
		{"StreamsEcho", nil, recv(func(b []byte, err error) ([]byte, error) { return bytes.TrimRight(b, "}\xff"), err })},
		{"StreamsEmptyMessages", nil, recv(func(b []byte, err error) ([]byte, error) {
			if err == nil && len(b) == 0 {
				err = io.EOF
			}
			return b, err
		})},
		{"StreamsToService", nil, func(s client.Stream) client.Stream { return neverClosesSend{s} }},
		{"StreamKeepsNothingOfMessage", nil, func(s client.Stream) client.Stream { return &delayedSend{Stream: s} }},
		{"StreamSendBlocks", nil, queueing},
		{"StreamKeepsServiceError", nil, recv(func(b []byte, err error) ([]byte, error) {
			if known := new(goapi.Error); errors.As(err, &known) {
				known.ID = "goapi"
			}
			return b, err
		})},
		{"StreamLostNodeBreaksOff", nil, recv(func(b []byte, err error) ([]byte, error) {
			if err != nil {
				err = io.EOF
			}
			return b, err
		})},
		{"StreamSendIsOver", nil, func(s client.Stream) client.Stream { return deafSend{s} }},
		{"StreamDeadlineTravels", func(c client.Streamer, _ context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
			return c.Stream(context.Background(), n, req)
		}, nil},
		{"StreamOutlivesTimeout", func(c client.Streamer, ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
			ctx, cancel := context.WithTimeout(ctx, 1)
			cancel()
			return c.Stream(ctx, n, req)
		}, nil},
		{"StreamCallsSent", func(c client.Streamer, ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
			req.Sent = nil
			return c.Stream(ctx, n, req)
		}, nil},
		{"StreamUnreachableIsNotSent", func(c client.Streamer, ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
			req.Sent()
			return c.Stream(ctx, n, req)
		}, nil},
		{"StreamOpensAsCallsDo", func(c client.Streamer, ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
			req.Header = nil
			return c.Stream(ctx, n, req)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.promise, func(t *testing.T) {
			if err := clienttest.Check(t, brokenStreams{opens: tt.opens, breaks: tt.breaks}, tt.promise); err == nil {
				t.Error("Check(broken) = nil, want what is broken")
			}
		})
	}
}

type breakStream func(client.Stream) client.Stream

// brokenStreams is micro with streams that do something else.
type brokenStreams struct {
	micro

	opens  func(client.Streamer, context.Context, *registry.Node, *client.Request) (client.Stream, error)
	breaks breakStream
}

func (b brokenStreams) Caller(t testing.TB, opts *client.Options) client.Caller {
	return brokenStreamer{Caller: b.micro.Caller(t, opts), broken: b}
}

type brokenStreamer struct {
	client.Caller

	broken brokenStreams
}

func (c brokenStreamer) Stream(ctx context.Context, n *registry.Node, req *client.Request) (client.Stream, error) {
	streamer, ok := c.Caller.(client.Streamer)
	if !ok {
		return nil, errors.New("the caller is no client.Streamer")
	}
	if c.broken.opens != nil {
		return c.broken.opens(streamer, ctx, n, req)
	}
	s, err := streamer.Stream(ctx, n, req)
	if err != nil {
		return nil, err
	}
	return c.broken.breaks(s), nil
}

// changedRecv changes what is received.
type changedRecv struct {
	client.Stream

	change func([]byte, error) ([]byte, error)
}

func (s changedRecv) Recv() ([]byte, error) { return s.change(s.Stream.Recv()) }

type neverClosesSend struct{ client.Stream }

func (neverClosesSend) CloseSend() error { return nil }

type deafSend struct{ client.Stream }

func (s deafSend) Send(msg []byte) error {
	_ = s.Stream.Send(msg) // what it is for
	return nil
}

// delayedSend keeps what it sends until it receives.
type delayedSend struct {
	client.Stream

	kept [][]byte
}

func (s *delayedSend) Send(msg []byte) error {
	s.kept = append(s.kept, msg)
	return nil
}

func (s *delayedSend) Recv() ([]byte, error) {
	for _, msg := range s.kept {
		_ = s.Stream.Send(msg) // Recv tells why
	}
	s.kept = nil
	return s.Stream.Recv()
}

// queueing takes every message at once, and sends it some time.
func queueing(s client.Stream) client.Stream {
	q := &queue{Stream: s, in: make(chan []byte, 1<<20)}
	go func() { // ends with Close, or the first error
		for msg := range q.in {
			if s.Send(msg) != nil {
				return
			}
		}
	}()
	return q
}

type queue struct {
	client.Stream

	in chan []byte
}

func (q *queue) Send(msg []byte) error {
	q.in <- msg
	return nil
}

func (q *queue) Close() error {
	err := q.Stream.Close()
	select {
	case q.in <- nil: // which cannot be sent any more
	default:
	}
	return err
}
