package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// TestSteadyStartsFromItsSnapshot restarts with a source that is down, slow,
// quick, or different.
func TestSteadyStartsFromItsSnapshot(t *testing.T) {
	type services = []*registry.Service
	known := func() services { return services{serving("a", "n1"), serving("b", "n1", "n2", "n3")} }
	tests := []struct {
		name   string
		source func(f *feed)
		want   []string // told first
		wait   time.Duration
		then   []string // told when the source has answered, after half a minute
	}{
		{"down", func(f *feed) { f.refuse(errors.New("no such host")) }, outline(known()), 0, nil},
		{"away", func(f *feed) { f.fail(registry.ErrUnavailable) }, outline(known()), 0, nil},
		{"silent", func(*feed) {}, outline(known()), 2 * time.Second, nil},
		{"slow", func(f *feed) { time.AfterFunc(3*time.Second, func() { f.say(known()) }) }, outline(known()), 2 * time.Second, nil},
		{"slow, and changed", func(f *feed) { time.AfterFunc(3*time.Second, func() { f.say(services{serving("b", "n3", "n4")}) }) },
			outline(known()), 2 * time.Second, []string{"b : n3 n4"}},
		{"slow, and empty", func(f *feed) { time.AfterFunc(3*time.Second, func() { f.say(nil) }) }, outline(known()), 2 * time.Second, []string{}},
		{"quick", func(f *feed) { f.say(known()) }, outline(known()), 0, nil},
		{"quick, and changed a little", func(f *feed) { f.say(services{serving("a", "n2"), serving("b", "n2", "n3", "n4")}) },
			[]string{"a : n2", "b : n2 n3 n4"}, 0, nil},
		{"quick, and changed much", func(f *feed) { f.say(services{serving("b", "n4")}) },
			[]string{"a : n1", "b : n1 n2 n3 n4"}, 0, []string{"b : n4"}},
		{"quick, and empty", func(f *feed) { f.say(nil) }, outline(known()), 0, []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := &registry.SteadyOptions{Name: "bus", Path: filepath.Join(t.TempDir(), "steady", "bus.json")}
				saved(t, known(), opts)
				stopped := time.Now()
				time.Sleep(time.Hour)

				f := newFeed()
				tt.source(f)
				s := registry.NewSteady(f, opts)
				begun := time.Now()
				w := watch(t, s)
				first := next(t, w)
				if got := outline(first); !slices.Equal(got, tt.want) || time.Since(begun) != tt.wait {
					t.Errorf("the first Next() = %q after %v, want %q after %v", got, time.Since(begun), tt.want, tt.wait)
				}
				status := s.Status()
				if quick := strings.HasPrefix(tt.name, "quick"); status.Snapshot == quick || status.Contact != quick || (status.Err == nil) != quick {
					t.Errorf("Status() = %+v, want Contact: %t", status, quick)
				} else if !quick && !status.Heard.Equal(stopped) {
					t.Errorf("Heard = %v, want %v", status.Heard, stopped)
				}
				got := settle(t, w, time.Minute)
				if tt.then == nil && got == nil { // nothing new
					return
				}
				if tt.then == nil {
					tt.then = tt.want
				}
				if got == nil || !slices.Equal(got, tt.then) {
					t.Errorf("a minute later the state is %q, want %q", got, tt.then)
				}
			})
		})
	}
}

// TestSteadyTellsThatTheSourceIsAway after the snapshot: once.
func TestSteadyTellsThatTheSourceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot"), Wait: 5 * time.Second}
		saved(t, []*registry.Service{serving("a", "n1"), serving("b", "n1")}, opts)
		f := newFeed()
		w := watch(t, registry.NewSteady(f, opts))
		begun := time.Now()
		first := next(t, w)
		if waited := time.Since(begun); waited != 5*time.Second {
			t.Errorf("the snapshot is told after %v, want 5s", waited)
		}
		wantUnavailable(t, w)

		f.say([]*registry.Service{serving("a", "n1"), serving("b", "n1", "n2")})
		got := next(t, w)
		if want := []string{"a : n1", "b : n1 n2"}; !slices.Equal(outline(got), want) || got[0] != first[0] {
			t.Errorf("Next() when the source answers = %q, want %q, the first as in the snapshot", outline(got), want)
		}
		f.fail(registry.ErrUnavailable)
		wantUnavailable(t, w)
	})
}

