package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
)

// A call of a method on one node. Which node is the upstream's business; here
// it is a server that answers as a go-micro service does.
func ExampleMicro() {
	greeter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		fmt.Fprintf(w, `{"message":"hello from %s"}`, r.Header.Get("Micro-Endpoint"))
	}))
	defer greeter.Close()
	node := &registry.Node{ID: "greeter-1", Address: greeter.Listener.Addr().String()}

	micro := client.NewMicro(nil)
	defer micro.Close()
	caller := client.ByProtocol{client.ProtocolMicro: micro}

	res, err := caller.Call(context.Background(), node, &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello",
		ContentType: "application/json", Body: []byte(`{"name":"john"}`),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(res.Body))
	// Output: {"message":"hello from Greeter.Hello"}
}
