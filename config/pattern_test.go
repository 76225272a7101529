package config_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// guarded says what becomes of a request under one pattern: "guarded" or "open",
// or "refused" for a path that services read in several ways.
func guarded(t testing.TB, p *config.Policies, r *http.Request) string {
	t.Helper()
	w, _ := through(p, route("a", "b", nil), r)
	switch w.Code {
	case http.StatusForbidden:
		return "guarded"
	case http.StatusBadRequest:
		return "refused"
	case http.StatusOK:
		return "open"
	}
	t.Fatalf("status of %s = %d", r.URL, w.Code)
	return ""
}

// guard returns the policies of a file that denies what matches a pattern.
func guard(t testing.TB, match string) *config.Policies {
	t.Helper()
	return policies(t, fmt.Sprintf("patterns: [{match: %q, deny: [0.0.0.0/0, '::/0']}]", match), nil)
}

func TestPatterns(t *testing.T) {
	tests := []struct{ match, target, want string }{
		{"/admin/**", "/admin", "guarded"},
		{"/admin/**", "/admin/", "guarded"},
		{"/admin/**", "/admin/x/y", "guarded"},
		{"/admin/**", "/administrator", "open"},
		{"/admin/**", "/x/admin", "open"},
		{"/admin/**", "/", "open"},
		{"/admin/**", "", "open"},
		{"/admin/**", "/admin?x=/y", "guarded"},
		{"/admin/**", "/Admin/x", "open"}, // as the router reads it
		{"/admin", "/admin", "guarded"},
		{"/admin", "/admin/", "guarded"},
		{"/admin/", "/admin", "guarded"},
		{"/admin", "/admin/x", "open"},
		{"/", "/", "guarded"},
		{"/", "", "guarded"},
		{"/", "/x", "open"},
		{"/**", "/", "guarded"},
		{"/**", "/x/y", "guarded"},
		{"/users/{id}", "/users/5", "guarded"},
		{"/users/{id}", "/users/5:disable", "guarded"},
		{"/users/{id}", "/users/", "open"},
		{"/users/{id}", "/users/5/x", "open"},
		{"/users/*/x", "/users/5/x", "guarded"},
		{"/{x=a/*/c}/{y}", "/a/b/c/d", "guarded"},
		{"/{x=a/**}", "/a/b/c", "guarded"},
		{"/users/{id}:disable", "/users/5:disable", "guarded"},
		{"/users/{id}:disable", "/users/5", "open"},
		{"/users/{id}:disable", "/users/:disable", "open"},
		{"/users:find", "/users:find", "guarded"},
		{"/a/**:v", "/a:v", "guarded"},
		{"/a/**:v", "/a/b/c:v", "guarded"},
		{"/a/**:v", "/a/b", "open"},
		{"/caf\u00e9", "/caf%C3%A9", "guarded"},
		{"/a%20b", "/a%20b", "guarded"},
		{"/a.b", "/a.b", "guarded"},
	}
	for _, tt := range tests {
		if got := guarded(t, guard(t, tt.match), request(t, tt.target)); got != tt.want {
			t.Errorf("pattern %q, path %q: %s, want %s", tt.match, tt.target, got, tt.want)
		}
	}
}

// TestAttacks: what a service may take for a path that is guarded is not open.
func TestAttacks(t *testing.T) {
	p := guard(t, "/admin/**")
	for _, target := range []string{
		"/admin", "/admin/", "/admin//", "/admin/x", "//admin", "//admin/x", "///admin", "/admin//x",
		"/%61dmin", "/%61%64%6d%69%6e/x", "/a%64min%2Fx", "/admin%2Fx", "/admin%2fx", "/%2Fadmin", "/%2fadmin/x", "/x%2F..%2Fadmin",
		"/x/../admin", "/x/%2e%2e/admin", "/./admin", "/%2e/admin", "/x/..%2Fadmin", "/..;/admin", "/x/..;/admin", "/x/..;a=b/admin", "/.;/admin",
		"/admin;x", "/admin;x=y/z", "/admin%3Bx", "/;/admin", "/;x/admin", "/%3B/admin",
		`/\admin`, `/%5Cadmin`, `/admin%5Cx`, `/admin\x`, "/x%5C..%5Cadmin", `/x\..\admin`,
		"/admin/..", "/admin/../admin", "/admin/%2e%2e/admin",
	} {
		r := &http.Request{Method: http.MethodGet, Header: http.Header{}, RemoteAddr: "198.51.100.7:1", Host: "gateway"}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		r.URL = u
		if got := guarded(t, p, r.WithContext(t.Context())); got == "open" {
			t.Errorf("%q is open", target)
		}
	}
}

