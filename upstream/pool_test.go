package upstream_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func node(id, address string) *registry.Node { return &registry.Node{ID: id, Address: address} }

func TestUpdate(t *testing.T) {
	v1, v2 := service("1", node("a", "h:1"), node("b", "h:2")), service("2", node("c", "h:3"))
	tests := []struct {
		name         string
		services     []*registry.Service
		all, one, v2 string // ids of all nodes, of version 1, of version 2
	}{
		{"one version", []*registry.Service{v1}, "a b", "a b", ""},
		{"two versions", []*registry.Service{v1, v2}, "a b c", "a b", "c"},
		{"two announcements of a version", []*registry.Service{v1, service("1", node("d", "h:4")), v2}, "a b c d", "a b d", "c"},
		{"apart", []*registry.Service{v1, v2, service("1", node("d", "h:4"))}, "a b c d", "a b d", "c"},
		{"id twice", []*registry.Service{service("1", node("a", "h:1"), node("a", "h:2")), service("2", node("a", "h:3"))}, "a", "a", ""},
		{"address twice", []*registry.Service{service("1", node("a", "h:1"), node("b", "h:1"))}, "a b", "a b", ""},
		{"no address", []*registry.Service{service("1", node("a", ""), node("b", "h:1"), nil)}, "b", "b", ""},
		{"no address, then one", []*registry.Service{service("1", node("a", "")), service("2", node("a", "h:1"))}, "a", "", "a"},
		{"no nodes", []*registry.Service{service("1")}, "", "", ""},
		{"nothing", nil, "", "", ""},
		{"nothing, not nil", []*registry.Service{}, "", "", ""},
	}
	for _, tt := range tests {
		for _, before := range tests {
			t.Run(tt.name+" after "+before.name, func(t *testing.T) {
				pools := upstream.NewPools(nil)
				first := pools.Update("greeter", before.services)
				pool := pools.Update("greeter", tt.services)
				if got := pools.Pool("greeter"); got != pool {
					t.Errorf("Pool = %p, want what Update returned, %p", got, pool)
				}
				if (pool == nil) != (len(tt.services) == 0) {
					t.Fatalf("Update = %v, want nil only for nothing", pool)
				}
				if first != nil && pool != nil && first != pool {
					t.Error("Update returned another pool, want the same")
				}
				if pool == nil {
					return
				}
				check := func(what string, set *upstream.Set, want string) {
					t.Helper()
					if got := ids(set); got != want {
						t.Errorf("nodes of %s = %q, want %q", what, got, want)
					}
				}
				check("all", pool.All(), tt.all)
				check("version 1", pool.Set("1", withVersion("1")), tt.one)
				check("version 2", pool.Set("2", withVersion("2")), tt.v2)
				check("anything", pool.Set("any", anything), tt.all)
			})
		}
	}
}

func TestSetsFollowUpdates(t *testing.T) {
	pools := upstream.NewPools(nil)
	v1, v2 := service("1", node("a", "h:1")), service("2", node("b", "h:2"))
	pool := pools.Update("greeter", []*registry.Service{v1})
	all, one, two := pool.All(), pool.Set("1", withVersion("1")), pool.Set("2", withVersion("2"))
	if !one.Shares() {
		t.Error("a Set of all nodes has a list of its own")
	}
	steps := []struct {
		name          string
		services      []*registry.Service
		all, one, two string
	}{
		{"both", []*registry.Service{v1, v2}, "a b", "a", "b"},
		{"back", []*registry.Service{v1}, "a", "a", "b"}, // 2 is forgotten: nothing holds it
		{"moved", []*registry.Service{service("1", node("c", "h:3"))}, "c", "c", "b"},
		{"other", []*registry.Service{v2}, "b", "c", "b"}, // 1 is forgotten
		{"again", []*registry.Service{v1}, "a", "c", "b"},
		{"none", nil, "a", "c", "b"},
	}
	for _, s := range steps {
		pools.Update("greeter", s.services)
		for _, tt := range []struct {
			name, want string
			set        *upstream.Set
		}{{"all", s.all, all}, {"one", s.one, one}, {"two", s.two, two}} {
			if got := ids(tt.set); got != tt.want {
				t.Errorf("%s: nodes of %s = %q, want %q", s.name, tt.name, got, tt.want)
			}
		}
	}
	if err := one.Do(t.Context(), upstream.Call{}, answer); err != nil {
		t.Errorf("Do of a Set that was forgotten = %v, want its last nodes tried", err)
	}
}

func TestSetIsTheSameForAKey(t *testing.T) {
	pools := upstream.NewPools(nil)
	v1 := []*registry.Service{service("1", nodes(1)...)}
	pool := pools.Update("greeter", v1)
	all, first := pool.All(), pool.Set("k", withVersion("1"))
	pools.Update("greeter", []*registry.Service{service("1", nodes(2)...)})
	if pool.Set("k", withVersion("1")) != first || pool.All() != all {
		t.Error("Set of a key that is announced changed, want the same")
	}
	pools.Update("greeter", []*registry.Service{service("2", nodes(2)...)})
	pools.Update("greeter", v1)
	if again := pool.Set("k", withVersion("1")); again == first || again.Len() != 1 {
		t.Errorf("Set of a key that was gone has %d nodes and is the old one: %t; want a new one with 1", again.Len(), again == first)
	}
}

