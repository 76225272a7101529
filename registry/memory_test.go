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

// What every registry promises is tested by registrytest; here is what can be
// said of a Memory only.

func TestMemoryExpiresToTheInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m registry.Memory
		register(t, &m, greeter(), time.Minute)
		one := greeter()
		one.Nodes = one.Nodes[:1]

		time.Sleep(59 * time.Second)
		register(t, &m, one, time.Minute)
		wantNodes(t, &m, "greeter-1", "greeter-2")
		time.Sleep(time.Second)
		synctest.Wait()
		wantNodes(t, &m, "greeter-1")
		time.Sleep(59*time.Second - 1)
		synctest.Wait()
		wantNodes(t, &m, "greeter-1")
		time.Sleep(1)
		synctest.Wait()
		wantNodes(t, &m)
	})
}

func TestMemoryDeregisterEndsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m registry.Memory
		register(t, &m, greeter(), time.Minute)
		if err := m.Deregister(t.Context(), greeter()); err != nil {
			t.Fatal(err)
		}
		register(t, &m, greeter(), 0)
		time.Sleep(time.Hour)
		synctest.Wait()
		wantNodes(t, &m, "greeter-1", "greeter-2")
	})
}

// TestMemoryWakesOnChangeOnly holds a watcher to be idle while services renew.
func TestMemoryWakesOnChangeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m registry.Memory
		register(t, &m, greeter(), time.Minute)
		w := watch(t, &m)
		next(t, w)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		renew := time.NewTicker(20 * time.Second)
		defer renew.Stop()
		go func() {
			for {
				select {
				case <-renew.C:
					_ = m.Register(ctx, greeter(), time.Minute)
				case <-ctx.Done():
					return
				}
			}
		}()
		if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next() while services renew = %q, %v, want context.DeadlineExceeded", outline(got), err)
		}
	})
}

func TestMemoryHonoursContext(t *testing.T) {
	var m registry.Memory
	ctx, cancel := context.WithCancel(t.Context())
	w := watch(t, &m)
	cancel()
	_, get := m.Get(ctx, "greeter")
	_, list := m.List(ctx)
	_, opened := m.Watch(ctx)
	_, following := w.Next(ctx)
	for name, err := range map[string]error{
		"Get": get, "List": list, "Watch": opened, "Next": following,
		"Register": m.Register(ctx, greeter(), 0), "Deregister": m.Deregister(ctx, greeter()),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that is done: error = %v, want context.Canceled", name, err)
		}
	}
	wantNodes(t, &m)
}

func register(t testing.TB, w registry.Writer, s *registry.Service, ttl time.Duration) {
	t.Helper()
	if err := w.Register(t.Context(), s, ttl); err != nil {
		t.Fatalf("Register(%s) error = %v, want nil", s.Name, err)
	}
}

func watch(t testing.TB, r registry.Reader) registry.Watcher {
	t.Helper()
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatalf("Watch() error = %v, want nil", err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func next(t testing.TB, w registry.Watcher) []*registry.Service {
	t.Helper()
	got, err := w.Next(t.Context())
	if err != nil {
		t.Fatalf("Next() error = %v, want nil", err)
	}
	return got
}

// wantNodes fails unless the nodes of all services are those.
func wantNodes(t *testing.T, r registry.Reader, want ...string) {
	t.Helper()
	services, err := r.List(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("List() error = %v, want nil", err)
	}
	var got []string
	for _, s := range services {
		for _, n := range s.Nodes {
			got = append(got, n.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("nodes = %q, want %q", got, want)
	}
}
