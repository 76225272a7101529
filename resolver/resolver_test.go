package resolver_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/resolver"
)

// request returns a POST of a path as a server would have received it.
func request(t testing.TB, host, path string) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatalf("ParseRequestURI(%q): %v", path, err)
	}
	return &http.Request{Method: http.MethodPost, Host: host, URL: u}
}

func rpc(service, method string) resolver.Target {
	return resolver.Target{Service: service, Method: method, Kind: resolver.RPC}
}

func proxy(service string) resolver.Target {
	return resolver.Target{Service: service, Method: http.MethodPost, Kind: resolver.Proxy}
}

type targets = []resolver.Target

func TestPaths(t *testing.T) {
	long := strings.Repeat("a", 256)
	tests := []struct {
		resolver string
		path     string
		want     targets // none is ErrNoTarget
	}{
		{"micro", "/foo", targets{rpc("foo", "Foo"), proxy("foo")}},
		{"micro", "/foo/bar", targets{rpc("foo", "Foo.Bar"), proxy("foo")}},
		{"micro", "/foo/bar/", targets{rpc("foo", "Foo.Bar"), proxy("foo")}},
		{"micro", "/foo/bar/baz", targets{rpc("foo", "Bar.Baz"), proxy("foo")}},
		{"micro", "/foo/bar/baz/cat", targets{rpc("foo.bar", "Baz.Cat"), proxy("foo")}},
		{"micro", "/foo/bar/baz/cat/dog", targets{rpc("foo.bar.baz", "Cat.Dog"), proxy("foo")}},
		{"micro", "/v1/foo/bar", targets{rpc("v1.foo", "Foo.Bar"), proxy("v1.foo")}},
		{"micro", "/v1/foo/bar/baz", targets{rpc("v1.foo", "Bar.Baz"), proxy("v1.foo")}},
		{"micro", "/v12/foo", targets{rpc("v12", "V12.Foo"), proxy("v12.foo")}},
		{"micro", "/v1", targets{rpc("v1", "V1"), proxy("v1")}},
		{"micro", "/vx/foo/bar", targets{rpc("vx", "Foo.Bar"), proxy("vx")}},
		{"micro", "/foo/bar-baz", targets{rpc("foo", "Foo.BarBaz"), proxy("foo")}},
		{"micro", "/foo-bar/baz-cat", targets{rpc("foo-bar", "FooBar.BazCat"), proxy("foo-bar")}},
		{"micro", "/foo/bar/bazCat", targets{rpc("foo", "Bar.BazCat"), proxy("foo")}},
		{"micro", "/foo/say_hello", targets{rpc("foo", "Foo.Say_hello"), proxy("foo")}},
		{"micro", "/%66oo/b%61r", targets{rpc("foo", "Foo.Bar"), proxy("foo")}},
		{"micro", "/foo/Bar.Baz", targets{rpc("foo", "Bar.Baz"), proxy("foo")}},
		{"micro", "/foo/bar/Baz.Cat", targets{rpc("foo.bar", "Baz.Cat"), proxy("foo")}},
		{"micro", "/v1/foo/Foo.Bar", targets{rpc("v1.foo", "Foo.Bar"), proxy("v1.foo")}},
		{"micro", "/foo/index.html", targets{proxy("foo")}},
		{"micro", "/foo.bar/baz/cat", targets{rpc("foo.bar", "Baz.Cat")}},
		{"micro", "/foo/bar/sp%20ace", targets{proxy("foo")}},
		{"micro", "/foo/bar//baz", targets{proxy("foo")}},
		{"micro", "/foo/../bar", targets{proxy("foo")}},
		{"micro", "/foo/-", targets{proxy("foo")}},
		{"micro", "/foo" + strings.Repeat("/a", 40), targets{proxy("foo")}},
		{"micro", "/foo/a%2fb", targets{proxy("foo")}},
		{"micro", "/foo/%2561", targets{proxy("foo")}},
		{"micro", "/foo-/bar", targets{rpc("foo-", "Foo.Bar")}},
		{"micro", "/" + long, nil},
		{"micro", "/", nil},
		{"micro", "//", nil},
		{"micro", "//foo", nil},
		{"micro", "/..", nil},
		{"micro", "/.", nil},
		{"micro", "/%2e%2e/foo", nil},
		{"micro", "/foo%2fbar", nil},
		{"micro", "/%00", nil},
		{"micro", "/v1/..", nil},
		{"micro", "*", nil},

		{"path", "/foo", targets{proxy("foo")}},
		{"path", "/foo/bar/baz", targets{proxy("foo")}},
		{"path", "/go.micro.foo/bar", targets{proxy("go.micro.foo")}},
		{"path", "/v1/foo", targets{proxy("v1")}},
		{"path", "/foo//bar", targets{proxy("foo")}},
		{"path", "/greeter/Greeter.Hello", targets{rpc("greeter", "Greeter.Hello"), proxy("greeter")}},
		{"path", "/greeter/Greeter.Hello/", targets{rpc("greeter", "Greeter.Hello"), proxy("greeter")}},
		{"path", "/greeter/Greeter.Hello/x", targets{proxy("greeter")}},
		{"path", "/greeter/greeter.hello", targets{proxy("greeter")}},
		{"path", "/greeter/A.B.C", targets{proxy("greeter")}},
		{"path", "/greeter/A.", targets{proxy("greeter")}},
		{"path", "/greeter/A.B%2f", targets{proxy("greeter")}},
		{"path", "/" + long, nil},
		{"path", "/", nil},
		{"path", "/../foo", nil},
		{"path", "/a..b", nil},
		{"path", "/.git", nil},
		{"path", "/f%c3%b6o", nil},

		{"vpath", "/foo/bar", targets{proxy("foo")}},
		{"vpath", "/v1/foo", targets{proxy("v1.foo")}},
		{"vpath", "/v10/foo/bar", targets{proxy("v10.foo")}},
		{"vpath", "/v1", targets{proxy("v1")}},
		{"vpath", "/version/foo", targets{proxy("version")}},
		{"vpath", "/v1/greeter/Greeter.Hello", targets{rpc("v1.greeter", "Greeter.Hello"), proxy("v1.greeter")}},
		{"vpath", "/greeter/Greeter.Hello", targets{rpc("greeter", "Greeter.Hello"), proxy("greeter")}},
		{"vpath", "/v1/greeter/Greeter.Hello/x", targets{proxy("v1.greeter")}},
		{"vpath", "/v1/..", nil},
		{"vpath", "/v1//foo", nil},
		{"vpath", "/v1/" + long, nil},
		{"vpath", "/", nil},

		{"grpc", "/foo.Bar/Method", targets{rpc("foo", "Bar.Method"), rpc("foo.Bar", "Bar.Method")}},
		{"grpc", "/greeter.Greeter/Hello", targets{rpc("greeter", "Greeter.Hello"), rpc("greeter.Greeter", "Greeter.Hello")}},
		{"grpc", "/go.micro.srv.greeter.Say/Hello", targets{
			rpc("go.micro.srv.greeter", "Say.Hello"), rpc("go.micro.srv.greeter.Say", "Say.Hello"),
		}},
		{"grpc", "/Greeter/Hello", targets{rpc("Greeter", "Greeter.Hello")}},
		{"grpc", "/foo..Bar/Hello", nil},
		{"grpc", "/.Greeter/Hello", nil},
		{"grpc", "/foo./Hello", nil},
		{"grpc", "/foo.Bar", nil},
		{"grpc", "/foo.Bar/Method/more", nil},
		{"grpc", "/foo.Bar/Meth.od", nil},
		{"grpc", "/foo.Bar/Meth%2fod", nil},
		{"grpc", "/foo.Bar/" + long[:254], nil},
		{"grpc", "/", nil},
	}
	for _, tt := range tests {
		t.Run(tt.resolver+" "+tt.path, func(t *testing.T) {
			res, err := resolver.ByName(tt.resolver)
			if err != nil {
				t.Fatal(err)
			}
			got, err := res(request(t, "api.example.com", tt.path))
			check(t, got, err, tt.want)
		})
	}
}

