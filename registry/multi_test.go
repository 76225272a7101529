package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestMultiIsARegistry reads through a Multi what is written to one member.
func TestMultiIsARegistry(t *testing.T) {
	for i := range 2 {
		t.Run(fmt.Sprintf("member %d", i), func(t *testing.T) {
			registrytest.Run(t, func(*testing.T) registry.Registry {
				var members [2]registry.Memory
				return struct {
					registry.Reader
					registry.Writer
				}{multi(&members[0], &members[1]), &members[i]}
			}, &registrytest.Options{FakeClock: true})
		})
	}
}

func TestMultiMerges(t *testing.T) {
	tests := []struct {
		name    string
		members [][]*registry.Service
		want    []string
	}{
		{"no member", nil, nil},
		{"nothing", [][]*registry.Service{nil, nil}, nil},
		{"by member, then name", [][]*registry.Service{
			{serving("b", "b1")}, {serving("a", "a1"), serving("c", "c1")},
		}, []string{"b: b1@0", "a: a1@1", "c: c1@1"}},
		{"the earlier has the node", [][]*registry.Service{
			{serving("a", "n1", "n2")}, {serving("a", "n2", "n3")}, {serving("a", "n3", "n4", "n1")},
		}, []string{"a: n1@0 n2@0", "a: n3@1", "a: n4@2"}},
		{"nothing remains of the later", [][]*registry.Service{
			{serving("a", "n1", "n2")}, {serving("a", "n1"), serving("b", "n1")},
		}, []string{"a: n1@0 n2@0", "b: n1@1"}},
		{"versions", [][]*registry.Service{
			{serving("a", "n1"), serving("a", "n2")}, {serving("a", "n3"), serving("a", "n1", "n4")},
		}, []string{"a: n1@0", "a: n2@0", "a: n3@1", "a: n4@1"}},
		{"a member out of order", [][]*registry.Service{
			{serving("b", "n1"), serving("a", "n1")}, {serving("c", "n1"), serving("a", "n1"), serving("b", "n2")},
		}, []string{"a: n1@0", "b: n1@0", "b: n2@1", "c: n1@1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			feeds := make([]registry.Reader, len(tt.members))
			for i, services := range tt.members {
				f := newFeed()
				f.list = placed(i, services)
				f.say(f.list)
				feeds[i] = f
			}
			m := multi(feeds...)
			if got := where(next(t, watch(t, m))); !slices.Equal(got, tt.want) {
				t.Errorf("Next() = %q, want %q", got, tt.want)
			}
			listed, err := m.List(t.Context())
			if got := where(listed); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("List() = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestMultiWaitsForMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, slow := newFeed(), newFeed()
		m := multi(quick, slow)
		w := watch(t, m)
		begun := time.Now()
		quick.say([]*registry.Service{serving("a", "n1")})
		if got, want := outline(next(t, w)), []string{"a : n1"}; !slices.Equal(got, want) {
			t.Errorf("the first Next() = %q, want %q", got, want)
		}
		if waited := time.Since(begun); waited != 5*time.Second {
			t.Errorf("the first Next() took %v, want 5s", waited)
		}
		wantMembers(t, m, "0 ready", "1 registry: unavailable: no answer within 5s")

		slow.say([]*registry.Service{serving("b", "n1")})
		if got, want := outline(next(t, w)), []string{"a : n1", "b : n1"}; !slices.Equal(got, want) {
			t.Errorf("Next() when the slow one answers = %q, want %q", got, want)
		}
		wantMembers(t, m, "0 ready", "1 ready")
	})
}

func TestMultiWaitsNoLongerThanItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := newFeed(), newFeed()
		bad.refuse(errors.New("no such host"))
		m := multi(good, bad)
		w := watch(t, m)
		begun := time.Now()
		time.AfterFunc(3*time.Second, func() { good.say(nil) })
		if got := next(t, w); len(got) != 0 {
			t.Errorf("the first Next() = %q, want none", outline(got))
		}
		if waited := time.Since(begun); waited != 3*time.Second {
			t.Errorf("the first Next() took %v, want 3s", waited)
		}
		wantMembers(t, m, "0 ready", "1 no such host")
	})
}

func TestMultiKeepsWhatALostMemberSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newFeed(), newFeed()
		m := multi(one, two)
		w := watch(t, m)
		one.say([]*registry.Service{serving("a", "n1")})
		two.say([]*registry.Service{serving("b", "n1")})
		first := next(t, w)

		one.fail(registry.ErrUnavailable)
		wantQuiet(t, w)
		wantMembers(t, m, "0 registry: unavailable", "1 ready")
		since := m.Members()[0].Since

		two.say([]*registry.Service{serving("c", "n1")})
		got := next(t, w)
		if want := []string{"a : n1", "c : n1"}; !slices.Equal(outline(got), want) || got[0] != first[0] {
			t.Errorf("Next() with a member lost = %q, want %q, the first unchanged", outline(got), want)
		}
		if now := m.Members()[0].Since; now != since || since.IsZero() {
			t.Errorf("Since of the member lost = %v, want it to stay %v", now, since)
		}

		one.say(got[:1]) // as it was
		wantQuiet(t, w)
		wantMembers(t, m, "0 ready", "1 ready")
	})
}

func TestMultiFailsOnceWhenAllAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newFeed(), newFeed()
		one.refuse(errors.New("no such host"))
		two.refuse(registry.ErrUnavailable)
		w := watch(t, multi(one, two))
		wantUnavailable := func() {
			t.Helper()
			if got, err := w.Next(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
				t.Fatalf("Next() with all lost = %q, %v, want ErrUnavailable", outline(got), err)
			}
			wantQuiet(t, w)
		}
		wantUnavailable()

		two.refuse(nil)
		two.say([]*registry.Service{serving("a", "n1")})
		first := next(t, w)
		if want := []string{"a : n1"}; !slices.Equal(outline(first), want) {
			t.Errorf("Next() with one found = %q, want %q", outline(first), want)
		}

		two.fail(registry.ErrUnavailable)
		wantUnavailable()
		two.say(first)
		if got := next(t, w); !slices.Equal(got, first) {
			t.Errorf("Next() with contact back = %q, want the state %q", outline(got), outline(first))
		}

		two.fail(registry.ErrUnavailable)
		wantUnavailable()
		two.say([]*registry.Service{serving("c", "n1")})
		two.fail(registry.ErrUnavailable)
		time.Sleep(time.Minute)
		if got, want := outline(next(t, w)), []string{"c : n1"}; !slices.Equal(got, want) {
			t.Errorf("Next() after it was back for a moment = %q, want %q", got, want)
		}
		wantUnavailable()

		two.fail(registry.ErrClosed) // for good; a new watcher takes over
		wantQuiet(t, w)
		two.say([]*registry.Service{serving("b", "n1")})
		if got, want := outline(next(t, w)), []string{"b : n1"}; !slices.Equal(got, want) {
			t.Errorf("Next() of a new watcher = %q, want %q", got, want)
		}
	})
}

// TestMultiDoesNotStorm counts the attempts of an hour.
func TestMultiDoesNotStorm(t *testing.T) {
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
				good, bad := newFeed(), newFeed()
				tt.bad(bad)
				good.say(nil)
				w := watch(t, multi(good, bad))
				next(t, w)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Next() = %q, %v, want context.DeadlineExceeded", outline(got), err)
				}
				if got := bad.calls.Load(); got < 700 || got > 740 {
					t.Errorf("there were %d attempts in an hour, want about one in 5s", got)
				}
			})
		})
	}
}

func TestMultiLogsTransitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		opts := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}
		f := newFeed()
		m := registry.NewMulti([]registry.Member{{Name: "bus", Reader: f}}, &registry.MultiOptions{
			Logger: slog.New(slog.NewTextHandler(&log, opts)),
		})
		f.refuse(errors.New("no such host"))
		w := watch(t, m)
		time.Sleep(time.Minute)
		f.refuse(nil)
		f.say(nil)
		f.say([]*registry.Service{serving("a", "n1")})
		time.Sleep(time.Minute)
		f.fail(registry.ErrUnavailable)
		time.Sleep(time.Minute)
		_ = w.Close()
		want := "level=WARN msg=\"registry does not answer; it is asked again\" registry=bus error=\"no such host\"\n" +
			"level=INFO msg=\"registry found\" registry=bus\n" +
			"level=WARN msg=\"registry lost; what it said last is kept\" registry=bus error=\"registry: unavailable\"\n"
		if got := log.String(); got != want {
			t.Errorf("log =\n%s, want\n%s", got, want)
		}
	})
}

