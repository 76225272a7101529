package consul_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestAgentRestartsEmpty: what was announced is gone, and whoever announces is
// told to do so again.
func TestAgentRestartsEmpty(t *testing.T) {
	p := start(t, "", "").ready()
	watching, announcing := open(t, "consul://"+p.address), open(t, "consul://"+p.address)
	registrytest.Register(t, announcing, registrytest.Greeter("greeter-1"), time.Minute)
	w := registrytest.Watch(t, watching)
	w.Await("the node", registrytest.HasNodes("greeter-1"))
	back := announcing.Reconnected(t.Context())
	begin := time.Now()
	p.kill()
	w.AwaitLoss()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the loss was told after %v, want at most 3 s", took)
	}
	if err := announcing.Register(bound(t), registrytest.Greeter("greeter-1"), time.Minute); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register() without an agent error = %v, want ErrUnavailable", err)
	}
	p.run()
	receive(t, back)
	// A cluster elects its leader only now.
	for ctx := bound(t); ; {
		err := announcing.Register(ctx, registrytest.Greeter("greeter-1"), time.Minute)
		if err == nil {
			break
		}
		if !errors.Is(err, registry.ErrUnavailable) {
			t.Fatalf("Register() error = %v, want none or ErrUnavailable", err)
		}
	}
	w.Await("the node again", registrytest.HasNodes("greeter-1"))
}

// TestAgentRestarts: an agent that keeps its state has what was announced, and
// forgets no TTL.
func TestAgentRestarts(t *testing.T) {
	p := start(t, t.TempDir(), "").ready()
	r := open(t, "consul://"+p.address)
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), 0)
	registrytest.Register(t, r, registrytest.Greeter("greeter-2"), 3*time.Second)
	w := registrytest.Watch(t, r)
	w.Await("both nodes", registrytest.HasNodes("greeter-1", "greeter-2"))
	p.kill()
	w.AwaitLoss()
	p.run()
	w.Await("the node that has no TTL", registrytest.HasNodes("greeter-1"))
}

// TestRenewalsAreNoChanges: nothing wakes those who watch, nor Consul's servers.
func TestRenewalsAreNoChanges(t *testing.T) {
	p := start(t, "", "").ready()
	r := open(t, "consul://"+p.address)
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Minute)
	index := func() string {
		t.Helper()
		header, err := p.header("/v1/health/state/any")
		if err != nil {
			t.Fatal(err)
		}
		return header.Get("X-Consul-Index")
	}
	before := index()
	for range 10 {
		registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Minute)
	}
	if after := index(); after != before {
		t.Errorf("the index of the checks moved from %s to %s by renewals", before, after)
	}
}

// TestExpiryWithinAMinute: Consul forgets no node before a minute, but who reads
// does not see it any more.
func TestExpiryWithinAMinute(t *testing.T) {
	p := start(t, "", "").ready()
	r := open(t, "consul://"+p.address)
	w := registrytest.Watch(t, r)
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Second)
	w.Await("the node", registrytest.HasNodes("greeter-1"))
	w.Await("no node", registrytest.HasNodes())
	if got, err := r.Get(t.Context(), "greeter"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Get() = %v, %v, want ErrNotFound", got, err)
	}
	if _, body, err := p.get("/v1/agent/services"); err != nil || !strings.Contains(body, "greeter-1") {
		t.Errorf("the agent holds %s, %v, want the node that expired", body, err)
	}
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Second)
	w.Await("the node, renewed too late", registrytest.HasNodes("greeter-1"))
}

