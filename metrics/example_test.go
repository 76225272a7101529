package metrics_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/metrics"
)

func Example() {
	m := metrics.New(nil)
	rt := &goapi.Route{Service: "greeter", Pattern: "/hello/{name}", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "http"}}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	public := m.Middleware(goapi.With(rt, hello)) // a gateway knows the route by itself
	for _, name := range []string{"ann", "bob"} {
		public.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/hello/"+name, nil))
	}

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "goapi_requests_total") {
			fmt.Print(line)
		}
	}
	// Output: goapi_requests_total{code="200",handler="http",method="GET",route="/hello/{name}",service="greeter"} 2
}
