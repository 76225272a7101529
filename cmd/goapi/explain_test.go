package main

import (
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/router"
)

// squeezed returns text with each run of blanks as one.
func squeezed(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}

func explained(id, purpose string, percent float64, spare bool) admin.ExplainedNode {
	return admin.ExplainedNode{Node: admin.Node{ID: id, Address: "127.0.0.1:9", State: "up", Weight: 1}, For: purpose, Percent: percent, Spare: spare}
}

func TestPrintExplanation(t *testing.T) {
	tests := []struct {
		name string
		e    admin.Explanation
		want []string
		not  []string
	}{
		{
			"nodes for certain requests",
			admin.Explanation{Status: 200, Service: "web", Handler: "http", Nodes: []admin.ExplainedNode{
				explained("n1", "all", 0, true), explained("n2", "canary 5%", 100, false), explained("n3", "match X-Tenant:blue", 0, false), explained("n4", "all", 94.5, false),
			}},
			[]string{
				"\n n1 all if no other can 127.0.0.1:9", "\n* n2 canary 5% 100% 127.0.0.1:9",
				"\n n3 match X-Tenant:blue none 127.0.0.1:9", "\n* n4 all 94.5% 127.0.0.1:9",
			},
			[]string{"answered"},
		},
		{
			"no node",
			admin.Explanation{Status: 503, Error: "service web has no node that can serve", Service: "web", Handler: "http"},
			[]string{"Service web serves it, with the handler http.", "It is answered with 503: service web has no node that can serve."},
			[]string{"NODE"},
		},
		{
			"the operator's own route",
			admin.Explanation{Status: 200, Service: "static/legacy/**", Path: "/legacy/**", Handler: "http", Candidates: []router.Candidate{{Won: true}}},
			[]string{"Service static/legacy/**, configured for /legacy/**, serves it", "Routes for the path"},
			[]string{"nnounced", "None of them"},
		},
		{
			"a service's route",
			admin.Explanation{Status: 200, Service: "web", Path: "/web", Handler: "http"},
			[]string{"Service web, announced for /web, serves it"}, []string{"configured"},
		},
		{
			"a hidden route, and the resolver",
			admin.Explanation{Status: 404, Error: "no route", Candidates: []router.Candidate{{Reason: "the endpoint is hidden: expose=false"}}, Targets: []router.TargetOutcome{{Service: "web"}}},
			[]string{"Routes for the path", "hidden", "None of them takes it. The resolver reads the path as:"},
			[]string{"No route is announced"},
		},
		{
			"the resolver alone",
			admin.Explanation{Status: 404, Error: "no route", Targets: []router.TargetOutcome{{Service: "web"}}},
			[]string{"No route is announced for the path. The resolver reads it as:"}, []string{"Routes for the path"},
		},
		{"refused", admin.Explanation{Status: 400, Error: "the path is refused"}, []string{"It is answered with 400: the path is refused."}, []string{"serves"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := printExplanation(&out, &tt.e); err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll("\n"+squeezed(out.String()), "\nn", "\n n")
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("printExplanation() =%s\nwant something of %q", got, want)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(got, not) {
					t.Errorf("printExplanation() =%s\nwant nothing of %q", got, not)
				}
			}
		})
	}
}

func TestPrintExposed(t *testing.T) {
	e := &admin.Exposed{Resolver: "micro", Resolved: []router.Resolvable{{Service: "greeter", Any: true}}, Routes: []router.Listing{
		{Path: "/legacy/**", Service: "static/legacy/**", Endpoint: "legacy", Handler: "http"},
		{Path: "/{page=**}", Service: "ui", Endpoint: "Pages", Handler: "web"},
		{Path: "/web", Service: "web", Endpoint: "Web", Handler: "web"},
	}}
	var out strings.Builder
	if err := printExposed(&out, e); err != nil {
		t.Fatal(err)
	}
	got := squeezed(out.String())
	for _, want := range []string{"static/legacy/** legacy configured: http", "web Web announced: web", "greeter any method", "routes and mounts are all", "where /{page=**} of service ui matches"} {
		if !strings.Contains(got, want) {
			t.Errorf("printExposed() =\n%s\nwant something of %q", got, want)
		}
	}
}

func TestTakesAny(t *testing.T) {
	for path, want := range map[string]bool{
		"/{a}": true, "/**": true, "/*/x": true, "^.*$": true, "^/.*$": true, "^/[a-z]+$": true,
		"/": false, "/a/**": false, "/a{b}": false, "^/a.*$": false,
	} {
		if got := takesAny(path); got != want {
			t.Errorf("takesAny(%q) = %t, want %t", path, got, want)
		}
	}
}
