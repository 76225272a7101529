package router_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
)

func TestOrder(t *testing.T) {
	tests := []struct {
		name, request string
		paths         []string // the first one is to win
	}{
		{"literal before variable", "/a/b", []string{"/a/b", "/a/{x}", "/*/b"}},
		{"literal in front before one at the end", "/a/b", []string{"/a/{x}", "/{x}/b"}},
		{"variable before rest", "/a/b", []string{"/a/{x}", "/a/**"}},
		{"rest before expression", "/a/b", []string{"/a/**", "^/a/.*$"}},
		{"expression with a literal segment before a variable", "/a/b", []string{"^/a/.*$", "/{x}/{y}"}},
		{"expression without one after a variable", "/a/b", []string{"/{x}/{y}", "^/a.*$"}},
		{"longer literal start of expressions", "/a/bcd", []string{"^/a/bc.*$", "^/a/b.*$", "^/a/.*$", "^.*$"}},
		{"end before an empty rest", "/a", []string{"/a", "/a/**"}},
		{"empty rest before a variable", "/a", []string{"/a/**", "/{x}"}},
		{"verb before none", "/a/b:v", []string{"/a/{x}:v", "/a/{x}"}},
		{"literal before a verb", "/a/b:v", []string{"/a/b:v", "/a/{x}:v"}},
		{"rest with a verb", "/a/b/c:v", []string{"/a/**:v", "/a/**"}},
		{"back from a dead end", "/a/b/c", []string{"/{x}/b/c", "/a/b/d", "/a/{y}/e", "/**"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			paths := slices.Clone(tt.paths)
			for range 2 { // the order of announcements does not matter
				var services []*registry.Service
				for i, p := range paths {
					services = append(services, service(fmt.Sprint("s", i), "path="+p))
				}
				table := static(t, nil, services...)
				if got := pattern(table.Route(get(tt.request))); got != tt.paths[0] {
					t.Errorf("Route(%s) of %v = %s, want %s", tt.request, paths, got, tt.paths[0])
				}
				slices.Reverse(paths)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	tests := []struct {
		path, request, want string // want is the variables, or an error
	}{
		{"/a/{x}", "/a/b", "x=b"},
		{"/a/{x}", "/a/", "no route"},
		{"/a/{x}", "/a", "no route"},
		{"/a/{x}", "/a/b/", "no route"},
		{"/a/{x}", "/a/b%2Fc", "x=b/c"},
		{"/a/{x}", "/a/b%252Fc", "x=b%2Fc"},
		{"/a/{x}", "/a/%e4%b8%96", "x=世"},
		{"/a/{x}", "/a/b:v", "x=b:v"},
		{"/a/{x}:v", "/a/b:v", "x=b"},
		{"/a/{x}:v", "/a/b%3Av", "no route"},
		{"/a/{x}:v", "/a/b:c:v", "x=b:c"},
		{"/a/{x}:v", "/a/:v", "no route"},
		{"/a/b", "/a/b:", "no route"},
		{"/a/b", "/a/b/", "no route"},
		{"/a/b/", "/a/b", "no route"},
		{"/a/b", "//a/b", "no route"},
		{"/a/b", "/a//b", "no route"},
		{"/a//b", "/a//b", ""},
		{"/a/b", "/a/%62", ""},
		{"/a b", "/a%20b", "left-out"},
		{"/a%20b", "/a%20b", ""},
		{"/a%2Fb", "/a/b", "no route"},
		{"/caf\u00e9", "/caf%C3%A9", ""},
		{"/a/{x=**}", "/a/b//c%2Fd/", "x=b//c/d/"},
		{"/a/{x=**}", "/a/", "x="},
		{"/a/{x=**}", "/a", "x="},
		{"/a/{x=**}:v", "/a/b/c:v", "x=b/c"},
		{"/{x=a/*}/{y}", "/a/b/c", "x=a/b y=c"},
		{"/{x=a/*/c}/{y=**}", "/a/b/c/d/e", "x=a/b/c y=d/e"},
		{"/{a.b}/{a.c}", "/1/2", "a.b=1 a.c=2"},
		{"/*/{x}", "/a/b", "x=b"},
		{"/", "/", ""},
		{"/**", "/", ""},
		{"^/a/(?P<x>[^/]+)/(?P<y>.*)$", "/a/b%2Fc/d/e", "x=b/c y=d/e"},
		{"^/a/(?P<x>%6)(?P<y>2)$", "/a/%62", "x=%6 y=2"},
		{"^/a|/b$", "/b", ""},
		{"^/a|/b$", "/x/b", "no route"},
		{"^/a%20b/c$", "/a%20b/c", ""},
	}
	for _, tt := range tests {
		t.Run(tt.path+" "+tt.request, func(t *testing.T) {
			table, err := router.Static([]*registry.Service{service("s", "path="+tt.path)}, nil)
			r := get(tt.request)
			if err == nil {
				_, err = table.Route(r)
			}
			if err != nil {
				if tt.want == "" || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("error = %v, want %q", err, tt.want)
				}
				return
			}
			var got []string
			for _, name := range []string{"x", "y", "a.b", "a.c"} {
				if v := r.PathValue(name); v != "" || strings.Contains(tt.want, name+"=") {
					got = append(got, name+"="+v)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("variables %q, want %q", s, tt.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	table := static(t, nil, service("s", "path=/**"))
	tests := []struct {
		name string
		edit func(*http.Request)
		want int
	}{
		{"a path", target("/a/b"), 200},
		{"dots that are no segments", target("/a/...;/.b/b."), 200},
		{"dot", target("/a/./b"), 400},
		{"dot dot", target("/a/../b"), 400},
		{"dot dot at the end", target("/a/.."), 400},
		{"escaped dot", target("/a/%2e/b"), 400},
		{"escaped dot dot", target("/a/%2E%2e/b"), 400},
		{"twice escaped dot dot", target("/a/%252e%252e/b"), 200},
		{"dot dot within escaped slashes", target("/a%2F..%2Fb"), 400},
		{"dot dot within backslashes", target(`/a\..\b`), 400},
		{"dot dot beside what is not escaped", target("/a|b/..%2F.."), 400},
		{"control beside what is not escaped", func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a|\x01", "/a|\x01" }, 400},
		{"dot dot within escaped backslashes", target("/a%5C..%5cb"), 400},
		{"backslash", target("/a%5Cb"), 200},
		{"NUL", target("/a%00b"), 400},
		{"line feed", target("/a%0d%0aX:%20y"), 400},
		{"DEL", target("/a%7f"), 400},
		{"fragment", received("/a#b"), 400},
		{"empty fragment", received("/a#"), 400},
		{"fragment after a query", received("/a?b=c#d"), 400},
		{"fragment of an absolute target", received("http://example.com/a#b"), 400},
		{"escaped number sign", received("/a%23b?c=%23d"), 200},
		{"no path", func(r *http.Request) { r.URL.Path = "" }, 200},
		{"relative", func(r *http.Request) { r.URL.Path = "a/b" }, 400},
		{"opaque", func(r *http.Request) { r.URL.Path, r.URL.Opaque = "", "a:b" }, 400},
		{"control", func(r *http.Request) { r.URL.Path = "/a\x00" }, 400},
		{"star", func(r *http.Request) { r.Method, r.URL.Path = "OPTIONS", "*" }, 404},
		{"CONNECT", func(r *http.Request) { r.Method, r.URL.Path = "CONNECT", "" }, 405},
		{"host", host("api.example.com"), 200},
		{"host and port", host("api.example.com:8080"), 200},
		{"host and empty port", host("api.example.com:"), 200},
		{"no host", host(""), 200},
		{"IPv4", host("127.0.0.1:8080"), 200},
		{"IPv6", host("[::1]:8080"), 200},
		{"IPv6 without a port", host("[2001:db8::1]"), 200},
		{"user", host("user@example.com"), 400},
		{"slash", host("example.com/x"), 400},
		{"bad port", host("example.com:http"), 400},
		{"two ports", host("example.com:80:80"), 400},
		{"bare IPv6", host("::1"), 400},
		{"open bracket", host("[::1"), 400},
		{"no IPv6", host("[abc]"), 400},
		{"IPv4 in brackets", host("[127.0.0.1]"), 400},
		{"zone", host("[fe80::1%25eth0]"), 400},
		{"after the bracket", host("[::1]example.com"), 400},
		{"port only", host(":80"), 400},
		{"dot in front", host(".example.com"), 400},
		{"two dots at the end", host("example.com.."), 400},
		{"long", host(strings.Repeat("a.", 200)), 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://example.com/a", nil)
			tt.edit(r)
			_, err := table.Route(r)
			got := 200
			if err != nil {
				got = goapi.Status(err)
			}
			if got != tt.want {
				t.Errorf("Route = %d (%v), want %d", got, err, tt.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	table := static(t, nil,
		service("any", "path=/a"),
		service("exact", "path=/a;host=Example.COM."),
		service("port", "path=/a;host=example.com:8080"),
		service("wildcard", "path=/a;host=*.example.com"),
		service("wildcardport", "path=/a;host=*.example.com:8080"),
		service("longer", "path=/a;host=*.b.example.com"),
		service("six", "path=/a;host=[::1]"),
		service("one", "path=/one;host=*.example.com"),
	)
	tests := []struct{ host, path, want string }{
		{"other.test", "/a", "any"},
		{"", "/a", "any"},
		{"example.com", "/a", "exact"},
		{"EXAMPLE.com", "/a", "exact"},
		{"example.com.", "/a", "exact"},
		{"example.com:443", "/a", "exact"},
		{"example.com:8080", "/a", "port"},
		{"Example.com.:8080", "/a", "port"},
		{"a.example.com", "/a", "wildcard"},
		{"a.example.com:8080", "/a", "wildcardport"},
		{"x.a.example.com", "/a", "wildcard"},
		{"b.example.com", "/a", "wildcard"},
		{"a.b.example.com:1", "/a", "longer"},
		{"notexample.com", "/a", "any"},
		{"[::1]:80", "/a", "six"},
		{"a.b.example.com", "/one", "one"},
		{"example.com", "/one", "no route"},
	}
	for _, tt := range tests {
		r := get(tt.path)
		r.Host = tt.host
		rt, err := table.Route(r)
		got := fmt.Sprint(err)
		if rt != nil {
			got = rt.Service
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("Route(%s%s) = %s, want %s", tt.host, tt.path, got, tt.want)
		}
	}
}

// alike returns a service of 2^13 templates that start with first, and then mix
// literals and variables in all ways.
func alike(name, first string) *registry.Service {
	s := service(name)
	for i := range 1 << 13 {
		path := first
		for bit := range 13 {
			path += "/" + []string{"a", "*"}[i>>bit&1]
		}
		s.Endpoints = append(s.Endpoints, announced(fmt.Sprintf("name=E%d;path=%s/end", i, path)))
	}
	return s
}

// TestManyAlike: what would make a search try very many ways is left out. It
// hides nothing.
func TestManyAlike(t *testing.T) {
	all := strings.Repeat("/a", 14)
	table, reports := newTable(&router.Options{Resolver: resolver.Path}).Next([]*registry.Service{
		service("a"), alike("s", "/a"), alike("t", "/*"), service("any", "path=/{x}/**;method=PUT"), service("z", "path=/z"),
	})
	if !slices.ContainsFunc(reports, func(r router.Report) bool {
		return r.Service == "t" && strings.Contains(r.Reason, `mixes literal segments and variables in more than 512 ways: announce fewer, or use "**"`)
	}) {
		t.Errorf("%d reports, none of which says so", len(reports))
	}
	for _, tt := range []struct{ method, path, want string }{
		{"GET", all + "/end", all + "/end"},
		{"PUT", all + "/other", "/{x}/**"},
		{"GET", "/z", "/z"},
		{"GET", "/a/b", ""},
	} {
		r := get(tt.path)
		r.Method = tt.method
		if got := pattern(table.Route(r)); got != tt.want && tt.want != "" {
			t.Errorf("Route(%s %s) = %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
}

// TestTooAlike: when very many services are alike on purpose, a search ends
// soon; what is left is tried, and the resolver asked.
func TestTooAlike(t *testing.T) {
	services := []*registry.Service{service("web"), service("rest", "path=/{x}/**:v")}
	for i := range 128 {
		s := service(fmt.Sprint("s", i))
		for j := range 128 {
			path := "/*"
			for bit := range 14 {
				path += "/" + []string{"a", "*"}[(i+j<<7)>>bit&1]
			}
			s.Endpoints = append(s.Endpoints, announced(fmt.Sprintf("name=E%d;path=%s/end", j, path)))
		}
		services = append(services, s)
	}
	table := static(t, &router.Options{Resolver: first}, services...)
	path := strings.Repeat("/a", 14) + "/other"
	if rt, err := table.Route(get("/web" + path)); err != nil || rt.Service != "web" {
		t.Errorf("Route(/web…) = %v, %v, want that the resolver finds web", rt, err)
	}
	if _, err := table.Route(get("/none" + path)); !errors.Is(err, goapi.ErrNoRoute) || !strings.Contains(err.Error(), "too many patterns are alike") {
		t.Errorf("Route(/none…) error = %v, want that too many patterns are alike", err)
	}
	if rt, err := table.Route(get("/a" + path + ":v")); err != nil || rt.Service != "rest" {
		t.Errorf("Route(…:v) = %v, %v, want rest", rt, err)
	}
}

// TestManyInOnePlace: verbs and methods are not tried one by one.
func TestManyInOnePlace(t *testing.T) {
	s := service("s", "name=Last;path=/**:last;method=GET,PUT")
	for i := range 9_000 {
		s.Endpoints = append(s.Endpoints, announced(fmt.Sprintf("name=E%d;path=/**:v%d", i, i%3000)+";method=M"+fmt.Sprint(i)))
	}
	table := static(t, nil, s, service("any", "name=Any;path=/**;method=DELETE"))
	for _, tt := range []struct{ method, path, want string }{
		{"PUT", "/a:last", "Last"},
		{"HEAD", "/a:last", "Last"},
		{"POST", "/a:last", "405 DELETE, GET, HEAD, PUT"},
		{"M3001", "/a:v1", "E3001"},
		{"DELETE", "/a:v1", "Any"},
		{"GET", "/a:v1", "405 DELETE, M1, M3001, M6001"},
	} {
		r := get(tt.path)
		r.Method = tt.method
		if got := endpoint(table.Route(r)); got != tt.want {
			t.Errorf("Route(%s %s) = %s, want %s", tt.method, tt.path, got, tt.want)
		}
	}
	many := service("many")
	for i := range 1000 {
		many.Endpoints = append(many.Endpoints, announced(fmt.Sprintf("name=E%d;path=/many;method=M%d", i, i)))
	}
	got := endpoint(static(t, nil, many).Route(get("/many")))
	if n := strings.Count(got, ","); !strings.HasPrefix(got, "405 ") || n != 63 {
		t.Errorf("Route(/many) allows %d methods, want 64", n+1)
	}
}

// TestPathAsForwarded: what EscapedPath would escape anew is matched as it is
// forwarded.
func TestPathAsForwarded(t *testing.T) {
	table := static(t, nil, service("s", "name=Two;path=/{x}/{y}", "name=One;path=/{x}", "name=Expression;path=^/e/[^/]*%23$"))
	for path, want := range map[string]string{
		"/a%2Fb":    "One a/b",
		"/a%2Fb#c":  "One a/b#c",
		"/a%2Fb|c":  "One a/b|c",
		"/a%2Fb\"c": "One a/b\"c",
		"/a#b/c":    "Two a#b",
		"/e/a%2F#":  "Expression ",
	} {
		r := get("/")
		target(path)(r)
		if got := endpoint(table.Route(r)) + " " + r.PathValue("x"); got != want {
			t.Errorf("Route(%s) = %s, want %s", path, got, want)
		}
	}
	r := get("/a%2Fb")
	r.URL.Path = "/rewritten/x" // and RawPath is not
	if got := endpoint(table.Route(r)); got != "Two" {
		t.Errorf("Route of a path that was rewritten = %s, want Two", got)
	}
}

// TestExpressionsElsewhere: expressions that start otherwise cost nothing.
func TestExpressionsElsewhere(t *testing.T) {
	var services []*registry.Service
	for i := range 2000 {
		services = append(services, service(fmt.Sprint("s", i), fmt.Sprintf("path=^/svc%d(/.*)?$", i)))
	}
	table := static(t, nil, append(services, service("long", "path=^/"+strings.Repeat("x", 100)+"y*$"))...)
	for path, want := range map[string]string{
		"/svc7":                               "^/svc7(/.*)?$",
		"/svc1999/a/b":                        "^/svc1999(/.*)?$",
		"/" + strings.Repeat("x", 100) + "yy": "^/" + strings.Repeat("x", 100) + "y*$",
	} {
		if got := pattern(table.Route(get(path))); got != want {
			t.Errorf("Route(%s) = %s, want %s", path, got, want)
		}
	}
	if _, err := table.Route(get("/" + strings.Repeat("x", 8000))); !errors.Is(err, goapi.ErrNoRoute) {
		t.Errorf("Route error = %v, want ErrNoRoute", err)
	}
}

func TestRouteAllocations(t *testing.T) {
	table := static(t, nil, service("s", "path=/a/b", "name=V;path=/c/{x}/{y}"))
	r := get("/a/b")
	if n := testing.AllocsPerRun(100, func() { _, _ = table.Route(r) }); n != 0 {
		t.Errorf("a literal path allocates %v times, want 0", n)
	}
	stream := static(t, nil, service("s", "path=/a/b;method=POST;stream=true"))
	r.Header.Set("Upgrade", "websocket")
	if n := testing.AllocsPerRun(100, func() { _, _ = stream.Route(r) }); n != 0 {
		t.Errorf("a handshake allocates %v times, want 0", n)
	}
	r = get("/c/1/2")
	empty := *r
	if n := testing.AllocsPerRun(100, func() { *r = empty; _, _ = table.Route(r) }); n > 2 {
		t.Errorf("a path with variables allocates %v times, want at most 2", n)
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("GET", "example.com", "/a/b%2Fc", "", "")
	f.Add("OPTIONS", "x.test:80", "/s/Call.It", "GET", "")
	f.Add("POST", "[::1]", "//a:v", "", "")
	f.Add("CONNECT", "user@host", "*", "", "")
	f.Add("HEAD", "", "/%zz/..", "", "")
	f.Add("GET", "a.test", "/stream", "", "websocket")
	table, _ := router.Static([]*registry.Service{
		service("s", "path=/a/{x},/a/{y=**}:v,/**,^/b/.*c$;method=GET,POST;host=*,*.test", "name=Call.It"),
		service("t", "path=/a/*/c;handler=http", "name=S.S;path=/stream;method=POST;stream=true"),
	}, &router.Options{Resolver: first})
	f.Fuzz(func(t *testing.T, method, host, path, asked, upgrade string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.Host, r.URL.Path = method, host, path
		r.Header.Set("Upgrade", upgrade)
		if asked != "" {
			r.Header.Set("Origin", "x")
			r.Header.Set("Access-Control-Request-Method", asked)
		}
		rt, err := table.Route(r)
		if (rt == nil) == (err == nil) {
			t.Fatalf("Route(%q %q %q) = %v, %v: want exactly one", method, host, path, rt, err)
		}
		if err == nil {
			return
		}
		if code := goapi.Status(err); code < 400 || code >= 500 {
			t.Fatalf("Route(%q %q %q) error = %v, status %d: want 4xx", method, host, path, err, code)
		}
		var e *goapi.Error
		if errors.As(err, &e) && (len(e.Detail) > 1000 || strings.ContainsFunc(e.Detail, func(r rune) bool { return r < ' ' || r == 0x7f })) {
			t.Fatalf("Route(%q %q %q) detail = %q", method, host, path, e.Detail)
		}
	})
}
