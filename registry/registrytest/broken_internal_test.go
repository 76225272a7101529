package registrytest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
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
		{"keeps nodes ten times as long", "RegisterRenews", func(f *faulty) { f.ttl = tenfold }},
		{"returns although nothing changed", "RegisterRenews", func(f *faulty) { f.next = restless }},
		{"gives up at once, and not with the context", "RegisterRenews", func(f *faulty) {
			f.next = func(context.Context, *faultyWatcher) ([]*registry.Service, error) {
				return nil, context.DeadlineExceeded
			}
		}},
		{"keeps the first TTL", "RegisterWithoutTTLStays", func(f *faulty) { f.register = f.once }},
		{"keeps nodes ten times as long", "RegisterWithoutTTLStays", func(f *faulty) { f.ttl = tenfold }},
		{"returns although nothing changed", "RegisterWithoutTTLStays", func(f *faulty) { f.next = restless }},
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
		{"panics for what it does not check", "RejectsWhatIsInvalid", func(f *faulty) {
			f.register = func(_ context.Context, s *registry.Service, _ time.Duration) error {
				var ids []string
				for _, n := range s.Nodes {
					ids = append(ids, n.ID)
				}
				return fmt.Errorf("no room for %q", ids)
			}
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
		{"forgets too late", "WatchSeesExpiry", func(f *faulty) { f.ttl = func(ttl time.Duration) time.Duration { return 2 * ttl } }},
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
		{"tells of renewals", "WatchIsQuietWithoutChange", func(f *faulty) {
			told := int64(-1) // how often Register was called then
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				if now := f.registered.Load(); w.calls > 1 && now > told {
					told = now
					return w.last, nil
				}
				told = f.registered.Load()
				return w.follow(ctx)
			}
		}},
		{"takes who gave up for a failure", "CancelledIsNoFailure", func(f *faulty) {
			f.get = func(ctx context.Context, name string) ([]*registry.Service, error) {
				if ctx.Err() != nil {
					return nil, fmt.Errorf("%w: %w", registry.ErrUnavailable, ctx.Err())
				}
				return f.Memory.Get(ctx, name)
			}
		}},
		{"does not look whether somebody gave up", "CancelledIsNoFailure", func(f *faulty) {
			f.list = func(context.Context) ([]*registry.Service, error) { return nil, nil }
		}},
		{"goes on after it was closed", "CloseEndsAll", func(f *faulty) {
			f.list = func(context.Context) ([]*registry.Service, error) { return nil, nil }
		}},
		{"leaves its watchers open", "CloseEndsAll", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) { return w.Watcher.Next(ctx) }
		}},
		{"renews without a look", "RegisterRestores", func(f *faulty) { f.register = f.once }},
		{"fails for a bad record", "BadRecordIsLeftOut", func(f *faulty) {
			f.list = func(ctx context.Context) ([]*registry.Service, error) {
				if f.spoilt.Load() {
					return nil, errors.New("bad record")
				}
				return f.Memory.List(ctx)
			}
		}},
		{"hides a bad record", "BadRecordIsLeftOut", func(f *faulty) { f.leftOut = func() []registry.Omission { return nil } }},
		{"remembers a bad record", "BadRecordIsLeftOut", func(f *faulty) {
			var last []registry.Omission
			f.leftOut = func() []registry.Omission {
				if f.spoilt.Load() {
					last = []registry.Omission{{Key: "bad", Reason: "it is no service"}}
				}
				return last
			}
		}},
		{"is empty without contact", "CallsFailWithoutContact", func(f *faulty) {
			f.list = func(ctx context.Context) ([]*registry.Service, error) {
				if f.cut.Load() != nil {
					return nil, nil
				}
				return f.Memory.List(ctx)
			}
		}},
		{"misses what happens without contact", "WatchCatchesUp", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				got, err := w.follow(ctx)
				if w.losses > 0 && err == nil {
					got = w.first
				}
				if w.first == nil && hasNode(got, "greeter-1") {
					w.first = got
				}
				return got, err
			}
		}},
		{"has all anew with contact back", "WatchCatchesUp", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				got, err := w.follow(ctx)
				if w.losses > 0 && err == nil {
					got = slices.Clone(got)
					for i := range got {
						got[i] = got[i].Copy()
					}
				}
				return got, err
			}
		}},
		{"does not believe that all is gone", "WatchSeesAnEmptySystem", func(f *faulty) {
			f.next = func(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
				for {
					if got, err := w.follow(ctx); len(got) > 0 || w.calls == 1 || err != nil {
						return got, err
					}
				}
			}
		}},
	}
	opts := able()
	opts.MaxRecord = 1 << 10
	all := promises(opts)
	failed := make(map[string]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(p promise) bool { return p.name == tt.promise })
			if i < 0 {
				t.Fatalf("there is no promise %s", tt.promise)
			}
			f := newFaulty()
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

// TestPanicIsNamed: a registry that panics fails the promise by name, and not
// the whole suite.
func TestPanicIsNamed(t *testing.T) {
	f := newFaulty()
	f.register = func(_ context.Context, s *registry.Service, _ time.Duration) error {
		return errors.New(s.Nodes[1].ID) // there is one
	}
	failures := try(t, promise{"RegisterIsVisible", registerIsVisible}, f, able())
	if len(failures) != 1 || !strings.HasPrefix(failures[0], "RegisterIsVisible: panic: runtime error: index out of range") {
		t.Errorf("RegisterIsVisible = %q, want one failure with its name and the panic", failures)
	}
}

// TestHangIsSaid: what never comes to an end fails with a sentence.
func TestHangIsSaid(t *testing.T) {
	f := newFaulty()
	f.next = restless
	failures := try(t, promise{"RegisterRenews", registerRenews}, f, able())
	if len(failures) != 1 || !strings.Contains(failures[0], "it returned 10000 times") {
		t.Errorf("RegisterRenews = %q, want one failure that says what returned", failures)
	}
}

// tenfold keeps nodes longer than they ask for.
func tenfold(ttl time.Duration) time.Duration { return 10 * ttl }

// restless returns the same state for ever.
func restless(ctx context.Context, w *faultyWatcher) ([]*registry.Service, error) {
	if w.calls == 1 {
		return w.follow(ctx)
	}
	return w.last, nil
}

// TestRecorder shows that a promise that is kept records no failure.
func TestRecorder(t *testing.T) {
	opts := able()
	for _, p := range promises(opts) {
		f := newFaulty()
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
			p.test(&check{TB: r, reg: reg, opts: opts})
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
