package clienttest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

// A ServerStream is the service's side of a stream.
type ServerStream interface {
	// Send sends a message. It may block while the caller does not read.
	Send(msg []byte) error
	// Recv returns the next message, or io.EOF when the caller sends no more.
	Recv() ([]byte, error)
}

// A StreamService serves a stream, whose Call has no Body, until it returns:
// nil ends the stream well, and errors are those of a Service. The context has
// the deadline that travelled, and is done when the caller went away.
type StreamService func(ctx context.Context, c *Call, s ServerStream) error

// A StreamProtocol is a Protocol whose callers are a client.Streamer.
type StreamProtocol interface {
	Protocol
	// ServeStream starts a server as Serve does.
	ServeStream(t testing.TB, config *tls.Config, s StreamService) *registry.Node
}

// RunStreams tests a protocol's streams, each promise as a sub-test.
func RunStreams(t *testing.T, p StreamProtocol) {
	t.Helper()
	run(t, streamPromises(), &env{Protocol: p, streams: p})
}

// patience is how long a promise that hangs is waited for.
const patience = 20 * time.Second

// open opens a stream of Greeter.Hello that is closed at the end of the test.
func (e *env) open(ctx context.Context, opts *client.Options, n *registry.Node) (client.Stream, error) {
	return e.openAs(ctx, opts, n, request())
}

func (e *env) openAs(ctx context.Context, opts *client.Options, n *registry.Node, req *client.Request) (client.Stream, error) {
	streamer, ok := e.Caller(e.TB, opts).(client.Streamer)
	if !ok {
		return nil, errors.New("the caller is no client.Streamer")
	}
	s, err := streamer.Stream(ctx, n, req)
	if err != nil {
		return nil, fmt.Errorf("opening a stream: error = %w", err)
	}
	e.Cleanup(func() { _ = s.Close() }) // says nothing
	return s, nil
}

// serveAndOpen starts a server and opens a stream to it, which patience bounds.
func (e *env) serveAndOpen(opts *client.Options, s StreamService) (client.Stream, error) {
	n := e.streams.ServeStream(e.TB, nil, s)
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	e.Cleanup(cancel)
	return e.open(ctx, opts, n)
}

// sendAll sends messages.
func sendAll(s client.Stream, messages ...string) error {
	for _, m := range messages {
		if err := s.Send([]byte(m)); err != nil {
			return fmt.Errorf("stream.Send of %q error = %w", m, err)
		}
	}
	return nil
}

// wants returns an error unless the next messages are these.
func wants(s client.Stream, messages ...string) error {
	for _, want := range messages {
		if got, err := s.Recv(); err != nil || string(got) != want {
			return fmt.Errorf("stream.Recv = %q, %w, want %q", got, err, want)
		}
	}
	return nil
}

// wantsEnd returns an error unless the stream has ended well, and stays so.
func wantsEnd(s client.Stream) error {
	for range 2 {
		if got, err := s.Recv(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("stream.Recv = %q, %w, want %w", got, err, io.EOF)
		}
	}
	return nil
}

// echoStream sends every message back.
func echoStream(_ context.Context, _ *Call, s ServerStream) error {
	for {
		msg, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(msg); err != nil {
			return err
		}
	}
}

// await waits for an event.
func await(what string, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s: not within %v", what, patience)
	}
}

// awaitError waits for what a goroutine returns.
func awaitError(what string, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return fmt.Errorf("%s: not within %v", what, patience)
	}
}

// once returns a channel and what closes it.
func once() (event chan struct{}, happen func()) {
	event = make(chan struct{})
	return event, sync.OnceFunc(func() { close(event) })
}