func TestHosts(t *testing.T) {
	tests := []struct {
		resolver string
		host     string
		want     targets
	}{
		{"host", "greeter", targets{proxy("greeter")}},
		{"host", "greeter:8080", targets{proxy("greeter")}},
		{"host", "Foo.Example.COM", targets{proxy("foo.example.com")}},
		{"host", "foo.example.com.", targets{proxy("foo.example.com")}},
		{"host", "", nil},
		{"host", "[::1]:8080", nil},
		{"host", "[::1]", nil},
		{"host", "::1", nil},
		{"host", "a/b", nil},
		{"host", "a..b", nil},
		{"host", "a:b:c", nil},

		{"subdomain", "foo.example.com", targets{proxy("foo")}},
		{"subdomain", "foo.example.com:443", targets{proxy("foo")}},
		{"subdomain", "FOO.example.co.uk", targets{proxy("foo")}},
		{"subdomain", "foo.staging.example.com", targets{proxy("staging-foo")}},
		{"subdomain", "a.b.c.example.com.", targets{proxy("c-b-a")}},
		{"subdomain", "foo.api.example.com", targets{proxy("api-foo")}},
		{"subdomain", "api.example.com", nil},
		{"subdomain", "example.com", nil},
		{"subdomain", "co.uk", nil},
		{"subdomain", "com", nil},
		{"subdomain", "localhost", nil},
		{"subdomain", "foo.localhost", nil},
		{"subdomain", "127.0.0.1:8080", nil},
		{"subdomain", "[2001:db8::1]:443", nil},
		{"subdomain", ".example.com", nil},
		{"subdomain", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.resolver+" "+tt.host, func(t *testing.T) {
			res, err := resolver.ByName(tt.resolver)
			if err != nil {
				t.Fatal(err)
			}
			got, err := res(request(t, tt.host, "/path"))
			check(t, got, err, tt.want)
		})
	}
}

