package registry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// BenchmarkSteady guards one node of one service among 10,000 that changes.
func BenchmarkSteady(b *testing.B) {
	r := manyServices(10_000)
	f := newFeed()
	f.say(r.Services())
	w := watch(b, registry.NewSteady(f, nil))
	next(b, w)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		r.Set("05000/0", announcing("service-05000", (i+1)%2))
		f.say(r.Services())
		b.StartTimer()
		next(b, w)
	}
}

// BenchmarkSteadyLoss guards 10,000 services that go at once, and come back.
func BenchmarkSteadyLoss(b *testing.B) {
	f := newFeed()
	all := manyServices(10_000).Services()
	f.say(all)
	w := watch(b, registry.NewSteady(f, nil))
	next(b, w)
	b.ReportAllocs()
	for b.Loop() {
		f.say(nil)
		f.say(all)
		f.say(all[1:])
		f.say(all)
		f.fail(registry.ErrUnavailable)
		if _, err := w.Next(b.Context()); err == nil {
			b.Fatal("Next() tells what is held back")
		}
		f.say(all)
		next(b, w)
	}
}

// BenchmarkSteadySave guards writing 10,000 services with 10 endpoints each,
// which no other has.
func BenchmarkSteadySave(b *testing.B) {
	f, opts := newFeed(), &registry.SteadyOptions{Path: filepath.Join(b.TempDir(), "snapshot")}
	f.say(manyServices(10_000).Services())
	s := registry.NewSteady(f, opts)
	next(b, watch(b, s))
	b.ReportAllocs()
	for b.Loop() {
		runOnce(b, s)
	}
	info, err := os.Stat(opts.Path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size()), "bytes")
}

// BenchmarkSteadyStart guards a start from that file, and an equal answer of
// the source after it.
func BenchmarkSteadyStart(b *testing.B) {
	f, opts := newFeed(), &registry.SteadyOptions{Path: filepath.Join(b.TempDir(), "snapshot")}
	all := manyServices(10_000).Services()
	f.say(all)
	s := registry.NewSteady(f, opts)
	next(b, watch(b, s))
	runOnce(b, s)
	b.ReportAllocs()
	for b.Loop() {
		f.fail(registry.ErrUnavailable)
		f.say(all)
		w := watch(b, registry.NewSteady(f, opts))
		before := next(b, w)
		if _, err := w.Next(b.Context()); err == nil {
			b.Fatal("Next() tells nothing of a loss of contact")
		}
		if after := next(b, w); len(after) != len(all) || after[5000] != before[5000] {
			b.Fatal("a service that is equal is another pointer")
		}
	}
}

// manyServices returns n services of 3 nodes and 10 endpoints.
func manyServices(n int) *registry.Records {
	r := new(registry.Records)
	for i := range n {
		for node := range 3 {
			s := announcing(fmt.Sprintf("service-%05d", i), 0)
			s.Nodes[0].ID = fmt.Sprintf("%s-%d", s.Name, node)
			r.Set(fmt.Sprintf("%05d/%d", i, node), s)
		}
	}
	return r
}

// announcing returns a service of one node and 10 endpoints.
func announcing(name string, port int) *registry.Service {
	s := &registry.Service{Name: name, Version: "latest", Metadata: map[string]string{"team": "blue"}}
	for i := range 10 {
		s.Endpoints = append(s.Endpoints, &registry.Endpoint{
			Name:     fmt.Sprintf("Greeter.Method%d", i),
			Request:  &registry.Value{Name: "Request", Type: "Request", Values: []*registry.Value{{Name: "name", Type: "string"}}},
			Response: &registry.Value{Name: "Response", Type: "Response", Values: []*registry.Value{{Name: "message", Type: "string"}}},
			Metadata: map[string]string{"method": "GET", "path": fmt.Sprintf("/%s/%d/{name}", name, i)},
		})
	}
	s.Nodes = []*registry.Node{{
		ID: name + "-0", Address: fmt.Sprintf("10.0.0.1:%d", 9090+port), Metadata: map[string]string{"protocol": "mucp"},
	}}
	return s
}

// runOnce writes the snapshot.
func runOnce(b *testing.B, s *registry.Steady) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	if err := s.Run(ctx); err == nil {
		b.Fatal("Run() = nil, want ctx.Err()")
	}
	if err := s.Status().SaveErr; err != nil {
		b.Fatal(err)
	}
}
