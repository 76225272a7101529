package router_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

// TestManyExpressions: expressions that cost every request something do not
// hide services, and what there is no room for comes in when there is.
func TestManyExpressions(t *testing.T) {
	var services []*registry.Service
	hostile := func(name string, paths func(i int) string) *registry.Service {
		s := service(name)
		for i := range 256 {
			s.Endpoints = append(s.Endpoints, announced(fmt.Sprintf("name=E%d;path=%s", i, paths(i))))
		}
		return s
	}
	for i := range 20 {
		services = append(services, hostile(fmt.Sprint("bad", i), func(j int) string { return fmt.Sprintf("^/.*x%d-%d$", i, j) }))
	}
	late := service("late", "path=^/.*late$")
	services = append(services, late, protocol("mucp", service("victim", "name=A.B")), service("web", "path=^/web/.*$"))
	table, _ := newTable(&router.Options{Resolver: first}).Next(services)
	for path, want := range map[string]string{"/victim/A.B": "victim", "/web/a": "web", "/x0-0": "bad0", "/a/x10-0": "bad10"} {
		if rt, err := table.Route(get(path)); err != nil || rt.Service != want {
			t.Errorf("Route(%s) = %v, %v, want %s", path, rt, err, want)
		}
	}
	tried := 0
	for _, l := range table.Routes() {
		if strings.HasPrefix(l.Service, "bad") {
			tried++
		}
	}
	if tried < 100 || tried > 300 {
		t.Errorf("%d of 5120 expressions without a literal start are routed, want between 100 and 300", tried)
	}
	if got := reasons(table.Reports(), "bad0"); len(got) != 101 ||
		!strings.Contains(got[1], `of the service start with "/", or with a part of it: start each with literal segments`) {
		t.Errorf("reports of bad0: %d, second %q", len(got), got[1])
	}
	if got := reasons(table.Reports(), "late"); len(got) != 1 || !strings.Contains(got[0], `of other services start with "/": start each with literal segments`) {
		t.Errorf("reports of late: %q, want that there is no room", got)
	}
	if _, err := table.Route(get("/z/late")); !errors.Is(err, goapi.ErrNoRoute) {
		t.Errorf("Route(/z/late) error = %v, want ErrNoRoute", err)
	}
	other := clone(late)
	other.Endpoints[0].Metadata["description"] = "other"
	changed := slices.Clone(services)
	changed[20] = other
	table, reports := table.Next(changed)
	if len(reports) != 0 || len(reasons(table.Reports(), "late")) != 1 {
		t.Errorf("after another announcement, new reports %v, all of late %v", reports, reasons(table.Reports(), "late"))
	}
	table, reports = table.Next(changed[18:])
	if rt, err := table.Route(get("/z/late")); err != nil || rt.Endpoint.Description != "other" || len(reports) != 0 {
		t.Errorf("with room, Route(/z/late) = %v, %v, new reports %v", rt, err, reports)
	}
	if got := reasons(table.Reports(), "late"); len(got) != 0 {
		t.Errorf("with room, late waits: %q", got)
	}
	if table, _ = table.Next(nil); len(table.Routes())+len(table.Reports()) != 0 {
		t.Errorf("without services, Routes = %v, Reports = %v", table.Routes(), table.Reports())
	}
}