// TestMultiFindsNoSnapshot: what a Steady knows of the time before is no contact.
func TestMultiFindsNoSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &registry.SteadyOptions{Name: "bus", Path: filepath.Join(t.TempDir(), "bus")}
		saved(t, []*registry.Service{serving("a", "n1")}, opts)
		var log bytes.Buffer
		f := newFeed()
		f.refuse(errors.New("no such host"))
		m := registry.NewMulti([]registry.Member{{Name: "bus", Reader: registry.NewSteady(f, opts)}}, &registry.MultiOptions{
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		w := watch(t, m)
		if got, want := outline(next(t, w)), []string{"a : n1"}; !slices.Equal(got, want) {
			t.Errorf("Next() = %q, want %q of the snapshot", got, want)
		}
		if got := m.Members()[0]; got.Ready {
			t.Errorf("Members() = %+v, want no contact", got)
		}
		wantUnavailable(t, w)
		synctest.Wait()
		if got := log.String(); strings.Contains(got, "found") || strings.Count(got, "registry does not answer") != 1 {
			t.Errorf("log =\n%s, want once that it does not answer, and not that it was found", got)
		}
		f.refuse(nil)
		f.say([]*registry.Service{serving("a", "n1")})
		next(t, w)
		if got := m.Members()[0]; !got.Ready {
			t.Errorf("Members() = %+v, want contact", got)
		}
	})
}

func TestMultiCloseEndsAPendingWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, multi(hanging{}, newFeed()))
		time.AfterFunc(time.Second, func() { _ = w.Close() })
		if got, err := w.Next(t.Context()); !errors.Is(err, registry.ErrClosed) {
			t.Errorf("Next() that Close interrupts = %q, %v, want ErrClosed", outline(got), err)
		}
	}) // fails when a goroutine is left
}

func TestMultiAsks(t *testing.T) {
	found := []*registry.Service{serving("a", "n1")}
	failure := errors.New("no such host")
	tests := []struct {
		name    string
		members []registry.Reader
		get     error
		list    error
	}{
		{"found", []registry.Reader{answering(found, nil), answering(nil, nil)}, nil, nil},
		{"found by one, the other fails", []registry.Reader{answering(nil, failure), answering(found, nil)}, nil, nil},
		{"found by one, the other hangs", []registry.Reader{answering(found, nil), hanging{}}, nil, nil},
		{"not found", []registry.Reader{answering(nil, nil), answering(nil, nil)}, registry.ErrNotFound, nil},
		{"not found by one, the other fails", []registry.Reader{answering(nil, nil), answering(nil, failure)}, registry.ErrUnavailable, nil},
		{"all fail", []registry.Reader{answering(nil, failure), answering(nil, registry.ErrUnavailable)}, registry.ErrUnavailable, registry.ErrUnavailable},
		{"no member", nil, registry.ErrNotFound, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := multi(tt.members...)
				begun := time.Now()
				got, err := m.Get(t.Context(), "a")
				if !errors.Is(err, tt.get) || (err == nil) != (len(got) > 0) {
					t.Errorf("Get(a) = %q, %v, want error %v", outline(got), err, tt.get)
				}
				if got, err := m.List(t.Context()); !errors.Is(err, tt.list) || (err == nil) != (tt.list == nil) {
					t.Errorf("List() = %q, %v, want error %v", outline(got), err, tt.list)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("Get and List took %v, want at most 5s each", took)
				}
			})
		})
	}
}

func TestMultiAskHonoursContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m := multi(hanging{}, answering([]*registry.Service{serving("a", "n1")}, nil))
		if _, err := m.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("Get() error = %v, want context.DeadlineExceeded only", err)
		}
		if _, err := m.Watch(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Watch() error = %v, want context.DeadlineExceeded", err)
		}
	})
}

// A feed is a registry that says what it is told to.
type feed struct {
	list    []*registry.Service
	steps   chan step
	refusal atomic.Pointer[error]
	calls   atomic.Int64 // of Watch, or of Next where it always fails
	failing error
}

type step struct {
	services []*registry.Service
	err      error
}

func newFeed() *feed { return &feed{steps: make(chan step, 100)} }

func answering(list []*registry.Service, err error) *feed {
	f := newFeed()
	f.list, f.failing = list, err
	return f
}

