package clienttest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

// soon is long enough for a call to arrive, and short for a test.
const soon = 50 * time.Millisecond

// hang returns a Service that answers nothing until it is let go, whatever its
// deadline: services are like that.
func hang() (s Service, arrived chan struct{}, letGo func()) {
	arrived, gone := make(chan struct{}, 1), make(chan struct{})
	return func(context.Context, *Call) ([]byte, error) {
		arrived <- struct{}{}
		<-gone
		return nil, errors.New("too late")
	}, arrived, func() { close(gone) }
}

func deadlineTravels(e *env) error {
	const timeout = time.Minute
	var left time.Duration
	n := e.Serve(e.TB, nil, func(ctx context.Context, c *Call) ([]byte, error) {
		if deadline, ok := ctx.Deadline(); ok {
			left = time.Until(deadline)
		}
		return c.Body, nil
	})
	ctx, cancel := context.WithTimeout(e.Context(), timeout)
	defer cancel()
	if _, err := e.call(ctx, n, request()); err != nil {
		return fmt.Errorf("Call error = %w", err)
	}
	if left <= timeout/2 || left > timeout+time.Second {
		return fmt.Errorf("the service has %v left, want about %v", left, timeout)
	}
	return nil
}

func deadlineIs504(e *env) error {
	s, _, letGo := hang()
	defer letGo()
	n := e.Serve(e.TB, nil, s)
	ctx, cancel := context.WithTimeout(e.Context(), soon)
	defer cancel()
	if _, err := e.call(ctx, n, request()); !isStatus(err, http.StatusGatewayTimeout) {
		return fmt.Errorf("Call error = %w, want 504", err)
	}
	return nil
}

func noDeadlineIsBounded(e *env) error {
	s, _, letGo := hang()
	defer letGo()
	n := e.Serve(e.TB, nil, s)
	c := e.Caller(e.TB, &client.Options{Timeout: soon})
	if _, err := c.Call(e.Context(), n, request()); !isStatus(err, http.StatusGatewayTimeout) {
		return fmt.Errorf("Call error = %w, want 504", err)
	}
	return nil
}

func cancelReturnsContextError(e *env) error {
	s, arrived, letGo := hang()
	defer letGo()
	n := e.Serve(e.TB, nil, s)
	ctx, cancel := context.WithCancel(e.Context())
	defer cancel()
	go func() {
		<-arrived
		cancel()
	}()
	_, err := e.call(ctx, n, request())
	if known := new(goapi.Error); !errors.Is(err, context.Canceled) || errors.As(err, &known) {
		return fmt.Errorf("Call error = %w, want %w", err, context.Canceled)
	}
	return nil
}

func doneContextIsNotSent(e *env) error {
	n := e.Serve(e.TB, nil, echo)
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	sent, err := e.sent(ctx, nil, n)
	if !errors.Is(err, context.Canceled) || sent {
		return fmt.Errorf("Call error = %w, sent = %t, want %w and nothing sent", err, sent, context.Canceled)
	}
	return nil
}

// sent makes a call and says whether bytes of it may have left.
func (e *env) sent(ctx context.Context, opts *client.Options, n *registry.Node) (bool, error) {
	var sent atomic.Bool
	req := request()
	req.Sent = func() { sent.Store(true) }
	_, err := e.Caller(e.TB, opts).Call(ctx, n, req)
	return sent.Load(), err
}

func callsSent(e *env) error {
	n := e.Serve(e.TB, nil, func(context.Context, *Call) ([]byte, error) { return nil, ErrNoMethod })
	if sent, err := e.sent(e.Context(), nil, n); !sent {
		return fmt.Errorf("Call error = %w, and Sent was not called", err)
	}
	return nil
}

// notReached returns nil if a call failed before any byte left, in a way that
// another node may be tried.
func notReached(sent bool, err error) error {
	if known := new(goapi.Error); err == nil || errors.As(err, &known) || errors.Is(err, context.DeadlineExceeded) || sent {
		return fmt.Errorf("Call error = %w, sent = %t, want an error that is not the service's, and nothing sent", err, sent)
	}
	return nil
}

func unreachableIsNotSent(e *env) error {
	n, err := e.gone()
	if err != nil {
		return err
	}
	return notReached(e.sent(e.Context(), nil, n))
}

