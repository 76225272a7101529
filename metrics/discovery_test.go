package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := new(flaky)
		f := follow(t, source, &metrics.Options{Nodes: true})
		f.register(t, "greeter", "/hello/{name}", "n1", "n2")
		f.register(t, "other", "/hello/{name}") // claims what greeter has
		f.register(t, "web", "/web/**", "n1")
		time.Sleep(time.Second)
		_ = f.pools.Pool("greeter").All().Do(t.Context(), upstream.Call{}, func(_ context.Context, try *upstream.Try) error {
			if try.N == 1 {
				return errors.New("refused")
			}
			return nil
		})
		got := scrape(t, f.metrics)
		for series, want := range map[string]float64{
			"goapi_services":                                          3,
			"goapi_routes":                                            2,
			`goapi_reports{kind="conflict"}`:                          1,
			`goapi_reports{kind="left-out"}`:                          0,
			"goapi_registry_connected":                                1,
			"goapi_registry_away_seconds":                             0,
			`goapi_registry_source_up{registry="memory"}`:             1,
			`goapi_registry_source_age_seconds{registry="memory"}`:    0,
			`goapi_registry_source_snapshot{registry="memory"}`:       0,
			`goapi_registry_source_held_nodes{registry="memory"}`:     0,
			`goapi_registry_source_up{registry="memory 2"}`:           1,
			`goapi_upstream_nodes{service="greeter",state="up"}`:      1,
			`goapi_upstream_nodes{service="greeter",state="ejected"}`: 1,
			`goapi_upstream_ejected_nodes{reason="unreachable"}`:      1,
			`goapi_upstream_ejected_nodes{reason="slow"}`:             0,
			`goapi_upstream_in_flight{service="greeter"}`:             0,
			`goapi_node_in_flight{node="n1",service="greeter"}`:       0,
			`goapi_node_up{node="n1",service="web"}`:                  1,
			`goapi_node_latency_seconds{node="n1",service="web"}`:     0,
		} {
			if v, ok := got[series]; !ok || v != want {
				t.Errorf("%s = %v, %t; want %v", series, v, ok, want)
			}
		}
		if n := sum(got, "goapi_node_up"); n != 3 {
			t.Errorf("nodes that are up = %v, want 3 of 4", n)
		}
		if at := got["goapi_registry_updated_timestamp_seconds"]; at < float64(time.Now().Add(-time.Minute).Unix()) {
			t.Errorf("updated at %v, want about now", at)
		}
	})
}

// While the registry is away the metrics say for how long.
func TestRegistryAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := new(flaky)
		f := follow(t, source, nil)
		f.register(t, "greeter", "/hello", "n1")
		time.Sleep(time.Second)
		source.away.Store(true)
		f.register(t, "other", "/other", "n1") // so that somebody notices
		time.Sleep(time.Hour)
		got := scrape(t, f.metrics)
		if got["goapi_registry_connected"] != 0 || got[`goapi_registry_source_up{registry="memory"}`] != 0 {
			t.Errorf("connected = %v, up = %v; want 0", got["goapi_registry_connected"], got[`goapi_registry_source_up{registry="memory"}`])
		}
		for _, series := range []string{"goapi_registry_away_seconds", `goapi_registry_source_age_seconds{registry="memory"}`} {
			if age := got[series]; age < 3500 || age > 3700 {
				t.Errorf("%s = %v, want an hour", series, age)
			}
		}
		if _, ok := got[`goapi_node_up{node="n1",service="greeter"}`]; ok {
			t.Error("a node has a series, which nobody asked for")
		}
	})
}

// One registry that never answered is enough.
func TestRegistryNeverThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := new(flaky)
		source.away.Store(true)
		f := follow(t, source, nil)
		time.Sleep(time.Minute)
		got := scrape(t, f.metrics)
		if connected, away := got["goapi_registry_connected"], got["goapi_registry_away_seconds"]; connected != 0 || away != 60 {
			t.Errorf("connected = %v, away for %v; want 0, and the minute since the start", connected, away)
		}
		source.away.Store(false)
		time.Sleep(time.Minute)
		got = scrape(t, f.metrics)
		if connected, away := got["goapi_registry_connected"], got["goapi_registry_away_seconds"]; connected != 1 || away != 0 {
			t.Errorf("connected = %v, away for %v once it answers; want 1 and 0", connected, away)
		}
	})
}

// Without a registry that can be away, none is.
func TestNoRegistryThatCanBeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live, pools, m := router.NewLive(new(registry.Memory), upstream.NewPools(nil), nil), upstream.NewPools(nil), metrics.New(nil)
		m.Follow(live, pools)
		if got := scrape(t, m)["goapi_registry_connected"]; got != 0 {
			t.Errorf("connected before the first state = %v, want 0", got)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- live.Run(ctx) }()
		<-live.Ready()
		time.Sleep(time.Minute)
		got := scrape(t, m)
		if connected, away := got["goapi_registry_connected"], got["goapi_registry_away_seconds"]; connected != 1 || away != 0 {
			t.Errorf("connected = %v, away for %v; want 1 and 0", connected, away)
		}
		stop()
		<-done
	})
}

