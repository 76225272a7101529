package registry_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi/registry"
)

func TestDiff(t *testing.T) {
	named := func(name string) *registry.Service { return &registry.Service{Name: name} }
	a, a2, b, b2, c := named("a"), named("a"), named("b"), named("b"), named("c")
	d, e, f, g, h, i, j := named("d"), named("e"), named("f"), named("g"), named("h"), named("i"), named("j")
	type services = []*registry.Service
	tests := []struct {
		name   string
		before services
		after  services
		want   []registry.Change
	}{
		{"nothing", nil, nil, nil},
		{"the same", services{a, b}, services{a, b}, nil},
		{"the first", nil, services{a}, []registry.Change{{Name: "a", New: services{a}}}},
		{"the last", services{a}, nil, []registry.Change{{Name: "a", Old: services{a}}}},
		{"one in the middle", services{a, c}, services{a, b, c}, []registry.Change{{Name: "b", New: services{b}}}},
		{"another", services{a, b}, services{a, b2}, []registry.Change{{Name: "b", Old: services{b}, New: services{b2}}}},
		{"one more version", services{a, b}, services{a, a2, b}, []registry.Change{{Name: "a", Old: services{a}, New: services{a, a2}}}},
		{"one version less", services{a, a2, b}, services{a2, b}, []registry.Change{{Name: "a", Old: services{a, a2}, New: services{a2}}}},
		{"not in order", services{c, a}, services{c, b, a}, []registry.Change{{Name: "b", New: services{b}}}},
		{"in more parts than are looked at", services{j, i, h, g, f, e, d, c, b, a}, services{j, i, h, g, f, e, d, c, b2, a},
			[]registry.Change{{Name: "b", Old: services{b}, New: services{b2}}}},
		{"one name twice", services{a, b, a2}, services{b, a}, []registry.Change{{Name: "a", Old: services{a, a2}, New: services{a}}}},
		{"all", services{a, b}, services{b2, c}, []registry.Change{
			{Name: "a", Old: services{a}}, {Name: "b", Old: services{b}, New: services{b2}}, {Name: "c", New: services{c}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := registry.Diff(tt.before, tt.after); !slices.EqualFunc(got, tt.want, equalChanges) {
				t.Errorf("Diff() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestDiffAgreesWithModel: what Diff says turns one state into the other, and
// it says nothing more.
func TestDiffAgreesWithModel(t *testing.T) {
	pool := make([]*registry.Service, 20)
	for i := range pool {
		pool[i] = &registry.Service{Name: fmt.Sprint(i % 7)}
	}
	rapid.Check(t, func(t *rapid.T) {
		states := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 15, func(s *registry.Service) *registry.Service { return s })
		before, after := states.Draw(t, "before"), states.Draw(t, "after")
		was, is := byName(before), byName(after)
		var want []registry.Change
		for _, name := range slices.Sorted(maps.Keys(byName(pool))) {
			if !slices.Equal(was[name], is[name]) {
				want = append(want, registry.Change{Name: name, Old: was[name], New: is[name]})
			}
		}
		if got := registry.Diff(before, after); !slices.EqualFunc(got, want, equalChanges) {
			t.Errorf("Diff() = %+v, want %+v", got, want)
		}
	})
}

func byName(services []*registry.Service) map[string][]*registry.Service {
	names := make(map[string][]*registry.Service)
	for _, s := range services {
		names[s.Name] = append(names[s.Name], s)
	}
	return names
}

func equalChanges(a, b registry.Change) bool {
	return a.Name == b.Name && slices.Equal(a.Old, b.Old) && slices.Equal(a.New, b.New)
}
