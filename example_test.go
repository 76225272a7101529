package goapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func ExampleGateway() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// A service somewhere, which knows nothing of the gateway.
	greeter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "you asked for ", r.URL.Path)
	}))
	defer greeter.Close()

	// A gateway that follows a registry.
	reg := new(registry.Memory)
	live := router.NewLive(reg, upstream.NewPools(nil), nil)
	gateway := &goapi.Gateway{
		Router:   live,
		Handlers: map[string]http.Handler{"http": handler.HTTP(nil)},
	}

	// The service is announced, and with it its route.
	_ = reg.Register(ctx, &registry.Service{
		Name:  "greeter",
		Nodes: []*registry.Node{{ID: "greeter-1", Address: greeter.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{Name: "Hello", Metadata: map[string]string{
			"handler": "http", "method": "GET", "path": "/hello/{name}",
		}}},
	}, 0)
	go live.Run(ctx)
	<-live.Ready()

	w := httptest.NewRecorder()
	gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/hello/john", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 200 you asked for /hello/john
}

func ExampleWith() {
	rt := &goapi.Route{Service: "greeter", Endpoint: &goapi.Endpoint{Name: "Hello"}}
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rt := goapi.RouteFrom(r.Context())
		fmt.Fprint(w, rt.Endpoint.Name, " of ", rt.Service, " for ", r.PathValue("name"))
	})
	mux := http.NewServeMux()
	mux.Handle("/hello/{name}", goapi.With(rt, show))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/hello/john", nil))
	fmt.Println(w.Body)
	// Output: Hello of greeter for john
}
