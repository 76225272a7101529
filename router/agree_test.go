package router_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// TestTableAgreesWithModel grows a table by a random sequence of states, and
// holds each against the model.
func TestTableAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, m := router.NewTable(upstream.NewPools(nil), nil), newModel()
		var services []*registry.Service
		var known []router.Report
		for range rapid.IntRange(1, 5).Draw(t, "states") {
			services = drawState(t, services)
			var added []router.Report
			table, added = table.Next(services)
			m.next(services)
			for range 10 {
				checkRequest(t, table, m, drawRequest(t))
			}
			known = checkReports(t, table, m, known, added)
		}
		table, _ = table.Next(nil)
		if len(table.Routes()) != 0 || len(table.Reports()) != 0 {
			t.Fatalf("without services, Routes = %v, Reports = %v", table.Routes(), table.Reports())
		}
	})
}

// TestGrownEqualsBuiltAtOnce compares tables, and not answers: without
// conflicts, the way to a state does not matter.
func TestGrownEqualsBuiltAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grown := router.NewTable(upstream.NewPools(nil), nil)
		var services []*registry.Service
		for range rapid.IntRange(1, 5).Draw(t, "states") {
			services = drawState(t, services)
			grown, _ = grown.Next(services)
		}
		atOnce, reports := router.NewTable(upstream.NewPools(nil), nil).Next(services)
		if len(reports) > 0 {
			return // who came first counts
		}
		if got, want := fmt.Sprint(grown.Routes()), fmt.Sprint(atOnce.Routes()); got != want {
			t.Fatalf("grown: %s\nat once: %s", got, want)
		}
	})
}

func checkRequest(t *rapid.T, table *router.Table, m *model, r *http.Request) {
	t.Helper()
	rt, err := table.Route(r)
	checkExplanation(t, table.Explain(r), rt)
	want, methods := m.find(r)
	desc := fmt.Sprintf("Route(%s %s%s)", r.Method, r.Host, r.URL.EscapedPath())
	var e *goapi.Error
	switch {
	case (rt == nil) == (err == nil):
		t.Fatalf("%s = %v, %v: want exactly one", desc, rt, err)
	case want != nil && rt == nil:
		t.Fatalf("%s error = %v, want %v", desc, err, want)
	case want != nil:
		got := []string{rt.Service, rt.Endpoint.Name, rt.Pattern}
		if !slices.Equal(got, []string{want.service, want.endpoint, want.path}) {
			t.Fatalf("%s = %v, want %v", desc, got, want)
		}
		var nodes []string
		for _, n := range rt.Upstream.Nodes() {
			nodes = append(nodes, n.Node.ID)
		}
		slices.Sort(nodes)
		slices.Sort(want.nodes)
		if !slices.Equal(nodes, want.nodes) {
			t.Fatalf("%s has nodes %v, want those of %v", desc, nodes, want)
		}
	case rt != nil:
		t.Fatalf("%s = %s %s, want none", desc, rt.Service, rt.Pattern)
	case !errors.As(err, &e):
		t.Fatalf("%s error = %v, want a *goapi.Error", desc, err)
	case len(methods) == 0:
		if !errors.Is(err, goapi.ErrNoRoute) || e.Code != http.StatusNotFound {
			t.Fatalf("%s error = %v, want ErrNoRoute", desc, err)
		}
	case e.Code != http.StatusMethodNotAllowed || e.Header.Get("Allow") != strings.Join(methods, ", "):
		t.Fatalf("%s error = %v, Allow %q, want 405, %v", desc, err, e.Header.Get("Allow"), methods)
	}
}

// checkExplanation holds an explanation to the route that it is of.
func checkExplanation(t *rapid.T, e *router.Explanation, rt *goapi.Route) {
	t.Helper()
	if e.Route != rt && (rt == nil || rt.Pattern != "") {
		t.Fatalf("Explain has the route %v, want %v", e.Route, rt)
	}
	for i, c := range e.Candidates {
		if won := rt != nil && i == 0; c.Won != won || c.Reason == "" {
			t.Fatalf("candidate %d of %d = %+v, with the route %v", i, len(e.Candidates), c, rt)
		}
		if c.Won && (c.Service != rt.Service || c.Path != rt.Pattern) {
			t.Fatalf("Explain lets %+v win, want %v", c, rt)
		}
	}
	if rt != nil && rt.Pattern != "" && len(e.Candidates) == 0 {
		t.Fatalf("Explain has no candidate, with the route %v", rt)
	}
}

