package config_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/upstream"
)

// layered is a file in which each layer has a key of its own, and shares one with
// each layer below it.
const layered = `policy: {timeout: 1s, max_body: 1KiB, max_per_node: 1, hash_by: "header:A", health_check: tcp, max_in_flight: 1}
patterns:
  - match: /a/b/**
    timeout: 3s
    retries: {tries: 3}
  - match: /a/**
    timeout: 2s
    max_body: 2KiB
    retries: {tries: 2, try_timeout: 500ms}
services:
  greeter:
    timeout: 4s
    max_per_node: none
    health_check: none
    endpoints:
      Greeter.Hello: {timeout: 5s, hash_by: none}
metadata: [timeout]
`

// route returns a route of the endpoint that names it.
func route(service, endpoint string, metadata map[string]string) *goapi.Route {
	return &goapi.Route{Service: service, Pattern: "/**", Endpoint: &goapi.Endpoint{Name: endpoint, Handler: "http", Metadata: metadata}}
}

// policies returns those of a text that is right.
func policies(t testing.TB, text string, plugins *config.Plugins) *config.Policies {
	t.Helper()
	p, err := config.New(parse(t, text), plugins)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// through sends a request through the ring of a route, and returns the answer, and
// the route that the handler saw.
func through(p *config.Policies, rt *goapi.Route, r *http.Request) (*httptest.ResponseRecorder, *goapi.Route) {
	var seen *goapi.Route
	h := p.Wrap(rt, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = goapi.RouteFrom(r.Context()) }))
	w := httptest.NewRecorder()
	goapi.With(rt, h).ServeHTTP(w, r)
	return w, seen
}

// request returns a request whose path is as it was received.
func request(t testing.TB, target string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gateway"+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "198.51.100.7:1234"
	return r
}

func TestLayers(t *testing.T) {
	over := []config.Layer{
		{Policy: config.Policy{Timeout: duration(10 * time.Second)}, From: "--timeout"},
		{Service: "flagged", Policy: config.Policy{Timeout: duration(11 * time.Second)}, From: "--timeout"},
		{Service: "flagged", Endpoint: "A.B", Policy: config.Policy{Timeout: duration(12 * time.Second)}, From: "--timeout"},
	}
	tests := []struct {
		name, service, endpoint, path string
		metadata                      map[string]string
		over                          []config.Layer
		want                          string
	}{
		{"all", "x", "X.Y", "/", nil, nil, "1s 1024 tries=0 try=1s node=1 hash=header:A"},
		{"pattern", "x", "X.Y", "/a", nil, nil, "2s 2048 tries=2 try=500ms node=1 hash=header:A"},
		{"more specific pattern", "x", "X.Y", "/a/b/c", nil, nil, "3s 2048 tries=3 try=3s node=1 hash=header:A"},
		{"service", "greeter", "X.Y", "/", nil, nil, "4s 1024 tries=0 try=4s node=none hash=header:A"},
		{"service over pattern", "greeter", "X.Y", "/a", nil, nil, "4s 2048 tries=2 try=500ms node=none hash=header:A"},
		{"endpoint", "greeter", "Greeter.Hello", "/a/b", nil, nil, "5s 2048 tries=3 try=5s node=none hash=none"},
		{"endpoint of another service", "x", "Greeter.Hello", "/", nil, nil, "1s 1024 tries=0 try=1s node=1 hash=header:A"},
		{"metadata", "greeter", "Greeter.Hello", "/", map[string]string{"timeout": "6s"}, nil, "6s 1024 tries=0 try=6s node=none hash=none"},
		{"metadata that is not allowed", "greeter", "Greeter.Hello", "/", map[string]string{"max_body": "5"}, nil, "5s 1024 tries=0 try=5s node=none hash=none"},
		{"metadata that is wrong", "greeter", "Greeter.Hello", "/", map[string]string{"timeout": "soon"}, nil, "5s 1024 tries=0 try=5s node=none hash=none"},
		{"flag", "greeter", "Greeter.Hello", "/a", map[string]string{"timeout": "6s"}, over, "10s 2048 tries=2 try=500ms node=none hash=none"},
		{"flag for a service", "flagged", "X.Y", "/a/b", nil, over, "11s 2048 tries=3 try=11s node=1 hash=header:A"},
		{"flag for an endpoint", "flagged", "A.B", "/", nil, over, "12s 1024 tries=0 try=12s node=1 hash=header:A"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := policies(t, layered, &config.Plugins{Over: tt.over})
			_, seen := through(p, route(tt.service, tt.endpoint, tt.metadata), request(t, tt.path))
			if seen == nil || seen.Policy == nil {
				t.Fatalf("the handler saw the route %v, want one with a policy", seen)
			}
			if got := summary(seen.Policy); got != tt.want {
				t.Errorf("policy = %s, want %s", got, tt.want)
			}
			if seen.Service != tt.service || seen.Endpoint.Name != tt.endpoint || seen.Pattern != "/**" {
				t.Errorf("route = %+v, want the same but for the policy", seen)
			}
		})
	}
}

