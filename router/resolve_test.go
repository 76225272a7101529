package router_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
)

// first is a resolver that reads /service/Method, first as a call; what comes
// as gRPC, only as that.
func first(r *http.Request) ([]resolver.Target, error) {
	name, method, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch name {
	case "":
		return nil, resolver.ErrNoTarget
	case "fail":
		return nil, errors.New("secret of the resolver")
	}
	if r.Header.Get("Content-Type") == "application/grpc" {
		return []resolver.Target{{Service: name, Method: method, Kind: resolver.Relay}}, nil
	}
	return []resolver.Target{
		{Service: name, Method: method, Kind: resolver.RPC},
		{Service: name, Method: r.Method, Kind: resolver.Proxy},
	}, nil
}

// protocol gives the first node of a service a protocol.
func protocol(p string, s *registry.Service) *registry.Service {
	s.Nodes[0].Metadata = map[string]string{"protocol": p}
	return s
}

// nodePush has the first node of a service ask for a push to all its subscribers.
func nodePush(s *registry.Service) *registry.Service {
	s.Nodes[0].Metadata = map[string]string{"push": "true"}
	return s
}

func resolvable() []*registry.Service {
	broker := service("micro.http.broker")
	broker.Nodes[0].Metadata = map[string]string{"broker": "http", "topic": "x"}
	mixed := protocol("grpc", service("mixed", "name=A.B"))
	mixed.Nodes = append(nodes("mixed-0"), mixed.Nodes...)
	return []*registry.Service{
		protocol("mucp", service("rpc", "name=Greeter.Hello;description=x", "name=Greeter.Routed;path=/routed;method=POST",
			"name=Greeter.Event;subscriber=true;topic=x", "name=/pattern")),
		protocol("grpc", service("quiet")),
		protocol("http", service("web")),
		service("mail", "name=On;subscriber=true;push=true;topic=x;path=/mail/on"),
		protocol("mucp", service("taker", "name=Taker.On;subscriber=true;push=true;topic=x", "name=Taker.Get")),
		nodePush(service("news", "name=On;subscriber=true;topic=x;path=/news/on")),
		nodePush(service("reader", "name=On;subscriber=true;push=false;topic=x;path=/reader/on")),
		service("plain", "name=/greeter"),
		mixed, broker,
		protocol("mucp", &registry.Service{Name: "empty", Nodes: []*registry.Node{{ID: "x", Address: "nowhere"}}}),
	}
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name, handler, path string
		want                string // handler, endpoint and nodes; or part of the error
	}{
		{"announced method", "auto", "/rpc/Greeter.Hello", "rpc Greeter.Hello rpc-1"},
		{"announced method with a route", "auto", "/rpc/Greeter.Routed", "rpc Greeter.Routed rpc-1"},
		{"method that is not announced", "auto", "/rpc/Greeter.Other", "404 service rpc has no method Greeter.Other"},
		{"subscriber", "auto", "/rpc/Greeter.Event", "404 service rpc has no method Greeter.Event"},
		{"name that is a URL pattern", "auto", "/rpc//pattern", "404 service rpc has no method"},
		{"nothing announced", "auto", "/quiet/Any.Thing", "rpc Any.Thing quiet-1"},
		{"nothing but pushes", "auto", "/mail/on", "404 no route for GET /mail/on, and no service \"mail\""},
		{"nothing but pushes that the node asks for", "auto", "/news/on", "404 no route for GET /news/on, and no service \"news\""},
		{"none of the pushes that the node asks for", "auto", "/reader/on", "http reader reader-1"},
		{"a method beside a push", "auto", "/taker/Taker.Get", "rpc Taker.Get taker-1"},
		{"a push beside a method", "auto", "/taker/Taker.On", "404 service taker has no method Taker.On"},
		{"protocol http", "auto", "/web/x", "http web web-1"},
		{"no protocol", "auto", "/plain/x", "http plain plain-1"},
		{"one node is called", "auto", "/mixed/A.B", "rpc A.B mixed-0 mixed-1"},
		{"subscriptions only", "auto", "/micro.http.broker/x", "404 no route for GET /micro.http.broker/x, and no service \"micro.http.broker\""},
		{"no usable node", "auto", "/empty/A.B", "http empty "},
		{"no service", "auto", "/none/x", "404 no route for GET /none/x, and no service \"none\""},
		{"nothing named", "auto", "/", "404 no route for GET /"},
		{"failing resolver", "auto", "/fail/x", "400 no service can be named for GET /fail/x"},
		{"control characters in a name", "auto", "/a\x7f/x", "400 the path is refused"},

		{"rpc: any service", "rpc", "/web/A.B", "rpc A.B web-1"},
		{"rpc: not announced", "rpc", "/rpc/Other", "404 service rpc has no method Other"},
		{"http: any service", "http", "/rpc/x", "http rpc rpc-1"},
		{"api: announced", "api", "/rpc/Greeter.Hello", "api Greeter.Hello rpc-1"},
		{"api: announced with a route of rpc", "api", "/rpc/Greeter.Routed", "api Greeter.Routed rpc-1"},
		{"api: not announced", "api", "/rpc/Other", "404 service rpc has no method Other"},
		{"api: nothing announced", "api", "/web/x", "api x web-1"},
		{"web: any service", "web", "/rpc/x", "web rpc rpc-1"},
		{"web: web service", "web", "/web/x", "web web web-1"},
		{"other: announced", "own", "/rpc/Greeter.Hello", "own Greeter.Hello rpc-1"},
		{"other: not announced", "own", "/rpc/Other", "own Other rpc-1"},
		{"other: web", "own", "/web/x", "own x web-1"},
		{"other: no service", "own", "/none/x", "404 no route"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, _ := newTable(&router.Options{Resolver: first, Handler: tt.handler}).Next(resolvable())
			r := get("/")
			r.URL.Path = tt.path
			rt, err := table.Route(r)
			if err != nil {
				var e *goapi.Error
				if !errors.As(err, &e) {
					t.Fatalf("Route(%s) error = %v, want a *goapi.Error", tt.path, err)
				}
				got := fmt.Sprint(e.Code, " ", e.Detail)
				if !strings.HasPrefix(got, tt.want) || strings.Contains(e.Detail, "secret") {
					t.Errorf("Route(%s) error = %q, want %q", tt.path, got, tt.want)
				}
				if e.Code == 404 && !errors.Is(err, goapi.ErrNoRoute) {
					t.Errorf("Route(%s) error = %v, want ErrNoRoute in it", tt.path, err)
				}
				return
			}
			if got := rt.Endpoint.Handler + " " + rt.Endpoint.Name + " " + nodeIDs(rt.Upstream); got != tt.want {
				t.Errorf("Route(%s) = %q, want %q", tt.path, got, tt.want)
			}
			if rt.Pattern != "" {
				t.Errorf("Route(%s) has the pattern %q, want none", tt.path, rt.Pattern)
			}
		})
	}
}

