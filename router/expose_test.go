package router_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

func TestExpose(t *testing.T) {
	unexposed := map[string]string{"expose": "false"}
	version := func(v, node string, s *registry.Service) *registry.Service {
		s.Version, s.Nodes = v, nodes(node)
		s.Nodes[0].Metadata = map[string]string{"protocol": "mucp"}
		return s
	}
	hidden := version("1", "s-1", service("s", "name=A.B;path=/a", "name=A.C"))
	hidden.Metadata = unexposed
	ofNode := version("1", "s-1", service("s", "name=A.B;path=/a"))
	ofNode.Nodes[0].Metadata = map[string]string{"protocol": "mucp", "expose": "false"}
	plain := service("s")
	plain.Metadata = unexposed
	tests := []struct {
		name     string
		services []*registry.Service
		path     string
		want     string // the nodes that serve, or the error
	}{
		{"a route of a hidden service", []*registry.Service{hidden}, "/a", `404 no route for GET /a, and no service "a"`},
		{"a method of a hidden service", []*registry.Service{hidden}, "/s/A.B", `404 no route for GET /s/A.B, and no service "s"`},
		{"a request to a hidden service", []*registry.Service{plain}, "/s/x", `404 no route for GET /s/x, and no service "s"`},
		{"hidden by its node", []*registry.Service{ofNode}, "/a", `404 no route for GET /a, and no service "a"`},
		{"another version of a hidden route", []*registry.Service{hidden, version("2", "s-2", service("s", "name=A.B;path=/a"))}, "/a", "s-2"},
		{"another version of a hidden method", []*registry.Service{hidden, version("2", "s-2", service("s", "name=A.B"))}, "/s/A.B", "s-2"},
		{"another version that announces nothing", []*registry.Service{hidden, version("2", "s-2", service("s"))}, "/s/X.Y", "s-2"},
		{"a hidden endpoint", []*registry.Service{version("1", "s-1", service("s", "name=A.B;path=/a;expose=false", "name=A.C"))}, "/a", `404 no route for GET /a, and no service "a"`},
		{"a hidden method", []*registry.Service{version("1", "s-1", service("s", "name=A.B;expose=false", "name=A.C"))}, "/s/A.B", "404 service s has no method A.B"},
		{"beside a hidden method", []*registry.Service{version("1", "s-1", service("s", "name=A.B;expose=false", "name=A.C"))}, "/s/A.C", "s-1"},
		{"where all methods are hidden", []*registry.Service{version("1", "s-1", service("s", "name=A.B;expose=false"))}, "/s/A.B", "404 service s has no method A.B"},
		{"another value", []*registry.Service{version("1", "s-1", service("s", "name=A.B;expose=true;path=/a"))}, "/a", "s-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, _ := newTable(&router.Options{Resolver: first}).Next(tt.services)
			rt, err := table.Route(get(tt.path))
			var got string
			if e, ok := errors.AsType[*goapi.Error](err); ok {
				got = fmt.Sprint(e.Code, " ", e.Detail)
			} else {
				got = nodeIDs(rt.Upstream)
			}
			if got != tt.want {
				t.Errorf("Route(%s) = %s, want %s", tt.path, got, tt.want)
			}
		})
	}
}
