package middleware_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

func TestRewrite(t *testing.T) {
	strip := middleware.RewriteOptions{StripPrefix: "/api/v1"}
	expression := func(e, replacement string) middleware.RewriteOptions {
		return middleware.RewriteOptions{Regexp: e, Replacement: replacement}
	}
	tests := []struct {
		name string
		opts middleware.RewriteOptions
		path string
		want string // "" is 400
	}{
		{"strip", strip, "/api/v1/users?a=b", "/users?a=b"},
		{"strip all", strip, "/api/v1", "/"},
		{"strip all but a slash", strip, "/api/v1/", "/"},
		{"strip an escaped one", strip, "/%61pi/v%31/users", "/users"},
		{"strip whole segments only", strip, "/api/v10/users", "/api/v10/users"},
		{"strip what is not there", strip, "/users", "/users"},
		{"strip an escaped slash", strip, "/api%2Fv1/users", "/api%2Fv1/users"},
		{"strip keeps escapes", strip, "/api/v1/a%2Fb%20c/%C3%BC", "/a%2Fb%20c/%C3%BC"},
		{"strip keeps odd bytes", strip, `/api/v1/a|b%2Fc"d`, `/a|b%2Fc"d`},
		{"strip to a host", strip, "/api/v1//evil.example/x", ""},
		{"strip to a host with a backslash", strip, `/api/v1/\evil.example`, ""},
		{"strip to dots", strip, "/api/v1/../admin", ""},
		{"strip a prefix with an escape", middleware.RewriteOptions{StripPrefix: "/a%20b/"}, "/a%20b/c", "/c"},
		{"add", middleware.RewriteOptions{AddPrefix: "/v2/"}, "/users/a%2Fb", "/v2/users/a%2Fb"},
		{"add to the root", middleware.RewriteOptions{AddPrefix: "/v2"}, "/", "/v2"},
		{"strip and add", middleware.RewriteOptions{StripPrefix: "/api", AddPrefix: "/v2"}, "/api/users", "/v2/users"},
		{"add alone", middleware.RewriteOptions{StripPrefix: "/api", AddPrefix: "/v2"}, "/users", "/v2/users"},
		{"replace", expression(`^/users/(\d+)$`, "/accounts/$1/profile"), "/users/42?x", "/accounts/42/profile?x"},
		{"replace by name", expression(`^/(?P<lang>de|en)/`, "/${lang}_x/"), "/de/a", "/de_x/a"},
		{"replace every one", expression(`-`, "_"), "/a-b/c-d", "/a_b/c_d"},
		{"replace what does not match", expression(`^/users/(\d+)$`, "/accounts/$1"), "/users/x", "/users/x"},
		{"a dollar", expression(`^/price$`, "/$$5"), "/price", "/$5"},
		{"replace to dots", expression(`x`, "."), "/a/xx/b", ""},
		{"replace to a dot", expression(`x`, "."), "/a/x/b", ""},
		{"replace to escaped dots", expression(`x`, "%2e"), "/a/x%2E/b", ""},
		{"replace to dots behind an escaped slash", expression(`x`, "."), "/a%2Fxx%2Fb", ""},
		{"replace to dots behind a backslash", expression(`x`, "."), "/a%5Cxx", ""},
		{"replace to a host", expression(`^/go/`, "//"), "/go/evil.example", ""},
		{"replace to nothing", expression(`^.*$`, ""), "/a", ""},
		{"replace to half an escape", expression(`41`, ""), "/%41", ""},
		{"replace to a control character", expression(`x`, "%0"), "/xA", ""},
		{"replace to much", expression(`.`, strings.Repeat("x", 1000)), "/" + strings.Repeat("a", 100), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			h := mustRewrite(t, &tt.opts, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = received(r.URL) }))
			u, err := parsed(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.URL = u
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if tt.want == "" {
				if w.Code != 400 || got != "" || !strings.Contains(w.Body.String(), "the path cannot be rewritten") {
					t.Errorf("answer = %d %s, served %q; want 400", w.Code, w.Body, got)
				}
				return
			}
			if got != tt.want {
				t.Errorf("served %q, want %q", got, tt.want)
			}
			if before := received(u); before != tt.path {
				t.Errorf("the outer ring sees %q, want %q", before, tt.path)
			}
		})
	}
}

// TestRewriteForAService: a real service gets the path byte for byte.
func TestRewriteForAService(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) }))
	defer service.Close()
	proxy := handler.HTTP(nil)
	defer proxy.(io.Closer).Close()
	rt := &goapi.Route{Endpoint: &goapi.Endpoint{}, Upstream: upstream.Static(service.Listener.Addr().String())}
	s := httptest.NewServer(goapi.With(rt, mustRewrite(t, &middleware.RewriteOptions{StripPrefix: "/api", AddPrefix: "/v2"}, proxy)))
	defer s.Close()
	for path, want := range map[string]string{
		"/api/a%2Fb;c=d/%C3%BC?q=%20&r": "/v2/a%2Fb;c=d/%C3%BC?q=%20&r",
		"/api":                          "/v2",
		"/api/a//b":                     "/v2/a//b",
		"/api?x=/../":                   "/v2?x=/../",
		"/other?":                       "/v2/other?",
	} {
		resp, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != want {
			t.Errorf("%s reached the service as %s, want %s", path, got, want)
		}
	}
}