// TestRelay: what came as gRPC goes to the rpc handler, whatever serves the rest.
func TestRelay(t *testing.T) {
	tests := []struct {
		name, handler, path string
		want                string
	}{
		{"auto", "auto", "/rpc/Greeter.Hello", "rpc Greeter.Hello rpc-1"},
		{"rpc", "rpc", "/rpc/Greeter.Hello", "rpc Greeter.Hello rpc-1"},
		{"api", "api", "/rpc/Greeter.Hello", "rpc Greeter.Hello rpc-1"},
		{"http", "http", "/rpc/Greeter.Routed", "rpc Greeter.Routed rpc-1"},
		{"web", "web", "/quiet/Any.Thing", "rpc Any.Thing quiet-1"},
		{"other", "own", "/mixed/A.B", "rpc A.B mixed-0 mixed-1"},
		{"not announced", "own", "/rpc/Greeter.Other", "404 service rpc has no method Greeter.Other"},
		{"a service that is not called", "auto", "/web/A.B", "404 no route for POST /web/A.B; service web is not reached like that"},
		{"a service that is not called, http", "http", "/plain/A.B", "404 no route for POST /plain/A.B; service plain is not reached like that"},
		{"a service that is not called, rpc", "rpc", "/plain/A.B", "rpc A.B plain-1"},
		{"no service", "http", "/none/A.B", "404 no route for POST /none/A.B, and no service \"none\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, _ := newTable(&router.Options{Resolver: first, Handler: tt.handler}).Next(resolvable())
			r := get(tt.path)
			r.Method = http.MethodPost
			r.Header.Set("Content-Type", "application/grpc")
			rt, err := table.Route(r)
			var got string
			if e, ok := errors.AsType[*goapi.Error](err); ok {
				got = fmt.Sprint(e.Code, " ", e.Detail)
			} else {
				got = rt.Endpoint.Handler + " " + rt.Endpoint.Name + " " + nodeIDs(rt.Upstream)
			}
			if got != tt.want {
				t.Errorf("Route(%s) = %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}

// TestPreflightOfGRPCWeb: a browser asks for the route of the call that it is
// about to make, and hears of what it sent.
func TestPreflightOfGRPCWeb(t *testing.T) {
	res, err := resolver.ByName("micro")
	if err != nil {
		t.Fatal(err)
	}
	table := static(t, &router.Options{Resolver: res}, protocol("grpc", service("greeter", "name=Greeter.Hello")))
	const none = `404 no route for OPTIONS `
	tests := []struct{ path, headers, want string }{
		{"/greeter.Greeter/Hello", "content-type,x-grpc-web,x-user-agent", "Greeter.Hello"},
		{"/greeter.Greeter/Hello", "content-type,grpc-timeout", "Greeter.Hello"},
		{"/greeter.Greeter/Hello", "content-type", none + "/greeter.Greeter/Hello"},
		{"/none.Greeter/Hello", "x-grpc-web", none + `/none.Greeter/Hello, and no service "none" or "none.Greeter"`},
		{"/", "x-grpc-web", none + "/"},
	}
	for _, tt := range tests {
		r := get(tt.path)
		r.Method = http.MethodOptions
		r.Header.Set("Origin", "https://shop.example.com")
		r.Header.Set("Access-Control-Request-Method", http.MethodPost)
		r.Header.Set("Access-Control-Request-Headers", tt.headers)
		rt, err := table.Route(r)
		got := endpoint(rt, err)
		if e, ok := errors.AsType[*goapi.Error](err); ok {
			got = fmt.Sprint(e.Code, " ", e.Detail)
		}
		if got != tt.want {
			t.Errorf("preflight of %s with %s = %s, want %s", tt.path, tt.headers, got, tt.want)
		}
		if r.Method != http.MethodOptions {
			t.Errorf("the request's method is %s now, want OPTIONS", r.Method)
		}
	}
}

// TestOnlyNodesOfResolved: a change of nodes alone makes no new routes of any
// kind.
func TestOnlyNodesOfResolved(t *testing.T) {
	for _, handler := range []string{"auto", "rpc", "api", "http", "own"} {
		before, _ := newTable(&router.Options{Resolver: first, Handler: handler}).Next(resolvable()[:4])
		moved := resolvable()[:4]
		for _, s := range moved {
			s.Nodes[0].Address = "127.0.0.1:9999"
		}
		if after, _ := before.Next(moved); after != before {
			t.Errorf("%s: the table is another one, though only nodes changed", handler)
		}
		if after, _ := before.Next(moved[1:]); after == before {
			t.Errorf("%s: without a service, the table is the same", handler)
		}
	}
}

// TestResolveOrder: the first service that exists and fits wins, and routes
// come before any.
func TestResolveOrder(t *testing.T) {
	services := []*registry.Service{
		protocol("mucp", service("foo.bar", "name=Baz.Cat")),
		service("foo"),
		service("routed", "path=/foo/routed"),
		protocol("mucp", service("called", "name=A.B")),
	}
	table := static(t, &router.Options{Resolver: resolver.Micro}, services...)
	for path, want := range map[string]string{
		"/foo/bar/baz/cat":   "foo.bar",
		"/foo/bar/baz/dog":   "404 service foo.bar has no method Baz.Dog",
		"/foo/other/baz/cat": "foo",
		"/foo":               "foo",
		"/foo/routed":        "routed",
		"/called/A/B":        "called",
		"/x/y/z/w":           "404 no route for GET /x/y/z/w, and no service \"x.y\" or \"x\"",
		"/called/a/b/c/d":    "404 no route for GET /called/a/b/c/d, and no service \"called.a.b\"; service called is not reached like that",
	} {
		rt, err := table.Route(get(path))
		var got string
		if e, ok := errors.AsType[*goapi.Error](err); ok {
			got = fmt.Sprint(e.Code, " ", e.Detail)
		} else {
			got = rt.Service
		}
		if got != want {
			t.Errorf("Route(%s) = %s, want %s", path, got, want)
		}
	}
}

// TestResolveSeesPreflight: a preflight is resolved as what it asks for.
func TestResolveSeesPreflight(t *testing.T) {
	var seen string
	table := static(t, &router.Options{Resolver: func(r *http.Request) ([]resolver.Target, error) {
		seen = r.Method
		return nil, resolver.ErrNoTarget
	}})
	r := get("/a")
	r.Method = http.MethodOptions
	r.Header.Set("Origin", "https://example.com")
	r.Header.Set("Access-Control-Request-Method", "PUT")
	if _, err := table.Route(r); !errors.Is(err, goapi.ErrNoRoute) || seen != "PUT" || r.Method != http.MethodOptions {
		t.Errorf("Route error = %v, the resolver saw %s, the request is %s", err, seen, r.Method)
	}
}

// TestResolvedNodes: a method is called on the nodes that announce it, however
// they route it.
func TestResolvedNodes(t *testing.T) {
	old := protocol("mucp", service("s", "name=A.B;path=/old", "name=A.Gone"))
	next := protocol("mucp", service("s", "name=A.B;path=/new", "name=A.New"))
	old.Nodes[0].ID, next.Nodes[0].ID = "old", "new"
	pol := &goapi.Policy{MaxBody: 1}
	table, _ := newTable(&router.Options{
		Resolver: first, Policy: func(string, *goapi.Endpoint) *goapi.Policy { return pol },
	}).Next([]*registry.Service{old, next})
	for path, want := range map[string]string{"/s/A.B": "new old", "/s/A.Gone": "old", "/s/A.New": "new", "/old": "old"} {
		rt, err := table.Route(get(path))
		if err != nil {
			t.Fatalf("Route(%s) error = %v", path, err)
		}
		if got := nodeIDs(rt.Upstream); got != want || rt.Policy != pol {
			t.Errorf("Route(%s) has nodes %q and policy %v, want %q and %v", path, got, rt.Policy, want, pol)
		}
	}
	before, _ := table.Route(get("/s/A.New"))
	table, _ = table.Next([]*registry.Service{next})
	after, err := table.Route(get("/s/A.New"))
	if err != nil || nodeIDs(after.Upstream) != "new" {
		t.Errorf("Route(/s/A.New) = %v, %v (was %v)", after, err, before)
	}
}

// TestResolvedStreams: a stream that is resolved is one, for every method of
// HTTP and with or without a route of its own.
func TestResolvedStreams(t *testing.T) {
	s := protocol("mucp", service("s",
		"name=A.Routed;path=/a;method=POST;stream=true", "name=A.Named;stream=true;handler=rpc", "name=A.Bare;stream=true;handler=",
		"name=A.Other;path=/b;stream=true;handler=api", "name=A.Unary"))
	for _, handler := range []string{"auto", "rpc", "http"} {
		table := static(t, &router.Options{Resolver: first, Handler: handler}, s)
		for path, want := range map[string]bool{"/s/A.Routed": true, "/s/A.Named": true, "/s/A.Bare": true, "/s/A.Other": true, "/s/A.Unary": false} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				r := get(path)
				r.Method = method
				if handler == "http" {
					r.Header.Set("Content-Type", "application/grpc")
				}
				rt, err := table.Route(r)
				if err != nil || rt.Endpoint.Stream != want || rt.Endpoint.Handler != "rpc" {
					t.Errorf("%s: Route(%s %s) = %v, %v: want a stream %t of rpc", handler, method, path, rt, err, want)
				}
			}
		}
	}
}

// TestProtocolChange: what resolves changes with the protocol of the nodes.
func TestProtocolChange(t *testing.T) {
	table, _ := newTable(&router.Options{Resolver: first}).Next([]*registry.Service{service("s")})
	for _, tt := range []struct{ protocol, want string }{{"mucp", "rpc"}, {"http", "http"}, {"grpc", "rpc"}} {
		table, _ = table.Next([]*registry.Service{protocol(tt.protocol, service("s"))})
		rt, err := table.Route(get("/s/A.B"))
		if err != nil || rt.Endpoint.Handler != tt.want {
			t.Errorf("with protocol %s, Route = %v, %v, want handler %s", tt.protocol, rt, err, tt.want)
		}
	}
}