func duration(d time.Duration) *config.Duration {
	c := config.Duration(d)
	return &c
}

// summary returns a policy in one line.
func summary(p *goapi.Policy) string {
	node := fmt.Sprint(p.Upstream.MaxPerNode)
	if p.Upstream.MaxPerNode > 1<<30 {
		node = "none"
	}
	return fmt.Sprintf("%v %d tries=%d try=%v node=%s hash=%s", p.Timeout, p.MaxBody, p.Upstream.Tries, p.Upstream.TryTimeout, node, p.Upstream.HashBy)
}

func TestExplain(t *testing.T) {
	p := policies(t, layered, &config.Plugins{Over: []config.Layer{{Policy: config.Policy{MaxBody: new(config.Size(7))}, From: "--max-body"}}})
	tests := []struct {
		name string
		path string // "" is no request
		md   map[string]string
		want string
	}{
		{"no request", "", nil, `timeout 5s services.greeter.endpoints.Greeter.Hello (goapi.yaml:16)
max_body 7 --max-body
max_in_flight 1 policy (goapi.yaml:1)
max_per_node none services.greeter (goapi.yaml:12)
hash_by none services.greeter.endpoints.Greeter.Hello (goapi.yaml:16)
health_check none services.greeter (goapi.yaml:12)
`},
		{"patterns and metadata", "/a/b", map[string]string{"timeout": "6s", "scopes": "a b"}, `timeout 6s metadata of greeter/Greeter.Hello
max_body 7 --max-body
retries {tries: 3} patterns[0] (goapi.yaml:3)
max_in_flight 1 policy (goapi.yaml:1)
max_per_node none services.greeter (goapi.yaml:12)
hash_by none services.greeter.endpoints.Greeter.Hello (goapi.yaml:16)
health_check none services.greeter (goapi.yaml:12)
scopes a b metadata of greeter/Greeter.Hello
`},
		{"scopes that name none", "/b", map[string]string{"timeout": "6s", "scopes": " ,"}, `timeout 6s metadata of greeter/Greeter.Hello
max_body 7 --max-body
max_in_flight 1 policy (goapi.yaml:1)
max_per_node none services.greeter (goapi.yaml:12)
hash_by none services.greeter.endpoints.Greeter.Hello (goapi.yaml:16)
health_check none services.greeter (goapi.yaml:12)
scopes it names none, so that nobody may pass metadata of greeter/Greeter.Hello
`},
		{"a path that is refused", "/;x/a", nil, "patterns refused the path\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r *http.Request
			if tt.path != "" {
				r = request(t, tt.path)
			}
			var got strings.Builder
			for _, a := range p.Explain(route("greeter", "Greeter.Hello", tt.md), r) {
				if a.Policy == "patterns" {
					a.Value = "refused"
				}
				fmt.Fprintln(&got, a.Policy, a.Value, a.From)
			}
			if got.String() != tt.want {
				t.Errorf("Explain:\n%swant:\n%s", got.String(), tt.want)
			}
		})
	}
}

