package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// steadied is a Steady that is written through its source.
type steadied struct {
	registry.Reader
	registry.Writer
}

// TestSteadyIsARegistry also holds a Steady to promises about what disappears:
// what is ordinary does so at once.
func TestSteadyIsARegistry(t *testing.T) {
	registrytest.Run(t, func(*testing.T) registry.Registry {
		source := new(severable)
		return steadied{registry.NewSteady(source, nil), source}
	}, &registrytest.Options{
		FakeClock: true,
		Sever: func(_ testing.TB, reg registry.Registry) func() {
			return reg.(steadied).Writer.(*severable).sever()
		},
		Beside: func(_ testing.TB, reg registry.Registry) registry.Writer {
			return &reg.(steadied).Writer.(*severable).Memory
		},
	})
}

// TestSteadyTellsWhatIsOrdinaryAtOnce: nothing of this is held back.
func TestSteadyTellsWhatIsOrdinaryAtOnce(t *testing.T) {
	type services = []*registry.Service
	many := func(n int) []string {
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprintf("n%d", i))
		}
		return ids
	}
	tests := []struct {
		name          string
		before, after services
	}{
		{"a first service", nil, services{serving("a", "n1")}},
		{"the last node", services{serving("a", "n1")}, nil},
		{"the last two nodes", services{serving("a", "n1", "n2")}, nil},
		{"one of two nodes", services{serving("a", "n1", "n2")}, services{serving("a", "n1")}},
		{"one of three nodes", services{serving("a", "n1", "n2", "n3")}, services{serving("a", "n1", "n2")}},
		{"half of four nodes", services{serving("a", "n1", "n2", "n3", "n4")}, services{serving("a", "n1", "n3")}},
		{"half of a hundred nodes", services{serving("a", many(100)...)}, services{serving("a", many(50)...)}},
		{"all nodes, with as many others", services{serving("a", "n1", "n2", "n3")}, services{serving("a", "n4", "n5", "n6")}},
		{"both services", services{serving("a", "n1"), serving("b", "n1")}, nil},
		{"two of four services", services{serving("a", "n1"), serving("b", "n1"), serving("c", "n1"), serving("d", "n1")},
			services{serving("b", "n1"), serving("d", "n1")}},
		{"all services, with others", services{serving("a", "n1"), serving("b", "n1"), serving("c", "n1")},
			services{serving("d", "n1"), serving("e", "n1")}},
		{"out of order", services{serving("c", "n1")}, services{serving("a", "n1"), serving("b", "n1"), serving("c", "n1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed()
				s := registry.NewSteady(f, nil)
				w := watch(t, s)
				f.say(tt.before)
				next(t, w)
				begun := time.Now()
				f.say(tt.after)
				if got, want := outline(next(t, w)), outline(tt.after); !slices.Equal(got, want) || time.Since(begun) > 0 {
					t.Errorf("Next() = %q after %v, want %q at once", got, time.Since(begun), want)
				}
				wantHeld(t, s)
				wantQuiet(t, w)
			})
		})
	}
}

