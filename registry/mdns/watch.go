package mdns

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A watcher holds no queue: it compares the state with what it last returned.
type watcher struct {
	registry *Registry
	begun    bool
	lost     bool // the loss of contact was returned
	last     []*registry.Service

	once   sync.Once
	closed chan struct{}
}

// Watch implements [registry.Reader].
func (r *Registry) Watch(ctx context.Context) (registry.Watcher, error) {
	switch {
	case r.life.Err() != nil:
		return nil, registry.ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return r.watch(), nil
}

// watch returns a watcher, and begins to browse if nobody has yet.
func (r *Registry) watch() *watcher {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.browser.started.IsZero() {
		r.browser.start(time.Now())
		r.hurry()
	}
	return &watcher{registry: r, closed: make(chan struct{})}
}

// Next implements [registry.Watcher].
func (w *watcher) Next(ctx context.Context) ([]*registry.Service, error) {
	life := w.registry.life
	for {
		select {
		case <-w.closed:
			return nil, registry.ErrClosed
		case <-life.Done():
			return nil, registry.ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		services, changed, result, err := w.look()
		if result {
			return services, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-w.closed:
		case <-life.Done():
		}
	}
}

// look says whether there is a result of Next, and which; or what to wait for.
func (w *watcher) look() (services []*registry.Service, changed <-chan struct{}, result bool, err error) {
	r := w.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.available && !w.lost:
		w.lost = true
		return nil, nil, true, errNoInterface()
	case !r.available, !r.ready:
		return nil, r.waitChange(), false, nil
	}
	services = r.records.Services()
	if w.begun && !w.lost && slices.Equal(services, w.last) {
		return nil, r.waitChange(), false, nil
	}
	w.begun, w.lost, w.last = true, false, services
	return services, nil, true, nil
}

// Close implements [registry.Watcher].
func (w *watcher) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}
