package registrytest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A check is one promise being tested on one registry.
type check struct {
	testing.TB

	reg  registry.Registry
	opts Options
}

// lateness is how long after its time to live a node may be there still. Where
// the clock is fake, nothing but the registry takes time.
func (c *check) lateness() time.Duration {
	if c.opts.FakeClock {
		return c.opts.MinTTL / 2
	}
	return c.opts.Deadline
}

// bound returns a context that ends with the deadline.
func (c *check) bound() context.Context {
	ctx, cancel := context.WithTimeout(c.Context(), c.opts.Deadline)
	c.Cleanup(cancel)
	return ctx
}

func (c *check) register(s *registry.Service, ttl time.Duration) {
	c.Helper()
	if err := c.reg.Register(c.bound(), s, ttl); err != nil {
		c.Fatalf("Register(%s, %v) error = %v, want nil", text(s), ttl, err)
	}
}

func (c *check) deregister(s *registry.Service) {
	c.Helper()
	if err := c.reg.Deregister(c.bound(), s); err != nil {
		c.Fatalf("Deregister(%s) error = %v, want nil", text(s), err)
	}
}

// wantGet fails unless Get returns the wanted services, whatever their order.
func (c *check) wantGet(name string, want ...*registry.Service) []*registry.Service {
	c.Helper()
	got, err := c.reg.Get(c.bound(), name)
	if err != nil {
		c.Fatalf("Get(%q) error = %v, want nil", name, err)
	}
	if !equal(got, want) {
		c.Fatalf("Get(%q) =\n%s, want\n%s", name, text(got...), text(want...))
	}
	return got
}

func (c *check) list() []*registry.Service {
	c.Helper()
	got, err := c.reg.List(c.bound())
	if err != nil {
		c.Fatalf("List() error = %v, want nil", err)
	}
	return got
}

// maxCalls bounds the calls of a Next: no test makes so many changes.
const maxCalls = 10_000

// A watch is a Watcher whose every state is checked.
type watch struct {
	registry.Watcher

	c     *check
	last  []*registry.Service
	calls atomic.Int64 // of Next
}

// Next fails when it returns again and again: nothing that waits for something
// else would come to an end.
func (w *watch) Next(ctx context.Context) ([]*registry.Service, error) {
	if w.calls.Add(1) > maxCalls {
		return nil, fmt.Errorf("it returned %d times, and there were not so many changes", maxCalls)
	}
	return w.Watcher.Next(ctx)
}

// watch opens a watcher that is closed when the test ends.
func (c *check) watch() *watch {
	c.Helper()
	w, err := c.reg.Watch(c.bound())
	if err != nil {
		c.Fatalf("Watch() error = %v, want nil", err)
	}
	c.Cleanup(func() {
		if err := w.Close(); err != nil {
			c.Errorf("Watcher.Close() error = %v, want nil", err)
		}
	})
	return &watch{Watcher: w, c: c}
}

// next returns the next state.
func (w *watch) next() []*registry.Service {
	w.c.Helper()
	got, err := w.Next(w.c.bound())
	if err != nil {
		w.c.Fatalf("Watcher.Next() error = %v, want nil; the state before is\n%s", err, text(w.last...))
	}
	w.last = got
	return got
}

// await reads states until one fulfils the condition.
func (w *watch) await(what string, within time.Duration, fulfils func([]*registry.Service) bool) []*registry.Service {
	w.c.Helper()
	ctx, cancel := context.WithTimeout(w.c.Context(), within)
	defer cancel()
	for {
		got, err := w.Next(ctx)
		if err != nil {
			w.c.Fatalf("Watcher.Next() error = %v, want %s within %v; the state before is\n%s", err, what, within, text(w.last...))
		}
		w.last = got
		if fulfils(got) {
			return got
		}
	}
}

// awaitState reads states until one is what is wanted.
func (w *watch) awaitState(what string, want ...*registry.Service) {
	w.c.Helper()
	w.await(what, w.c.opts.Deadline, func(got []*registry.Service) bool { return equal(got, want) })
}

// service returns a service with the given nodes, which serve one endpoint.
func service(name, version string, nodes ...*registry.Node) *registry.Service {
	return &registry.Service{
		Name:     name,
		Version:  version,
		Metadata: map[string]string{"team": "blue"},
		Endpoints: []*registry.Endpoint{{
			Name: "Greeter.Hello",
			Request: &registry.Value{Name: "HelloRequest", Type: "HelloRequest", Values: []*registry.Value{
				{Name: "name", Type: "string"},
			}},
			Metadata: map[string]string{"method": "GET", "path": "/hello/{name}"},
		}},
		Nodes: nodes,
	}
}

func node(id string) *registry.Node {
	return &registry.Node{ID: id, Address: "127.0.0.1:9090", Metadata: map[string]string{"protocol": "mucp"}}
}

// hasNode says whether a node is in a state.
func hasNode(services []*registry.Service, id string) bool {
	return slices.ContainsFunc(services, func(s *registry.Service) bool {
		return slices.ContainsFunc(s.Nodes, func(n *registry.Node) bool { return n.ID == id })
	})
}

// equal says whether two lists hold services of the same content, in any order.
func equal(a, b []*registry.Service) bool {
	return slices.Equal(slices.Sorted(texts(a)), slices.Sorted(texts(b)))
}

func texts(services []*registry.Service) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, s := range services {
			if !yield(text(s)) {
				return
			}
		}
	}
}

// text returns services as JSON, one a line, in which what is null and what is
// empty is absent.
func text(services ...*registry.Service) string {
	var lines []byte
	for _, s := range services {
		var v any
		data, err := json.Marshal(s)
		if err == nil {
			err = json.Unmarshal(data, &v)
		}
		if err == nil {
			data, err = json.Marshal(withoutEmpty(v))
		}
		if err != nil { // a tree of strings: cannot fail
			return fmt.Sprint(err)
		}
		lines = append(append(lines, data...), '\n')
	}
	return string(lines)
}

func withoutEmpty(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, within := range v {
			if within = withoutEmpty(within); within == nil {
				delete(v, key)
			} else {
				v[key] = within
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = withoutEmpty(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	}
	return v
}
