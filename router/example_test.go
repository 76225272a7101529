package router_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
)

// A gateway for fixed services: their announcements are all that it knows.
func Example() {
	greeter := &registry.Service{
		Name:  "greeter",
		Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9000"}},
		Endpoints: []*registry.Endpoint{{
			Name:     "Greeter.Hello",
			Metadata: map[string]string{"handler": "rpc", "method": "GET", "path": "/hello/{name}"},
		}},
	}
	table, err := router.Static([]*registry.Service{greeter}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	gateway := &goapi.Gateway{
		Router: table,
		Handlers: map[string]http.Handler{
			"rpc": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rt := goapi.RouteFrom(r.Context())
				fmt.Fprintf(w, "%s of %s with name %s", rt.Endpoint.Name, rt.Service, r.PathValue("name"))
			}),
		},
	}
	for _, method := range []string{"GET", "DELETE"} {
		w := httptest.NewRecorder()
		gateway.ServeHTTP(w, httptest.NewRequest(method, "/hello/john", nil))
		fmt.Println(w.Code, w.Header().Get("Allow"), w.Body)
	}
	// Output:
	// 200  Greeter.Hello of greeter with name john
	// 405 GET, HEAD {"id":"goapi","code":405,"detail":"no route for DELETE /hello/john; its methods are GET, HEAD","status":"Method Not Allowed"}
}