// TestExpressionsOfAService: what counts is the expressions that one path is
// matched with, in all versions, and not their number.
func TestExpressionsOfAService(t *testing.T) {
	plain, chain, methods, hosts := service("plain"), service("chain"), service("methods"), service("hosts")
	for i := range 100 {
		plain.Endpoints = append(plain.Endpoints, announced(fmt.Sprintf("name=E%d;path=^/plain/a%d-[0-9]+$", i, i)))
		chain.Endpoints = append(chain.Endpoints, announced(fmt.Sprintf("name=E%d;path=^/%s.*$", i, strings.Repeat("c", 100-i))))
		hosts.Endpoints = append(hosts.Endpoints, announced(fmt.Sprintf("name=E%d;path=^/hosts/.*$;host=h%d.test", i, i)))
	}
	for i := range 1000 {
		methods.Endpoints = append(methods.Endpoints, announced(fmt.Sprintf("name=E%d;path=^/methods/.*$;method=M%d", i, i)))
	}
	second := service("chain", "name=Last;path=^/"+strings.Repeat("c", 100)+"/.*$")
	second.Nodes[0].ID = "chain-2"
	table, reports := newTable(nil).Next([]*registry.Service{plain, chain, second, methods, hosts})
	for name, want := range map[string][2]int{"plain": {100, 100}, "hosts": {100, 100}, "chain": {20, 60}, "methods": {200, 400}} {
		n := 0
		for _, l := range table.Routes() {
			if l.Service == name {
				n += max(len(l.Methods), 1)
			}
		}
		if n < want[0] || n > want[1] {
			t.Errorf("%d patterns of %s are routed, want from %d to %d", n, name, want[0], want[1])
		}
	}
	if !slices.ContainsFunc(reports, func(r router.Report) bool { return r.Service == "chain" && r.Endpoint == "Last" }) {
		t.Errorf("the last expression of chain is not left out")
	}
}

// reasons returns the reasons of the reports about a service.
func reasons(reports []router.Report, service string) []string {
	var list []string
	for _, r := range reports {
		if r.Service == service {
			list = append(list, r.Reason)
		}
	}
	return list
}

// TestHolderGone: when the holder goes, the first in the list of those that
// wait has the route, whatever their names.
func TestHolderGone(t *testing.T) {
	var services []*registry.Service
	for _, name := range []string{"a", "d", "c", "b"} {
		services = append(services, service(name, "path=/x"))
	}
	table, _ := newTable(nil).Next(services)
	for _, want := range []string{"a", "d", "c", "b"} {
		if rt, err := table.Route(get("/x")); err != nil || rt.Service != want {
			t.Errorf("of %d services, %v has /x (%v), want %s", len(services), rt, err, want)
		}
		services = services[1:]
		table, _ = table.Next(services)
	}
}