func TestJoin(t *testing.T) {
	tests := []struct {
		ns, name, want string
	}{
		{"", "foo", "foo"},
		{"  ", " foo ", "foo"},
		{"go.micro.api", "foo", "go.micro.api.foo"},
		{" go.micro.api ", "v1.foo", "go.micro.api.v1.foo"},
		{"go.micro.", "foo.bar", "go.micro.foo.bar"},
		{"go.micro-", "foo.bar", "go-micro-foo-bar"},
	}
	for _, tt := range tests {
		if got := resolver.Join(tt.ns, tt.name); got != tt.want {
			t.Errorf("Join(%q, %q) = %q, want %q", tt.ns, tt.name, got, tt.want)
		}
	}
}

func TestNamespace(t *testing.T) {
	r := request(t, "", "/v1/foo/bar")
	got, err := resolver.Namespace("go.micro.api", resolver.Micro)(r)
	check(t, got, err, targets{rpc("go.micro.api.v1.foo", "Foo.Bar"), proxy("go.micro.api.v1.foo")})

	got, err = resolver.Namespace(" ", resolver.Micro)(r)
	check(t, got, err, targets{rpc("v1.foo", "Foo.Bar"), proxy("v1.foo")})

	got, err = resolver.Namespace("ns", resolver.Micro)(request(t, "", "/"))
	check(t, got, err, nil)
}

func TestByName(t *testing.T) {
	for _, name := range []string{"micro", "path", "vpath", "host", "grpc", "subdomain"} {
		if res, err := resolver.ByName(name); err != nil || res == nil {
			t.Errorf("ByName(%q) = nil or error %v, want a resolver", name, err)
		}
	}
	if res, err := resolver.ByName("none"); err != nil || res != nil {
		t.Errorf("ByName(none) error = %v, resolver nil = %t, want neither", err, res == nil)
	}
	const want = `resolver: unknown resolver "Micro"; use micro, path, vpath, host, grpc, subdomain or none`
	if res, err := resolver.ByName("Micro"); err == nil || err.Error() != want || res != nil {
		t.Errorf("ByName(Micro) error = %v, want %s", err, want)
	}
}

// TestWithGRPC: requests of gRPC are read as gRPC, whatever reads the others.
func TestWithGRPC(t *testing.T) {
	relayed := targets{
		{Service: "ns.pkg", Method: "Greeter.Hello", Kind: resolver.Relay},
		{Service: "ns.pkg.Greeter", Method: "Greeter.Hello", Kind: resolver.Relay},
	}
	other := targets{proxy("ns.pkg.Greeter")}
	tests := []struct {
		name, header, value string
		path                string
		want                targets
	}{
		{"gRPC", "Content-Type", "application/grpc", "/pkg.Greeter/Hello", relayed},
		{"with a codec", "Content-Type", "application/grpc+json", "/pkg.Greeter/Hello", relayed},
		{"in another case", "Content-Type", "Application/GRPC+proto", "/pkg.Greeter/Hello", relayed},
		{"gRPC-Web", "Content-Type", "application/grpc-web-text", "/pkg.Greeter/Hello", relayed},
		{"preflight of gRPC-Web", "Access-Control-Request-Headers", "content-type, x-grpc-web", "/pkg.Greeter/Hello", relayed},
		{"preflight of gRPC-Web with a deadline", "Access-Control-Request-Headers", "content-type,grpc-timeout", "/pkg.Greeter/Hello", relayed},
		{"path that gRPC does not have", "Content-Type", "application/grpc", "/pkg", nil},
		{"another preflight", "Access-Control-Request-Headers", "content-type", "/pkg.Greeter/Hello", other},
		{"another type", "Content-Type", "application/json", "/pkg.Greeter/Hello", other},
		{"with a parameter", "Content-Type", "application/grpc;v=1", "/pkg.Greeter/Hello", relayed},
		{"gRPC-Web with a codec", "Content-Type", "application/grpc-web+proto", "/pkg.Greeter/Hello", relayed},
		{"longer type", "Content-Type", "application/grpcfoo", "/pkg.Greeter/Hello", other},
		{"longer type of gRPC-Web", "Content-Type", "application/grpc-website", "/pkg.Greeter/Hello", other},
		{"shorter type", "Content-Type", "application/g", "/pkg.Greeter/Hello", other},
		{"no type", "Accept", "application/grpc", "/pkg.Greeter/Hello", other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := resolver.ByName("path")
			if err != nil {
				t.Fatal(err)
			}
			r := request(t, "api.example.com", tt.path)
			r.Header = http.Header{tt.header: {tt.value}}
			got, err := resolver.Namespace("ns", res)(r)
			check(t, got, err, tt.want)
		})
	}
}

