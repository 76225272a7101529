package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A Lazy is a registry that is opened when it is first used, and again each time
// until that succeeds. Until then it returns [ErrUnavailable], with the reason.
// So a program can start while the system behind a registry is away. It may be
// used concurrently; closing it closes the registry.
type Lazy struct {
	open func(context.Context) (Registry, error)
	life context.Context // until Close
	end  context.CancelFunc

	opening chan struct{} // holds a token while somebody opens

	mu     sync.Mutex
	opened Registry // nil until then
}

var (
	_ Registry  = (*Lazy)(nil)
	_ Reporter  = (*Lazy)(nil)
	_ io.Closer = (*Lazy)(nil)
)

// NewLazy returns a Lazy that open opens.
func NewLazy(open func(context.Context) (Registry, error)) *Lazy {
	l := &Lazy{open: open, opening: make(chan struct{}, 1)}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// Opened returns the registry, or nil until it is opened.
func (l *Lazy) Opened() Registry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opened
}

// Open opens the registry unless it is open. Its error is that of the function
// that opens it, and [ErrUnavailable].
func (l *Lazy) Open(ctx context.Context) (Registry, error) {
	select {
	case l.opening <- struct{}{}:
		defer func() { <-l.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.life.Err() != nil {
		return nil, ErrClosed
	}
	if opened := l.Opened(); opened != nil {
		return opened, nil
	}
	opened, err := l.open(ctx)
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable), ctx.Err() != nil:
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() != nil {
		return nil, errors.Join(ErrClosed, closeOf(opened))
	}
	l.opened = opened
	return opened, nil
}

// Get implements [Reader].
func (l *Lazy) Get(ctx context.Context, name string) ([]*Service, error) {
	reg, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	return reg.Get(ctx, name)
}

// List implements [Reader].
func (l *Lazy) List(ctx context.Context) ([]*Service, error) {
	reg, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	return reg.List(ctx)
}

// Watch implements [Reader].
func (l *Lazy) Watch(ctx context.Context) (Watcher, error) {
	reg, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	w, err := reg.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return &lazyWatcher{w, l.life}, nil
}

// Register implements [Writer].
func (l *Lazy) Register(ctx context.Context, s *Service, ttl time.Duration) error {
	reg, err := l.Open(ctx)
	if err != nil {
		return err
	}
	return reg.Register(ctx, s, ttl)
}

// Deregister implements [Writer].
func (l *Lazy) Deregister(ctx context.Context, s *Service) error {
	reg, err := l.Open(ctx)
	if err != nil {
		return err
	}
	return reg.Deregister(ctx, s)
}

// LeftOut implements [Reporter].
func (l *Lazy) LeftOut() []Omission {
	if r, ok := l.Opened().(Reporter); ok {
		return r.LeftOut()
	}
	return nil
}

// Close closes the registry if it was opened, and is an io.Closer; it is not
// opened any more.
func (l *Lazy) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() != nil {
		return nil
	}
	l.end()
	return closeOf(l.opened)
}

// lazyWatcher ends with the Lazy, also when the registry cannot be closed.
type lazyWatcher struct {
	Watcher

	life context.Context
}

// Next implements [Watcher].
func (w *lazyWatcher) Next(ctx context.Context) ([]*Service, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	services, err := w.Watcher.Next(ctx)
	if w.life.Err() != nil {
		return nil, ErrClosed
	}
	return services, err
}

// closeOf closes a registry that is an io.Closer.
func closeOf(reg Registry) error {
	if c, ok := reg.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
