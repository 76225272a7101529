package consul_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// BenchmarkChange guards how soon a watcher sees a change beside a thousand
// services: one that its own registry made, or another; of a service that
// changes again and again, of one that is new, of one that was at rest, and of
// one that goes. The latter come after a pause: large looks at all that Consul
// holds follow each other slowly.
func BenchmarkChange(b *testing.B) {
	const (
		others = 1000
		short  = 20 * time.Millisecond // changes that follow each other at once are seen as one
		long   = 700 * time.Millisecond
	)
	p := start(b, b.TempDir(), "").ready()
	own := open(b, "consul://"+p.address)
	another := open(b, "consul://"+p.address)
	fill(b, another, others)
	tests := []struct {
		name   string
		pause  time.Duration
		writer registry.Writer
		change func(w registry.Writer, n int) (wanted func([]*registry.Service) bool)
	}{
		{"own", short, own, again(b)},
		{"own/new", short, own, newcomer(b)},
		{"again", short, another, again(b)},
		{"new", long, another, newcomer(b)},
		{"rested", long, another, func(w registry.Writer, n int) func([]*registry.Service) bool {
			return change(b, w, fmt.Sprintf("other-%04d", n*7%others), n)
		}},
		{"gone", long, another, func(w registry.Writer, n int) func([]*registry.Service) bool {
			name := fmt.Sprintf("other-%04d", others-1-n)
			if err := w.Deregister(b.Context(), service(name)); err != nil {
				b.Fatal(err)
			}
			return func(got []*registry.Service) bool { return find(got, name) == nil }
		}},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			states := follow(b, own)
			await(b, states, func(got []*registry.Service) bool { return len(got) > 0 })
			var took []time.Duration
			for n := 0; b.Loop(); n++ {
				time.Sleep(tt.pause)
				begin := time.Now()
				await(b, states, tt.change(tt.writer, n))
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// follow watches as a gateway does, which always waits for the next state. The
// channel holds the latest.
func follow(b *testing.B, r registry.Reader) <-chan []*registry.Service {
	b.Helper()
	w := registrytest.Watch(b, r)
	states, done := make(chan []*registry.Service, 1), make(chan struct{})
	go func() { // ends with the watcher
		defer close(done)
		for {
			got, err := w.Next(context.Background())
			switch {
			case errors.Is(err, registry.ErrUnavailable):
			case err != nil:
				return
			default:
				select {
				case <-states:
				default:
				}
				states <- got
			}
		}
	}()
	b.Cleanup(func() { w.Close(); <-done })
	return states
}

// await reads states until one is as wanted.
func await(b *testing.B, states <-chan []*registry.Service, wanted func([]*registry.Service) bool) {
	b.Helper()
	for !wanted(receive(b, states)) {
	}
}

// again changes the same service.
func again(b *testing.B) func(registry.Writer, int) func([]*registry.Service) bool {
	return func(w registry.Writer, n int) func([]*registry.Service) bool { return change(b, w, "greeter", n) }
}

// newcomer registers a service that was not there.
func newcomer(b *testing.B) func(registry.Writer, int) func([]*registry.Service) bool {
	return func(w registry.Writer, n int) func([]*registry.Service) bool {
		return change(b, w, fmt.Sprintf("new-%s-%d-%d", b.Name()[:3], time.Now().UnixNano(), n), n)
	}
}

func change(b *testing.B, w registry.Writer, name string, n int) func([]*registry.Service) bool {
	s := service(name)
	s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1024+n%50_000)
	registrytest.Register(b, w, s, time.Hour)
	return func(got []*registry.Service) bool {
		found := find(got, name)
		return found != nil && found.Nodes[0].Address == s.Nodes[0].Address
	}
}

func find(services []*registry.Service, name string) *registry.Service {
	for _, s := range services {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// fill registers services.
func fill(t testing.TB, r registry.Writer, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < n; i += 8 {
				if err := r.Register(t.Context(), service(fmt.Sprintf("other-%04d", i)), time.Hour); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
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