func TestSteadyHoldsBack(t *testing.T) {
	type services = []*registry.Service
	six := func(ids ...string) services {
		var list services
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			list = append(list, serving(name, ids...))
		}
		return list
	}
	tests := []struct {
		name          string
		before, after services
		want          []string // for a while
		held          []string
		wait          time.Duration
	}{
		{"two of three nodes", services{serving("a", "n1", "n2", "n3")}, services{serving("a", "n2")},
			[]string{"a : n1 n2 n3"}, []string{"a n1 n3: most nodes of the service went within a short time"}, 3 * time.Second},
		{"all three nodes", services{serving("a", "n1", "n2", "n3"), serving("b", "n1")}, services{serving("b", "n1")},
			[]string{"a : n1 n2 n3", "b : n1"}, []string{"a n1 n2 n3: most nodes of the service went within a short time"}, 3 * time.Second},
		{"two of three nodes, with another", services{serving("a", "n1", "n2", "n3", "n4", "n5")}, services{serving("a", "n5", "n6")},
			[]string{"a : n1 n2 n3 n4 n5 n6"}, []string{"a n1 n2 n3 n4: most nodes of the service went within a short time"}, 3 * time.Second},
		{"all services", six("n1"), nil, outline(six("n1")), []string{
			"a n1: most services went within a short time", "b n1: most services went within a short time",
			"c n1: most services went within a short time", "d n1: most services went within a short time",
			"e n1: most services went within a short time", "f n1: most services went within a short time",
		}, 30 * time.Second},
		{"most services", six("n1"), six("n1")[3:5], outline(six("n1")), []string{
			"a n1: most services went within a short time", "b n1: most services went within a short time",
			"c n1: most services went within a short time", "f n1: most services went within a short time",
		}, 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed()
				s := registry.NewSteady(f, nil)
				w := watch(t, s)
				f.say(tt.before)
				before := next(t, w)
				begun := time.Now()
				f.say(tt.after)
				soon, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				got, err := w.Next(soon)
				if errors.Is(err, context.DeadlineExceeded) {
					got = before // nothing to tell
				}
				if !slices.Equal(outline(got), tt.want) {
					t.Errorf("Next() at once = %q, want %q", outline(got), tt.want)
				}
				wantHeld(t, s, tt.held...)
				if got, want := outline(next(t, w)), outline(tt.after); !slices.Equal(got, want) || time.Since(begun) != tt.wait {
					t.Errorf("Next() = %q after %v, want %q after %v", got, time.Since(begun), want, tt.wait)
				}
				wantHeld(t, s)
				wantQuiet(t, w)
			})
		})
	}
}

// TestSteadyCountsWhatGoesWithinAShortTime takes the nodes of a service one by
// one: what went slowly is gone, and the rest of what goes quickly is held back.
func TestSteadyCountsWhatGoesWithinAShortTime(t *testing.T) {
	tests := []struct {
		every time.Duration
		want  int // the most nodes that are held back
	}{
		{time.Millisecond, 4},
		{500 * time.Millisecond, 4},
		{time.Second, 1}, // of four
		{2 * time.Second, 0},
	}
	for _, tt := range tests {
		t.Run(tt.every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed()
				s := registry.NewSteady(f, nil)
				ids := []string{"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}
				w := watch(t, s)
				most := 0
				var last []string
				for len(ids) > 0 {
					f.say([]*registry.Service{serving("a", ids...)})
					last = settle(t, w, tt.every)
					for _, h := range s.Status().Held {
						most = max(most, len(h.Nodes))
					}
					ids = ids[1:]
				}
				if most != tt.want {
					t.Errorf("%d nodes were held back at most, want %d", most, tt.want)
				}
				if most > 0 {
					last = settle(t, w, time.Minute)
				}
				if !slices.Equal(last, []string{"a : n9"}) {
					t.Errorf("a minute later the state is %q, want the last node", last)
				}
			})
		})
	}
}

func TestSteadyForgetsWhatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		s := registry.NewSteady(f, nil)
		w := watch(t, s)
		f.say([]*registry.Service{serving("a", "n1", "n2", "n3"), serving("b", "n1")})
		before := next(t, w)
		f.say(nil)
		settle(t, w, time.Second)
		wantHeld(t, s, "a n1 n2 n3: most nodes of the service went within a short time")

		f.say([]*registry.Service{serving("a", "n3")})
		settle(t, w, time.Second)
		wantHeld(t, s, "a n1 n2: most nodes of the service went within a short time")

		f.say([]*registry.Service{serving("a", "n1", "n2", "n3")})
		if back := next(t, w); len(back) != 1 || !reflect.DeepEqual(back[0], before[0]) {
			t.Errorf("Next() = %q, want a as it was", outline(back))
		}
		wantHeld(t, s)
	})
}

