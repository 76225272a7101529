package config_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
)

// A file is read, and its policies are laid on the routes of a gateway.
func Example() {
	file, err := config.Parse("goapi.yaml", []byte(`
policy:
  timeout: ${TIMEOUT:-10s}
patterns:
  - match: /admin/**
    allow: [10.0.0.0/8]
services:
  greeter:
    timeout: 2s
`), func(string) (string, bool) { return "", false })
	if err != nil {
		fmt.Println(err)
		return
	}
	policies, err := config.New(file, nil)
	if err != nil {
		fmt.Println(err)
		return
	}

	rt := &goapi.Route{Service: "greeter", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello", Handler: "http"}}
	h := goapi.With(rt, policies.Wrap(rt, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "a timeout of", goapi.RouteFrom(r.Context()).Policy.Timeout)
	})))
	for _, path := range []string{"/hello", "/admin/hello"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	for _, a := range policies.Explain(rt, httptest.NewRequest(http.MethodGet, "/admin/hello", nil)) {
		fmt.Println(a.Policy, a.Value, "from", a.From)
	}
	// Output:
	// 200 a timeout of 2s
	// 403 {"id":"goapi","code":403,"detail":"this is not served to the address that the request comes from","status":"Forbidden"}
	// timeout 2s from services.greeter (goapi.yaml:9)
	// allow ["10.0.0.0/8"] from patterns[0] (goapi.yaml:5)
}

// What is wrong with a file is said all at once, a line for each mistake.
func ExampleParse_mistakes() {
	_, err := config.Parse("goapi.yaml", []byte(`
log-level: warn
policy:
  timeout: 5
  cors: {origins: ["*"], credentials: true}
`), func(string) (string, bool) { return "", false })
	fmt.Println(err)
	// Output:
	// goapi.yaml:2:1: log-level: unknown key; did you mean log_level?
	// goapi.yaml:4:12: policy.timeout: "5": want a time with its unit, such as 5s
	// goapi.yaml:5:9: policy.cors: origin "*" does not go with credentials: name the origins
}