// TestContestCost: what it takes to decide a slot does not grow with the number
// of services.
func TestContestCost(t *testing.T) {
	services := []*registry.Service{service("a", "path=/x"), service("b", "path=/x"), service("c", "path=/x")}
	for i := range 20_000 {
		services = append(services, &registry.Service{Name: fmt.Sprintf("s%05d", i)})
	}
	table, _ := newTable(nil).Next(services)
	for _, want := range []string{"a", "b"} {
		services = slices.Clone(services)
		if want == "a" {
			services[0] = service("a", "name=Other;path=/x")
		} else {
			services = services[1:]
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		table, _ = table.Next(services)
		runtime.ReadMemStats(&after)
		if rt, err := table.Route(get("/x")); err != nil || rt.Service != want {
			t.Errorf("Route(/x) = %v, %v, want %s", rt, err, want)
		}
		if size := after.TotalAlloc - before.TotalAlloc; size > 200_000 {
			t.Errorf("to decide for %s takes %d bytes", want, size)
		}
	}
}

func TestConflicts(t *testing.T) {
	a := service("a", "name=A;path=/x/{id}")
	b := service("b", "name=B;path=/x/{key}")
	c := service("c", "name=C;path=/x/*", "name=D;path=/c")
	table, reports := newTable(nil).Next([]*registry.Service{b, c})
	if got := endpoint(table.Route(get("/x/1"))); got != "B" {
		t.Fatalf("of b and c, %s has the route, want B", got)
	}
	if len(reports) != 1 || reports[0].Service != "c" || !strings.Contains(reports[0].Reason, "service b has any method /x/{key}") {
		t.Fatalf("reports = %v, want one: c waits for b", reports)
	}
	table, reports = table.Next([]*registry.Service{a, b, c})
	if got := endpoint(table.Route(get("/x/1"))); got != "B" {
		t.Fatalf("when a comes, %s has the route, want B", got)
	}
	if len(reports) != 1 || reports[0].Service != "a" {
		t.Fatalf("reports = %v, want one: a waits", reports)
	}
	b2 := service("b", "name=B2;path=/x/{key}")
	table, _ = table.Next([]*registry.Service{a, b2, c})
	if got := endpoint(table.Route(get("/x/1"))); got != "B2" {
		t.Fatalf("when b announces otherwise, %s has the route, want B2", got)
	}
	if got := len(table.Reports()); got != 2 {
		t.Fatalf("there are %d reports, want 2: %v", got, table.Reports())
	}
	table, reports = table.Next([]*registry.Service{c, a})
	if got := endpoint(table.Route(get("/x/1"))); got != "C" {
		t.Fatalf("when b goes, %s has the route, want C, which is first in the list", got)
	}
	if len(reports) != 1 || reports[0].Service != "a" || !strings.Contains(reports[0].Reason, "service c") {
		t.Fatalf("reports = %v, want one: a waits for c", reports)
	}
	table, _ = table.Next([]*registry.Service{a})
	r := get("/x/1")
	if got := endpoint(table.Route(r)); got != "A" || r.PathValue("id") != "1" {
		t.Fatalf("alone, %s has the route with id %q, want A with 1", got, r.PathValue("id"))
	}
	if got := table.Reports(); len(got) != 0 {
		t.Fatalf("reports = %v, want none", got)
	}
}

// TestConflictIsOfASlot: only what two services both want is in conflict.
func TestConflictIsOfASlot(t *testing.T) {
	table, reports := newTable(nil).Next([]*registry.Service{
		service("a", "name=A;path=/x,/only;method=GET,PUT;host=a.test"),
		service("b", "name=B;path=/x;method=GET,POST;host=a.test,b.test"),
		service("c", "name=C;path=/x"),
	})
	tests := []struct{ method, host, path, want string }{
		{"GET", "a.test", "/x", "A"},
		{"PUT", "a.test", "/x", "A"},
		{"POST", "a.test", "/x", "B"},
		{"GET", "b.test", "/x", "B"},
		{"PATCH", "a.test", "/x", "C"},
		{"GET", "c.test", "/x", "C"},
		{"GET", "a.test", "/only", "A"},
	}
	for _, tt := range tests {
		r := get(tt.path)
		r.Method, r.Host = tt.method, tt.host
		if got := endpoint(table.Route(r)); got != tt.want {
			t.Errorf("Route(%s %s%s) = %s, want %s", tt.method, tt.host, tt.path, got, tt.want)
		}
	}
	if len(reports) != 1 || reports[0].Service != "b" || !strings.HasSuffix(reports[0].Reason, "service a has GET a.test/x already") {
		t.Errorf("reports = %v, want one: b waits for GET a.test/x", reports)
	}
}

// TestEarlierRegistry: lists of several registries one after the other, with
// the same names.
func TestEarlierRegistry(t *testing.T) {
	registered := func(id string, s *registry.Service) *registry.Service {
		s.Nodes[0].ID = id
		return s
	}
	z1 := registered("z1", service("z", "name=Z;path=/z", "name=Same;path=/same"))
	a2 := registered("a2", service("a", "name=A;path=/z"))
	z2 := registered("z2", service("z", "name=Z2;path=/z", "name=Same;path=/same"))
	table, _ := newTable(nil).Next([]*registry.Service{z1, a2, z2})
	check := func(step, name, same string) {
		t.Helper()
		if got := endpoint(table.Route(get("/z"))); got != name {
			t.Errorf("%s: %s has /z, want %s", step, got, name)
		}
		if rt, err := table.Route(get("/same")); err != nil || nodeIDs(rt.Upstream) != same {
			t.Errorf("%s: /same = %v, %v, want the nodes %s", step, rt, err, same)
		}
	}
	check("at first", "Z", "z1 z2")
	z3 := registered("z3", service("z", "name=Z2;path=/z", "name=Same;path=/same"))
	table, _ = table.Next([]*registry.Service{z1, a2, z3})
	check("other nodes in the later one", "Z", "z1 z3")
	table, _ = table.Next([]*registry.Service{a2, z3})
	check("gone from the earlier one", "Z2", "z3")
	table, _ = table.Next([]*registry.Service{z1, a2, z3})
	check("back in the earlier one", "Z2", "z1 z3")
	table, _ = table.Next([]*registry.Service{a2})
	if got := endpoint(table.Route(get("/z"))); got != "A" {
		t.Errorf("gone from both: %s has /z, want A", got)
	}
}

// TestRollingDeploy: nodes that announce other things serve what they announce,
// and nothing else.
func TestRollingDeploy(t *testing.T) {
	old := service("s", "name=Both;path=/both;handler=rpc", "name=Old;path=/old", "name=Moved;path=/moved")
	next := service("s", "name=Both;path=/both;handler=rpc;description=now with words", "name=New;path=/new", "name=Moved2;path=/moved")
	old.Nodes, next.Nodes = nodes("old"), nodes("new")
	table, _ := newTable(nil).Next([]*registry.Service{old})
	both, err := table.Route(get("/both"))
	if err != nil {
		t.Fatal(err)
	}
	table, reports := table.Next([]*registry.Service{next, old})
	for path, want := range map[string]string{"/both": "new old", "/old": "old", "/new": "new", "/moved": "old"} {
		rt, err := table.Route(get(path))
		if err != nil {
			t.Fatalf("Route(%s) error = %v", path, err)
		}
		if got := nodeIDs(rt.Upstream); got != want {
			t.Errorf("Route(%s) has nodes %q, want %q", path, got, want)
		}
	}
	if len(reports) != 1 || reports[0].Endpoint != "Moved2" || !strings.Contains(reports[0].Reason, "endpoint Moved of the same service") {
		t.Errorf("reports = %v, want that Moved2 waits for Moved", reports)
	}
	if rt, err := table.Route(get("/both")); err != nil || rt.Upstream != both.Upstream {
		t.Errorf("a changed description changed the nodes of /both (%v)", err)
	}
	table, _ = table.Next([]*registry.Service{next})
	if rt, err := table.Route(get("/moved")); err != nil || nodeIDs(rt.Upstream) != "new" || rt.Endpoint.Name != "Moved2" {
		t.Errorf("Route(/moved) = %v, %v, want Moved2 on new", rt, err)
	}
	if _, err := table.Route(get("/old")); !errors.Is(err, goapi.ErrNoRoute) {
		t.Errorf("Route(/old) error = %v, want ErrNoRoute", err)
	}
}

// TestOnlyNodes: a table is the same, and its Sets follow the nodes.
func TestOnlyNodes(t *testing.T) {
	s := protocol("mucp", service("s", "path=/a", "name=Call"))
	table, _ := newTable(&router.Options{Resolver: first}).Next([]*registry.Service{s})
	rt, err := table.Route(get("/a"))
	if err != nil {
		t.Fatal(err)
	}
	other := *s
	other.Nodes = nodes("n2", "n3")
	other.Nodes[1].Metadata = s.Nodes[0].Metadata
	other.Endpoints = clone(s).Endpoints // equal, but read again
	same, reports := table.Next([]*registry.Service{&other})
	if same != table || len(reports) != 0 {
		t.Errorf("Next = %p, %v, want the same table %p and no report", same, reports, table)
	}
	if got := nodeIDs(rt.Upstream); got != "n2 n3" {
		t.Errorf("the route has nodes %q, want the new ones", got)
	}
	if got := table.Services(); len(got) != 1 || got[0] != &other {
		t.Errorf("Services = %v, want the new one", got)
	}
	changed := clone(s)
	changed.Endpoints[0].Metadata["description"] = "other"
	next, _ := same.Next([]*registry.Service{changed})
	if next == table {
		t.Error("a changed description is not in the table")
	}
	if was, is := same.Services()[0], next.Services()[0]; was != &other || is != changed {
		t.Errorf("Services = %p before and %p after, want each of its own table: %p, %p", was, is, &other, changed)
	}
	rt2, err := next.Route(get("/a"))
	if err != nil || rt2.Endpoint.Description != "other" || rt2.Upstream != rt.Upstream {
		t.Errorf("Route(/a) = %v, %v, want the new description and the same Set", rt2, err)
	}
	valued := clone(changed)
	valued.Endpoints[0].Request = &registry.Value{Name: "Req", Values: []*registry.Value{{Name: "id", Type: "string"}}}
	withValues, _ := next.Next([]*registry.Service{valued})
	again, _ := withValues.Next([]*registry.Service{clone(valued)})
	if withValues == next || again != withValues {
		t.Errorf("tables %p, with values %p, with equal values %p: want the last two to be the same", next, withValues, again)
	}
	if rt3, err := next.Route(get("/s/Call")); err != nil || rt3.Endpoint.Name != "Call" {
		t.Errorf("Route(/s/Call) = %v, %v, want the method", rt3, err)
	}
}

// TestTablesWhileRouting is for the race detector: a table may be used while
// the next one is made.
func TestTablesWhileRouting(*testing.T) {
	var table atomic.Pointer[router.Table]
	table.Store(newTable(&router.Options{Resolver: first}))
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, path := range []string{"/a", "/b/1", "/s/Call"} {
					_, _ = table.Load().Route(get(path))
				}
				table.Load().Routes()
				table.Load().Reports()
				table.Load().Services()
			}
		})
	}
	for i := range 50 {
		s := protocol("mucp", service("s", "path=/a", fmt.Sprintf("name=E%d;path=/b/{x%d}", i%5, i%3)))
		s.Nodes[0].ID = fmt.Sprint(i % 7)
		next, _ := table.Load().Next([]*registry.Service{s, service("t", "path=/a,/{")})
		table.Store(next)
	}
	close(done)
	wg.Wait()
}

