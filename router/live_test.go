package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reg registry.Memory
		live := run(t, &reg, nil)
		synctest.Wait()
		select {
		case <-live.Ready():
		default:
			t.Fatal("not ready after the first state, which is empty")
		}
		s := service("s", "path=/a")
		if err := reg.Register(t.Context(), s, time.Minute); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		rt, err := live.Route(get("/a"))
		if err != nil || rt.Service != "s" {
			t.Fatalf("Route after Register = %v, %v", rt, err)
		}
		table := live.Table()
		other := *s
		other.Nodes = nodes("s-2")
		if err := reg.Register(t.Context(), &other, 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := nodeIDs(rt.Upstream); got != "s-1 s-2" || live.Table() != table {
			t.Errorf("after another node: nodes %q, same table: %v", got, live.Table() == table)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := nodeIDs(rt.Upstream); got != "s-2" {
			t.Errorf("after the TTL of one: nodes %q, want s-2", got)
		}
		if err := reg.Deregister(t.Context(), &other); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := live.Route(get("/a")); goapi.Status(err) != 503 {
			t.Errorf("Route after Deregister error = %v, want 503", err)
		}
		if live.Age() != 0 || live.Status().Err != nil || live.Status().Updated.IsZero() {
			t.Errorf("Age = %v, Status = %+v, want contact", live.Age(), live.Status())
		}
	})
}

func TestLiveStarting(t *testing.T) {
	live := router.NewLive(new(registry.Memory), upstream.NewPools(nil), nil)
	_, err := live.Route(get("/a"))
	if got := goapi.Status(err); got != 503 {
		t.Errorf("Route before Run = %d (%v), want 503", got, err)
	}
	if got := len(live.Table().Routes()); got != 0 {
		t.Errorf("the first table has %d routes", got)
	}
}

// TestLiveTakesChangesTogether: where there are many services, a change alone is
// served at once, and of many that come close together some at a time.
func TestLiveTakesChangesTogether(t *testing.T) {
	tests := []struct {
		services, tables int
		last             time.Duration // until the last of 100 changes is served
	}{
		{1999, 100, 0},
		{10_000, 7, 18 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.services), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := &latest{changed: make(chan struct{}, 1)}
				many := make([]*registry.Service, tt.services-1)
				for i := range many {
					many[i] = service(fmt.Sprintf("crowd-%05d", i))
				}
				reg.say(slices.Concat(many, []*registry.Service{service("s0", "path=/0")}))
				live := run(t, reg, nil)
				<-live.Ready()
				w, err := live.Watch(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				next(t, w)
				time.Sleep(time.Second)
				tables, last := make(chan int), time.Now().Add(99*time.Millisecond)
				go func() {
					n := 0
					for {
						n++
						if got := next(t, w); got[len(got)-1].Name == "s100" {
							tables <- n
							return
						}
					}
				}()
				for i := range 100 {
					reg.say(slices.Concat(many, []*registry.Service{service(fmt.Sprint("s", i+1), fmt.Sprintf("path=/%d", i+1))}))
					synctest.Wait()
					if _, err := live.Route(get("/1")); i == 0 && err != nil {
						t.Errorf("Route of a change alone error = %v, want it at once", err)
					}
					if i < 99 {
						time.Sleep(time.Millisecond)
					}
				}
				if got := <-tables; got > tt.tables || time.Since(last) > tt.last {
					t.Errorf("100 changes within 100ms make %d tables, the last of them after %v; want at most %d, %v", got, time.Since(last), tt.tables, tt.last)
				}
			})
		})
	}
}