// TestNoLoosening: what is open does not open what is guarded around it.
func TestNoLoosening(t *testing.T) {
	p := policies(t, `patterns:
  - {match: "/admin/**", deny: [0.0.0.0/0]}
  - {match: "/admin/public/{name}", deny: []}
`, nil)
	tests := []struct{ target, want string }{
		{"/admin/public/x", "open"},
		{"/admin/public/x/", "open"},
		{"/admin/public/x/y", "guarded"},
		{"/admin/public%2Fx", "refused"},
		{"/admin/public/x%2Fy", "refused"},
		{"/admin//public/x", "refused"},
		{"/admin/public/x;y", "open"},
		{"/admin/public/x;/y", "guarded"},
		{"/admin/public/..%2Fx", "refused"},
		{`/admin/public/x%5Cy`, "refused"},
		{"/admin/public/x%20y", "open"},
	}
	for _, tt := range tests {
		if got := guarded(t, p, request(t, tt.target)); got != tt.want {
			t.Errorf("%q is %s, want %s", tt.target, got, tt.want)
		}
	}
}

func TestHosts(t *testing.T) {
	tests := []struct{ match, host, want string }{
		{"api.example.com/**", "api.example.com", "guarded"},
		{"api.example.com/**", "API.Example.com", "guarded"},
		{"API.example.com/**", "api.example.com", "guarded"},
		{"api.example.com/**", "api.example.com.", "guarded"},
		{"api.example.com/**", "api.example.com:8443", "guarded"},
		{"api.example.com/**", "API.example.com.:8443", "guarded"},
		{"api.example.com/**", "x.api.example.com", "open"},
		{"api.example.com/**", "", "open"},
		{"api.example.com:8443/**", "api.example.com:8443", "guarded"},
		{"api.example.com:8443/**", "api.example.com:8444", "open"},
		{"api.example.com:8443/**", "api.example.com", "open"},
		{"*.example.com/**", "api.example.com", "guarded"},
		{"*.example.com/**", "a.b.example.com:1", "guarded"},
		{"*.example.com/**", "example.com", "open"},
		{"*.example.com/**", ".example.com", "open"},
		{"*.example.com:1/**", "a.example.com:1", "guarded"},
		{"*.example.com:1/**", "a.example.com:2", "open"},
		{"[::1]/**", "[::1]:80", "guarded"},
		{"[::1]:80/**", "[::1]", "open"},
		{"*/**", "anything", "guarded"},
	}
	for _, tt := range tests {
		r := request(t, "/x")
		r.Host = tt.host
		if got := guarded(t, guard(t, tt.match), r); got != tt.want {
			t.Errorf("pattern %q, host %q: %s, want %s", tt.match, tt.host, got, tt.want)
		}
	}
}

// TestPatternOrder: of patterns that match, the more specific wins, wherever it
// stands in the file.
func TestPatternOrder(t *testing.T) {
	// Each matches api.example.com:8443/a/b:v, and is more specific than the one before.
	ordered := []string{
		"/**", "/*/**", "/*/*", "/a/**", "/a/b:v/**", "*.com/**", "*.example.com/**", "*.example.com:8443/**", "api.example.com/**", "api.example.com/a/b:v", "api.example.com:8443/**",
	}
	ordered[4] = "/a/{x}/**"
	for i := range ordered {
		for j := range ordered {
			if i == j {
				continue
			}
			p := policies(t, fmt.Sprintf("patterns: [{match: %q, timeout: %dms}, {match: %q, timeout: %dms}]", ordered[i], i+1, ordered[j], j+1), nil)
			r := request(t, "/a/b:v")
			r.Host = "api.example.com:8443"
			_, seen := through(p, route("a", "b", nil), r)
			if seen == nil || seen.Policy == nil {
				t.Errorf("%s and %s: neither matches", ordered[i], ordered[j])
				continue
			}
			if got := seen.Policy.Timeout.Milliseconds(); got != int64(max(i, j)+1) {
				t.Errorf("%s and %s: the first of the order is %d, want %s", ordered[i], ordered[j], got, ordered[max(i, j)])
			}
		}
	}
}

