package router_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
)

func TestExplain(t *testing.T) {
	// Each line: [*]service path: reason. The star is for what won.
	tests := []struct {
		name     string
		services []*registry.Service
		request  *http.Request
		want     []string
	}{
		{
			"specificity",
			[]*registry.Service{service("a", "path=/a/{x}"), service("b", "path=/a/b;method=GET", "path=/a/**"), service("c", "path=/c"), service("d", "path=^/a/.$")},
			get("/a/b"),
			[]string{
				"*b /a/b: it is the most specific of those that fit",
				"a /a/{x}: the path /a/b is more specific",
				"b /a/**: the path /a/b is more specific",
				"d ^/a/.$: the path /a/b is more specific",
			},
		},
		{
			"method and host",
			[]*registry.Service{service("a", "path=/a"), service("b", "path=/a;method=GET"), service("c", "path=/a;method=PUT,POST"), service("d", "path=/a;host=d.test"), service("e", "path=/a;host=x.test;method=POST")},
			get("/a"),
			[]string{
				"*b /a: it is the most specific of those that fit",
				"a /a: a route that names the method goes first",
				"c /a: it is for POST only", "c /a: it is for PUT only",
				"d /a: it is for the host d.test only",
				"e /a: it is for POST only",
			},
		},
		{
			"host first",
			[]*registry.Service{service("a", "path=/a"), service("b", "path=/**;host=x.test"), service("c", "path=/**;host=*.test")},
			get("/a"),
			[]string{
				"*b /**: it is the most specific of those that fit",
				"c /**: a route for the host goes first, or one for more of it",
				"a /a: a route for the host goes first, or one for more of it",
			},
		},
		{
			"conflict",
			[]*registry.Service{service("a", "path=/a/{x}"), service("b", "path=/a/{y}")},
			get("/a/1"),
			[]string{"*a /a/{x}: it is the most specific of those that fit", "b /a/{y}: service a has any method /a/{x} already"},
		},
		{
			"no method", []*registry.Service{service("a", "path=/a;method=POST")}, get("/a"), []string{"a /a: it is for POST only"},
		},
		{
			"resolved", []*registry.Service{protocol("mucp", service("a", "name=A.B"))}, get("/a/A.B"),
			[]string{"*a A.B: it is the first reading that exists, served by rpc"},
		},
		{
			"not resolved", []*registry.Service{protocol("mucp", service("a", "name=A.B"))}, get("/b/A.B"),
			[]string{"b A.B: there is no such service", "b GET: there is no such service"},
		},
		{
			"hidden",
			[]*registry.Service{hidden(service("a", "path=/a", "path=/b")), service("b", "path=/a;expose=false", "path=/a;method=POST"), service("c", "path=/a/x;expose=false")},
			get("/a"),
			[]string{
				"a /a: the service is hidden: expose=false",
				"b /a: it is for POST only",
				"b /a: the endpoint is hidden: expose=false",
			},
		},
		{
			"a service that is hidden", []*registry.Service{hidden(protocol("mucp", service("a", "name=A.B")))}, get("/a/A.B"),
			[]string{
				"a A.B: the service is hidden (expose=false), or has no node that can be used",
				"a GET: the service is hidden (expose=false), or has no node that can be used",
			},
		},
		{
			"no such method", []*registry.Service{protocol("mucp", service("a", "name=A.B"))}, get("/a/A.C"),
			[]string{"a A.C: service a has no method A.C"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, _ := newTable(&router.Options{Resolver: first}).Next(tt.services)
			e := table.Explain(tt.request)
			var got []string
			add := func(won bool, what, reason string) {
				star := ""
				if won {
					star = "*"
				}
				got = append(got, star+what+": "+reason)
			}
			for _, c := range e.Candidates {
				add(c.Won, c.Service+" "+c.Path, c.Reason)
			}
			for _, o := range e.Targets {
				add(o.Won, o.Service+" "+o.Method, o.Reason)
			}
			fit := slices.IndexFunc(got, func(s string) bool { return strings.Contains(s, " only") })
			if fit >= 0 {
				slices.Sort(got[fit:])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Explain =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if won := strings.Contains(strings.Join(got, "\n"), "*"); won != (e.Route != nil) || won != (e.Err == nil) {
				t.Errorf("Explain has the route %v and the error %v", e.Route, e.Err)
			}
		})
	}
}

func TestExplainVariables(t *testing.T) {
	table, _ := newTable(nil).Next([]*registry.Service{service("a", "path=/a/{x}/{rest=**}"), service("b", "path=^/b/(?P<n>[0-9]+)$")})
	for path, want := range map[string]map[string]string{
		"/a/1/2/3": {"x": "1", "rest": "2/3"},
		"/b/42":    {"n": "42"},
	} {
		if e := table.Explain(get(path)); !maps.Equal(e.Variables, want) {
			t.Errorf("variables of %s = %v, want %v", path, e.Variables, want)
		}
	}
}

func TestExplainRefused(t *testing.T) {
	table, _ := newTable(&router.Options{Resolver: resolver.Micro}).Next([]*registry.Service{service("a", "path=/**")})
	for _, r := range []*http.Request{get("/a/../b"), httptest.NewRequest(http.MethodConnect, "http://x.test/a", nil)} {
		if e := table.Explain(r); e.Route != nil || e.Err == nil {
			t.Errorf("Explain(%s %s) = %v, %v, want why it is refused", r.Method, r.URL.Path, e.Route, e.Err)
		}
	}
}

// hidden returns s, which is not to be exposed.
func hidden(s *registry.Service) *registry.Service {
	s.Metadata = map[string]string{"expose": "false"}
	return s
}