// TestSteadyReadsNoOtherFile: what is no snapshot of this registry is ignored.
func TestSteadyReadsNoOtherFile(t *testing.T) {
	opts := &registry.SteadyOptions{Name: "bus", Path: filepath.Join(t.TempDir(), "snapshot")}
	synctest.Test(t, func(t *testing.T) { saved(t, []*registry.Service{serving("a", "n1")}, opts) })
	good, err := os.ReadFile(opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		want string // in the log
	}{
		{"empty", nil, "it does not start with"},
		{"half written", good[:len(good)/2], "its sum is wrong"},
		{"without its last byte", good[:len(good)-1], "its sum is wrong"},
		{"a start only", good[:20], "its sum is wrong"},
		{"a changed bit", bytes.Replace(good, []byte("n1"), []byte("n0"), 1), "its sum is wrong"},
		{"something else", []byte("{}\n{}\n"), "it does not start with"},
		{"zeros", make([]byte, 4096), "it does not start with"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := os.WriteFile(opts.Path, tt.data, 0o600); err != nil {
					t.Fatal(err)
				}
				wantIgnored(t, *opts, tt.want)
			})
		})
	}
	t.Run("of another registry", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if err := os.WriteFile(opts.Path, good, 0o600); err != nil {
				t.Fatal(err)
			}
			other := *opts
			other.Name = "other"
			wantIgnored(t, other, `it is of another registry: \"bus\"`)
		})
	})
	t.Run("a directory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wantIgnored(t, registry.SteadyOptions{Name: "bus", Path: t.TempDir()}, "is a directory")
		})
	})
}

// TestSteadyWritesSeldom counts how often the file is replaced, and looks at
// what is left in the directory.
func TestSteadyWritesSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f, opts := newFeed(), &registry.SteadyOptions{Path: filepath.Join(dir, "snapshot")}
		if err := os.WriteFile(opts.Path+".new", []byte("left by a process that was killed"), 0o644); err != nil {
			t.Fatal(err)
		}
		s := registry.NewSteady(f, opts)
		stop := run(t, s)
		w := watch(t, s)
		writes := 0
		var last fs.FileInfo
		for i := range 100 {
			f.say([]*registry.Service{serving("a", "n"+strings.Repeat("1", i))})
			next(t, w)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			info, err := os.Stat(opts.Path)
			if err != nil {
				t.Fatal(err)
			}
			if last == nil || !os.SameFile(info, last) {
				writes++
			}
			last = info
		}
		if writes < 5 || writes > 11 {
			t.Errorf("the file was written %d times in 10s, want about one a second", writes)
		}
		if mode := last.Mode(); mode != 0o600 {
			t.Errorf("the mode of the file is %v, want 0600", mode)
		}
		stop()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("the directory has %v, %v, want the snapshot only", entries, err)
		}
		if got, want := restored(t, opts), []string{"a : n" + strings.Repeat("1", 99)}; !slices.Equal(got, want) {
			t.Errorf("the snapshot has %q, want the latest: %q", got, want)
		}
	})
}

// TestSteadyWritesWhenIdle: the file tells until when it was right, to the
// hour at least.
func TestSteadyWritesWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, opts := newFeed(), &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot")}
		f.say([]*registry.Service{serving("a", "n1")})
		s := registry.NewSteady(f, opts)
		defer run(t, s)()
		next(t, watch(t, s))
		time.Sleep(24 * time.Hour)
		other := registry.NewSteady(newFeed(), opts)
		next(t, watch(t, other))
		if age := time.Since(other.Status().Heard); age > time.Hour+10*time.Second {
			t.Errorf("after a day the snapshot is %v old, want an hour at most", age)
		}
	})
}

