package broker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// closable is a broker that knows whether it was closed.
type closable struct {
	broker.Memory

	closed bool
}

// Close implements io.Closer.
func (c *closable) Close() error {
	c.closed = true
	return nil
}

// TestLazy uses a broker that can be opened after ten seconds.
func TestLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(closable)
		begin, tries := time.Now(), 0
		away := errors.New("refused")
		expected := broker.Capabilities{History: true, Dedup: time.Hour}
		l := broker.NewLazy(func(context.Context) (broker.Broker, error) {
			if tries++; time.Since(begin) < 10*time.Second {
				return nil, away
			}
			return memory, nil
		}, expected, broker.ErrUnavailable)
		done := make(chan error)
		go func() { done <- l.Run(t.Context()) }()

		m := &broker.Message{Body: []byte("1")}
		for range 2 { // before it was tried, and after
			if err := l.Publish(t.Context(), "orders", m); !errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("Publish = %v, want ErrUnavailable", err)
			}
			if _, err := l.Subscribe(t.Context(), "orders", nil); !errors.Is(err, broker.ErrUnavailable) {
				t.Errorf("Subscribe = %v, want ErrUnavailable", err)
			}
			time.Sleep(5 * time.Second)
		}
		if _, err := l.Last(t.Context(), "orders"); !errors.Is(err, broker.ErrUnavailable) || !errors.Is(err, away) {
			t.Errorf("Last = %v, want ErrUnavailable and why", err)
		}
		if got := l.Capabilities(); got != expected {
			t.Errorf("Capabilities = %+v, want what was expected", got)
		}
		if err := <-done; err != nil || time.Since(begin) > 20*time.Second || tries > 10 {
			t.Fatalf("Run = %v after %v and %d tries, want nil soon after it is there", err, time.Since(begin), tries)
		}
		if err := l.Publish(t.Context(), "orders", m); err != nil {
			t.Errorf("Publish = %v, want nil", err)
		}
		if last, err := l.Last(t.Context(), "orders"); err != nil || last == "" {
			t.Errorf("Last = %q, %v, want a position", last, err)
		}
		if sub, err := l.Subscribe(t.Context(), "orders", nil); err != nil {
			t.Errorf("Subscribe = %v, want nil", err)
		} else if err := sub.Close(); err != nil {
			t.Errorf("Close of the subscription = %v, want nil", err)
		}
		if got := l.Capabilities(); got != memory.Capabilities() {
			t.Errorf("Capabilities = %+v, want those of the broker", got)
		}
		if err := l.Close(); err != nil || !memory.closed {
			t.Errorf("Close = %v, want nil, and the broker closed", err)
		}
		if err := l.Publish(t.Context(), "orders", m); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Publish after Close = %v, want ErrClosed", err)
		}
	})
}

func TestLazyClosedBeforeItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(closable)
		l := broker.NewLazy(func(context.Context) (broker.Broker, error) { return memory, nil }, broker.Capabilities{}, errors.New("refused"))
		if err := l.Close(); err != nil {
			t.Errorf("Close = %v, want nil", err)
		}
		if err := l.Run(t.Context()); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if err := l.Publish(t.Context(), "orders", new(broker.Message)); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Publish = %v, want ErrClosed", err)
		}
		if !memory.closed {
			t.Error("what was opened for nobody is not closed")
		}
		never := broker.NewLazy(func(context.Context) (broker.Broker, error) { return nil, errors.New("refused") }, broker.Capabilities{}, errors.New("refused"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := never.Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil when its context ends", err)
		}
	})
}
