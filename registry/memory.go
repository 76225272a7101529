package registry

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Memory keeps services in this process. The zero value is empty and ready
// for use; a Memory must not be copied.
type Memory struct {
	mu      sync.Mutex
	records Records
	timers  map[string]*time.Timer // by key, for nodes with a TTL
	changed chan struct{}          // closed by the next change; nil when nobody waits
}

var _ Registry = (*Memory)(nil)

// Get implements [Reader].
func (m *Memory) Get(ctx context.Context, name string) ([]*Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	services := m.records.Get(name)
	if len(services) == 0 {
		return nil, ErrNotFound
	}
	return services, nil
}

// List implements [Reader].
func (m *Memory) List(ctx context.Context) ([]*Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records.Services(), nil
}

// Watch implements [Reader].
func (m *Memory) Watch(ctx context.Context) (Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &memoryWatcher{memory: m, closed: make(chan struct{})}, nil
}

// Register implements [Writer].
func (m *Memory) Register(ctx context.Context, s *Service, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &FieldError{"ttl", "it is negative"}
	}
	s = s.Copy()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range s.Nodes {
		one := *s
		one.Nodes = []*Node{n}
		key := memoryKey(s, n)
		if err := m.records.Set(key, &one); err != nil {
			m.notify() // of the nodes before it, and of what it was
			return err
		}
		m.expireAfter(key, ttl)
	}
	m.notify()
	return nil
}

// Deregister implements [Writer].
func (m *Memory) Deregister(ctx context.Context, s *Service) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range s.Nodes {
		m.remove(memoryKey(s, n))
	}
	return nil
}

// expireAfter replaces the timer of a key; ttl 0 is none.
func (m *Memory) expireAfter(key string, ttl time.Duration) {
	if old := m.timers[key]; old != nil {
		old.Stop()
		delete(m.timers, key)
	}
	if ttl == 0 {
		return
	}
	if m.timers == nil {
		m.timers = make(map[string]*time.Timer)
	}
	var timer *time.Timer
	timer = time.AfterFunc(ttl, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.timers[key] == timer { // else it was renewed just now
			m.remove(key)
		}
	})
	m.timers[key] = timer
}

// remove deletes a record and its timer.
func (m *Memory) remove(key string) {
	m.expireAfter(key, 0)
	m.records.Delete(key)
	m.notify()
}

// notify wakes the watchers that wait.
func (m *Memory) notify() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// state returns the services, and a channel that is closed when they change.
func (m *Memory) state() ([]*Service, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.records.Services(), m.changed
}

// memoryKey is unique: neither part holds a control character.
func memoryKey(s *Service, n *Node) string { return s.Name + "\x00" + n.ID }

// memoryWatcher holds no queue: it compares the state with what it last
// returned.
type memoryWatcher struct {
	memory *Memory
	begun  bool
	last   []*Service

	once   sync.Once
	closed chan struct{}
}

// Next implements [Watcher].
func (w *memoryWatcher) Next(ctx context.Context) ([]*Service, error) {
	for {
		select {
		case <-w.closed:
			return nil, ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		services, changed := w.memory.state()
		if !w.begun || !slices.Equal(services, w.last) {
			w.begun, w.last = true, services
			return services, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-w.closed:
		}
	}
}

// Close implements [Watcher].
func (w *memoryWatcher) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}