// TestSteadyKeepsTheFileOfAnEarlierProcess as long as it knows nothing better.
func TestSteadyKeepsTheFileOfAnEarlierProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot")}
		saved(t, []*registry.Service{serving("a", "n1")}, opts)
		before, _ := os.ReadFile(opts.Path)
		s := registry.NewSteady(newFeed(), opts)
		stop := run(t, s)
		next(t, watch(t, s))
		time.Sleep(24 * time.Hour)
		stop()
		if after, err := os.ReadFile(opts.Path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("the file is now\n%s, %v, want it unchanged:\n%s", after, err, before)
		}
	})
}

// TestSteadyKeepsWhatItHoldsBack over a restart.
func TestSteadyKeepsWhatItHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot")}
		f := newFeed()
		s := registry.NewSteady(f, opts)
		stop := run(t, s)
		w := watch(t, s)
		f.say([]*registry.Service{serving("a", "n1", "n2", "n3")})
		next(t, w)
		f.say(nil)
		settle(t, w, 2*time.Second)
		stop()
		if got, want := restored(t, opts), []string{"a : n1 n2 n3"}; !slices.Equal(got, want) {
			t.Errorf("the snapshot has %q, want %q", got, want)
		}
	})
}

func TestSteadyReportsThatItCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f, opts := newFeed(), &registry.SteadyOptions{Path: filepath.Join(file, "snapshot"), Logger: logger(&log)}
		s := registry.NewSteady(f, opts)
		defer run(t, s)()
		w := watch(t, s)
		f.say([]*registry.Service{serving("a", "n1")})
		next(t, w)
		time.Sleep(10 * time.Minute)
		if err := s.Status().SaveErr; err == nil {
			t.Error("SaveErr = nil for a path that cannot be, want an error")
		}
		if got := strings.Count(log.String(), "snapshot not written"); got != 1 {
			t.Errorf("the log tells %d times that it is not written, want once:\n%s", got, log.String())
		}

		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := s.Status().SaveErr; err != nil {
			t.Errorf("SaveErr = %v a minute after the path can be, want nil", err)
		}
		if got, want := restored(t, opts), []string{"a : n1"}; !slices.Equal(got, want) {
			t.Errorf("the snapshot has %q, want %q", got, want)
		}
	})
}

func TestSteadyNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot")}
		if got := registry.NewSteady(newFeed(), opts).Note("k"); got != "" {
			t.Errorf("Note() without a snapshot = %q, want none", got)
		}
		notes := map[string]string{"k": "v", "GET /a\n": "\x00 <b>"}
		noting := *opts
		noting.Notes = func() map[string]string { return notes }
		saved(t, nil, &noting)
		got, s := make(map[string]string), registry.NewSteady(newFeed(), opts)
		for k := range notes {
			got[k] = s.Note(k)
		}
		if !maps.Equal(got, notes) || s.Note("other") != "" {
			t.Errorf("notes = %q, want %q", got, notes)
		}
	})
}

// TestSteadyOfEachMember: in a Multi, a registry that is down at the start has
// its own state, and the others theirs.
func TestSteadyOfEachMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		opts := func(name string) *registry.SteadyOptions {
			return &registry.SteadyOptions{Name: name, Path: filepath.Join(dir, name)}
		}
		saved(t, []*registry.Service{serving("a", "n1"), serving("b", "n1")}, opts("one"))
		saved(t, []*registry.Service{serving("a", "n2"), serving("c", "n1")}, opts("two"))
		one, two := newFeed(), newFeed()
		one.say([]*registry.Service{serving("a", "n1"), serving("b", "n3")})
		two.refuse(errors.New("no such host"))
		m := multi(registry.NewSteady(one, opts("one")), registry.NewSteady(two, opts("two")))
		w := watch(t, m)
		if got, want := outline(next(t, w)), []string{"a : n1", "b : n3", "a : n2", "c : n1"}; !slices.Equal(got, want) {
			t.Errorf("the first Next() = %q, want %q", got, want)
		}
		settle(t, w, time.Second)
		wantMembers(t, m, "0 ready", "1 registry: unavailable: no such host")
	})
}

