package config_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

const operatorRoutes = `routes:
  - match: www.example.com/legacy/**
    methods: [HEAD, GET]
    to: ["10.0.0.5:9000", "10.0.0.6:9000"]
    tls: true
    strip: /legacy
    timeout: 7s
  - match: www.example.com/legacy/**
    methods: POST
    to: 10.0.0.7:9000
    handler: web
  - match: /sum
    to: "[::1]:9000"
    handler: rpc
    endpoint: Math.Sum
    protocol: grpc
`

func TestServices(t *testing.T) {
	f := parse(t, operatorRoutes)
	services := f.Services()
	want := []string{
		"static/www.example.com/legacy/**:GET,HEAD www.example.com/legacy/** http [10.0.0.5:9000 10.0.0.6:9000] map[secure:true]",
		"static/www.example.com/legacy/**:POST www.example.com/legacy/** web [10.0.0.7:9000] map[]",
		"static/sum Math.Sum rpc [[::1]:9000] map[protocol:grpc]",
	}
	if len(services) != len(want) {
		t.Fatalf("Services = %d, want %d", len(services), len(want))
	}
	for i, s := range services {
		var nodes []string
		for _, n := range s.Nodes {
			nodes = append(nodes, n.Address)
		}
		got := fmt.Sprintf("%s %s %s %v %v", s.Name, s.Endpoints[0].Name, s.Endpoints[0].Metadata["handler"], nodes, s.Nodes[0].Metadata)
		if got != want[i] {
			t.Errorf("service %d = %s, want %s", i, got, want[i])
		}
		if err := s.Validate(); err != nil {
			t.Errorf("service %s: %v", s.Name, err)
		}
		if !config.Static(s.Name) {
			t.Errorf("Static(%s) = false", s.Name)
		}
	}
	if config.Static("greeter") {
		t.Error("Static(greeter) = true")
	}
}

// TestServicesAreRouted: the router takes what Services returns, and the policy of
// a route is laid on it.
func TestServicesAreRouted(t *testing.T) {
	f := parse(t, operatorRoutes)
	table, reports := router.NewTable(upstream.NewPools(nil), nil).Next(f.Services())
	if len(reports) > 0 {
		t.Fatalf("the router reports %v", reports)
	}
	tests := []struct{ method, host, path, want string }{
		{"GET", "www.example.com", "/legacy/x", "static/www.example.com/legacy/**:GET,HEAD /legacy 7s"},
		{"HEAD", "www.example.com", "/legacy", "static/www.example.com/legacy/**:GET,HEAD /legacy 7s"},
		{"POST", "www.example.com", "/legacy/x", "static/www.example.com/legacy/**:POST  0s"},
		{"PUT", "anything", "/sum", "static/sum  0s"},
		{"GET", "other.example.com", "/legacy/x", ""},
	}
	p, err := config.New(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		r := request(t, tt.path)
		r.Method, r.Host = tt.method, tt.host
		rt, err := table.Route(r)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s %s%s is routed to %s", tt.method, tt.host, tt.path, rt.Service)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s%s: %v", tt.method, tt.host, tt.path, err)
			continue
		}
		_, seen := through(p, rt, r)
		var timeout any = "0s"
		if seen.Policy != nil {
			timeout = seen.Policy.Timeout
		}
		if got := fmt.Sprint(seen.Service, " ", seen.Endpoint.Strip, " ", timeout); got != tt.want {
			t.Errorf("%s %s%s is %s, want %s", tt.method, tt.host, tt.path, got, tt.want)
		}
	}
}

// TestWrapInGateway: a Gateway takes the rings, and a request that the router
// resolves stands under them.
func TestWrapInGateway(t *testing.T) {
	f := parse(t, operatorRoutes+"patterns: [{match: /legacy/secret/**, deny: [0.0.0.0/0]}]\n")
	p, err := config.New(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	table, _ := router.NewTable(upstream.NewPools(nil), nil).Next(f.Services())
	gw := &goapi.Gateway{Router: table, Wrap: p.Wrap, Handlers: map[string]http.Handler{
		"http": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	}}
	var codes []int
	for _, target := range []string{"/legacy/x", "/legacy/secret", "/legacy//secret", "/legacy/%73ecret/x", "/legacy/secret/%2e%2e/x"} {
		r := request(t, target)
		r.Host, r.RequestURI = "www.example.com", target
		w := record(gw, r)
		codes = append(codes, w)
	}
	if want := []int{200, 403, 400, 403, 400}; !slices.Equal(codes, want) {
		t.Errorf("statuses = %v, want %v", codes, want)
	}
}
