package micro_test

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
			s := start(b, nil)
			benchmarkChange(b, open(b, "embedded+micro:", s), open(b, "embedded+micro:", s), others)
		})
		b.Run(fmt.Sprintf("tcp/%d", others), func(b *testing.B) {
			address := "nats+micro://" + start(b, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr()
			benchmarkChange(b, open(b, address, nil), open(b, address, nil), others)
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
		w.Await("a state", registrytest.AnyState)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkFirst guards the first state of a thousand services, of which a
// quarter of a second is the wait for more answers.
func BenchmarkFirst(b *testing.B) {
	address := "nats+micro://" + start(b, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr()
	announcing := open(b, address, nil)
	for i := range 1000 {
		registrytest.Register(b, announcing, service(fmt.Sprintf("other-%04d", i)), 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := open(b, address, nil)
		if got, err := r.List(b.Context()); err != nil || len(got) != 1000 {
			b.Fatalf("List() = %d services, %v, want 1000", len(got), err)
		}
		r.Close()
	}
}

// BenchmarkRenewal guards what a renewal costs that changes nothing, for who
// renews and one who watches.
func BenchmarkRenewal(b *testing.B) {
	s := start(b, nil)
	announcing, w := open(b, "embedded+micro:", s), registrytest.Watch(b, open(b, "embedded+micro:", s))
	svc := service("greeter")
	registrytest.Register(b, announcing, svc, time.Minute)
	w.Await("the service", func(got []*registry.Service) bool { return len(got) == 1 })
	b.ReportAllocs()
	for b.Loop() {
		registrytest.Register(b, announcing, svc, time.Minute)
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
