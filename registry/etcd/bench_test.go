package etcd_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// BenchmarkStart guards how long a watcher takes to its first state, and what
// that holds in memory: 10,000 services of 3 nodes and 10 endpoints.
func BenchmarkStart(b *testing.B) {
	const services, nodes, endpoints = 10_000, 3, 10
	s := start(b, func(cfg *embed.Config) { cfg.SnapshotCount = 1000 }) // else it holds all writes in memory
	size := s.fill(services, nodes, endpoints)
	r := open(b, "etcd://"+s.addr)
	before := heap()
	b.ResetTimer()
	for b.Loop() {
		w, err := r.Watch(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		got, err := w.Next(b.Context())
		if err != nil || len(got) != services || len(got[0].Nodes) != nodes {
			b.Fatalf("Next() = %d services, %v, want %d", len(got), err, services)
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/first")
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-live")
		b.ReportMetric(float64(size)/(1<<20), "MiB-JSON")
		runtime.KeepAlive(got)
		w.Close()
	}
}

// fill puts services, and returns how long their JSON is.
func (s *server) fill(services, nodes, endpoints int) (size int) {
	s.t.Helper()
	var batch []*pb.RequestOp
	flush := func() {
		if _, err := s.etcd.Server.Txn(s.t.Context(), &pb.TxnRequest{Success: batch}); err != nil {
			s.t.Fatalf("Txn() error = %v", err)
		}
		batch = batch[:0]
	}
	for i := range services {
		svc := service(fmt.Sprintf("service-%05d", i), endpoints)
		for n := range nodes {
			id := fmt.Sprintf("%s-%d", svc.Name, n)
			svc.Nodes = []*registry.Node{{ID: id, Address: fmt.Sprintf("10.0.%d.%d:9090", i%256, n), Metadata: svc.Nodes[0].Metadata}}
			data, err := json.Marshal(svc)
			if err != nil {
				s.t.Fatal(err)
			}
			size += len(data)
			batch = append(batch, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
				Key: []byte("/micro/registry/" + svc.Name + "/" + id), Value: data,
			}}})
		}
		if len(batch) > 90 {
			flush()
		}
	}
	if len(batch) > 0 {
		flush()
	}
	return size
}

// BenchmarkChange guards how soon a watcher sees a change of one service beside
// a thousand others, on a server that syncs what it writes.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			s := start(b, func(cfg *embed.Config) { cfg.UnsafeNoFsync = false })
			s.fill(others, 1, 4)
			announcing, watching := open(b, "etcd://"+s.addr), open(b, "etcd://"+s.addr)
			w := registrytest.Watch(b, watching)
			w.Await("the others", func(got []*registry.Service) bool { return len(got) == others })
			svc := service("greeter", 4)
			registrytest.Register(b, announcing, svc, time.Minute)
			w.Await("the service", func(got []*registry.Service) bool { return len(got) == others+1 })
			var took []time.Duration
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				svc.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 1024+n%50_000)
				begin := time.Now()
				registrytest.Register(b, announcing, svc, time.Minute)
				if _, err := w.Next(b.Context()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkRenewal guards what a renewal costs that changes nothing.
func BenchmarkRenewal(b *testing.B) {
	r := open(b, "etcd://"+start(b, nil).addr)
	svc := service("greeter", 4)
	registrytest.Register(b, r, svc, time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		registrytest.Register(b, r, svc, time.Minute)
	}
}

// BenchmarkGet guards the look-up of one service beside a thousand others.
func BenchmarkGet(b *testing.B) {
	s := start(b, nil)
	s.fill(1000, 1, 4)
	r := open(b, "etcd://"+s.addr)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Get(b.Context(), "service-00500"); err != nil {
			b.Fatal(err)
		}
	}
}

// service returns a service with one node, as long as those of go-micro.
func service(name string, endpoints int) *registry.Service {
	s := &registry.Service{Name: name, Version: "1.0.0", Nodes: []*registry.Node{{
		ID: name + "-1", Address: "127.0.0.1:9090",
		Metadata: map[string]string{"protocol": "mucp", "server": "mucp", "transport": "http", "registry": "etcd", "broker": "http"},
	}}}
	field := func(name string) *registry.Value { return &registry.Value{Name: name, Type: "string"} }
	for i := range endpoints {
		method := fmt.Sprintf("Method%d", i)
		s.Endpoints = append(s.Endpoints, &registry.Endpoint{
			Name:     "Greeter." + method,
			Request:  &registry.Value{Name: method + "Request", Type: method + "Request", Values: []*registry.Value{field("name"), field("filter")}},
			Response: &registry.Value{Name: method + "Response", Type: method + "Response", Values: []*registry.Value{field("greeting"), field("status")}},
			Metadata: map[string]string{"endpoint": "Greeter." + method, "method": "GET", "path": "/" + name + "/" + method + "/{name}", "handler": "rpc"},
		})
	}
	return s
}

// heap returns the bytes that are in use.
func heap() int64 {
	for range 2 {
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
