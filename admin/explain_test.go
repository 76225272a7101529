package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func TestExplainAndExposed(t *testing.T) {
	reg, pools := new(registry.Memory), upstream.NewPools(nil)
	live := router.NewLive(reg, pools, &router.Options{Resolver: resolver.Micro, Handlers: []string{"rpc", "http", "event"}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = live.Run(ctx) // ends with ctx
	}()
	defer func() { stop(); <-done }()
	err := reg.Register(ctx, &registry.Service{
		Name: "greeter", Version: "1",
		Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9", Metadata: map[string]string{"protocol": "mucp"}}},
		Endpoints: []*registry.Endpoint{
			{Name: "Greeter.Hello", Metadata: map[string]string{"handler": "rpc", "path": "/hello/{name}", "method": "GET", "host": "api.example.com"}},
			{Name: "Greeter.Bye"},
		},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = reg.Register(ctx, &registry.Service{
		Name: "web", Version: "1",
		Nodes: []*registry.Node{
			{ID: "n1", Address: "127.0.0.1:1", Metadata: map[string]string{"protocol": "http"}},
			{ID: "n2", Address: "127.0.0.1:2", Metadata: map[string]string{"protocol": "http", "canary": "true"}},
			{ID: "n3", Address: "127.0.0.1:3", Metadata: map[string]string{"protocol": "http", "match": "X-Tenant:blue"}},
		},
		Endpoints: []*registry.Endpoint{{Name: "Web", Metadata: map[string]string{"handler": "http", "path": "/web"}}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = reg.Register(ctx, &registry.Service{
		Name: "next", Version: "1",
		Nodes: []*registry.Node{{ID: "next-1", Address: "127.0.0.1:4", Metadata: map[string]string{"protocol": "http", "canary": "true"}}},
		Endpoints: []*registry.Endpoint{
			{Name: "Next", Metadata: map[string]string{"handler": "http", "path": "/next"}},
			{Name: "Said", Metadata: map[string]string{"handler": "event", "path": "/said", "topic": "said"}},
		},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := live.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for {
		services, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(services) > 2 {
			break
		}
	}
	mounts := []admin.Mount{{Path: "/events", Handler: "event"}, {Path: "/events/cloud", Handler: "cloudevents"}}
	srv := httptest.NewServer(admin.New(live, pools, &admin.Options{Mounts: mounts, Resolver: "micro"}))
	defer srv.Close()
	c := admin.NewClient(srv.URL, "")
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	tests := []struct {
		method, url string
		headers     []string
		want        func(e *admin.Explanation) bool
	}{
		{"GET", "https://api.example.com/hello/j%20d", nil, func(e *admin.Explanation) bool {
			return e.Status == 200 && e.Endpoint == "Greeter.Hello" && e.Variables["name"] == "j d" && len(e.Nodes) == 1 && e.Nodes[0].State == "up" &&
				len(e.Candidates) == 1 && e.Candidates[0].Won
		}},
		{"GET", "/hello/john", []string{"Host: api.example.com"}, func(e *admin.Explanation) bool { return e.Status == 200 && e.Path == "/hello/{name}" }},
		{"GET", "/hello/john", nil, func(e *admin.Explanation) bool {
			return e.Status == 404 && len(e.Candidates) == 1 && strings.Contains(e.Candidates[0].Reason, "api.example.com")
		}},
		{"PUT", "https://api.example.com/hello/john", nil, func(e *admin.Explanation) bool { return e.Status == 405 && len(e.Candidates) == 1 }},
		{"POST", "/greeter/bye", nil, func(e *admin.Explanation) bool {
			return e.Status == 200 && e.Endpoint == "Greeter.Bye" && e.Path == "" && len(e.Targets) > 0 && e.Targets[0].Won
		}},
		{"GET", "/events/a/b", nil, func(e *admin.Explanation) bool { return e.Mount != nil && e.Mount.Handler == "event" }},
		{"GET", "/events/cloud/x", nil, func(e *admin.Explanation) bool { return e.Mount != nil && e.Mount.Handler == "cloudevents" }},
		{"GET", "/events/clouds", nil, func(e *admin.Explanation) bool { return e.Mount != nil && e.Mount.Handler == "event" }},
		{"GET", "/eventsx", nil, func(e *admin.Explanation) bool { return e.Mount == nil && e.Status == 404 }},
		{"GET", "/web", nil, func(e *admin.Explanation) bool {
			return purposes(e) == "n1 all 100, n2 canary 0, n3 match X-Tenant:blue 0"
		}},
		{"GET", "/web", []string{"x-canary: true"}, func(e *admin.Explanation) bool {
			return purposes(e) == "n1 all 0, n2 canary 100, n3 match X-Tenant:blue 0" && e.Nodes[0].Spare
		}},
		{"GET", "/web", []string{"X-Tenant: blue"}, func(e *admin.Explanation) bool {
			return purposes(e) == "n1 all 0, n2 canary 0, n3 match X-Tenant:blue 100"
		}},
		{"GET", "/next", nil, func(e *admin.Explanation) bool {
			return e.Status == 503 && strings.Contains(e.Error, "next has no node") && e.Service == "next" && purposes(e) == "next-1 canary 0"
		}},
		{"GET", "/next", []string{"X-Canary: true"}, func(e *admin.Explanation) bool { return e.Status == 200 && e.Error == "" }},
		{"GET", "/said", nil, func(e *admin.Explanation) bool { return e.Status == 200 && e.Handler == "event" }},
		{"GET", "/events/%2e%2e/x", nil, func(e *admin.Explanation) bool { return e.Status == 400 && e.Mount == nil && e.Error != "" }},
		{"GET", "/a/../b", nil, func(e *admin.Explanation) bool { return e.Status == 400 && e.Error != "" }},
	}
	for _, tt := range tests {
		if e, err := c.Explain(ctx, tt.method, tt.url, tt.headers); err != nil || !tt.want(e) {
			t.Errorf("Explain(%s %s %v) = %+v, %v", tt.method, tt.url, tt.headers, e, err)
		}
	}
	for _, bad := range []struct {
		method, url, header string
	}{{"G T", "/a", "A: b"}, {"GET", "a b", "A: b"}, {"GET", "", "A: b"}, {"GET", "/a", "nonsense"}, {"GET", "/a", "a b: c"}} {
		if e, err := c.Explain(ctx, bad.method, bad.url, []string{bad.header}); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("Explain(%v) = %+v, %v; want an error that says what is wanted", bad, e, err)
		}
	}

	e, err := c.Exposed(ctx)
	if err != nil || len(e.Mounts) != 2 || e.Mounts[0].Path != "/events/cloud" || mounts[0].Path != "/events" || len(e.Routes) != 4 || e.Resolver != "micro" || len(e.Resolved) != 3 ||
		strings.Join(e.Resolved[0].Methods, " ") != "Greeter.Bye Greeter.Hello" || e.Resolved[0].Any {
		t.Errorf("Exposed = %+v, %v; want the mounts, the longest path first, four routes and two methods", e, err)
	}
}

func TestMountHolds(t *testing.T) {
	m := admin.Mount{Path: "/a/b", Handler: "event"}
	for path, want := range map[string]bool{
		"/a/b": true, "/a/b/": true, "/a/b/c/d": true, "/a/b/x%2Fy": true,
		"": false, "/": false, "/a": false, "/a/": false, "/a/bc": false, "/x/a/b": false, "a/b": false, "/A/b": false,
		"/%61/b": false, "/x/../a/b": false, // a path is what was received
	} {
		if got := m.Holds(path); got != want {
			t.Errorf("Holds(%s) = %t, want %t", path, got, want)
		}
	}
}

// purposes returns which requests the nodes of an explanation are for, and how
// many of them they get.
func purposes(e *admin.Explanation) string {
	list := make([]string, len(e.Nodes))
	for i, n := range e.Nodes {
		list[i] = fmt.Sprintf("%s %s %v", n.ID, n.For, n.Percent)
	}
	return strings.Join(list, ", ")
}

// TestExplainDeparted asks for what a service had that has withdrawn.
func TestExplainDeparted(t *testing.T) {
	reg := new(registry.Memory)
	live := router.NewLive(reg, upstream.NewPools(nil), nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = live.Run(ctx) // ends with ctx
	}()
	defer func() { stop(); <-done }()
	w, err := live.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until := func(n int) {
		t.Helper()
		for {
			services, err := w.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(services) == n {
				return
			}
		}
	}
	s := &registry.Service{
		Name: "web", Nodes: []*registry.Node{{ID: "n1", Address: "127.0.0.1:1"}},
		Endpoints: []*registry.Endpoint{{Name: "Web", Metadata: map[string]string{"handler": "http", "path": "/web"}}},
	}
	if err := reg.Register(ctx, s, 0); err != nil {
		t.Fatal(err)
	}
	until(1)
	if err := reg.Deregister(ctx, s); err != nil {
		t.Fatal(err)
	}
	until(0)
	for path, want := range map[string]int{"/web": http.StatusServiceUnavailable, "/other": http.StatusNotFound} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/explain?url="+path, nil)
		r.Host = "localhost"
		admin.New(live, upstream.NewPools(nil), nil).ServeHTTP(rec, r)
		var got admin.Explanation
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || got.Status != want {
			t.Errorf("explain of %s = %s, want %d", path, rec.Body, want)
		}
	}
}