// TestSteadySnapshotAge: an old one serves, and the log says how old it is, unless
// it is older than it may be.
func TestSteadySnapshotAge(t *testing.T) {
	tests := []struct {
		name   string
		age    time.Duration
		maxAge time.Duration
		want   string // in the log
		used   bool
	}{
		{"young", time.Minute, time.Hour, "services=1 age=1m0s error=", true},
		{"as old as may be", time.Hour, time.Hour, "services=1 age=1h0m0s error=", true},
		{"old", time.Hour + time.Second, time.Hour, `it is 1h0m1s old, more than 1h0m0s`, false},
		{"a year, without a bound", 365 * 24 * time.Hour, 0, "services=1 age=8760h0m0s error=", true},
		{"of a clock that was ahead", -time.Hour, time.Minute, "services=1 age=-1h0m0s error=", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			opts := &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot"), MaxAge: tt.maxAge, Logger: logger(&log)}
			synctest.Test(t, func(t *testing.T) {
				if tt.age < 0 {
					time.Sleep(-tt.age)
				}
				saved(t, []*registry.Service{serving("a", "n1")}, opts)
			})
			synctest.Test(t, func(t *testing.T) { // whose clock begins anew
				time.Sleep(max(tt.age, 0))
				f := newFeed()
				f.fail(registry.ErrUnavailable)
				w := watch(t, registry.NewSteady(f, opts))
				if !tt.used {
					wantUnavailable(t, w)
				} else if got := outline(next(t, w)); !slices.Equal(got, []string{"a : n1"}) {
					t.Errorf("Next() = %q, want the snapshot", got)
				}
			})
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, tt.want) {
				t.Errorf("log = %q, want one line with %q", got, tt.want)
			}
		})
	}
}

// TestSteadySavesTheEnd: what changes while the snapshot is written, and Run
// ends, is in the one that is written last.
func TestSteadySavesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.say([]*registry.Service{serving("a", "n1")})
		ctx, cancel := context.WithCancel(t.Context())
		opts := &registry.SteadyOptions{Path: filepath.Join(t.TempDir(), "snapshot")}
		var w registry.Watcher
		opts.Notes = sync.OnceValue(func() map[string]string { // is asked while the first is written
			f.say([]*registry.Service{serving("b", "n1")})
			next(t, w)
			cancel()
			return nil
		})
		s := registry.NewSteady(f, opts)
		w = watch(t, s)
		next(t, w)
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
		if got, want := restored(t, opts), []string{"b : n1"}; !slices.Equal(got, want) {
			t.Errorf("the snapshot holds %q, want %q", got, want)
		}
	})
}

// saved has a Steady write a snapshot of a state.
func saved(t *testing.T, services []*registry.Service, opts *registry.SteadyOptions) {
	t.Helper()
	f := newFeed()
	f.say(services)
	s := registry.NewSteady(f, opts)
	w, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	next(t, w)
	run(t, s)()
}

// restored returns what a Steady knows whose source is away.
func restored(t *testing.T, opts *registry.SteadyOptions) []string {
	t.Helper()
	f := newFeed()
	f.fail(registry.ErrUnavailable)
	return outline(next(t, watch(t, registry.NewSteady(f, opts))))
}

// wantIgnored fails unless a file is ignored, and the log says why.
func wantIgnored(t *testing.T, opts registry.SteadyOptions, want string) {
	t.Helper()
	var log bytes.Buffer
	opts.Logger = logger(&log)
	f := newFeed()
	f.fail(registry.ErrUnavailable)
	s := registry.NewSteady(f, &opts)
	wantUnavailable(t, watch(t, s))
	if got := log.String(); !strings.Contains(got, "snapshot ignored") || !strings.Contains(got, want) {
		t.Errorf("log = %q, want that the snapshot is ignored: %s", got, want)
	}
	if s.Status().Snapshot {
		t.Error("Status() tells of a snapshot that is ignored")
	}
}

// run runs a Steady until what it returns is called.
func run(t *testing.T, s *registry.Steady) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want context.Canceled", err)
		}
	}
}
