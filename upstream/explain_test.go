package upstream_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func TestPurposes(t *testing.T) {
	blue := with("b", "match", "x-tenant: blue")
	tests := []struct {
		name   string
		nodes  []*registry.Node
		header http.Header
		want   string // id, purpose and percent of each node
	}{
		{"all alike", []*registry.Node{with("1"), with("2")}, nil, "1 all 100, 2 all 100"},
		{"a canary not asked for", []*registry.Node{with("1"), with("c", "canary", "true"), blue}, nil, "1 all 100, c canary 0, b match X-Tenant:blue 0"},
		{"a canary asked for", []*registry.Node{with("1"), with("c", "canary", "true"), blue}, http.Header{"X-Canary": {"true"}}, "1 all 0 spare, c canary 100, b match X-Tenant:blue 0"},
		{"some of the requests", []*registry.Node{with("1"), with("c", "canary", "5%"), with("d", "canary", "2")}, nil, "1 all 95, c canary 5% 5, d canary 5% 5"},
		{"none of the requests", []*registry.Node{with("1"), with("c", "canary", "5%")}, http.Header{"X-Canary": {"false"}}, "1 all 100, c canary 5% 0"},
		{"a header that matches", []*registry.Node{with("1"), with("c", "canary", "5%"), blue}, http.Header{"X-Tenant": {"red", "blue"}}, "1 all 0 spare, c canary 5% 0, b match X-Tenant:blue 100"},
		{"another value", []*registry.Node{with("1"), blue}, http.Header{"X-Tenant": {"red"}}, "1 all 100, b match X-Tenant:blue 0"},
		{"drained", []*registry.Node{with("1"), with("2", "weight", "0"), with("c", "canary", "true", "weight", "0")}, nil, "1 all 100, 2 all 0, c canary 0"},
		{"a drained canary", []*registry.Node{with("1"), with("c", "canary", "true"), with("d", "canary", "true", "weight", "0")}, http.Header{"X-Canary": {"true"}}, "1 all 0 spare, c canary 100, d canary 0"},
		{"canaries alone", []*registry.Node{with("c", "canary", "true")}, nil, "c canary 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", tt.nodes...)}).All()
			var list []string
			for _, p := range set.Purposes(tt.header) {
				text := fmt.Sprintf("%s %s %v", p.Node.ID, p.For, p.Percent)
				if p.Spare {
					text += " spare"
				}
				list = append(list, text)
			}
			if got := strings.Join(list, ", "); got != tt.want {
				t.Errorf("Purposes(%v) = %s, want %s", tt.header, got, tt.want)
			}
			wantServed(t, set, tt.header)
		})
	}
	if got := new(upstream.Set).Purposes(nil); len(got) != 0 {
		t.Errorf("Purposes of an empty Set = %v, want none", got)
	}
}

// wantServed holds Purposes to what requests get.
func wantServed(t *testing.T, set *upstream.Set, h http.Header) {
	t.Helper()
	const requests = 1000
	got, _ := serve(t, set, requests, upstream.Call{Header: h})
	groups := make(map[string]int)
	for _, p := range set.Purposes(h) {
		groups[p.For] += got[p.Node.ID]
		if served := got[p.Node.ID] > 0; served != (p.Percent > 0) {
			t.Errorf("node %s got %d of %d requests, want %v%%", p.Node.ID, got[p.Node.ID], requests, p.Percent)
		}
	}
	for _, p := range set.Purposes(h) {
		if want := int(p.Percent * requests / 100); p.Percent > 0 && !about(groups[p.For], want) {
			t.Errorf("nodes for %s got %d of %d requests, want about %d", p.For, groups[p.For], requests, want)
		}
	}
}
