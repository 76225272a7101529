package micro

import (
	"context"
	"slices"
	"sync"

	"github.com/goapi-dev/goapi/registry"
)

// A state is all that a watcher needs to know.
type state struct {
	services  []*registry.Service // nil unless complete
	complete  bool
	connected bool
	losses    int
	changed   <-chan struct{}
}

// state returns the state, and begins to follow what others register.
func (r *Registry) state() (state, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.follow(); err != nil {
		return state{}, err
	}
	c := &r.contact
	s := state{complete: c.complete, connected: c.connected, losses: c.losses, changed: r.changed}
	if c.complete {
		s.services = r.records.Services()
	}
	return s, nil
}

// watcher compares the state with what it last returned.
type watcher struct {
	registry *Registry
	begun    bool
	losses   int  // of contact, that were returned
	lost     bool // contact, when last looked
	last     []*registry.Service

	once   sync.Once
	closed chan struct{}
}

// Watch implements [registry.Reader].
func (r *Registry) Watch(ctx context.Context) (registry.Watcher, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	s, err := r.state()
	if err != nil {
		return nil, err
	}
	w := &watcher{registry: r, losses: s.losses, closed: make(chan struct{})}
	if !s.connected {
		w.losses-- // the first Next tells
	}
	return w, nil
}

// Next implements [registry.Watcher].
func (w *watcher) Next(ctx context.Context) ([]*registry.Service, error) {
	for {
		select {
		case <-w.closed:
			return nil, registry.ErrClosed
		default:
		}
		if err := w.registry.usable(ctx); err != nil {
			return nil, err
		}
		s, err := w.registry.state()
		if err != nil {
			return nil, err
		}
		if s.losses != w.losses {
			w.losses, w.lost = s.losses, true
			return nil, errNoConnection()
		}
		if s.complete && (!w.begun || w.lost || !slices.Equal(s.services, w.last)) {
			w.begun, w.lost, w.last = true, false, s.services
			return s.services, nil
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
		case <-w.closed:
		case <-w.registry.life.Done():
		}
	}
}

// Close implements [registry.Watcher].
func (w *watcher) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}
