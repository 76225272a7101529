package clienttest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
)

func streamDeadlineTravels(e *env) error {
	const timeout = time.Minute
	left := make(chan time.Duration, 1)
	n := e.streams.ServeStream(e.TB, nil, func(ctx context.Context, _ *Call, _ ServerStream) error {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil
	})
	ctx, cancel := context.WithTimeout(e.Context(), timeout)
	defer cancel()
	s, err := e.open(ctx, nil, n)
	if err != nil {
		return err
	}
	if err := wantsEnd(s); err != nil {
		return err
	}
	if got := <-left; got <= timeout/2 || got > timeout+time.Second {
		return fmt.Errorf("the service has %v left, want about %v", got, timeout)
	}
	return nil
}

// waiting serves until its caller goes away, and tells of both.
func waiting() (s StreamService, arrived, gone chan struct{}) {
	arrived, arrive := once()
	gone, leave := once()
	return func(ctx context.Context, _ *Call, s ServerStream) error {
		arrive()
		defer leave()
		_, _ = s.Recv() // nothing comes
		<-ctx.Done()
		return ctx.Err()
	}, arrived, gone
}

func streamDeadlineIs504(e *env) error {
	service, _, _ := waiting()
	n := e.streams.ServeStream(e.TB, nil, service)
	ctx, cancel := context.WithTimeout(e.Context(), soon)
	defer cancel()
	s, err := e.open(ctx, nil, n)
	if err == nil {
		_, err = s.Recv()
	}
	if !isStatus(err, http.StatusGatewayTimeout) {
		return fmt.Errorf("stream.Recv error = %w, want 504", err)
	}
	return nil
}

// Timeout is for calls, and for the opening of streams.
func streamOutlivesTimeout(e *env) error {
	n := e.streams.ServeStream(e.TB, nil, func(_ context.Context, _ *Call, s ServerStream) error {
		time.Sleep(2 * soon) // the real clock is what counts
		return s.Send([]byte("1"))
	})
	s, err := e.open(e.Context(), &client.Options{Timeout: soon}, n)
	if err != nil {
		return err
	}
	return errors.Join(wants(s, "1"), wantsEnd(s))
}

func streamCancelReachesService(e *env) error {
	service, arrived, gone := waiting()
	n := e.streams.ServeStream(e.TB, nil, service)
	ctx, cancel := context.WithCancel(e.Context())
	defer cancel()
	s, err := e.open(ctx, nil, n)
	if err != nil {
		return err
	}
	if err := await("the stream arrives", arrived); err != nil {
		return err
	}
	cancel()
	_, err = s.Recv()
	if known := new(goapi.Error); !errors.Is(err, context.Canceled) || errors.As(err, &known) {
		return fmt.Errorf("stream.Recv error = %w, want %w", err, context.Canceled)
	}
	return await("the service learns that its caller is gone", gone)
}

func streamCloseReachesService(e *env) error {
	service, arrived, gone := waiting()
	s, err := e.serveAndOpen(nil, service)
	if err != nil {
		return err
	}
	if err := await("the stream arrives", arrived); err != nil {
		return err
	}
	for range 2 {
		if err := s.Close(); err != nil {
			return fmt.Errorf("stream.Close error = %w", err)
		}
	}
	return await("the service learns that its caller is gone", gone)
}

func streamCloseEndsRecv(e *env) error {
	service, arrived, _ := waiting()
	s, err := e.serveAndOpen(nil, service)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { // ends with Close
		_, err := s.Recv()
		done <- err
	}()
	if err := await("the stream arrives", arrived); err != nil {
		return err
	}
	var closers sync.WaitGroup
	for range 4 {
		closers.Go(func() { _ = s.Close() }) // says nothing
	}
	closers.Wait()
	if err := awaitError("Recv after Close", done); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stream.Recv after Close error = %w, want %w", err, context.Canceled)
	}
	return nil
}