func TestTryHasTheNodeAsAnnouncedLast(t *testing.T) {
	pools := upstream.NewPools(nil)
	set := pools.Update("greeter", []*registry.Service{service("1", node("a", "h:1"))}).All()
	want := &registry.Node{ID: "a", Address: "h:1", Metadata: map[string]string{"protocol": "grpc"}}
	pools.Update("greeter", []*registry.Service{service("1", want)})
	err := set.Do(t.Context(), upstream.Call{}, func(_ context.Context, try *upstream.Try) error {
		if try.Node != want {
			t.Errorf("Node = %+v, want %+v", try.Node, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPoolMayVanishDuringDo(t *testing.T) {
	pools := upstream.NewPools(nil)
	set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
	tries := 0
	err := set.Do(t.Context(), upstream.Call{}, func(context.Context, *upstream.Try) error {
		tries++
		pools.Update("greeter", nil)
		return errRefused
	})
	if tries != 3 || err == nil {
		t.Errorf("Do = %v after %d tries, want the last nodes tried", err, tries)
	}
}

func TestStatic(t *testing.T) {
	set := upstream.Static("h:1", "h:2", "h:1", "")
	if got := ids(set); got != "h:1 h:2" || set.Len() != 2 {
		t.Errorf("nodes = %q, %d of them; want h:1 and h:2", got, set.Len())
	}
	for _, st := range set.Nodes() {
		if st.Node.Address != st.Node.ID {
			t.Errorf("Address = %q, want %q", st.Node.Address, st.Node.ID)
		}
	}
}

func TestUpdatesDuringDo(t *testing.T) {
	pools := upstream.NewPools(nil)
	state := func(i int) []*registry.Service {
		return []*registry.Service{service("1", nodes(1+i%4)...), service("2", node(fmt.Sprint("x", i%3), "h:1"))}
	}
	pool := pools.Update("greeter", state(0))
	set := pool.Set("1", withVersion("1"))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				_ = set.Do(t.Context(), upstream.Call{Idempotent: true}, func(_ context.Context, try *upstream.Try) error {
					if try.Node.ID[0] == 'x' {
						t.Errorf("Do tried node %s, want one of version 1", try.Node.ID)
					}
					switch i % 8 {
					case 0:
						return errRefused
					case 1:
						try.Sent()
						return errRefused
					case 2: // as net/http's traces, from elsewhere and late
						go func() { try.Sent(); try.Progress(); try.Answered() }()
						return errRefused
					}
					return nil
				})
			}
		})
	}
	for i := range 3000 {
		pools.Update("greeter", state(i))
		pool.Set(fmt.Sprint(i%5), anything)
		set.Nodes()
		pools.Pool("greeter").All().Len()
	}
	close(done)
	wg.Wait()
}

func TestUpdatesLeaveNothingBehind(t *testing.T) {
	pools := upstream.NewPools(nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	const names, versions = 20, 3
	for range 100_000 {
		name := fmt.Sprint("s", rnd.IntN(names))
		var services []*registry.Service
		for v := range versions {
			if rnd.IntN(2) == 0 {
				n := node(fmt.Sprint("n", rnd.IntN(1000)), fmt.Sprint("h:", rnd.IntN(1000)))
				services = append(services, service(fmt.Sprint(v), n))
			}
		}
		pool := pools.Update(name, services)
		for _, s := range services {
			pool.Set(s.Version, withVersion(s.Version))
		}
	}
	if p, s, n := pools.Counts(); p > names || s > names*versions || n > names*versions {
		t.Errorf("%d pools, %d Sets, %d nodes; want at most %d, %d, %[5]d", p, s, n, names, names*versions)
	}
	var kept []weak.Pointer[upstream.Set]
	for i := range names {
		if pool := pools.Pool(fmt.Sprint("s", i)); pool != nil {
			kept = append(kept, weak.Make(pool.All()), weak.Make(pool.Set("0", withVersion("0"))))
		}
		pools.Update(fmt.Sprint("s", i), nil)
	}
	if p, s, n := pools.Counts(); p+s+n != 0 {
		t.Errorf("%d pools, %d Sets, %d nodes are left, want none", p, s, n)
	}
	runtime.GC()
	for _, w := range kept {
		if w.Value() != nil {
			t.Error("a Set of a removed pool is still in memory")
		}
	}
	runtime.KeepAlive(pools)
}

func TestSetsAreSmall(t *testing.T) {
	const services, endpoints = 1000, 10
	keys := make([]string, endpoints)
	for i := range keys {
		keys[i] = fmt.Sprint("Greeter.Hello", i)
	}
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	announced := make([][]*registry.Service, services)
	for i := range announced {
		announced[i] = []*registry.Service{service("1", nodes(3)...)}
	}
	pools := upstream.NewPools(nil)
	for i := range services {
		pools.Update(fmt.Sprint(i), announced[i])
	}
	before := live()
	for i := range services {
		pool := pools.Pool(fmt.Sprint(i))
		for _, key := range keys {
			if !pool.Set(key, anything).Shares() {
				t.Fatal("Set has a list of its own")
			}
		}
	}
	if got := float64(live()-before) / (services * endpoints); got > 128 {
		t.Errorf("a Set takes %.0f bytes, want at most 128", got)
	} else {
		t.Logf("a Set takes %.0f bytes", got)
	}
	runtime.KeepAlive(announced)
	runtime.KeepAlive(pools)
}
