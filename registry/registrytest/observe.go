package registrytest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// within bounds what has to happen in tests that use what follows.
const within = 15 * time.Second

// A Watching is a Watcher for the tests of a registry's own, beside [Run]: the
// test ends when what has to happen does not.
type Watching struct {
	registry.Watcher

	t testing.TB
}

// Watch returns a watcher of a registry that is closed when the test ends.
func Watch(t testing.TB, r registry.Reader) *Watching {
	t.Helper()
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatalf("Watch() error = %v", err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("Watcher.Close() error = %v", err)
		}
	})
	return &Watching{Watcher: w, t: t}
}

// Await reads states until one is as wanted. It bears the loss of contact.
func (w *Watching) Await(what string, wanted func([]*registry.Service) bool) []*registry.Service {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	var last []string
	for {
		got, err := w.Next(ctx)
		switch {
		case errors.Is(err, registry.ErrUnavailable):
		case err != nil:
			w.t.Fatalf("Next() error = %v, want %s; the nodes before are %q", err, what, last)
		case wanted(got):
			return got
		}
		last = nodeIDs(got)
	}
}

// AwaitLoss reads states until there is no contact.
func (w *Watching) AwaitLoss() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	for {
		_, err := w.Next(ctx)
		if errors.Is(err, registry.ErrUnavailable) {
			return
		}
		if err != nil {
			w.t.Fatalf("Next() error = %v, want ErrUnavailable", err)
		}
	}
}

// WantNothing fails when there is another state, or an error, within some time.
func (w *Watching) WantNothing(within time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		w.t.Errorf("Next() = the nodes %q, %v; want nothing for %v", nodeIDs(got), err, within)
	}
}

// HasNodes wants a state with exactly these nodes, whatever their services are.
func HasNodes(ids ...string) func([]*registry.Service) bool {
	want := slices.Sorted(slices.Values(ids))
	return func(services []*registry.Service) bool { return slices.Equal(nodeIDs(services), want) }
}

// AnyState wants no state in particular.
func AnyState([]*registry.Service) bool { return true }

// nodeIDs returns the ids of all nodes, in order.
func nodeIDs(services []*registry.Service) []string {
	var ids []string
	for _, s := range services {
		for _, n := range s.Nodes {
			ids = append(ids, n.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Greeter returns a service named greeter with nodes of these ids.
func Greeter(ids ...string) *registry.Service {
	s := &registry.Service{Name: "greeter", Version: "latest"}
	for _, id := range ids {
		s.Nodes = append(s.Nodes, &registry.Node{ID: id, Address: "127.0.0.1:9090"})
	}
	return s
}

// Register registers a service, or ends the test.
func Register(t testing.TB, w registry.Writer, s *registry.Service, ttl time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := w.Register(ctx, s, ttl); err != nil {
		t.Fatalf("Register(%s) error = %v", s.Name, err)
	}
}