// FuzzPattern holds patterns against the router: a request that the router gives a
// route for a template matches a pattern of the same text, and the other way
// round, unless it is refused.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"/admin/**", "/admin/x"}, {"/a/{id}", "/a/b%2Fc"}, {"/a/{id}:v", "/a/b:v"}, {"/{x=a/*}/c", "/a/b/c"}, {"/a/**:v", "/a:v"},
		{"/caf\u00e9", "/caf%C3%A9"}, {"/a", "/a;b"}, {"/a/*", "//a"}, {"/*", "/%2e"}, {"/**", `/\`}, {"h.example/a", "/a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, match, target string) {
		file, err := config.Parse("goapi.yaml", []byte(fmt.Sprintf("patterns: [{match: %q, deny: [0.0.0.0/0]}]", strings.ReplaceAll(match, "$", "$$"))), noEnv)
		if err != nil || len(match) > 1 && strings.HasSuffix(match, "/") || strings.Contains(match, ",") {
			return // no pattern; or one that means more to the router, or less
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || len(u.Path) > 1 && strings.HasSuffix(u.EscapedPath(), "/") || strings.Contains(strings.ToLower(target), "%3a") {
			return // a slash at the end says nothing, and an escaped colon may stand before a verb
		}
		p, err := config.New(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := (&http.Request{Method: http.MethodGet, URL: u, Host: "h.example", Header: http.Header{}, RemoteAddr: "198.51.100.7:1"}).WithContext(t.Context())
		host, path := "", match
		if i := strings.IndexByte(match, '/'); i > 0 {
			host, path = match[:i], match[i:]
		}
		table := tableOf(host, path)
		_, err = table.Route(r)
		switch got := guarded(t, p, r); {
		case got == "refused":
		case got == "guarded" && err != nil:
			t.Fatalf("pattern %q matches %q, and the router says: %v", match, target, err)
		case got == "open" && err == nil:
			t.Fatalf("pattern %q does not match %q, and the router has a route", match, target)
		}
	})
}

// tableOf returns a table with one route.
func tableOf(host, path string) *router.Table {
	md := map[string]string{"handler": "http", "path": path}
	if host != "" {
		md["host"] = host
	}
	table, _ := router.NewTable(upstream.NewPools(nil), nil).Next([]*registry.Service{{
		Name: "a", Nodes: []*registry.Node{{ID: "a-1", Address: "127.0.0.1:1"}},
		Endpoints: []*registry.Endpoint{{Name: "b", Metadata: md}},
	}})
	return table
}

// TestManyVariants: requests that match very many sets of patterns are served, and
// each under its own.
func TestManyVariants(t *testing.T) {
	var b strings.Builder
	b.WriteString("patterns:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  - {match: \"%sx/**\", headers: {response: {set: {X-%d: \"1\"}}}, max_body: %d}\n", "/"+strings.Repeat("*/", i), i, i+1)
	}
	p := policies(t, b.String(), nil)
	rt := route("a", "b", nil)
	h := p.Wrap(rt, http.NotFoundHandler())
	for n := range 1 << 10 {
		path, last := "", -1
		for i := range 10 {
			if n&(1<<i) != 0 {
				path, last = path+"/x", i
			} else {
				path += "/y"
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(t, path))
		set := 0
		for name := range w.Header() {
			if strings.HasPrefix(name, "X-") && name != "X-Content-Type-Options" {
				set++
			}
		}
		if want := min(last+1, 1); set != want {
			t.Fatalf("%s: %d patterns set their header, want %d", path, set, want)
		}
		if last >= 0 && w.Header().Get(fmt.Sprintf("X-%d", first(n))) == "" {
			t.Fatalf("%s: headers %v, want that of the most specific pattern", path, w.Header())
		}
	}
}

// first returns the lowest bit: of the patterns, the one whose literal comes first
// is the most specific.
func first(n int) int {
	i := 0
	for n&1 == 0 {
		n >>= 1
		i++
	}
	return i
}