func TestKindString(t *testing.T) {
	for kind, want := range map[resolver.Kind]string{
		resolver.RPC: "rpc", resolver.Proxy: "proxy", resolver.Relay: "relay", 7: "Kind(7)",
	} {
		if got := kind.String(); got != want {
			t.Errorf("Kind(%d).String() = %q, want %q", int(kind), got, want)
		}
	}
}

// FuzzResolvers checks what every resolver promises: readings or an error, and
// names that are safe to look up. Each is joined with a namespace, which must
// do nothing but prefix the names.
func FuzzResolvers(f *testing.F) {
	for _, path := range []string{
		"/", "/foo/bar", "/v1/foo/bar", "/foo/bar/baz/cat", "/greeter/Greeter.Hello", "/foo.Bar/Method",
		"/foo-bar/%2e%2e", "/%00/..", "//x", "/a/-/-", "/A.B.C/d", "*", "",
	} {
		f.Add(path, "foo.example.com:80")
	}
	f.Add("/foo", "[::1]:80")
	f.Add("/foo", "..co.uk")
	f.Add("/Greeter/Hello", "")
	f.Fuzz(func(t *testing.T, path, host string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r := &http.Request{Method: http.MethodPost, Host: host, URL: u}
		for _, name := range []string{"micro", "path", "vpath", "host", "grpc", "subdomain"} {
			res, err := resolver.ByName(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := res(r)
			if (len(got) == 0) == (err == nil) {
				t.Fatalf("%s(%q, %q) = %v, %v: want readings or an error", name, path, host, got, err)
			}
			if err != nil && !errors.Is(err, resolver.ErrNoTarget) {
				t.Fatalf("%s(%q, %q) error = %v, want ErrNoTarget", name, path, host, err)
			}
			for _, target := range got {
				if !safe(target.Service) || !safe(target.Method) {
					t.Fatalf("%s(%q, %q) = %+v: not a safe name", name, path, host, target)
				}
				if target.Kind == resolver.Proxy && target.Method != http.MethodPost {
					t.Fatalf("%s(%q, %q) = %+v: want the verb", name, path, host, target)
				}
			}
			joined, _ := resolver.Namespace("ns", res)(r) // the same error
			for i := range got {
				got[i].Service = "ns." + got[i].Service
			}
			if diff := cmp.Diff(got, joined); diff != "" {
				t.Fatalf("Namespace(%s)(%q, %q): -want +got\n%s", name, path, host, diff)
			}
		}
	})
}

func BenchmarkMicro(b *testing.B) {
	r := request(b, "", "/greeter/say/hello")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resolver.Micro(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	r := request(b, "", "/greeter/a/long/path/of/the/service")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resolver.Path(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSubdomain(b *testing.B) {
	r := httptest.NewRequest(http.MethodGet, "http://foo.example.com/", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resolver.Subdomain(r); err != nil {
			b.Fatal(err)
		}
	}
}

// safe is isName, written as what a name must not have.
func safe(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	return name != "" && len(name) <= 255 && strings.Trim(name, ".") == name &&
		!strings.Contains(name, "..") && strings.Trim(name, allowed) == ""
}

func check(t *testing.T, got targets, err error, want targets) {
	t.Helper()
	if want == nil {
		if !errors.Is(err, resolver.ErrNoTarget) || got != nil {
			t.Errorf("got %v, error %v; want ErrNoTarget", got, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("error %v, want %v", err, want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
