package main

import (
	"context"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// interval is how often a watcher looks at the directory: the standard library
// cannot tell when it changes. A system that pushes is followed at once.
const interval = 100 * time.Millisecond

// Watch implements [registry.Reader]. The context bounds the call, not the
// watcher.
func (d *Directory) Watch(ctx context.Context) (registry.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &watcher{directory: d}
	w.life, w.end = context.WithCancel(context.Background())
	return w, nil
}

// A watcher runs nothing: Next does all the work. It keeps no queue, but
// compares the state with what it last returned.
type watcher struct {
	directory *Directory
	last      []*registry.Service
	begun     bool // last was returned
	lost      bool // ErrUnavailable was returned after it

	life context.Context // until Close
	end  context.CancelFunc
}

// Next implements [registry.Watcher].
func (w *watcher) Next(ctx context.Context) ([]*registry.Service, error) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if w.life.Err() != nil {
			return nil, registry.ErrClosed
		}
		services, err := w.directory.List(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && !w.lost:
			w.lost = true
			return nil, err
		case err == nil && (!w.begun || w.lost || !slices.Equal(services, w.last)):
			w.begun, w.lost, w.last = true, false, services
			return services, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		case <-w.life.Done():
		}
	}
}

// Close implements [registry.Watcher].
func (w *watcher) Close() error {
	w.end()
	return nil
}