// TestSteadyMarksWhatItHoldsBack: who must not lose a request is told which nodes
// the registry does not have any more, unless it has none at all.
func TestSteadyMarksWhatItHoldsBack(t *testing.T) {
	marks := func(services []*registry.Service) (ids []string) {
		for _, s := range services {
			for _, n := range s.Nodes {
				if n.Metadata[registry.MetaHeld] != "" {
					ids = append(ids, n.ID)
				}
			}
		}
		return ids
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		w := watch(t, registry.NewSteady(f, nil))
		all := []*registry.Service{serving("a", "n1", "n2", "n3")}
		f.say(all)
		before := next(t, w)
		f.say([]*registry.Service{serving("a", "n1")})
		if got := next(t, w); !slices.Equal(outline(got), outline(before)) || !slices.Equal(marks(got), []string{"n2", "n3"}) {
			t.Errorf("Next() = %q, of which %q are marked; want all, and those that went marked", outline(got), marks(got))
		}
		if got := marks(all); len(got) > 0 {
			t.Errorf("%q are marked in what the registry said", got)
		}
		f.say(all)
		if got := next(t, w); len(marks(got)) > 0 {
			t.Errorf("%q are marked that came back, want none", marks(got))
		}
		f.say([]*registry.Service{serving("b", "n1"), serving("c", "n1"), serving("d", "n1")})
		if got := next(t, w); len(marks(got)) > 0 {
			t.Errorf("%q are marked of a service that has no others, want none", marks(got))
		}
	})
}

// TestSteadyKeepsWhatNodesAnnounced: nodes that are held back stay with those
// that announce the same, and beside those that announce something else.
func TestSteadyKeepsWhatNodesAnnounced(t *testing.T) {
	version := func(version, path string, ids ...string) *registry.Service {
		s := serving("a", ids...)
		s.Version = version
		s.Endpoints = []*registry.Endpoint{{Name: "A.Do", Metadata: map[string]string{"path": path}}}
		return s
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		w := watch(t, registry.NewSteady(f, nil))
		f.say([]*registry.Service{version("1", "/a", "n1", "n2"), version("1", "/b", "n3", "n4"), version("2", "/a", "n5")})
		next(t, w)
		f.say([]*registry.Service{version("1", "/b", "n4"), version("3", "/a", "n6")})
		var got []string
		for _, s := range next(t, w) {
			got = append(got, strings.TrimSpace(outline([]*registry.Service{s})[0]+" "+s.Endpoints[0].Metadata["path"]))
		}
		want := []string{"a 1 A.Do: n3 n4 /b", "a 1 A.Do: n1 n2 /a", "a 2 A.Do: n5 /a", "a 3 A.Do: n6 /a"}
		if !slices.Equal(got, want) {
			t.Errorf("Next() = %q, want %q", got, want)
		}
	})
}

func TestSteadyAsksTheSource(t *testing.T) {
	f := answering([]*registry.Service{serving("a", "n1")}, nil)
	s := registry.NewSteady(f, nil)
	if got, err := s.Get(t.Context(), "a"); err != nil || !slices.Equal(got, f.list) {
		t.Errorf("Get() = %q, %v, want what the source has", outline(got), err)
	}
	if got, err := s.List(t.Context()); err != nil || !slices.Equal(got, f.list) {
		t.Errorf("List() = %q, %v, want what the source has", outline(got), err)
	}
	if got := s.LeftOut(); got != nil {
		t.Errorf("LeftOut() of a source that reports nothing = %v, want nil", got)
	}
	left := reporting{{Key: "k", Reason: "none"}}
	if got := registry.NewSteady(left, nil).LeftOut(); !slices.Equal(got, left) {
		t.Errorf("LeftOut() = %v, want %v", got, left)
	}
}

// TestSteadyTellsOfOneWatcher: the status is that of the one open for longest.
func TestSteadyTellsOfOneWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		s := registry.NewSteady(f, nil)
		first, second := watch(t, s), watch(t, s)
		f.say([]*registry.Service{serving("a", "n1", "n2", "n3")})
		next(t, first)
		f.fail(registry.ErrUnavailable)
		wantUnavailable(t, second)
		if !s.Status().Contact {
			t.Error("a second watcher lost contact, and Status() tells of it; want it to tell of the first")
		}
		_ = first.Close()
		f.say([]*registry.Service{serving("a", "n1", "n2", "n3")})
		next(t, second)
		f.say(nil)
		settle(t, second, 0)
		wantHeld(t, s, "a n1 n2 n3: most nodes of the service went within a short time")
	})
}

func TestSteadyThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for threshold, want := range map[float64]int{0.3: 4, 0.4: 0, 1: 0} {
			f := newFeed()
			s := registry.NewSteady(f, &registry.SteadyOptions{PanicThreshold: threshold})
			w := watch(t, s)
			f.say([]*registry.Service{serving("a", "n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9")})
			next(t, w)
			f.say([]*registry.Service{serving("a", "n4", "n5", "n6", "n7", "n8", "n9")})
			settle(t, w, 0)
			got := 0
			for _, h := range s.Status().Held {
				got += len(h.Nodes)
			}
			if got != want {
				t.Errorf("with a threshold of %v, %d of the 4 nodes that went of 10 are held back, want %d", threshold, got, want)
			}
		}
	})
}

