package consul_test

import (
	"context"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/consul"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// deadline bounds every wait for something that must happen.
const deadline = 15 * time.Second

func TestRegistry(t *testing.T) {
	p := start(t, "", "").ready()
	proxy := registrytest.NewProxy(t, p.address)
	beside := func(t testing.TB) *consul.Registry {
		t.Helper()
		return open(t, "consul://"+p.address)
	}
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		p.empty()
		return open(t, "consul://"+proxy.Address())
	}, &registrytest.Options{
		MinTTL: time.Second,
		Sever:  func(testing.TB, registry.Registry) (restore func()) { return proxy.Sever() },
		Beside: func(t testing.TB, _ registry.Registry) registry.Writer { return beside(t) },
		Lose:   func(testing.TB, registry.Registry) { p.empty() },
		Overwrite: func(t testing.TB, _ registry.Registry, s *registry.Service) {
			registrytest.Register(t, beside(t), s, time.Hour)
		},
		Spoil: func(testing.TB, registry.Registry) (mend func()) {
			p.put("/v1/agent/service/register", `{"ID":"spoilt","Name":"greeter"}`) // without a port
			return func() { p.put("/v1/agent/service/deregister/spoilt", "") }
		},
	})
}

// empty removes all that is registered.
func (p *process) empty() {
	p.t.Helper()
	_, body, err := p.get("/v1/agent/services")
	if err != nil {
		p.t.Fatal(err)
	}
	var services map[string]any
	if err := json.Unmarshal([]byte(body), &services); err != nil {
		p.t.Fatal(err)
	}
	for id := range services {
		p.put("/v1/agent/service/deregister/"+url.PathEscape(id), "")
	}
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string) *consul.Registry {
	t.Helper()
	r, err := tryOpen(t.Context(), address)
	if err != nil {
		t.Fatalf("Open(%q) error = %v", address, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Registry.Close() error = %v", err)
		}
	})
	return r
}

func tryOpen(ctx context.Context, address string) (*consul.Registry, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return consul.Open(ctx, u, nil)
}

// bound returns a context that ends after some time, or with the test.
func bound(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-bound(t).Done():
		t.Fatal("nothing happened in time")
	}
	return v
}
