package push_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// A script is a source that does one thing after the other.
type script struct {
	pools *upstream.Pools
	mu    sync.Mutex
	steps []any // an error of Watch, or what a watcher does
}

// told is a state, or an error of Next.
type told struct {
	services []*registry.Service
	err      error
}

func (s *script) step() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return nil
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	return step
}

func (s *script) Watch(context.Context) (registry.Watcher, error) {
	s.mu.Lock()
	if len(s.steps) > 0 {
		if err, ok := s.steps[0].(error); ok {
			s.steps = s.steps[1:]
			s.mu.Unlock()
			return nil, err
		}
	}
	s.mu.Unlock()
	return scripted{s}, nil
}

type scripted struct{ *script }

func (w scripted) Next(ctx context.Context) ([]*registry.Service, error) {
	step, ok := w.step().(told)
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, s := range step.services {
		w.pools.Update(s.Name, []*registry.Service{s})
	}
	return step.services, step.err
}

func (scripted) Close() error { return nil }

// TestSourceFails: while nobody tells the services, what is pushed stays as it is.
func TestSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork()
		n, _ := w.serve(t, "10.0.0.1:80", nil)
		mailer := &registry.Service{
			Name: "mailer", Nodes: []*registry.Node{n.announced("mailer")},
			Endpoints: []*registry.Endpoint{nil, {Name: "On", Metadata: map[string]string{"subscriber": "true", "push": "true", "topic": "orders"}}},
		}
		pools := upstream.NewPools(nil)
		source := &script{pools: pools, steps: []any{
			errors.New("not yet"), errors.New("not yet"),
			told{services: []*registry.Service{mailer}},
			told{err: registry.ErrUnavailable},
			told{err: registry.ErrUnavailable},
			told{err: registry.ErrClosed},
			errors.New("gone"),
		}}
		b, log := newTap(new(broker.Memory)), &logs{more: make(chan struct{}, 1)}
		p := push.New(b, source, pools, &push.Options{Topics: []string{"orders"}, DialContext: w.DialContext, Logger: slog.New(log)})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		if got := receive(t, b.opened); got != "orders" {
			t.Errorf("subscribed to %q, want orders", got)
		}
		time.Sleep(time.Hour)
		if err := b.Publish(ctx, "orders", &broker.Message{ID: "1"}); err != nil {
			t.Fatal(err)
		}
		n.ids(t, 1)
		if len(b.closed) > 0 || log.count("services are not followed") != 4 {
			t.Errorf("%d subscriptions were closed, and %d failures logged; want 0 and 4", len(b.closed), log.count("services are not followed"))
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want context.Canceled", err)
		}
	})
}
