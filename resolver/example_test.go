package resolver_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi/resolver"
)

func Example() {
	resolve := resolver.Namespace("go.micro.api", resolver.Micro)

	targets, err := resolve(httptest.NewRequest(http.MethodPost, "/foo/bar/baz/cat", nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range targets {
		fmt.Println(t.Kind, t.Service, t.Method)
	}
	// Output:
	// rpc go.micro.api.foo.bar Baz.Cat
	// proxy go.micro.api.foo POST
}

func ExampleByName() {
	resolve, err := resolver.ByName("grpc")
	if err != nil {
		fmt.Println(err)
		return
	}
	targets, err := resolve(httptest.NewRequest(http.MethodPost, "/greeter.Greeter/Hello", nil))
	fmt.Println(targets, err)
	// Output: [{greeter Greeter.Hello rpc} {greeter.Greeter Greeter.Hello rpc}] <nil>
}