// checkReports compares what waits, and returns what the table reports now. It
// must be what was known before, less what is over, and what was added.
func checkReports(t *rapid.T, table *router.Table, m *model, known, added []router.Report) []router.Report {
	t.Helper()
	now := table.Reports()
	for _, r := range now {
		if !slices.Contains(known, r) && !slices.Contains(added, r) {
			t.Fatalf("%v is new, but Next did not return it", r)
		}
	}
	for _, r := range added {
		if slices.Contains(known, r) || !slices.Contains(now, r) {
			t.Fatalf("Next returned %v, which is not new", r)
		}
	}
	var got, want []string
	for _, r := range now {
		if r.Kind != router.Conflict {
			t.Fatalf("unexpected report %v", r)
		}
		got = append(got, r.Service+" "+r.Endpoint+" "+r.Pattern)
	}
	for _, c := range m.losers {
		want = append(want, c.service+" "+c.endpoint+" "+c.path)
	}
	slices.Sort(got)
	slices.Sort(want)
	if got, want = slices.Compact(got), slices.Compact(want); !slices.Equal(got, want) {
		t.Fatalf("waiting: %v, want %v", got, want)
	}
	return now
}

// drawState returns a state that differs from another one in some services: they
// come, go, announce other things or have other nodes. A second registry has
// some of the names, too.
func drawState(t *rapid.T, before []*registry.Service) []*registry.Service {
	var state []*registry.Service
	for _, reg := range []string{"A", "B"} {
		for _, name := range []string{"s1", "s2", "s3", "s4"} {
			var old []*registry.Service
			for _, s := range before {
				if s.Name == name && s.Metadata["registry"] == reg {
					old = append(old, s)
				}
			}
			switch rapid.SampledFrom([]string{"keep", "keep", "keep", "nodes", "change", "remove"}).Draw(t, "what") {
			case "keep":
				state = append(state, old...)
			case "nodes":
				for _, s := range old {
					c := *s
					c.Nodes = drawNodes(t, reg+name+s.Version)
					state = append(state, &c)
				}
			case "change":
				for v := range rapid.IntRange(1, 2).Draw(t, "versions") {
					state = append(state, drawService(t, reg, name, fmt.Sprint("v", v)))
				}
			}
		}
	}
	return state
}

func drawService(t *rapid.T, reg, name, version string) *registry.Service {
	s := &registry.Service{
		Name: name, Version: version, Nodes: drawNodes(t, reg+name+version),
		Metadata: map[string]string{"registry": reg},
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "endpoints") {
		paths := rapid.SliceOfN(rapid.Custom(drawPattern), 1, 2).Draw(t, "paths")
		s.Endpoints = append(s.Endpoints, &registry.Endpoint{Name: fmt.Sprint("E", i), Metadata: map[string]string{
			"handler": rapid.SampledFrom([]string{"rpc", "rpc", "http"}).Draw(t, "handler"),
			"path":    strings.Join(paths, ","),
			"host":    rapid.SampledFrom([]string{"", "", "*", "a.test", "a.test:80", "*.test", "*.b.test"}).Draw(t, "host"),
			"method":  rapid.SampledFrom([]string{"", "GET", "GET", "POST", "GET,POST", "HEAD", "OPTIONS"}).Draw(t, "method"),
		}})
	}
	return s
}

func drawNodes(t *rapid.T, prefix string) []*registry.Node {
	var nodes []*registry.Node
	for i := range rapid.IntRange(1, 2).Draw(t, "nodes") {
		nodes = append(nodes, &registry.Node{
			ID: fmt.Sprint(prefix, i), Address: fmt.Sprintf("127.0.0.1:%d", rapid.IntRange(1, 3).Draw(t, "port")),
		})
	}
	return nodes
}

func drawPattern(t *rapid.T) string {
	if rapid.IntRange(0, 5).Draw(t, "expression") == 0 {
		return rapid.SampledFrom([]string{"^/a/.*$", "^/a/b/[ab]+$", "^.*b$", "^/(a|b)/b$", "^/a$", "^/a/b$"}).Draw(t, "text")
	}
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a", "", "*", "{x}", "{y}"}), 1, 3).Draw(t, "segments")
	if rapid.IntRange(0, 3).Draw(t, "rest") == 0 {
		segments[len(segments)-1] = rapid.SampledFrom([]string{"**", "{z=**}"}).Draw(t, "rest")
	}
	for i, s := range segments {
		if slices.Contains(segments[:i], s) && strings.HasPrefix(s, "{") {
			segments[i] = "*" // a variable only once
		}
	}
	text := "/" + strings.Join(segments, "/")
	if !strings.HasSuffix(text, "/") {
		text += rapid.SampledFrom([]string{"", "", "", ":v", ":w"}).Draw(t, "verb")
	}
	return text
}

func drawRequest(t *rapid.T) *http.Request {
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a", "b", "", "c", "a%2Fb", "%61", "a%3Av"}), 1, 4).Draw(t, "segments")
	path := "/" + strings.Join(segments, "/") + rapid.SampledFrom([]string{"", "", "", ":v", ":w", ":u", ":"}).Draw(t, "verb")
	r := httptest.NewRequest("GET", "http://x"+path, nil)
	r.Method = rapid.SampledFrom([]string{"GET", "GET", "POST", "HEAD", "PUT", "OPTIONS"}).Draw(t, "method")
	r.Host = rapid.SampledFrom([]string{"other", "a.test", "A.test:80", "a.test:81", "b.test", "x.b.test", "x.test:80"}).Draw(t, "host")
	return r
}