// TestSteadyLogs: one line for what happens at once, however many it concerns.
func TestSteadyLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := newFeed()
		w := watch(t, registry.NewSteady(f, &registry.SteadyOptions{Name: "bus", Logger: logger(&log)}))
		var all []*registry.Service
		for i := range 1000 {
			all = append(all, serving(fmt.Sprintf("s%03d", i), "n1", "n2", "n3"))
		}
		f.say(all)
		next(t, w)
		f.say(append([]*registry.Service{serving("s000", "n1")}, all[1:]...))
		settle(t, w, 5*time.Second)
		f.say(nil)
		settle(t, w, time.Minute)
		f.say(all)
		next(t, w)
		f.fail(registry.ErrUnavailable)
		wantUnavailable(t, w)
		f.say(all[:1])
		next(t, w)
		want := `level=WARN msg="nodes held back" registry=bus reason="most nodes of the service went within a short time" nodes=2 services=[s000]
level=INFO msg="held back nodes let go" registry=bus held=0
level=WARN msg="nodes held back" registry=bus reason="most services went within a short time" nodes=2998 services="[s000 s001 s002 s003 s004 s005 s006 s007 s008 s009]"
level=INFO msg="held back nodes let go" registry=bus held=0
level=WARN msg="nodes held back" registry=bus reason="the registry came back with fewer than before" nodes=2997 services="[s001 s002 s003 s004 s005 s006 s007 s008 s009 s010]"
`
		if got := regexp.MustCompile(` until=\S+`).ReplaceAllString(log.String(), ""); got != want {
			t.Errorf("log =\n%s, want\n%s", got, want)
		}
	})
}

// TestSteadyIsUsedConcurrently has watchers come and go while a registry loses
// contact, and ends with all of them knowing the same.
func TestSteadyIsUsedConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := new(severable)
		s := registry.NewSteady(source, &registry.SteadyOptions{Path: t.TempDir() + "/snapshot"})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Run(ctx) })
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					w, err := s.Watch(ctx)
					if err != nil {
						return
					}
					for range 20 {
						_, _ = w.Next(ctx)
						s.Status()
					}
					_ = w.Close()
				}
			})
		}
		for i := range 500 {
			nodes := serving(fmt.Sprint("s", i%7), "n1", "n2", "n3")
			for _, n := range nodes.Nodes {
				n.Address = "127.0.0.1:9090"
			}
			register(t, source, nodes, 0)
			time.Sleep(100 * time.Millisecond)
			if i%3 == 0 {
				_ = source.Deregister(t.Context(), nodes)
			}
			if i%50 == 0 {
				restore := source.sever()
				time.Sleep(time.Second)
				restore()
			}
		}
		w := watch(t, s)
		want, err := source.List(t.Context())
		if got := settle(t, w, time.Hour); err != nil || !slices.Equal(got, outline(want)) {
			t.Errorf("the state in the end = %q, want %q", got, outline(want))
		}
		cancel()
		wg.Wait()
	})
}

// settle reads what there is to tell within some time, which passes. It returns
// the last state, which is not nil, or nil if there was none.
func settle(t *testing.T, w registry.Watcher, within time.Duration) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within+1)
	defer cancel()
	var last []string
	for {
		got, err := w.Next(ctx)
		switch {
		case err == nil:
			last = append([]string{}, outline(got)...)
		case ctx.Err() != nil:
			return last
		case !errors.Is(err, registry.ErrUnavailable):
			t.Fatalf("Next() error = %v", err)
		}
	}
}

func wantHeld(t *testing.T, s *registry.Steady, want ...string) {
	t.Helper()
	var got []string
	for _, h := range s.Status().Held {
		got = append(got, fmt.Sprintf("%s %s: %s", h.Service, strings.Join(h.Nodes, " "), h.Reason))
	}
	if !slices.Equal(got, want) {
		t.Errorf("held back: %q, want %q", got, want)
	}
}

// logger returns one that writes no time.
func logger(to *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}
