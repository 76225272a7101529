package router_test

import (
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

// TestOperator: what the operator's own service claims is its own, whoever had
// it before and whoever comes later.
func TestOperator(t *testing.T) {
	table := newTable(&router.Options{Operator: func(service string) bool { return service == "z" }})
	announced, own := service("a", "path=/x"), service("z", "path=/x")
	steps := []struct {
		name     string
		services []*registry.Service
		want     string
		reports  int
	}{
		{"announced alone", []*registry.Service{announced}, "a", 0},
		{"the operator's comes", []*registry.Service{announced, own}, "z", 1},
		{"it stays the operator's", []*registry.Service{own, announced}, "z", 0},
		{"the operator's goes", []*registry.Service{announced}, "a", 0},
		{"both at once", []*registry.Service{announced, own}, "z", 1},
	}
	for _, tt := range steps {
		var reports []router.Report
		table, reports = table.Next(tt.services)
		if rt, err := table.Route(get("/x")); err != nil || rt.Service != tt.want {
			t.Errorf("%s: Route(/x) = %v, %v, want service %s", tt.name, rt, err, tt.want)
		}
		if len(reports) != tt.reports {
			t.Errorf("%s: reports = %v, want %d", tt.name, reports, tt.reports)
		}
	}
}
