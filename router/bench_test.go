package router_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// fleet returns services with ten endpoints each, half of them with a
// variable.
func fleet(services int) []*registry.Service {
	list := make([]*registry.Service, services)
	for i := range list {
		list[i] = fleetService(i, 0)
	}
	return list
}

// fleetService returns one service of a fleet. Another generation has one other
// route.
func fleetService(i, generation int) *registry.Service {
	name := fmt.Sprintf("service-%05d", i)
	s := &registry.Service{
		Name: name, Version: "latest",
		Nodes: []*registry.Node{{
			ID: name + "-1", Address: fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250+1),
			Metadata: map[string]string{"protocol": "mucp"},
		}},
	}
	for j := range 10 {
		path := fmt.Sprintf("/%s/things%d", name, j)
		if j%2 == 1 {
			path += "/{id}"
		}
		if j == 9 && generation > 0 {
			path += fmt.Sprintf("/generation%d", generation)
		}
		endpoint := fmt.Sprintf("Things.Method%d", j)
		s.Endpoints = append(s.Endpoints, &registry.Endpoint{Name: endpoint, Metadata: map[string]string{
			"endpoint": endpoint, "handler": "rpc", "method": "GET", "path": path,
		}})
	}
	return s
}

// BenchmarkRoute100k looks up 100,000 routes over 10,000 services in random
// order. The median is of batches of eight, since reading the clock takes long
// beside one look-up.
func BenchmarkRoute100k(b *testing.B) {
	const batch = 8
	table, _ := router.NewTable(upstream.NewPools(nil), nil).Next(fleet(10_000))
	for _, bm := range []struct {
		name     string
		variable bool
	}{{"literal", false}, {"variable", true}} {
		b.Run(bm.name, func(b *testing.B) {
			paths := make([]string, 1<<16)
			for i := range paths {
				j := rand.IntN(5) * 2
				paths[i] = fmt.Sprintf("/service-%05d/things%d", rand.IntN(10_000), j)
				if bm.variable {
					paths[i] = fmt.Sprintf("/service-%05d/things%d/%d", rand.IntN(10_000), j+1, i)
				}
			}
			took := make([]time.Duration, 0, 1<<20)
			runtime.GC()
			b.ReportAllocs()
			u, r := new(url.URL), new(http.Request)
			i, start := 0, time.Now()
			for b.Loop() {
				u.Path = paths[i&(len(paths)-1)]
				*r = http.Request{Method: http.MethodGet, Host: "api.example.com", URL: u}
				if _, err := table.Route(r); err != nil {
					b.Fatal(err)
				}
				if i++; i%batch == 0 && len(took) < cap(took) {
					now := time.Now()
					took = append(took, now.Sub(start))
					start = now
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/batch, "median-ns")
		})
	}
}

// BenchmarkRouteHostile looks up what the resolver finds, beside services that
// announce as many expressions and templates for any path as they may.
func BenchmarkRouteHostile(b *testing.B) {
	for _, n := range []int{0, 1, 7, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			services := []*registry.Service{service("victim")}
			for i := range n {
				s := service(fmt.Sprint("bad", i))
				for j := range 256 {
					s.Endpoints = append(s.Endpoints, announced(fmt.Sprintf("name=E%d;path=^/.*x%d-%d$", j, i, j)))
				}
				services = append(services, s, alike(fmt.Sprint("alike", i), "/*"))
			}
			table, _ := router.NewTable(upstream.NewPools(nil), &router.Options{Resolver: first}).Next(services)
			r := get("/victim" + "/a/a/a/a/a/a/a/a")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := table.Route(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNext changes one service of a fleet. What it costs must not grow
// with the fleet.
func BenchmarkNext(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprintf("oneOf%d", n), func(b *testing.B) {
			services := fleet(n)
			table, _ := router.NewTable(upstream.NewPools(nil), nil).Next(services)
			other := slices.Clone(services)
			other[n/2] = fleetService(n/2, 1)
			runtime.GC()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					table, _ = table.Next(other)
				} else {
					table, _ = table.Next(services)
				}
			}
		})
	}
}

// BenchmarkNextNodes changes the nodes of one service of a fleet.
func BenchmarkNextNodes(b *testing.B) {
	services := fleet(10_000)
	table, _ := router.NewTable(upstream.NewPools(nil), nil).Next(services)
	other := slices.Clone(services)
	c := *services[5000]
	other[5000] = &c
	runtime.GC()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			table, _ = table.Next(other)
		} else {
			table, _ = table.Next(services)
		}
	}
}

// BenchmarkChange has one service of a fleet come, or go, on the way from the
// records of a registry to the table. What is left behind is what the requests
// beside it pay for.
func BenchmarkChange(b *testing.B) {
	source := new(fleetSource)
	for _, s := range fleet(10_000) {
		_ = source.records.Set(s.Name, s)
	}
	w, err := registry.NewSteady(source, nil).Watch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	table := router.NewTable(upstream.NewPools(nil), nil)
	follow := func() {
		services, err := w.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		table, _ = table.Next(services)
	}
	follow()
	other := fleetService(10_001, 0)
	runtime.GC()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			_ = source.records.Set(other.Name, other)
		} else {
			source.records.Delete(other.Name)
		}
		follow()
	}
}

// A fleetSource is a registry whose state is asked for when it has changed.
type fleetSource struct {
	registry.Reader

	records registry.Records
}

func (s *fleetSource) Watch(context.Context) (registry.Watcher, error) { return s, nil }

func (s *fleetSource) Next(context.Context) ([]*registry.Service, error) {
	return s.records.Services(), nil
}

func (s *fleetSource) Close() error { return nil }

// BenchmarkNextAll builds the table of a fleet, and reports the memory of the
// registry's model and of all that the table adds to it.
func BenchmarkNextAll(b *testing.B) {
	for _, bm := range []struct {
		name string
		opts *router.Options
	}{{"routes", nil}, {"routesAndResolver", &router.Options{Resolver: resolver.Micro}}} {
		b.Run(bm.name, func(b *testing.B) {
			before := heap()
			services := fleet(10_000)
			model := heap() - before
			var table *router.Table
			for b.Loop() {
				table, _ = router.NewTable(upstream.NewPools(nil), bm.opts).Next(services)
			}
			b.ReportMetric(float64(model)/(1<<20), "model-MiB")
			b.ReportMetric(float64(heap()-before)/(1<<20), "total-MiB")
			runtime.KeepAlive(table)
			runtime.KeepAlive(services)
		})
	}
}

// heap returns the live bytes of the heap.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