// Series stay while a route is announced, however seldom it is asked for.
func TestForgetWhatIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, new(flaky), nil)
		f.register(t, "greeter", "/hello", "n1")
		f.register(t, "leaving", "/left", "n1")
		time.Sleep(time.Second)
		for _, path := range []string{"/hello", "/left"} {
			rt, err := f.live.Route(get1(path))
			if err != nil {
				t.Fatal(err)
			}
			get(f.metrics, rt)
		}
		get(f.metrics, &goapi.Route{Service: "greeter", Endpoint: &goapi.Endpoint{Name: "X", Handler: "rpc"}, Upstream: f.pools.Pool("greeter").All()})
		if err := f.source.Deregister(t.Context(), announce("leaving", "/left", "n1")); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			time.Sleep(time.Minute)
			scrape(t, f.metrics)
		}
		got := scrape(t, f.metrics)
		for series, want := range map[string]bool{
			`goapi_requests_total{code="200",handler="rpc",method="GET",route="/hello",service="greeter"}`:     true,
			`goapi_requests_total{code="200",handler="rpc",method="GET",route="(resolved)",service="greeter"}`: true,
			`goapi_requests_total{code="200",handler="rpc",method="GET",route="/left",service="leaving"}`:      false,
			`goapi_upstream_nodes{service="leaving",state="up"}`:                                               false,
		} {
			if _, ok := got[series]; ok != want {
				t.Errorf("%s is there: %t, want %t", series, ok, want)
			}
		}
	})
}

// Services that come and go leave nothing.
func TestServicesThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, new(flaky), nil)
		before := 0
		for round := range 3 {
			for i := range 100 {
				get(f.metrics, route(fmt.Sprintf("s%d-%d", round, i), "/a"))
			}
			for range 20 {
				time.Sleep(time.Minute)
				scrape(t, f.metrics)
			}
			if n := len(scrape(t, f.metrics)); before == 0 {
				before = n
			} else if n != before {
				t.Errorf("round %d: %d series, %d before", round, n, before)
			}
		}
	})
}

func BenchmarkScrape(b *testing.B) {
	services := make([]*registry.Service, 0, 1000)
	for i := range 1000 {
		services = append(services, announce("s"+strconv.Itoa(i), "/s"+strconv.Itoa(i), "n1", "n2", "n3"))
	}
	reg := new(registry.Memory)
	for _, s := range services {
		if err := reg.Register(b.Context(), s, 0); err != nil {
			b.Fatal(err)
		}
	}
	pools := upstream.NewPools(nil)
	live := router.NewLive(reg, pools, nil)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- live.Run(ctx) }()
	<-live.Ready()
	m := metrics.New(nil)
	m.Follow(live, pools)
	for i := range services {
		get(m, route("s"+strconv.Itoa(i), "/s"+strconv.Itoa(i)))
	}
	h := m.Handler()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(discard{}, get1("/metrics"))
	}
	stop()
	<-done
}

// following is a gateway that is measured.
type following struct {
	metrics *metrics.Metrics
	source  *flaky
	live    *router.Live
	pools   *upstream.Pools
}

// follow measures a gateway that follows a registry and another, beside what is
// always there.
func follow(t *testing.T, source *flaky, opts *metrics.Options) *following {
	t.Helper()
	f := &following{metrics: metrics.New(opts), source: source, pools: upstream.NewPools(nil)}
	steady := registry.NewSteady(source, &registry.SteadyOptions{Name: "memory"})
	other := registry.NewSteady(new(registry.Memory), &registry.SteadyOptions{Name: "memory"})
	f.live = router.NewLive(registry.NewMulti([]registry.Member{
		{Name: "own", Reader: new(registry.Memory), Exclusive: true}, {Name: "memory", Reader: steady}, {Name: "other", Reader: other},
	}, nil), f.pools, nil)
	f.metrics.Follow(f.live, f.pools, steady, other)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.live.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	<-f.live.Ready()
	return f
}

func (f *following) register(t *testing.T, service, path string, nodes ...string) {
	t.Helper()
	if len(nodes) == 0 {
		nodes = []string{"n1"}
	}
	if err := f.source.Register(t.Context(), announce(service, path, nodes...), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // one after the other
}

// announce returns a service with one route.
func announce(service, path string, nodes ...string) *registry.Service {
	s := &registry.Service{Name: service, Version: "1", Endpoints: []*registry.Endpoint{
		{Name: "A.B", Metadata: map[string]string{"path": path, "handler": "rpc"}},
	}}
	for i, id := range nodes {
		s.Nodes = append(s.Nodes, &registry.Node{ID: id, Address: "127.0.0.1:" + strconv.Itoa(1000+i)})
	}
	return s
}

// flaky is a registry that may be away.
type flaky struct {
	registry.Memory

	away atomic.Bool
}

func (f *flaky) Watch(ctx context.Context) (registry.Watcher, error) {
	if f.away.Load() {
		return nil, registry.ErrUnavailable
	}
	w, err := f.Memory.Watch(ctx)
	return &flakyWatcher{w, f}, err
}

type flakyWatcher struct {
	registry.Watcher

	registry *flaky
}

func (w *flakyWatcher) Next(ctx context.Context) ([]*registry.Service, error) {
	services, err := w.Watcher.Next(ctx)
	if w.registry.away.Load() {
		return nil, registry.ErrUnavailable
	}
	return services, err
}
