package registrytest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBrokenRegistriesFail holds the suite to its word: each promise fails on a
// registry that does not keep it.
func TestBrokenRegistriesFail(t *testing.T) {
	tests := []struct {
		name    string
		promise string
		fault   func(f *faulty)
	}{
		{"forgets what is registered", "RegisterIsVisible", func(f *faulty) {
			f.register = func(context.Context, *registry.Service, time.Duration) error { return nil }
		}},
		{"keeps the last nodes only", "RegisterAddsNodes", func(f *faulty) {
			f.register = func(ctx context.Context, s *registry.Service, ttl time.Duration) error {
				f.removeAll(ctx, s.Name)
				return f.Memory.Register(ctx, s, ttl)
			}
		}},
		{"does not renew", "RegisterRenews", func(f *faulty) { f.register = f.once }},
		{"never expires", "RegisterRenews", func(f *faulty) { f.ttl = func(time.Duration) time.Duration { return 0 } }},
		{"keeps the first TTL", "RegisterWithoutTTLStays", func(f *faulty) { f.register = f.once }},
		{"keeps the first announcement", "RegisterReplacesAnnouncement", func(f *faulty) { f.register = f.once }},
		{"keeps what the caller may change", "RegisterKeepsItsOwnCopy", func(f *faulty) {
			var kept *registry.Service
			f.register = func(_ context.Context, s *registry.Service, _ time.Duration) error { kept = s; return nil }
			f.get = func(context.Context, string) ([]*registry.Service, error) { return []*registry.Service{kept}, nil }
		}},
		{"ignores Deregister", "DeregisterIsIdempotent", func(f *faulty) {
			f.deregister = func(context.Context, *registry.Service) error { return nil }
		}},
		{"fails to remove what is absent", "DeregisterIsIdempotent", func(f *faulty) {
			f.deregister = func(ctx context.Context, s *registry.Service) error {
				if _, err := f.Memory.Get(ctx, s.Name); err != nil {
					return err
				}
				return f.Memory.Deregister(ctx, s)
			}
		}},
		{"removes the whole service", "DeregisterRemovesOnlyItsNodes", func(f *faulty) {
			f.deregister = func(ctx context.Context, s *registry.Service) error { f.removeAll(ctx, s.Name); return nil }
		}},
		{"finds nothing without an error", "GetUnknownIsErrNotFound", func(f *faulty) {
			f.get = func(ctx context.Context, name string) ([]*registry.Service, error) {
				found, _ := f.Memory.Get(ctx, name)
				return found, nil
			}
		}},
		{"finds one version", "GetReturnsEveryVersion", func(f *faulty) {
			f.get = func(ctx context.Context, name string) ([]*registry.Service, error) {
				found, err := f.Memory.Get(ctx, name)
				return found[:min(1, len(found))], err
			}
		}},
		{"lists in reverse", "ListIsOrdered", func(f *faulty) {
			f.list = func(ctx context.Context) ([]*registry.Service, error) {
				found, err := f.Memory.List(ctx)
				found = slices.Clone(found)
				slices.Reverse(found)
				return found, err
			}
		}},
		{"merges what differs", "DifferingAnnouncementsAreSeparate", func(f *faulty) {
			f.get = func(ctx context.Context, name string) ([]*registry.Service, error) {
				found, err := f.Memory.Get(ctx, name)
				merged := *found[0]
				for _, s := range found[1:] {
					merged.Nodes = append(slices.Clone(merged.Nodes), s.Nodes...)
				}
				return []*registry.Service{&merged}, err
			}
		}},
		{"accepts everything", "RejectsWhatIsInvalid", func(f *faulty) {
			f.register = func(context.Context, *registry.Service, time.Duration) error { return nil }
		}},
		{"refuses without saying what", "RejectsWhatIsInvalid", func(f *faulty) {
			f.register = func(context.Context, *registry.Service, time.Duration) error { return errors.New("no") }
		}},
		{"folds case", "ReadsBackEqual", func(f *faulty) {
			f.register = func(ctx context.Context, s *registry.Service, ttl time.Duration) error {
				s = s.Copy()
				s.Nodes[0].ID = strings.ToLower(s.Nodes[0].ID)
				return f.Memory.Register(ctx, s, ttl)
			}
		}},
		{"changes what it handed out", "ResultsDoNotChange", func(f *faulty) {
			f.register = func(ctx context.Context, s *registry.Service, ttl time.Duration) error {
				found, _ := f.Memory.Get(ctx, s.Name)
				for _, old := range found {
					old.Nodes[0].Address = s.Nodes[0].Address
				}
				return f.Memory.Register(ctx, s, ttl)
			}
		}},
		{"begins with a part", "WatchStartsComplete", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				got, err := w.Watcher.Next(ctx)
				return got[:len(got)/2], err
			}
		}},
		{"is blind to what comes", "WatchSeesRegister", func(f *faulty) { f.next = nextOnce }},
		{"is blind to what goes", "WatchSeesDeregister", func(f *faulty) { f.next = nextOnce }},
		{"never forgets", "WatchSeesExpiry", func(f *faulty) { f.ttl = func(time.Duration) time.Duration { return 0 } }},
		{"forgets too soon", "WatchSeesExpiry", func(f *faulty) { f.ttl = func(ttl time.Duration) time.Duration { return ttl / 2 } }},
		{"decodes all anew", "WatchKeepsUnchangedPointers", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				got, err := w.Watcher.Next(ctx)
				fresh := make([]*registry.Service, len(got))
				for i, s := range got {
					fresh[i] = s.Copy()
				}
				return fresh, err
			}
		}},
		{"changes a service in place", "WatchKeepsUnchangedPointers", func(f *faulty) {
			first := make(map[string]*registry.Service)
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				got, err := w.Watcher.Next(ctx)
				same := make([]*registry.Service, len(got))
				for i, s := range got {
					key := s.Name + " " + s.Version
					if first[key] == nil {
						first[key] = s.Copy()
					}
					*first[key] = *s
					same[i] = first[key]
				}
				return same, err
			}
		}},
		{"says the same twice", "WatchSkipsToLatest", func(f *faulty) {
			var last []*registry.Service
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				if len(last) > 0 {
					return last, nil
				}
				got, err := w.Watcher.Next(ctx)
				if len(got) > 0 && w.calls > 1 && got[0].Nodes[0].Metadata["update"] != "" {
					last = []*registry.Service{got[0].Copy()}
					last[0].Metadata["stale"] = "yes"
					return last, err
				}
				return got, err
			}
		}},
		{"skips the latest", "WatchSkipsToLatest", func(f *faulty) { f.next = nextOnce }},
		{"does not close", "WatchCloseUnblocksNext", func(f *faulty) {
			f.close = func(*faultyWatcher) error { return nil }
		}},
		{"fails to close twice", "WatchCloseUnblocksNext", func(f *faulty) {
			closed := false
			f.close = func(w *faultyWatcher) error {
				if closed {
					return registry.ErrClosed
				}
				closed = true
				return w.Watcher.Close()
			}
		}},
		{"waits for ever", "WatchNextHonoursContext", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				return w.Watcher.Next(context.WithoutCancel(ctx))
			}
		}},
		{"is bound to the context of Watch", "WatchNextHonoursContext", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				if err := w.opening.Err(); err != nil {
					return nil, err
				}
				return w.Watcher.Next(ctx)
			}
		}},
		{"loses some", "ConcurrentUse", func(f *faulty) {
			f.register = func(ctx context.Context, s *registry.Service, ttl time.Duration) error {
				if f.count(s.Name) == 10 {
					return nil
				}
				return f.Memory.Register(ctx, s, ttl)
			}
		}},
		{"fails now and then", "ConcurrentUse", func(f *faulty) {
			f.register = func(ctx context.Context, s *registry.Service, ttl time.Duration) error {
				if f.count(s.Name) == 3 {
					return registry.ErrUnavailable
				}
				return f.Memory.Register(ctx, s, ttl)
			}
		}},
		{"has no bound", "TooLargeIsErrTooLarge", func(*faulty) {}},
		{"does not notice a loss", "WatchResumesWithTheSameState", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) { return w.Watcher.Next(ctx) }
		}},
		{"says again that contact is lost", "WatchResumesWithTheSameState", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				w.told = false
				return w.follow(ctx)
			}
		}},
		{"is silent until something changes", "WatchResumesWithTheSameState", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				if f.cut.Load() == nil {
					w.told = false
				}
				return w.follow(ctx)
			}
		}},
		{"resumes with copies", "WatchResumesWithTheSameState", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				got, err := w.follow(ctx)
				if w.calls > 3 && len(got) > 0 {
					got = []*registry.Service{got[0].Copy()}
				}
				return got, err
			}
		}},
	}
	opts := (&Options{MaxRecord: 1 << 10, Sever: sever}).orDefault()
	all := promises(opts)
	failed := make(map[string]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(p promise) bool { return p.name == tt.promise })
			if i < 0 {
				t.Fatalf("there is no promise %s", tt.promise)
			}
			f := &faulty{Memory: new(registry.Memory), counts: make(map[string]int)}
			tt.fault(f)
			failures := try(t, all[i], f, opts)
			if len(failures) == 0 {
				t.Errorf("%s = no failure, want one on a registry that %s", tt.promise, tt.name)
			}
			failed[tt.promise] = true
		})
	}
	for _, p := range all {
		if !failed[p.name] {
			t.Errorf("nothing shows that %s can fail", p.name)
		}
	}
}