// TestExplainHidesSecrets: what headers are set to is shown to nobody.
func TestExplainHidesSecrets(t *testing.T) {
	p := policies(t, "policy: {headers: {request: {set: {Authorization: Bearer hunter2}}}}", nil)
	for _, a := range p.Explain(route("a", "b", nil), nil) {
		if strings.Contains(fmt.Sprint(a), "hunter2") || !strings.Contains(a.Value, "Authorization") {
			t.Errorf("Explain = %v, want the name of the header without its value", a)
		}
	}
}

func TestUpstream(t *testing.T) {
	p := policies(t, layered+"routes: [{match: /x, to: 'a:1', timeout: 9s, health_check: 'http:/up', max_in_flight: auto}]\n", nil)
	tests := []struct {
		service, health string
		want            upstream.Policy
	}{
		{"x", "tcp", upstream.Policy{Timeout: time.Second, TryTimeout: time.Second, MaxPerNode: 1, MaxInFlight: 1, HashBy: "header:A"}},
		{"greeter", "", upstream.Policy{Timeout: 4 * time.Second, TryTimeout: 4 * time.Second, MaxPerNode: 1<<31 - 1, MaxInFlight: 1, HashBy: "header:A"}},
		{"static/x", "http:/up", upstream.Policy{Timeout: 9 * time.Second, TryTimeout: 9 * time.Second, MaxPerNode: 1, Adaptive: true, HashBy: "header:A"}},
	}
	for _, tt := range tests {
		if got := *p.Upstream(tt.service); got != tt.want {
			t.Errorf("Upstream(%s) = %+v, want %+v", tt.service, got, tt.want)
		}
		if got := p.HealthCheck(tt.service); got != tt.health {
			t.Errorf("HealthCheck(%s) = %q, want %q", tt.service, got, tt.health)
		}
	}
	empty := policies(t, "", nil)
	if got := *empty.Upstream("x"); got != (upstream.Policy{}) || empty.HealthCheck("x") != "" {
		t.Errorf("Upstream of an empty file = %+v, want all defaults", got)
	}
}

// TestNothingToDo: the handler of a route that no policy is for is left alone.
func TestNothingToDo(t *testing.T) {
	for _, p := range []*config.Policies{policies(t, "", nil), policies(t, "services: {other: {timeout: 1s}}", nil), zero(t)} {
		h := http.NotFoundHandler()
		if got := p.Wrap(route("a", "b", nil), h); fmt.Sprintf("%p", got) != fmt.Sprintf("%p", h) {
			t.Errorf("Wrap = %T, want the handler itself", got)
		}
	}
}

// zero returns the policies of a File that nobody has read.
func zero(t testing.TB) *config.Policies {
	t.Helper()
	p, err := config.New(new(config.File), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLikeRoutes: a service that announces no endpoint is called by names, on
// routes that share one ring; the policy of an endpoint holds nevertheless.
func TestLikeRoutes(t *testing.T) {
	p := policies(t, "policy: {timeout: 1s}\nservices: {a: {endpoints: {A.Admin: {timeout: 2s, deny: [198.51.100.0/24]}}}}", nil)
	base := route("a", "", nil)
	var seen *goapi.Route
	h := p.Wrap(base, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = goapi.RouteFrom(r.Context()) }))
	tests := []struct {
		endpoint string
		status   int
		timeout  time.Duration
	}{
		{"A.Hello", 200, time.Second},
		{"A.Admin", 403, 0},
		{"A.Hello", 200, time.Second},
	}
	for _, tt := range tests {
		seen = nil
		w := httptest.NewRecorder()
		goapi.With(base.Like(&goapi.Endpoint{Name: tt.endpoint}), h).ServeHTTP(w, request(t, "/a/x"))
		if w.Code != tt.status {
			t.Errorf("%s: status = %d, want %d", tt.endpoint, w.Code, tt.status)
		}
		if seen != nil && (seen.Endpoint.Name != tt.endpoint || seen.Policy.Timeout != tt.timeout) {
			t.Errorf("%s: the handler saw %s with %v, want its own name and %v", tt.endpoint, seen.Endpoint.Name, seen.Policy.Timeout, tt.timeout)
		}
	}
	if base.Policy != nil {
		t.Error("Wrap changed the route")
	}
}

