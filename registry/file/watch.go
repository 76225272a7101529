package file

import (
	"context"
	"slices"
	"sync"

	"github.com/goapi-dev/goapi/registry"
)

// watcher compares the state with what it last returned.
type watcher struct {
	registry *Registry
	begun    bool
	last     []*registry.Service

	once   sync.Once
	closed chan struct{}
}

// Next implements [registry.Watcher]. The first call looks at the file, as List
// does.
func (w *watcher) Next(ctx context.Context) ([]*registry.Service, error) {
	if !w.begun {
		_ = w.registry.look(ctx, false) // fails when Next does, below
	}
	for {
		select {
		case <-w.closed:
			return nil, registry.ErrClosed
		default:
		}
		if err := w.registry.usable(ctx); err != nil {
			return nil, err
		}
		services, changed := w.registry.services()
		if !w.begun || !slices.Equal(services, w.last) {
			w.begun, w.last = true, services
			return services, nil
		}
		select {
		case <-changed:
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