// TestRecorder shows that a promise that is kept records no failure.
func TestRecorder(t *testing.T) {
	opts := (&Options{Sever: sever}).orDefault()
	for _, p := range promises(opts) {
		f := &faulty{Memory: new(registry.Memory), counts: make(map[string]int)}
		if failures := try(t, p, f, opts); len(failures) > 0 {
			t.Errorf("%s on a registry without a fault = %q, want no failure", p.name, failures)
		}
	}
}

// try tests one promise in a bubble, and returns how it failed.
func try(t *testing.T, p promise, reg registry.Registry, opts Options) []string {
	t.Helper()
	var r *recorder
	synctest.Test(t, func(t *testing.T) {
		r = &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done) // also when Fatalf ends the goroutine
			p.keep(&check{TB: r, reg: reg, opts: opts})
		}()
		select {
		case <-done:
		case <-time.After(time.Hour):
			r.Errorf("it hangs")
		}
		r.cleanup()
		if f, ok := reg.(*faulty); ok {
			f.closeAll()
		}
	})
	return r.failures
}

// A recorder keeps failures to itself.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) cleanup() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

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

	cut atomic.Pointer[chan struct{}] // closed when contact is back; nil while there is contact

	mu       sync.Mutex
	counts   map[string]int
	watchers []registry.Watcher
}

