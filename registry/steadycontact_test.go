package registry_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

func TestSteadyKeepsTheStateWithoutContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		s := registry.NewSteady(f, nil)
		w := watch(t, s)
		f.say([]*registry.Service{serving("a", "n1"), serving("b", "n1", "n2", "n3")})
		before := next(t, w)
		if got := s.Status(); !got.Contact || got.Err != nil || got.Snapshot || !got.Heard.Equal(time.Now()) || !got.Lost.IsZero() {
			t.Errorf("Status() with contact = %+v", got)
		}

		f.fail(registry.ErrUnavailable)
		lost := time.Now()
		wantUnavailable(t, w)
		time.Sleep(100 * 24 * time.Hour)
		if got := s.Status(); got.Contact || !errors.Is(got.Err, registry.ErrUnavailable) || !got.Heard.Equal(lost) || !got.Lost.Equal(lost) {
			t.Errorf("Status() without contact = %+v, want it heard, and lost, at %v", got, lost)
		}

		f.say(nil) // it is back, and empty
		if got := next(t, w); !slices.Equal(got, before) {
			t.Errorf("Next() when it is back = %q, want the same pointers as before", outline(got))
		}
		wantHeld(t, s, "a n1: the registry came back with fewer than before", "b n1 n2 n3: the registry came back with fewer than before")
		back := time.Now()
		f.say([]*registry.Service{serving("a", "n1")})
		if got := next(t, w); len(got) != 1 || got[0] != before[0] || time.Since(back) != 30*time.Second {
			t.Errorf("Next() = %q after %v, want the service that is back after 30s", outline(got), time.Since(back))
		}
		wantHeld(t, s)
	})
}

// TestSteadyHoldsNothingBackWithoutContact: what is held back when contact is
// lost stays, and has the whole grace time when contact is back.
func TestSteadyHoldsNothingBackWithoutContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		s := registry.NewSteady(f, nil)
		w := watch(t, s)
		f.say([]*registry.Service{serving("a", "n1", "n2", "n3")})
		before := next(t, w)
		f.say(nil)
		settle(t, w, 2*time.Second)
		f.fail(registry.ErrUnavailable)
		wantUnavailable(t, w)
		f.say(nil)
		if got := next(t, w); !slices.Equal(got, before) {
			t.Errorf("Next() when it is back = %q, want the state before", outline(got))
		}
		back := time.Now()
		if got := next(t, w); len(got) > 0 || time.Since(back) != 30*time.Second {
			t.Errorf("Next() = %q after %v, want none after 30s", outline(got), time.Since(back))
		}
	})
}

// TestSteadyWaitsForWhatExpiresLate: a registry that comes back whole may lose
// what could not be renewed while it was away.
func TestSteadyWaitsForWhatExpiresLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		s := registry.NewSteady(f, nil)
		w := watch(t, s)
		all := []*registry.Service{serving("a", "n1", "n2", "n3"), serving("b", "n1"), serving("c", "n1")}
		f.say(all)
		next(t, w)
		f.fail(registry.ErrUnavailable)
		wantUnavailable(t, w)
		f.say(all)
		next(t, w)
		back := time.Now()
		time.Sleep(20 * time.Second)
		f.say(nil)
		if got := settle(t, w, 5*time.Second); got != nil {
			t.Errorf("Next() when all expires 20s after = %q, want nothing new", got)
		}
		f.say(all)
		wantQuiet(t, w)
		wantHeld(t, s)
		if time.Since(back) < time.Hour {
			t.Error("an hour took less")
		}
		f.say(all[1:])
		settle(t, w, 0)
		wantHeld(t, s, "a n1 n2 n3: most nodes of the service went within a short time")
		if got, want := settle(t, w, 3*time.Second), outline(all[1:]); !slices.Equal(got, want) {
			t.Errorf("Next() after 3s = %q, want %q: the time after a loss is over", got, want)
		}
	})
}

// TestSteadyNeverStorms counts the attempts of an hour.
func TestSteadyNeverStorms(t *testing.T) {
	tests := []struct {
		name string
		bad  func(f *feed)
	}{
		{"Watch fails", func(f *feed) { f.refuse(errors.New("no such host")) }},
		{"Next fails for good", func(f *feed) { f.always(errors.New("bad key")) }},
		{"Next fails for now, and again", func(f *feed) { f.always(registry.ErrUnavailable) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed()
				tt.bad(f)
				w := watch(t, registry.NewSteady(f, nil))
				wantUnavailable(t, w)
				before := f.calls.Load()
				for range 3600 { // a caller with little time does not make it start again
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("Next() = %q, %v, want context.DeadlineExceeded", outline(got), err)
					}
					cancel()
				}
				if got := f.calls.Load() - before; got < 700 || got > 740 {
					t.Errorf("there were %d attempts in an hour, want about one in 5s", got)
				}
			})
		})
	}
}

// TestSteadyWatchesAnew: a watcher of the source that is of no more use is
// replaced, and so may one of the Steady be. Nothing is forgotten.
func TestSteadyWatchesAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		s := registry.NewSteady(f, nil)
		first := watch(t, s)
		f.say([]*registry.Service{serving("a", "n1"), serving("b", "n1")})
		before := next(t, first)
		f.fail(registry.ErrClosed)
		wantUnavailable(t, first)
		f.say([]*registry.Service{serving("a", "n1"), serving("b", "n2")})
		after := next(t, first)
		if want := []string{"a : n1", "b : n2"}; after[0] != before[0] || !slices.Equal(outline(after)[:1], want[:1]) {
			t.Errorf("Next() of another watcher of the source = %q, want %q, the first as before", outline(after), want)
		}
		_ = first.Close()
		if got := s.Status(); got.Contact {
			t.Errorf("Status() without a watcher = %+v, want no contact", got)
		}

		second := watch(t, s)
		f.say(nil)
		if got := next(t, second); !slices.Equal(got, after) {
			t.Errorf("Next() of another watcher = %q, want what the first had", outline(got))
		}
		wantHeld(t, s, "a n1: the registry came back with fewer than before", "b n2: the registry came back with fewer than before")
	})
}

// TestSteadyCloses while the source does not let itself be watched.
func TestSteadyCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, registry.NewSteady(hanging{}, nil))
		time.AfterFunc(time.Second, func() { _ = w.Close() })
		if got, err := w.Next(t.Context()); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("Next() that Close interrupts = %q, %v, want ErrClosed", outline(got), err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := registry.NewSteady(hanging{}, nil).Watch(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch() with a context that is done: error = %v, want context.Canceled", err)
		}
	})
}

func wantUnavailable(t *testing.T, w registry.Watcher) {
	t.Helper()
	if got, err := w.Next(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
		t.Fatalf("Next() without contact = %q, %v, want ErrUnavailable", outline(got), err)
	}
	wantQuiet(t, w)
}
