package clienttest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

const (
	chunkSize = 64 << 10
	chunks    = 1024 // more than what lies between two sides that do not read
)

// reluctant serves a stream without reading until it is let, then reads all.
func reluctant() (s StreamService, letRead func(), read chan int) {
	may, letRead := once()
	read = make(chan int, 1)
	return func(ctx context.Context, _ *Call, s ServerStream) error {
		select {
		case <-may:
		case <-ctx.Done():
			return ctx.Err()
		}
		for n := 0; ; n++ {
			if _, err := s.Recv(); err != nil {
				read <- n
				return unlessEnd(err)
			}
		}
	}, letRead, read
}

// unlessEnd returns an error that is not the end.
func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// flood sends chunks until an error, and counts them.
func flood(send func([]byte) error) (sent *atomic.Int64, done chan error) {
	sent, done = new(atomic.Int64), make(chan error, 1)
	go func() { // ends with the stream
		chunk := make([]byte, chunkSize)
		for range chunks {
			if err := send(chunk); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		done <- nil
	}()
	return sent, done
}

// blocks returns an error unless a flood has stopped after a while.
func blocks(what string, sent *atomic.Int64, done <-chan error) error {
	select {
	case err := <-done:
		return fmt.Errorf("%s took %d KiB, and error = %w, while nobody read; want it to block", what, sent.Load()*chunkSize>>10, err)
	case <-time.After(10 * soon):
		return nil
	}
}

func streamSendBlocks(e *env) error {
	service, letRead, read := reluctant()
	defer letRead()
	req := request()
	req.ContentType = contentProto
	s, err := e.openAs(e.Context(), &client.Options{StreamIdle: soon}, e.streams.ServeStream(e.TB, nil, service), req)
	if err != nil {
		return err
	}
	sent, done := flood(s.Send)
	if err := blocks("Send", sent, done); err != nil {
		return err
	}
	letRead()
	if err := awaitError("Send after the service reads again", done); err != nil {
		return fmt.Errorf("stream.Send error = %w", err)
	}
	if err := s.CloseSend(); err != nil {
		return fmt.Errorf("stream.CloseSend error = %w", err)
	}
	if got := <-read; got != chunks {
		return fmt.Errorf("the service read %d messages, want all %d", got, chunks)
	}
	return nil
}

func streamCloseEndsSend(e *env) error {
	service, letRead, _ := reluctant()
	defer letRead()
	s, err := e.serveAndOpen(nil, service)
	if err != nil {
		return err
	}
	sent, done := flood(s.Send)
	if err := blocks("Send", sent, done); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("stream.Close error = %w", err)
	}
	if err := awaitError("Send after Close", done); !errors.Is(err, client.ErrStreamOver) {
		return fmt.Errorf("stream.Send after Close error = %w, want %w", err, client.ErrStreamOver)
	}
	return nil
}

// What the caller does not read, the service cannot send.
func streamServiceBlocks(e *env) error {
	sent, done := new(atomic.Int64), make(chan error, 1)
	n := e.streams.ServeStream(e.TB, nil, func(_ context.Context, _ *Call, s ServerStream) error {
		err := countChunks(sent, s.Send)
		done <- err
		return err
	})
	req := request()
	req.ContentType = contentProto
	s, err := e.openAs(e.Context(), nil, n, req)
	if err != nil {
		return err
	}
	if err := blocks("the service's Send", sent, done); err != nil {
		return err
	}
	for range chunks {
		if msg, err := s.Recv(); err != nil || len(msg) != chunkSize {
			return fmt.Errorf("stream.Recv = %d bytes, %w, want %d", len(msg), err, chunkSize)
		}
	}
	return wantsEnd(s)
}

func countChunks(sent *atomic.Int64, send func([]byte) error) error {
	chunk := make([]byte, chunkSize)
	for range chunks {
		if err := send(chunk); err != nil {
			return err
		}
		sent.Add(1)
	}
	return nil
}

// streamSent opens a stream and says whether bytes of it may have left. An error
// may come at once or be received.
func (e *env) streamSent(ctx context.Context, opts *client.Options, n *registry.Node) (bool, error) {
	var sent atomic.Bool
	req := request()
	req.Sent = func() { sent.Store(true) }
	s, err := e.openAs(ctx, opts, n, req)
	opened := sent.Load()
	if err == nil {
		_, err = s.Recv()
	}
	return opened, err
}