// TestLiveWithoutContact: the last table serves on; what happens is logged once.
func TestLiveWithoutContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := newScripted()
		live := run(t, reg, &router.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		a, bad := service("a", "path=/a"), service("bad", "path=/{")

		reg.say(nil, registry.ErrUnavailable)
		synctest.Wait()
		if err := live.Status().Err; !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("Status = %+v, want ErrUnavailable", live.Status())
		}
		if _, err := live.Route(get("/a")); goapi.Status(err) != 503 {
			t.Errorf("Route before the first state error = %v, want 503", err)
		}

		reg.say([]*registry.Service{a, bad}, nil)
		time.Sleep(time.Second)
		reg.say(nil, registry.ErrUnavailable)
		time.Sleep(time.Minute)
		if got := live.Age(); got < 59*time.Second || got > time.Minute {
			t.Errorf("Age = %v after a minute without contact", got)
		}
		reg.say(nil, errors.New("broken watcher")) // the watch is opened again
		reg.refuse(3)
		time.Sleep(10 * time.Second)
		if _, err := live.Route(get("/a")); err != nil {
			t.Errorf("Route without contact error = %v, want the last table", err)
		}
		reg.say([]*registry.Service{a, bad}, nil)
		time.Sleep(time.Minute)
		if got := live.Status(); got.Err != nil || !got.Lost.IsZero() || live.Age() != 0 {
			t.Errorf("Status = %+v, Age = %v, want contact", got, live.Age())
		}

		synctest.Wait()
		for text, want := range map[string]int{
			"no registry answers; nothing is known yet": 1, "registry lost; the last table serves on": 1, "registry lost": 1,
			"registry found": 2, "first table": 1, "not routed": 1,
		} {
			if got := strings.Count(log.String(), text); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, log.String())
			}
		}
		if got := reg.watches(); got != 1+3+1 {
			t.Errorf("the registry was watched %d times, want 5", got)
		}
	})
}

// TestLiveLogsNoFlood: a service with very many mistakes is a few lines.
func TestLiveLogsNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := newScripted()
		run(t, reg, &router.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var bad []string
		for range 500 {
			bad = append(bad, "name=E"+strings.Repeat("x", len(bad)/2)+";path=/{")
		}
		reg.say([]*registry.Service{service("s", bad...)}, nil)
		synctest.Wait()
		if got := strings.Count(log.String(), "\n"); got > 60 {
			t.Errorf("%d lines are logged", got)
		}
	})
}

func TestLiveRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := newScripted()
		reg.refuse(1000)
		live := router.NewLive(reg, upstream.NewPools(nil), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := live.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run = %v, want DeadlineExceeded", err)
		}
		if n := reg.watches(); n < 300 || n > 400 {
			t.Errorf("the registry was tried %d times in an hour, want every 10 s", n)
		}
	})
}

// run starts a Live that ends with the test.
func run(t *testing.T, reg registry.Reader, opts *router.Options) *router.Live {
	t.Helper()
	live := router.NewLive(reg, upstream.NewPools(nil), opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want Canceled", err)
		}
	})
	return live
}

// scripted is a registry that says what a test tells it to.
type scripted struct {
	registry.Reader

	states chan scriptedState

	mu       sync.Mutex
	watched  int
	refusals int
}

type scriptedState struct {
	services []*registry.Service
	err      error
}

func newScripted() *scripted { return &scripted{states: make(chan scriptedState, 100)} }

// say is what Next returns next.
func (s *scripted) say(services []*registry.Service, err error) {
	s.states <- scriptedState{services, err}
}

// refuse lets the next calls of Watch fail.
func (s *scripted) refuse(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = n
}

// watches returns how often Watch was called.
func (s *scripted) watches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watched
}

func (s *scripted) Watch(context.Context) (registry.Watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched++
	if s.refusals > 0 {
		s.refusals--
		return nil, errors.New("refused")
	}
	return s, nil
}

func (s *scripted) Next(ctx context.Context) ([]*registry.Service, error) {
	select {
	case st := <-s.states:
		return st.services, st.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *scripted) Close() error { return nil }

// latest is a registry that tells the state that it has when it is asked.
type latest struct {
	registry.Reader

	mu       sync.Mutex
	services []*registry.Service
	changed  chan struct{} // holds one token
}

func (l *latest) say(services []*registry.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.services = services
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *latest) Watch(context.Context) (registry.Watcher, error) { return l, nil }

func (l *latest) Next(ctx context.Context) ([]*registry.Service, error) {
	select {
	case <-l.changed:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.services, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *latest) Close() error { return nil }

func next(t *testing.T, w registry.Watcher) []*registry.Service {
	t.Helper()
	services, err := w.Next(t.Context())
	if err != nil {
		t.Errorf("Next error = %v", err)
	}
	return services
}
