package service_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// ledger is a registry that writes down when it is written to.
type ledger struct {
	start time.Time
	again chan struct{}

	mu      sync.Mutex
	entries []string
	err     error // of Register
}

func newLedger() *ledger { return &ledger{start: time.Now(), again: make(chan struct{}, 1)} }

func (l *ledger) Register(_ context.Context, _ *registry.Service, ttl time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	what := "register for " + ttl.String() + " at "
	if l.err != nil {
		what = "fail "
	}
	l.entries = append(l.entries, what+time.Since(l.start).String())
	return l.err
}

func (l *ledger) Deregister(context.Context, *registry.Service) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, "deregister "+time.Since(l.start).String())
	return nil
}

func (l *ledger) Reconnected(context.Context) <-chan struct{} { return l.again }

// take returns what was written down since it was last called.
func (l *ledger) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.entries
	l.entries = nil
	return entries
}

// fail makes Register fail, or work again.
func (l *ledger) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *ledger) compare(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.take()); diff != "" {
		t.Errorf("the registry saw (-want +got):\n%s", diff)
	}
}

func greeter() *registry.Service {
	return &registry.Service{Name: "greeter", Version: "latest", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9000"}}}
}

// announce runs Announce until the returned function is called.
func announce(t *testing.T, reg registry.Writer, opts *service.AnnounceOptions) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Announce(ctx, reg, greeter(), opts) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestAnnounceRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		stop := announce(t, l, nil)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		l.compare(t, "register for 30s at 0s", "register for 30s at 10s", "register for 30s at 20s")
		if err := stop(); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
		l.compare(t, "deregister 25s")
	})
}

func TestAnnounceTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		l.fail(registry.ErrUnavailable)
		stop := announce(t, l, &service.AnnounceOptions{TTL: 6 * time.Second})
		time.Sleep(time.Second)
		synctest.Wait()
		l.compare(t, "fail 0s", "fail 100ms", "fail 300ms", "fail 700ms")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(l.take()); got < 10 || got > 20 {
			t.Errorf("the registry saw %d tries in a minute, want one each 5 s", got)
		}
		l.fail(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(l.take()) == 0 {
			t.Error("the registry saw nothing when it was back")
		}
		if err := stop(); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
	})
}

func TestAnnounceAfterReconnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		stop := announce(t, l, nil)
		time.Sleep(time.Second)
		l.again <- struct{}{}
		synctest.Wait()
		l.compare(t, "register for 30s at 0s", "register for 30s at 1s")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		l.compare(t, "register for 30s at 11s")
		if err := stop(); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
	})
}

func TestAnnounceRefused(t *testing.T) {
	tests := []struct {
		name    string
		service *registry.Service
		err     error
		field   string
	}{
		{"invalid", &registry.Service{Name: "greeter"}, nil, "nodes"},
		{"refused", greeter(), &registry.FieldError{Field: "version", Reason: "it is"}, "version"},
		{"too large", greeter(), registry.ErrTooLarge, ""},
		{"read-only", greeter(), registry.ErrReadOnly, ""},
		{"a TTL of 48h", greeter(), goapi.NewError(400, "ttl: want a duration from 1s to 24h", nil), ""},
		{"a wrong token", greeter(), goapi.NewError(401, "the token is not the gateway's", nil), ""},
		{"a foreign host", greeter(), goapi.NewError(403, "the admin API does not answer to the host name", nil), ""},
		{"no registry", greeter(), goapi.NewError(404, "the admin API has no /registry", nil), ""},
		{"not JSON", greeter(), goapi.NewError(415, "the body must be application/json", nil), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger()
			l.fail(tt.err)
			err := service.Announce(t.Context(), l, tt.service, nil)
			var field *registry.FieldError
			if errors.As(err, &field) != (tt.field != "") || field != nil && field.Field != tt.field {
				t.Errorf("Announce = %v, want a FieldError of %q", err, tt.field)
			}
			if tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("Announce = %v, want %v", err, tt.err)
			}
		})
	}
}

// hanging is a registry that answers when it is given up.
type hanging struct{}

func (hanging) Register(ctx context.Context, _ *registry.Service, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hanging) Deregister(ctx context.Context, _ *registry.Service) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAnnounceBoundsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stop := announce(t, hanging{}, nil)
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
		if got := time.Since(start); got > time.Minute+10*time.Second {
			t.Errorf("Announce ended after %v, want at most 10 s after a minute", got)
		}
	})
}

// slow is a registry that takes its time, and writes to it arrive whether or
// not they are given up.
type slow struct {
	*ledger

	begun chan struct{}
}

func (s *slow) Register(ctx context.Context, svc *registry.Service, ttl time.Duration) error {
	arrived := make(chan error)
	go func() { // ends after two seconds
		time.Sleep(2 * time.Second)
		err := s.ledger.Register(context.WithoutCancel(ctx), svc, ttl)
		select {
		case arrived <- err:
		case <-ctx.Done():
		}
	}()
	s.begun <- struct{}{}
	select {
	case err := <-arrived:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestAnnounceWithdrawsLast checks that a write which is under way when the
// service stops does not outlive the withdrawal.
func TestAnnounceWithdrawsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{ledger: newLedger(), begun: make(chan struct{})}
		stop := announce(t, s, nil)
		<-s.begun
		if err := stop(); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
		time.Sleep(time.Minute)
		s.compare(t, "register for 30s at 2s", "deregister 2s")
	})
}

// A service that stops before it was announced is not announced.
func TestAnnounceNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l := newLedger()
		if err := service.Announce(ctx, l, greeter(), nil); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
		l.compare(t, "deregister 0s")
	})
}

// TestAnnounceLogsChanges checks that an outage is told of when it begins and
// when it ends, and a shutdown not at all.
func TestAnnounceLogsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		l := newLedger()
		stop := announce(t, l, &service.AnnounceOptions{Logger: log})
		time.Sleep(time.Minute)
		for range 2 {
			l.fail(registry.ErrUnavailable)
			time.Sleep(time.Minute)
			l.fail(nil)
			time.Sleep(time.Minute)
		}
		if err := stop(); err != nil {
			t.Errorf("Announce = %v, want nil", err)
		}
		away := `level=WARN msg="the service is not announced" service=greeter error="registry: unavailable"` + "\n"
		back := `level=INFO msg="announced again" service=greeter` + "\n"
		if diff := cmp.Diff(away+back+away+back, text.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// A gateway that asks for patience has not refused.
func TestAnnounceIsPatient(t *testing.T) {
	for _, code := range []int{408, 429, 500, 503} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger()
				l.fail(goapi.NewError(code, "not now", nil))
				stop := announce(t, l, nil)
				time.Sleep(200 * time.Millisecond)
				synctest.Wait()
				l.compare(t, "fail 0s", "fail 100ms")
				if err := stop(); err != nil {
					t.Errorf("Announce = %v, want nil", err)
				}
			})
		})
	}
}
