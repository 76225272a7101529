package registry_test

import (
	"context"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// steadied is a Steady around a Memory that can be severed.
type steadied struct {
	*registry.Steady
	*severable
}

func (s steadied) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	return s.Steady.Get(ctx, name)
}

func (s steadied) List(ctx context.Context) ([]*registry.Service, error) { return s.Steady.List(ctx) }

func (s steadied) Watch(ctx context.Context) (registry.Watcher, error) { return s.Steady.Watch(ctx) }

func TestSteadyIsARegistry(t *testing.T) {
	registrytest.Run(t, func(*testing.T) registry.Registry {
		source := new(severable)
		return steadied{registry.NewSteady(source, nil), source}
	}, &registrytest.Options{FakeClock: true, Sever: func(_ testing.TB, reg registry.Registry) func() {
		return reg.(steadied).sever()
	}})
}
