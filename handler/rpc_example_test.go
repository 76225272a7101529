package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// parrot is a caller for the examples: every method replies with its name and
// the message, which is JSON. Against real services it is a client.Micro.
type parrot struct{}

func (parrot) Call(_ context.Context, _ *registry.Node, req *client.Request) (*client.Response, error) {
	return &client.Response{ContentType: req.ContentType, Body: fmt.Appendf(nil, `{"%s of %s":%s}`, req.Endpoint, req.Service, req.Body)}, nil
}

// A request becomes the message of a call, typed as the service announced it.
func ExampleRPC() {
	greeter := &goapi.Route{
		Service: "greeter",
		Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Request: &registry.Value{Type: "HelloRequest", Values: []*registry.Value{
			{Name: "name", Type: "string"},
			{Name: "age", Type: "int32"},
		}}},
		Upstream: upstream.Static("127.0.0.1:9000"),
	}
	mux := http.NewServeMux()
	mux.Handle("/hello/{name}", goapi.With(greeter, handler.RPC(parrot{}, nil)))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/hello/123?age=7", nil))
	fmt.Println(w.Code, w.Body)

	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/hello/123?age=old", nil))
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 {"Greeter.Hello of greeter":{"age":7,"name":"123"}}
	// 400 {"id":"goapi","code":400,"detail":"\"age\" takes int32, not \"old\"","status":"Bad Request"}
}

// An operator calls a method by its name.
func ExampleCall() {
	pools := upstream.NewPools(nil)
	pools.Update("greeter", []*registry.Service{{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9000"}}}})
	find := func(service string) *upstream.Set {
		if pool := pools.Pool(service); pool != nil {
			return pool.All()
		}
		return nil
	}

	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/rpc", strings.NewReader(`service=greeter&method=Greeter.Hello&request={"name":"John"}`))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	handler.Call(find, parrot{}, nil).ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 {"Greeter.Hello of greeter":{"name":"John"}}
}
