package router_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

// before is what an earlier table told.
type before struct {
	holders map[string]string
	known   []string
}

func (b before) Holder(key string) string { return b.holders[key] }

func (b before) Known(service string) bool {
	return slices.Contains(b.known, service)
}

// TestBefore: who had a route before the program was started has it again.
func TestBefore(t *testing.T) {
	late, early := service("b", "path=/x"), service("a", "path=/x")
	table, _ := newTable(nil).Next([]*registry.Service{late})
	table, _ = table.Next([]*registry.Service{early, late})
	holders := table.Holders()
	if got := slices.Collect(maps.Values(holders)); !slices.Equal(got, []string{"b"}) {
		t.Fatalf("Holders = %q, want that b has what a wants too", holders)
	}
	tests := []struct {
		name   string
		before router.Before
		want   string
	}{
		{"nothing known", nil, "a"},
		{"the holder known", before{holders: holders}, "b"},
		{"the holder gone", before{holders: map[string]string{"other": "b"}}, "a"},
		{"one service known", before{known: []string{"b"}}, "b"},
		{"both services known", before{known: []string{"a", "b"}}, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, _ := newTable(&router.Options{Before: tt.before}).Next([]*registry.Service{early, late})
			if rt, err := table.Route(get("/x")); err != nil || rt.Service != tt.want {
				t.Errorf("Route(/x) = %v, %v, want service %s", rt, err, tt.want)
			}
			table, _ = table.Next([]*registry.Service{early})
			table, _ = table.Next([]*registry.Service{early, late})
			if rt, err := table.Route(get("/x")); err != nil || rt.Service != "a" {
				t.Errorf("Route(/x) after b was gone = %v, %v, want a, which has it now", rt, err)
			}
		})
	}
}