// gone returns a node where nobody listens.
func (e *env) gone() (*registry.Node, error) {
	ln, err := new(net.ListenConfig).Listen(e.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &registry.Node{ID: "gone", Address: ln.Addr().String()}, ln.Close()
}

func refusedDialIsNotSent(e *env) error {
	return notReached(e.sent(e.Context(), refusing(), e.Serve(e.TB, nil, echo)))
}

// refusing returns options that dial nothing.
func refusing() *client.Options {
	return &client.Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("this address is not dialled")
	}}
}

func silentConnectIsBounded(e *env) error {
	return notReached(e.sent(e.Context(), silent(), &registry.Node{ID: "silent", Address: "127.0.0.1:1"}))
}

// silent returns options by which dialling gets no answer.
func silent() *client.Options {
	return &client.Options{
		ConnectTimeout: soon,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
}

// A node that takes a call on a connection that was used before, and is lost
// before it answers, has been sent the call: it is made once, and nobody may
// make it again.
func lostAnswerIsSent(e *env) error {
	var calls atomic.Int32
	hanging, arrived, letGo := hang()
	defer letGo()
	w, err := e.relay(e.Serve(e.TB, nil, func(ctx context.Context, c *Call) ([]byte, error) {
		if calls.Add(1) != 2 {
			return c.Body, nil
		}
		return hanging(ctx, c)
	}))
	if err != nil {
		return err
	}
	c := e.Caller(e.TB, nil)
	if _, err := c.Call(e.Context(), w.node, request()); err != nil {
		return fmt.Errorf("Call error = %w", err)
	}
	go func() { // ends when the call is there, which is waited for below
		<-arrived
		w.cut()
	}()
	var sent atomic.Bool
	req := request()
	req.Sent = func() { sent.Store(true) }
	_, err = c.Call(e.Context(), w.node, req)
	if known := new(goapi.Error); err == nil || errors.As(err, &known) || !sent.Load() {
		return fmt.Errorf("Call error = %w, sent = %t, want an error that is not the service's, and Sent called", err, sent.Load())
	}
	if got := calls.Load(); got != 2 {
		return fmt.Errorf("the service got %d calls, want 2", got)
	}
	return nil
}

// A node that closes early, or speaks something else, has not answered.
func garbageIsNoAnswer(e *env) error {
	for _, garbage := range []string{"", "SSH-2.0-OpenSSH_9.2\r\n", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"} {
		n, err := e.talk(garbage)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(e.Context(), 10*time.Second)
		_, err = e.sent(ctx, nil, n)
		cancel()
		if known := new(goapi.Error); err == nil || errors.As(err, &known) {
			return fmt.Errorf("Call answered with %q error = %w, want one that is not the service's", garbage, err)
		}
	}
	return nil
}

// talk starts a server that writes the same bytes to every connection.
func (e *env) talk(text string) (*registry.Node, error) {
	ln, err := new(net.ListenConfig).Listen(e.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1)) // so that the request has begun
			_, _ = conn.Write([]byte(text))   // the caller may be gone
			_ = conn.Close()                  // as above
		}
	}()
	e.Cleanup(func() {
		_ = ln.Close() // ends the loop, whatever it says
		<-done
	})
	return &registry.Node{ID: "garbage", Address: ln.Addr().String()}, nil
}

func callsOverTLS(e *env) error {
	server, trusting := certificate()
	for key, value := range map[string]string{"secure": "true", "scheme": "https"} {
		n := *e.Serve(e.TB, server.Clone(), echo)
		n.Metadata = map[string]string{key: value}
		res, err := e.Caller(e.TB, &client.Options{TLS: trusting}).Call(e.Context(), &n, request())
		if err != nil || string(res.Body) != john {
			return fmt.Errorf("Call of a node with %s=%s = %v, %w, want %s", key, value, res, err, john)
		}
	}
	return nil
}

func verifiesTLS(e *env) error {
	server, _ := certificate()
	n := *e.Serve(e.TB, server, echo)
	n.Metadata = map[string]string{"secure": "true"}
	return notReached(e.sent(e.Context(), &client.Options{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, &n))
}
