package service

import (
	"context"
	"reflect"
)

// A Stream is a method's side of a stream of messages: what its caller sends,
// and what it answers, in any number and order. One goroutine may send while
// another receives.
type Stream[Request, Response any] struct {
	codec codec
	line  *line
}

// Recv returns the next message, or io.EOF when the caller sends no more. Any
// other error says why there is none; the method should return it.
func (s *Stream[Request, Response]) Recv() (*Request, error) {
	message, err := s.line.recv()
	if err != nil {
		return nil, err
	}
	req := new(Request)
	if err := s.codec.decode(message, req); err != nil {
		return nil, err
	}
	return req, nil
}

// Send sends a message. It blocks while the caller does not read. Nil is an
// empty message.
func (s *Stream[Request, Response]) Send(res *Response) error {
	if res == nil {
		res = new(Response)
	}
	message, err := s.codec.encode(res)
	if err != nil {
		return err
	}
	return s.line.send(message)
}

// StreamMethod makes a method of a function that serves a stream until it
// returns; nil ends the stream well. Messages and errors are as for Method.
//
// The context is done when the caller is gone, when the deadline that it set has
// passed, and when the service is about to stop: the stream then has the
// options' Drain to end by itself.
func StreamMethod[Request, Response any](f func(context.Context, *Stream[Request, Response]) error) Func {
	return Func{
		request:  reflect.TypeFor[*Request](),
		response: reflect.TypeFor[*Response](),
		stream: func(ctx context.Context, c codec, l *line) error {
			return f(ctx, &Stream[Request, Response]{codec: c, line: l})
		},
	}
}
