package consul_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/consul"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// deadline bounds every wait for something that must happen.
const deadline = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRegistry(t *testing.T) {
	agents := make(map[registry.Registry]*fakeAgent)
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		f := newFakeAgent(t)
		r := open(t, f.address())
		agents[r] = f
		return r
	}, &registrytest.Options{
		MinTTL: time.Second, // a machine that is busy renews late
		Sever:  func(_ testing.TB, reg registry.Registry) func() { return agents[reg].sever() },
		Overwrite: func(t testing.TB, reg registry.Registry, s *registry.Service) {
			registrytest.Register(t, open(t, agents[reg].address()), s, time.Hour)
		},
		Lose: func(_ testing.TB, reg registry.Registry) { agents[reg].set(func() { clear(agents[reg].services) }) },
		Spoil: func(_ testing.TB, reg registry.Registry) (mend func()) {
			f := agents[reg]
			f.add(&instance{ID: "spoilt", Name: "greeter", Address: "h"}, "passing") // without a port
			return func() { f.set(func() { f.remove("node-2/spoilt") }) }
		},
	})
}

// TestRegisterIsGoMicros: the requests, one by one.
func TestRegisterIsGoMicros(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	const id = "greeter-1"
	const registers = "PUT /v1/agent/service/register?replace-existing-checks=true"
	const updates = "PUT /v1/agent/check/update/service:" + id
	const removes = "PUT /v1/agent/service/deregister/" + id
	tests := []struct {
		name string
		call func() error
		want []string
	}{
		{"new", func() error { return r.Register(t.Context(), registrytest.Greeter(id), time.Minute) }, []string{registers, updates}},
		{"renewed", func() error { return r.Register(t.Context(), registrytest.Greeter(id), time.Minute) }, []string{updates}},
		{"another TTL", func() error { return r.Register(t.Context(), registrytest.Greeter(id), time.Hour) }, []string{registers, updates}},
		{"gone at the agent", func() error {
			f.set(func() { f.remove("node-1/" + id) })
			return r.Register(t.Context(), registrytest.Greeter(id), time.Hour)
		}, []string{registers, updates}},
		{"overwritten at the agent", func() error {
			f.set(func() { f.services["node-1/"+id].Port++ })
			return r.Register(t.Context(), registrytest.Greeter(id), time.Hour)
		}, []string{registers, updates}},
		{"without a look", func() error {
			f.set(func() { f.remove("node-1/" + id); f.blind = true })
			return r.Register(t.Context(), registrytest.Greeter(id), time.Hour)
		}, []string{updates, registers, updates}},
		{"renewed without a look", func() error { return r.Register(t.Context(), registrytest.Greeter(id), time.Hour) }, []string{updates}},
		{"withdrawn", func() error { return r.Deregister(t.Context(), registrytest.Greeter(id)) }, []string{updates, removes}},
		{"withdrawn again", func() error { return r.Deregister(t.Context(), registrytest.Greeter(id)) }, []string{removes}},
		{"without TTL", func() error { return r.Register(t.Context(), registrytest.Greeter(id), 0) }, []string{registers}},
		{"without TTL again", func() error { return r.Register(t.Context(), registrytest.Greeter(id), 0) }, []string{registers}},
	}
	for _, tt := range tests {
		if err := tt.call(); err != nil {
			t.Errorf("%s: error = %v", tt.name, err)
		}
		if got := f.written(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: requests = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRegisterCheck(t *testing.T) {
	tests := []struct {
		ttl              time.Duration
		want, deregister string
	}{
		{time.Second, "1s", "1m5s"},
		{time.Minute, "1m0s", "1m5s"},
		{time.Hour, "1h0m0s", "1h0m5s"},
	}
	for _, tt := range tests {
		f := newFakeAgent(t)
		registrytest.Register(t, open(t, f.address()), registrytest.Greeter("greeter-1"), tt.ttl)
		f.set(func() {
			check := f.services["node-1/greeter-1"].Check
			if check.TTL != tt.want || check.DeregisterCriticalServiceAfter != tt.deregister {
				t.Errorf("Register(%v) check = %+v, want a TTL of %s, and %s after that", tt.ttl, check, tt.want, tt.deregister)
			}
		})
	}
}

// TestAnnouncedMeta: Consul's metadata holds what it can of a node's.
func TestAnnouncedMeta(t *testing.T) {
	f := newFakeAgent(t)
	s := registrytest.Greeter("greeter-1")
	s.Nodes[0].Metadata = map[string]string{
		"protocol": "mucp", "a b": "1", "consul-x": "1", "long": strings.Repeat("x", 513), strings.Repeat("k", 129): "1", "": "1",
	}
	r := open(t, f.address())
	registrytest.Register(t, r, s, 0)
	f.set(func() {
		if got := f.services["node-1/greeter-1"].Meta; len(got) != 1 || got["protocol"] != "mucp" {
			t.Errorf("Meta = %q, want the protocol alone", got)
		}
	})
	got, err := r.Get(t.Context(), "greeter")
	if err != nil || len(got[0].Nodes[0].Metadata) != len(s.Nodes[0].Metadata) {
		t.Errorf("Get() = %+v, %v, want all metadata", got, err)
	}
}

// TestErrors: what an answer of the agent's means.
func TestErrors(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	var field *registry.FieldError
	tests := []struct {
		status int
		want   func(error) bool
	}{
		{400, func(err error) bool { return errors.As(err, &field) }},
		{403, func(err error) bool {
			return errors.Is(err, registry.ErrUnavailable) && strings.Contains(err.Error(), "token")
		}},
		{413, func(err error) bool { return errors.Is(err, registry.ErrTooLarge) }},
		{500, func(err error) bool { return errors.Is(err, registry.ErrUnavailable) }},
		{301, func(err error) bool { return errors.Is(err, registry.ErrUnavailable) }},
	}
	for _, tt := range tests {
		f.set(func() { f.refuse = tt.status })
		if err := r.Register(t.Context(), registrytest.Greeter("greeter-1"), 0); !tt.want(err) {
			t.Errorf("Register() of an agent that answers %d error = %v", tt.status, err)
		}
	}
	f.set(func() { f.refuse = 500 })
	for what, err := range map[string]error{
		"Get":        second(r.Get(t.Context(), "greeter")),
		"List":       second(r.List(t.Context())),
		"Deregister": r.Deregister(t.Context(), registrytest.Greeter("greeter-1")),
	} {
		if !errors.Is(err, registry.ErrUnavailable) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s of an agent that fails error = %q, want ErrUnavailable in one line", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestRegisterTooLarge(t *testing.T) {
	r := open(t, newFakeAgent(t).address())
	wide := registrytest.Greeter("greeter-1")
	wide.Nodes[0].Metadata = map[string]string{"pad": strings.Repeat("x", 1<<20)}
	long := registrytest.Greeter("greeter-1")
	for range 9 {
		long.Endpoints = append(long.Endpoints, &registry.Endpoint{Name: "A.B", Metadata: map[string]string{"pad": strings.Repeat("x", 1_000_000)}})
	}
	for name, s := range map[string]*registry.Service{"one tag": wide, "all tags": long} {
		if err := r.Register(t.Context(), s, 0); !errors.Is(err, registry.ErrTooLarge) {
			t.Errorf("Register() of too large %s error = %v, want ErrTooLarge", name, err)
		}
	}
}

func TestClosed(t *testing.T) {
	r := open(t, newFakeAgent(t).address())
	w := registrytest.Watch(t, r)
	w.Await("the empty state", registrytest.HasNodes())
	pending := make(chan error, 1)
	go func() { // ends with the registry
		_, err := w.Next(context.Background())
		pending <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	}
	for what, err := range map[string]error{
		"a pending Next":        receive(t, pending),
		"Next":                  second(w.Next(t.Context())),
		"Get":                   second(r.Get(t.Context(), "greeter")),
		"List":                  second(r.List(t.Context())),
		"Watch":                 second(r.Watch(t.Context())),
		"Register":              r.Register(t.Context(), registrytest.Greeter("1"), 0),
		"Deregister":            r.Deregister(t.Context(), registrytest.Greeter("1")),
		"Deregister of nothing": r.Deregister(t.Context(), &registry.Service{}),
	} {
		if !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%s after Close error = %v, want ErrClosed", what, err)
		}
	}
}

func TestDeregisterOfWhatCannotBe(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	for _, s := range []*registry.Service{
		{},
		{Nodes: []*registry.Node{{ID: "1"}}},
		{Name: "greeter", Nodes: []*registry.Node{nil, {}}},
	} {
		if err := r.Deregister(t.Context(), s); err != nil {
			t.Errorf("Deregister(%q) error = %v", s.Name, err)
		}
	}
	if got := f.written(); len(got) != 0 {
		t.Errorf("requests = %q, want none", got)
	}
}

// TestReconnected: whoever announces is told when the agent is back, and not
// before.
func TestReconnected(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	back := r.Reconnected(t.Context())
	f.awaitQuestions(t, quietPath, 3)
	restore := f.sever()
	if err := r.Register(t.Context(), registrytest.Greeter("1"), 0); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register() without an agent error = %v, want ErrUnavailable", err)
	}
	f.awaitQuestions(t, quietPath, 5) // the client tries again once by itself
	select {
	case <-back:
		t.Error("Reconnected() says so without an agent")
	default:
	}
	restore()
	receive(t, back)
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string) *consul.Registry {
	t.Helper()
	r, err := tryOpen(t.Context(), address, nil)
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

func tryOpen(ctx context.Context, address string, opts *consul.Options) (*consul.Registry, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return consul.Open(ctx, u, opts)
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
