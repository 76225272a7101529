package router

import (
	"context"

	"github.com/goapi-dev/goapi/registry"
)

// Watch returns a watcher of the state that requests are routed by, for those
// who follow it beside the table: the registry need not be watched twice. What
// Next returns, the table and the pools have. While the registry is away, Next
// waits; it never returns registry.ErrUnavailable.
func (l *Live) Watch(context.Context) (registry.Watcher, error) {
	w := &liveWatcher{live: l}
	w.life, w.end = context.WithCancel(context.Background())
	return w, nil
}

type liveWatcher struct {
	live *Live
	next <-chan struct{} // closed when there is more to tell; nil at first

	life context.Context // until Close
	end  context.CancelFunc
}

// Next implements [registry.Watcher].
func (w *liveWatcher) Next(ctx context.Context) ([]*registry.Service, error) {
	next := w.next
	if next == nil {
		next = w.live.ready
	}
	select {
	case <-next:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-w.life.Done():
		return nil, registry.ErrClosed
	}
	if w.life.Err() != nil {
		return nil, registry.ErrClosed
	}
	w.live.mu.Lock()
	defer w.live.mu.Unlock()
	w.next = w.live.changed
	return w.live.table.Load().Services(), nil
}

// Close implements [registry.Watcher].
func (w *liveWatcher) Close() error {
	w.end()
	return nil
}