func (f *faulty) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if f.ttl != nil {
		ttl = f.ttl(ttl)
	}
	if f.register != nil {
		return f.register(ctx, s, ttl)
	}
	return f.Memory.Register(ctx, s, ttl)
}

func (f *faulty) Deregister(ctx context.Context, s *registry.Service) error {
	if f.deregister != nil {
		return f.deregister(ctx, s)
	}
	return f.Memory.Deregister(ctx, s)
}

func (f *faulty) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if f.get != nil {
		return f.get(ctx, name)
	}
	return f.Memory.Get(ctx, name)
}

func (f *faulty) List(ctx context.Context) ([]*registry.Service, error) {
	if f.list != nil {
		return f.list(ctx)
	}
	return f.Memory.List(ctx)
}

func (f *faulty) Watch(ctx context.Context) (registry.Watcher, error) {
	w, err := f.Memory.Watch(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, w)
	return &faultyWatcher{Watcher: w, faulty: f, opening: ctx}, nil
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
		_ = w.Close()
	}
}

type faultyWatcher struct {
	registry.Watcher

	faulty  *faulty
	opening context.Context
	calls   int
	told    bool // that contact is lost
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
	cut := w.faulty.cut.Load()
	switch {
	case cut != nil && !w.told:
		w.told = true
		return nil, registry.ErrUnavailable
	case cut != nil:
		select {
		case <-*cut:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if w.told {
		w.told = false
		return w.last, nil
	}
	got, err := w.Watcher.Next(ctx)
	if err == nil {
		w.last = got
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
