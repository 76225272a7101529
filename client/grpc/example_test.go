package grpc_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/goapi-dev/goapi/client"
	clientgrpc "github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/registry"
)

// A call of a native gRPC server: its own package stands in the endpoint. The
// message is encoded already; here it is empty, and so asks for all.
func ExampleCaller() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	go srv.Serve(ln)
	defer srv.Stop()

	caller := clientgrpc.New(nil)
	defer caller.Close()
	node := &registry.Node{ID: "checker-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}
	res, err := caller.Call(context.Background(), node, &client.Request{
		Service: "checker", Endpoint: "grpc.health.v1.Health/Check", ContentType: "application/protobuf",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%x\n", res.Body) // field 1, status, is 1: SERVING
	// Output: 0801
}
