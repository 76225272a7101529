package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// A service that speaks plain HTTP, behind a prefix that it knows nothing of.
func ExampleHTTP() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %s", r.Method, r.RequestURI, r.Host)
	}))
	defer service.Close()

	gw := goapi.With(&goapi.Route{
		Service:  "shop",
		Endpoint: &goapi.Endpoint{Name: "Shop", Handler: "http", Path: []string{"/shop/**"}, Strip: "/shop"},
		Upstream: upstream.Static(service.Listener.Addr().String()),
	}, handler.HTTP(nil))

	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://goapi.test/shop/items?id=1", http.NoBody)
	gw.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 GET /items?id=1 for goapi.test
}

// Announce a service and find it again.
func ExampleRegistry() {
	h := handler.Registry(new(registry.Memory), nil)
	do := func(method, target, body string) {
		r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	do(http.MethodPost, "/registry?ttl=30s", `{"name":"greeter","nodes":[{"id":"greeter-1","address":"10.0.0.1:9000"}]}`)
	do(http.MethodGet, "/registry?service=greeter", "")
	do(http.MethodPost, "/registry", `{"name":"greeter","nodes":[{"id":"greeter-1","address":"169.254.0.1:9000"}]}`)
	// Output:
	// 200 {}
	// 200 [{"name":"greeter","version":"","metadata":null,"endpoints":null,"nodes":[{"id":"greeter-1","address":"10.0.0.1:9000","metadata":null}]}]
	// 400 {"id":"goapi","code":400,"detail":"nodes[0].address: \"169.254.0.1:9000\" is a link-local address","status":"Bad Request"}
}