func streamCallsSent(e *env) error {
	n := e.streams.ServeStream(e.TB, nil, func(context.Context, *Call, ServerStream) error { return nil })
	if sent, err := e.streamSent(e.Context(), nil, n); !sent {
		return fmt.Errorf("opening a stream: error = %w, and Sent was not called", err)
	}
	return nil
}

func streamDoneContextIsNotSent(e *env) error {
	n := e.streams.ServeStream(e.TB, nil, echoStream)
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	sent, err := e.streamSent(ctx, nil, n)
	if !errors.Is(err, context.Canceled) || sent {
		return fmt.Errorf("opening a stream: error = %w, sent = %t, want %w and nothing sent", err, sent, context.Canceled)
	}
	return nil
}

func streamUnreachableIsNotSent(e *env) error {
	n, err := e.gone()
	if err != nil {
		return err
	}
	return notReached(e.streamSent(e.Context(), nil, n))
}

func streamRefusedDialIsNotSent(e *env) error {
	n := e.streams.ServeStream(e.TB, nil, echoStream)
	return notReached(e.streamSent(e.Context(), refusing(), n))
}

func streamSilentConnectIsBounded(e *env) error {
	return notReached(e.streamSent(e.Context(), silent(), &registry.Node{ID: "silent", Address: "127.0.0.1:1"}))
}

func streamVerifiesTLS(e *env) error {
	server, _ := certificate()
	n := *e.streams.ServeStream(e.TB, server, echoStream)
	n.Metadata = map[string]string{"secure": "true"}
	return notReached(e.streamSent(e.Context(), &client.Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, &n))
}

// brokeOff returns nil if err says that a stream broke off.
func brokeOff(err error) error {
	if known := new(goapi.Error); err == nil || errors.As(err, &known) || errors.Is(err, io.EOF) {
		return fmt.Errorf("stream.Recv error = %w, want one that is not the service's, and no end", err)
	}
	return nil
}

func streamGarbageBreaksOff(e *env) error {
	for _, garbage := range []string{"", "SSH-2.0-OpenSSH_9.2\r\n", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"} {
		n, err := e.talk(garbage)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(e.Context(), patience)
		_, err = e.streamSent(ctx, nil, n)
		cancel()
		if err := brokeOff(err); err != nil {
			return fmt.Errorf("of a node that says %q: %w", garbage, err)
		}
	}
	return nil
}

// A service that is lost has not ended, also when all that is seen of it is that
// it closed the connection.
func streamLostNodeBreaksOff(e *env) error {
	service, arrived, gone := waiting()
	w, err := e.relay(e.streams.ServeStream(e.TB, nil, service))
	if err != nil {
		return err
	}
	s, err := e.open(e.Context(), nil, w.node)
	if err != nil {
		return err
	}
	if err := await("the stream arrives", arrived); err != nil {
		return err
	}
	w.cut()
	_, err = s.Recv()
	return errors.Join(brokeOff(err), await("the service learns that the connection is gone", gone))
}

// A wire is a way to a node that can be cut.
type wire struct {
	node *registry.Node // as seen from here

	mu    sync.Mutex
	conns []net.Conn // both sides
}

// relay returns a wire to a node.
func (e *env) relay(n *registry.Node) (*wire, error) {
	ln, err := new(net.ListenConfig).Listen(e.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{node: &registry.Node{ID: n.ID, Address: ln.Addr().String(), Metadata: n.Metadata}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).DialContext(e.Context(), "tcp", n.Address)
			if err != nil {
				_ = near.Close() // says nothing
				continue
			}
			w.join(&running, near, far)
		}
	})
	e.Cleanup(func() {
		_ = ln.Close() // ends the loop, whatever it says
		w.cut()
		running.Wait()
	})
	return w, nil
}

// join copies between two connections until one of them ends.
func (w *wire) join(running *sync.WaitGroup, near, far net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, near, far)
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		running.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // ends with either
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
}

// cut closes every connection; new ones may be made.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close() // says nothing
	}
	w.conns = nil
}