// TestPlainServices: what others put into Consul, and what they change there.
func TestPlainServices(t *testing.T) {
	p := start(t, "", "").ready()
	w := registrytest.Watch(t, open(t, "consul://"+p.address))
	w.Await("none", registrytest.HasNodes())
	steps := []struct {
		name, path, body string
		want             []string
	}{
		{"a service", "/v1/agent/service/register", `{"ID":"web","Name":"web","Port":80,"Address":"10.0.0.1","Meta":{"goapi-endpoint-1":"Hi;path=/hi"}}`, []string{"10.0.0.1:80 Hi"}},
		{"its address alone", "/v1/agent/service/register", `{"ID":"web","Name":"web","Port":81,"Address":"10.0.0.1","Meta":{"goapi-endpoint-1":"Hi;path=/hi"}}`, []string{"10.0.0.1:81 Hi"}},
		{"its endpoint", "/v1/agent/service/register", `{"ID":"web","Name":"web","Port":81,"Address":"10.0.0.1","Meta":{"goapi-endpoint-1":"Ho;path=/ho"}}`, []string{"10.0.0.1:81 Ho"}},
		{"another node of Consul", "/v1/catalog/register", `{"Node":"node-2","Address":"10.0.0.2","Service":{"ID":"web","Service":"web","Port":80}}`, []string{"10.0.0.1:81 Ho", "10.0.0.2:80 "}},
		{"its check", "/v1/catalog/register", `{"Node":"node-2","Address":"10.0.0.2","SkipNodeUpdate":true,"Check":{"Node":"node-2","CheckID":"alive","Status":"critical"}}`, []string{"10.0.0.1:81 Ho"}},
		{"its recovery", "/v1/catalog/register", `{"Node":"node-2","Address":"10.0.0.2","SkipNodeUpdate":true,"Check":{"Node":"node-2","CheckID":"alive","Status":"warning"}}`, []string{"10.0.0.1:81 Ho", "10.0.0.2:80 "}},
		{"maintenance", "/v1/agent/service/maintenance/web?enable=true", "", []string{"10.0.0.2:80 "}},
		{"maintenance of all", "/v1/catalog/deregister", `{"Node":"node-2"}`, nil},
		{"work", "/v1/agent/service/maintenance/web?enable=false", "", []string{"10.0.0.1:81 Ho"}},
		{"the end", "/v1/agent/service/deregister/web", "", nil},
	}
	for _, step := range steps {
		begin := time.Now()
		p.put(step.path, step.body)
		w.Await(step.name, func(services []*registry.Service) bool { return fmt.Sprint(summary(services)) == fmt.Sprint(step.want) })
		t.Logf("%s took %v", step.name, time.Since(begin))
	}
}

// summary returns the nodes of all services, in order, with their endpoints.
func summary(services []*registry.Service) []string {
	var list []string
	for _, s := range services {
		var endpoint string
		if len(s.Endpoints) > 0 {
			endpoint = s.Endpoints[0].Name
		}
		for _, n := range s.Nodes {
			list = append(list, n.Address+" "+endpoint)
		}
	}
	slices.Sort(list)
	return list
}

// TestManyServices: the agent takes 200 connections of a client, and a thousand
// services need no more than a few.
func TestManyServices(t *testing.T) {
	p := start(t, "", "").ready()
	proxy := registrytest.NewProxy(t, p.address)
	r := open(t, "consul://"+proxy.Address())
	const many = 1000
	fill(t, open(t, "consul://"+p.address), many)
	begin := time.Now()
	w := registrytest.Watch(t, r)
	before := w.Await("all", func(got []*registry.Service) bool { return len(got) == many })
	t.Logf("%d services were read in %v", many, time.Since(begin))
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Minute)
	after := w.Await("one more", func(got []*registry.Service) bool { return len(got) == many+1 })
	for i, s := range after[1:] {
		if s != before[i] {
			t.Fatalf("service %s is another pointer, though it did not change", s.Name)
		}
	}
	if most := proxy.Most(); most > 16 {
		t.Errorf("there were %d connections at a time, want at most 16", most)
	}
}

// TestLateReader: who does not look misses states, and not the last one.
func TestLateReader(t *testing.T) {
	p := start(t, "", "").ready()
	r, another := open(t, "consul://"+p.address), open(t, "consul://"+p.address)
	w := registrytest.Watch(t, r)
	w.Await("none", registrytest.HasNodes())
	s := registrytest.Greeter("greeter-1")
	for i := range 50 {
		s.Nodes[0].Address = fmt.Sprintf("127.0.0.1:%d", 9000+i)
		registrytest.Register(t, another, s, time.Minute)
	}
	w.Await("the last address", func(got []*registry.Service) bool {
		return len(got) == 1 && got[0].Nodes[0].Address == "127.0.0.1:9049"
	})
}