func TestRewriteErrors(t *testing.T) {
	tests := []struct {
		name string
		opts *middleware.RewriteOptions
		want string
	}{
		{"nil", nil, "nothing is to be changed"},
		{"nothing", &middleware.RewriteOptions{}, "nothing is to be changed"},
		{"a prefix that is none", &middleware.RewriteOptions{StripPrefix: "api"}, `the prefix to strip is "api"`},
		{"a prefix of nothing", &middleware.RewriteOptions{StripPrefix: "/"}, "write a path that is well escaped, such as /v1"},
		{"a prefix with dots", &middleware.RewriteOptions{AddPrefix: "/a/../b"}, "the prefix to add"},
		{"a prefix that is a host", &middleware.RewriteOptions{AddPrefix: "//evil.example"}, "the prefix to add"},
		{"a prefix with a query", &middleware.RewriteOptions{AddPrefix: "/a?b=c"}, "the prefix to add"},
		{"a prefix with half an escape", &middleware.RewriteOptions{AddPrefix: "/a%2"}, "the prefix to add"},
		{"an expression that is none", &middleware.RewriteOptions{Regexp: "("}, `the expression "(" is none`},
		{"a replacement of nothing", &middleware.RewriteOptions{Replacement: "/a"}, "needs an expression"},
		{"no such group", &middleware.RewriteOptions{Regexp: "(a)", Replacement: "$2"}, `"$2" names no group`},
		{"a group that runs on", &middleware.RewriteOptions{Regexp: "(a)", Replacement: "/$1_x"}, `"$1_x" names no group of the expression: write $1, ${1}`},
		{"a group that is not closed", &middleware.RewriteOptions{Regexp: "(a)", Replacement: "${1"}, "names no group"},
		{"a dollar alone", &middleware.RewriteOptions{Regexp: "(a)", Replacement: "$/"}, "$$ is $"},
		{"a query", &middleware.RewriteOptions{Regexp: "a", Replacement: "?b"}, "write it as %3F"},
		{"a space", &middleware.RewriteOptions{Regexp: "a", Replacement: "b c"}, "write it as %20"},
		{"the whole match", &middleware.RewriteOptions{Regexp: "a", Replacement: "$0"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.Rewrite(tt.opts)
			checkOneLine(t, err, tt.want)
		})
	}
}

// FuzzRewrite: whatever comes in, what comes out is a path that says the same to
// everybody.
func FuzzRewrite(f *testing.F) {
	for _, path := range []string{"/api/a", "/api//x", "/api/%2e%2e/b", "/api/a%2f..%2fb", "/ax/b", "/%61pi/x", `/api/\..\x`, "/api/x.x/y"} {
		f.Add(path)
	}
	h := mustRewrite(f, &middleware.RewriteOptions{StripPrefix: "/api", Regexp: "x(.)?", Replacement: ".$1"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Path"] = []string{received(r.URL)}
	}))
	f.Fuzz(func(t *testing.T, path string) {
		u, err := parsed(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == 400 {
			return
		}
		got := w.Header()["Path"][0]
		if got == received(u) {
			return // as it came
		}
		plain, err := url.PathUnescape(got)
		if err != nil || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(plain, "\x00\r\n") {
			t.Fatalf("%q is rewritten to %q", path, got)
		}
		for segment := range strings.FieldsFuncSeq(plain, func(c rune) bool { return c == '/' || c == '\\' }) {
			if segment == "." || segment == ".." {
				t.Fatalf("%q is rewritten to %q, which has dots", path, got)
			}
		}
	})
}

func ExampleRewrite() {
	rewrite, err := middleware.Rewrite(&middleware.RewriteOptions{StripPrefix: "/shop", Regexp: `^/item-(\d+)`, Replacement: "/items/$1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := rewrite(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL) }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/shop/item-42?lang=de", nil))
	fmt.Println(w.Body)
	// Output: /items/42?lang=de
}

func BenchmarkRewrite(b *testing.B) {
	for name, opts := range map[string]*middleware.RewriteOptions{
		"prefix":     {StripPrefix: "/api", AddPrefix: "/v2"},
		"expression": {Regexp: `^/api/(\w+)`, Replacement: "/v2/$1"},
	} {
		b.Run(name, func(b *testing.B) {
			serveMany(b, mustRewrite(b, opts, nothing()), httptest.NewRequest("GET", "/api/users/42", nil))
		})
	}
}

func mustRewrite(t testing.TB, opts *middleware.RewriteOptions, next http.Handler) http.Handler {
	t.Helper()
	rewrite, err := middleware.Rewrite(opts)
	if err != nil {
		t.Fatalf("Rewrite() error = %v", err)
	}
	return rewrite(next)
}

// parsed returns the target of a request as net/http reads it.
func parsed(target string) (*url.URL, error) { return url.ParseRequestURI(target) }

// received returns a target as it was received or rewritten.
func received(u *url.URL) string {
	path := u.RawPath
	if path == "" {
		path = u.EscapedPath()
	}
	if u.RawQuery != "" || u.ForceQuery {
		path += "?" + u.RawQuery
	}
	return path
}