func (f *feed) say(services []*registry.Service) { f.steps <- step{services: services} }
func (f *feed) fail(err error)                   { f.steps <- step{err: err} }
func (f *feed) refuse(err error)                 { f.refusal.Store(&err) }
func (f *feed) always(err error)                 { f.failing = err }

func (f *feed) Get(context.Context, string) ([]*registry.Service, error) {
	if f.failing == nil && len(f.list) == 0 {
		return nil, registry.ErrNotFound
	}
	return f.list, f.failing
}

func (f *feed) List(context.Context) ([]*registry.Service, error) { return f.list, f.failing }

func (f *feed) Watch(context.Context) (registry.Watcher, error) {
	if err := f.refusal.Load(); err != nil && *err != nil {
		f.calls.Add(1)
		return nil, *err
	}
	return f, nil
}

func (f *feed) Next(ctx context.Context) ([]*registry.Service, error) {
	if f.failing != nil {
		f.calls.Add(1)
		return nil, f.failing
	}
	select {
	case s := <-f.steps:
		return s.services, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *feed) Close() error { return nil }

// hanging is a registry that does not answer.
type hanging struct{}

func (hanging) Get(ctx context.Context, _ string) ([]*registry.Service, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) List(ctx context.Context) ([]*registry.Service, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) Watch(ctx context.Context) (registry.Watcher, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func multi(readers ...registry.Reader) *registry.Multi {
	members := make([]registry.Member, len(readers))
	for i, r := range readers {
		members[i] = registry.Member{Name: fmt.Sprint(i), Reader: r}
	}
	return registry.NewMulti(members, nil)
}

// wantQuiet fails when Next returns within an hour.
func wantQuiet(t *testing.T, w registry.Watcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Next() = %q, %v, want nothing for an hour", outline(got), err)
	}
}

func wantMembers(t *testing.T, m *registry.Multi, want ...string) {
	t.Helper()
	var got []string
	for _, s := range m.Members() {
		if s.Ready != (s.Err == nil) {
			t.Errorf("member %s: Ready = %t, Err = %v, want one of them", s.Name, s.Ready, s.Err)
		}
		if s.Ready {
			got = append(got, s.Name+" ready")
		} else {
			got = append(got, s.Name+" "+s.Err.Error())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("Members() = %q, want %q", got, want)
	}
}

// serving returns a service whose nodes have their id as address.
func serving(name string, ids ...string) *registry.Service {
	s := &registry.Service{Name: name}
	for _, id := range ids {
		s.Nodes = append(s.Nodes, &registry.Node{ID: id, Address: id})
	}
	return s
}

// placed says in the addresses of nodes where they come from.
func placed(member int, services []*registry.Service) []*registry.Service {
	for _, s := range services {
		for _, n := range s.Nodes {
			n.Address = fmt.Sprintf("%s@%d", n.ID, member)
		}
	}
	return services
}

func where(services []*registry.Service) []string {
	var list []string
	for _, s := range services {
		line := s.Name + ":"
		for _, n := range s.Nodes {
			line += " " + n.Address
		}
		list = append(list, line)
	}
	return list
}

// TestMultiExclusive: nobody joins the services of a member that has them for
// itself, whoever comes first.
func TestMultiExclusive(t *testing.T) {
	own, announced := newFeed(), newFeed()
	m := registry.NewMulti([]registry.Member{
		{Name: "own", Reader: own, Exclusive: true}, {Name: "announced", Reader: announced},
	}, nil)
	steps := []struct {
		name           string
		own, announced []*registry.Service
		want           []string
	}{
		{"joined by nobody", []*registry.Service{serving("a", "n1")}, []*registry.Service{serving("a", "n2"), serving("b", "n3")}, []string{"a: n1@0", "b: n3@1"}},
		{"gone", []*registry.Service{}, nil, []string{"a: n2@1", "b: n3@1"}},
		{"back", []*registry.Service{serving("a", "n1")}, nil, []string{"a: n1@0", "b: n3@1"}},
	}
	w := watch(t, m)
	var last []*registry.Service
	for _, tt := range steps {
		if tt.announced != nil {
			last = placed(1, tt.announced)
			announced.say(last)
		}
		own.say(placed(0, tt.own))
		got := where(next(t, w))
		for !slices.Equal(got, tt.want) && len(got) != len(tt.want) {
			got = where(next(t, w)) // one feed after the other
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: Next() = %q, want %q", tt.name, got, tt.want)
		}
	}
}
