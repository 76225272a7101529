package registrytest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// faulty is a Memory in which some methods are replaced.
type faulty struct {
	*registry.Memory

	register   func(context.Context, *registry.Service, time.Duration) error
	deregister func(context.Context, *registry.Service) error
	get        func(context.Context, string) ([]*registry.Service, error)
	list       func(context.Context) ([]*registry.Service, error)
	ttl        func(time.Duration) time.Duration
	next       func(context.Context, *faultyWatcher) ([]*registry.Service, error)
	close      func(*faultyWatcher) error
	leftOut    func() []registry.Omission

	cut        atomic.Pointer[chan struct{}] // closed when contact is back; nil while there is contact
	closed     atomic.Bool
	spoilt     atomic.Bool
	registered atomic.Int64 // how often Register was called

	mu       sync.Mutex
	counts   map[string]int
	watchers []*faultyWatcher
}

func newFaulty() *faulty {
	return &faulty{Memory: new(registry.Memory), counts: make(map[string]int)}
}

// able returns options by which every promise is tested that a faulty can keep.
func able() Options {
	return (&Options{
		FakeClock: true,
		Sever:     sever,
		Beside:    func(_ testing.TB, reg registry.Registry) registry.Writer { return reg.(*faulty).Memory },
		Overwrite: overwrite,
		Lose: func(t testing.TB, reg registry.Registry) {
			t.Helper()
			f := reg.(*faulty)
			all, err := f.Memory.List(t.Context())
			for _, s := range all {
				err = errors.Join(err, f.Memory.Deregister(t.Context(), s))
			}
			if err != nil {
				t.Fatalf("Lose error = %v", err)
			}
		},
		Spoil: func(_ testing.TB, reg registry.Registry) func() {
			reg.(*faulty).spoilt.Store(true)
			return func() { reg.(*faulty).spoilt.Store(false) }
		},
	}).orDefault()
}

func overwrite(t testing.TB, reg registry.Registry, s *registry.Service) {
	t.Helper()
	if err := reg.(*faulty).Memory.Register(t.Context(), s, 0); err != nil {
		t.Fatalf("Register error = %v", err)
	}
}

// able returns why no call can be made, or nil.
func (f *faulty) able() error {
	switch {
	case f.closed.Load():
		return registry.ErrClosed
	case f.cut.Load() != nil:
		return registry.ErrUnavailable
	}
	return nil
}

// LeftOut implements registry.Reporter.
func (f *faulty) LeftOut() []registry.Omission {
	switch {
	case f.leftOut != nil:
		return f.leftOut()
	case f.spoilt.Load():
		return []registry.Omission{{Key: "bad", Reason: "it is no service"}}
	}
	return nil
}

// Close implements io.Closer.
func (f *faulty) Close() error {
	f.closed.Store(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watchers {
		w.end()
	}
	return nil
}

func (f *faulty) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	f.registered.Add(1)
	if f.ttl != nil {
		ttl = f.ttl(ttl)
	}
	if f.register != nil {
		return f.register(ctx, s, ttl)
	}
	if err := f.able(); err != nil {
		return err
	}
	return f.Memory.Register(ctx, s, ttl)
}

func (f *faulty) Deregister(ctx context.Context, s *registry.Service) error {
	if f.deregister != nil {
		return f.deregister(ctx, s)
	}
	if err := f.able(); err != nil {
		return err
	}
	return f.Memory.Deregister(ctx, s)
}

func (f *faulty) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if f.get != nil {
		return f.get(ctx, name)
	}
	if err := f.able(); err != nil {
		return nil, err
	}
	return f.Memory.Get(ctx, name)
}

func (f *faulty) List(ctx context.Context) ([]*registry.Service, error) {
	if f.list != nil {
		return f.list(ctx)
	}
	if err := f.able(); err != nil {
		return nil, err
	}
	return f.Memory.List(ctx)
}

func (f *faulty) Watch(ctx context.Context) (registry.Watcher, error) {
	if f.closed.Load() {
		return nil, registry.ErrClosed
	}
	opened, err := f.Memory.Watch(ctx)
	if err != nil {
		return nil, err
	}
	w := &faultyWatcher{Watcher: opened, faulty: f, opening: ctx}
	w.life, w.end = context.WithCancel(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, w)
	return w, nil
}

// once registers each service once.
func (f *faulty) once(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if f.count(s.Name) > 1 {
		return nil
	}
	return f.Memory.Register(ctx, s, ttl)
}

func (f *faulty) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[name]++
	return f.counts[name]
}

func (f *faulty) removeAll(ctx context.Context, name string) {
	found, _ := f.Memory.Get(ctx, name)
	for _, s := range found {
		_ = f.Memory.Deregister(ctx, s)
	}
}

// closeAll ends what a fault left open.
func (f *faulty) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watchers {
		w.end()
		_ = w.Watcher.Close()
	}
}

type faultyWatcher struct {
	registry.Watcher

	faulty  *faulty
	opening context.Context
	life    context.Context // until the faulty is closed
	end     context.CancelFunc
	calls   int
	told    bool // that contact is lost
	losses  int
	first   []*registry.Service
	last    []*registry.Service
}

func (w *faultyWatcher) Next(ctx context.Context) ([]*registry.Service, error) {
	w.calls++
	if w.faulty.next != nil {
		return w.faulty.next(ctx, w)
	}
	return w.follow(ctx)
}

// follow is Next of a watcher that keeps its promises, also when contact is
// lost while nobody waits.
func (w *faultyWatcher) follow(ctx context.Context) ([]*registry.Service, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	cut := w.faulty.cut.Load()
	switch {
	case w.life.Err() != nil:
		return nil, registry.ErrClosed
	case cut != nil && !w.told:
		w.told = true
		w.losses++
		return nil, registry.ErrUnavailable
	case cut != nil:
		select {
		case <-*cut:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if w.told { // the state as it is, also if it was told
		w.told = false
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if got, err := w.Watcher.Next(soon); err == nil {
			w.last = got
		}
		return w.last, nil
	}
	got, err := w.Watcher.Next(ctx)
	switch {
	case err == nil:
		w.last = got
	case w.life.Err() != nil:
		return nil, registry.ErrClosed
	}
	return got, err
}

// sever is Options.Sever for a faulty.
func sever(_ testing.TB, reg registry.Registry) (restore func()) {
	f, back := reg.(*faulty), make(chan struct{})
	f.cut.Store(&back)
	return func() {
		f.cut.Store(nil)
		close(back)
	}
}

func (w *faultyWatcher) Close() error {
	if w.faulty.close != nil {
		return w.faulty.close(w)
	}
	return w.Watcher.Close()
}

// nextOnce returns a first state and none after it.
func nextOnce(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
	if w.calls == 1 {
		return w.Watcher.Next(ctx)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}
