package nats_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// BenchmarkChange guards how soon, and for how much work, a watcher sees a
// change of one service beside a thousand others.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("embedded/%d", others), func(b *testing.B) {
			s := start(b, b.TempDir(), nil)
			benchmarkChange(b, open(b, "embedded:", s), open(b, "embedded:", s), others)
		})
		b.Run(fmt.Sprintf("tcp/%d", others), func(b *testing.B) {
			s := start(b, b.TempDir(), &conns.ServerOptions{Address: "127.0.0.1:0"})
			benchmarkChange(b, open(b, "nats://"+s.Addr(), nil), open(b, "nats://"+s.Addr(), nil), others)
		})
	}
}

func benchmarkChange(b *testing.B, announcing, watching registry.Registry, others int) {
	b.Helper()
	for i := range others {
		registrytest.Register(b, announcing, service(fmt.Sprintf("other-%04d", i)), 0)
	}
	w := registrytest.Watch(b, watching)
	w.Await("the others", func(got []*registry.Service) bool { return len(got) == others })
	s := service("greeter")
	var took []time.Duration
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1024+n%50_000)
		begin := time.Now()
		registrytest.Register(b, announcing, s, time.Minute)
		if _, err := w.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkRenewal guards what a renewal costs that changes nothing, with one
// who watches.
func BenchmarkRenewal(b *testing.B) {
	s := start(b, b.TempDir(), nil)
	r := open(b, "embedded:", s)
	svc := service("greeter")
	registrytest.Register(b, r, svc, time.Minute)
	w := registrytest.Watch(b, r)
	w.Await("the service", func(got []*registry.Service) bool { return len(got) == 1 })
	done := make(chan struct{})
	go func() { // ends with the watcher
		defer close(done)
		for {
			if _, err := w.Next(b.Context()); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		registrytest.Register(b, r, svc, time.Minute)
	}
	w.Close()
	<-done
}

// BenchmarkGet guards the look-up of one service beside a thousand others.
func BenchmarkGet(b *testing.B) {
	s := start(b, b.TempDir(), nil)
	r := open(b, "embedded:", s)
	for i := range 1000 {
		registrytest.Register(b, r, service(fmt.Sprintf("other-%04d", i)), 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Get(b.Context(), "other-0500"); err != nil {
			b.Fatal(err)
		}
	}
}

// service returns a service of a usual size.
func service(name string) *registry.Service {
	s := &registry.Service{Name: name, Version: "1.0.0", Nodes: []*registry.Node{{
		ID: name + "-1", Address: "127.0.0.1:9090", Metadata: map[string]string{"protocol": "mucp"},
	}}}
	for _, method := range []string{"Hello", "Bye", "List", "Get"} {
		s.Endpoints = append(s.Endpoints, &registry.Endpoint{
			Name:     "Greeter." + method,
			Request:  &registry.Value{Name: "Request", Type: "Request", Values: []*registry.Value{{Name: "name", Type: "string"}}},
			Metadata: map[string]string{"method": "GET", "path": "/" + name + "/" + method + "/{name}", "handler": "rpc"},
		})
	}
	return s
}