// TestReload: the rings of another file hold for routes that one was laid on
// before, also where the file says nothing any more.
func TestReload(t *testing.T) {
	rt := route("a", "b", nil)
	_, rt = through(policies(t, "policy: {timeout: 1s, max_in_flight: 5}", nil), rt, request(t, "/"))
	_, seen := through(policies(t, "policy: {max_body: 5}", nil), rt, request(t, "/"))
	if seen.Policy.Timeout != 0 || seen.Policy.MaxBody != 5 || seen.Policy.Upstream != (upstream.Policy{}) {
		t.Errorf("policy = %+v, want that of the second file alone", seen.Policy)
	}
	_, seen = through(policies(t, "", nil), seen, request(t, "/"))
	if seen.Policy != nil {
		t.Errorf("policy = %+v, want none", seen.Policy)
	}
}

func TestWithoutExchange(t *testing.T) {
	p := policies(t, "policy: {timeout: 1s, deny: [198.51.100.0/24]}", nil)
	w := httptest.NewRecorder()
	p.Wrap(route("a", "b", nil), http.NotFoundHandler()).ServeHTTP(w, request(t, "/"))
	if w.Code != http.StatusForbidden {
		t.Errorf("status = %d, want 403", w.Code)
	}
}

// TestHashByHost: the host is in no header that nodes are found by, so that it is
// refused and not silently without effect.
func TestHashByHost(t *testing.T) {
	for _, text := range []string{
		"\npolicy: {hash_by: 'header:Host'}",
		"\nservices: {a: {endpoints: {b: {hash_by: 'header:host'}}}}",
	} {
		_, err := config.New(parse(t, text), nil)
		if err == nil || !strings.Contains(err.Error(), ":2:") || !strings.Contains(err.Error(), "hash_by: nodes are not found by the host") {
			t.Errorf("New(%q) error = %v, want one on line 2", text, err)
		}
	}
	policies(t, "policy: {hash_by: 'header:X-Host'}", nil)
}

// TestMetadata: what a service announces is read like the file, and what is wrong
// is left out.
func TestMetadata(t *testing.T) {
	var log strings.Builder
	p := policies(t, "metadata: [timeout, max_body, retries, rate_limit, cors, headers, max_in_flight]\npolicy: {max_body: 9}",
		&config.Plugins{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	tests := []struct {
		name, key, value, want string // want is part of the log; "" for nothing
	}{
		{"time", "timeout", "5s", ""},
		{"flow", "retries", "{tries: 2}", ""},
		{"JSON", "rate_limit", `[{"requests": 1, "per": "1h"}]`, ""},
		{"block", "cors", "origins:\n  - https://a.example.com\n", ""},
		{"empty", "timeout", "", ""},
		{"nothing", "timeout", "# x", "it has no value"},
		{"unknown key", "retries", "{times: 2}", "unknown key"},
		{"no time", "timeout", "5", "want a time with its unit"},
		{"variable", "timeout", "${HOME}", "environment variable HOME is not set"},
		{"alias", "timeout", "*x", "no anchor"},
		{"shared", "rate_limit", "[{requests: 1, shared: true}]", "only the operator shares limits"},
		{"impossible", "cors", "{origins: ['*'], credentials: true}", "does not go with credentials"},
		{"large", "timeout", strings.Repeat(" ", 5000) + "5s", "more than 4KiB"},
		{"no YAML", "timeout", "[", "it is no YAML"},
		{"long", "headers", "{request: {remove: [" + strings.Repeat("a, ", 1300) + "]}}", "too many values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log.Reset()
			list := p.Explain(route("s", "e", map[string]string{tt.key: tt.value}), nil)
			found := false
			for _, a := range list {
				found = found || a.Policy == tt.key && a.From == "metadata of s/e"
			}
			if tt.want == "" && log.Len() > 0 || !strings.Contains(log.String(), tt.want) {
				t.Errorf("log = %q, want %q", log.String(), tt.want)
			}
			if ok := tt.want == "" && tt.value != ""; found != ok {
				t.Errorf("Explain = %v, want the key of the service: %t", list, ok)
			}
		})
	}
}
