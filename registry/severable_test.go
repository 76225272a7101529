package registry_test

import (
	"context"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A severable is a Memory with which contact can be lost.
type severable struct {
	registry.Memory

	mu   sync.Mutex
	back chan struct{} // closed when contact is back; nil while there is contact
}

// sever loses contact, until what it returns is called.
func (s *severable) sever() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	back := make(chan struct{})
	s.back = back
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.back = nil
		close(back)
	}
}

func (s *severable) lost() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.back
}

// Register and the others are those of a Memory, while there is contact.
func (s *severable) Register(ctx context.Context, service *registry.Service, ttl time.Duration) error {
	if s.lost() != nil {
		return registry.ErrUnavailable
	}
	return s.Memory.Register(ctx, service, ttl)
}

func (s *severable) Deregister(ctx context.Context, service *registry.Service) error {
	if s.lost() != nil {
		return registry.ErrUnavailable
	}
	return s.Memory.Deregister(ctx, service)
}

func (s *severable) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if s.lost() != nil {
		return nil, registry.ErrUnavailable
	}
	return s.Memory.Get(ctx, name)
}

func (s *severable) List(ctx context.Context) ([]*registry.Service, error) {
	if s.lost() != nil {
		return nil, registry.ErrUnavailable
	}
	return s.Memory.List(ctx)
}

func (s *severable) Watch(ctx context.Context) (registry.Watcher, error) {
	w, err := s.Memory.Watch(ctx)
	return &severableWatcher{Watcher: w, of: s}, err
}

// severableWatcher learns that contact is lost when it is asked.
type severableWatcher struct {
	registry.Watcher

	of   *severable
	last []*registry.Service
	told bool // that contact is lost
}

func (w *severableWatcher) Next(ctx context.Context) ([]*registry.Service, error) {
	back := w.of.lost()
	if back != nil && !w.told {
		w.told = true
		return nil, registry.ErrUnavailable
	}
	if back != nil {
		select {
		case <-back:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if w.told { // the state as it is, even if it was told
		w.told = false
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if got, err := w.Watcher.Next(soon); err == nil {
			w.last = got
		}
		return w.last, ctx.Err()
	}
	got, err := w.Watcher.Next(ctx)
	if err == nil {
		w.last = got
	}
	return got, err
}