func TestRoutes(t *testing.T) {
	table := static(t, nil,
		service("b", "name=B;path=/b,/c;method=POST,GET;host=*.example.com,example.org", "name=A;path=^/a$;handler=http"),
		service("a", "name=X;path=/x"))
	var got []string
	for _, l := range table.Routes() {
		got = append(got, fmt.Sprintf("%s %s %s %s%s %v %v", l.Service, l.Endpoint, l.Handler, l.Host, l.Path, l.Methods, l.Nodes))
	}
	want := []string{
		"a X rpc /x [] [a-1]",
		"b A http ^/a$ [] [b-1]",
		"b B rpc *.example.com/b [GET POST] [b-1]",
		"b B rpc *.example.com/c [GET POST] [b-1]",
		"b B rpc example.org/b [GET POST] [b-1]",
		"b B rpc example.org/c [GET POST] [b-1]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Routes =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPolicy(t *testing.T) {
	pol := &goapi.Policy{MaxBody: 7}
	table := static(t, &router.Options{Policy: func(s string, e *goapi.Endpoint) *goapi.Policy {
		if s == "s" && e.Name == "A" {
			return pol
		}
		return nil
	}}, service("s", "name=A;path=/a", "name=B;path=/b"))
	a, _ := table.Route(get("/a"))
	b, _ := table.Route(get("/b"))
	if a == nil || b == nil || a.Policy != pol || b.Policy != nil {
		t.Errorf("policies of %v and %v, want %v and none", a, b, pol)
	}
}
