package handler_test

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/server"
)

// A client of gRPC calls a service of gRPC through the gateway, which finds it by
// the package of the method.
func ExampleGRPC() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	service := grpc.NewServer()
	healthpb.RegisterHealthServer(service, health.NewServer())
	go service.Serve(ln)
	defer service.Stop()

	table, err := router.Static([]*registry.Service{{
		Name:  "grpc.health.v1",
		Nodes: []*registry.Node{{ID: "health-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}},
	}}, &router.Options{Resolver: resolver.WithGRPC(resolver.Micro)})
	if err != nil {
		fmt.Println(err)
		return
	}
	gateway := &goapi.Gateway{
		Router: table,
		Handlers: map[string]http.Handler{
			"rpc": handler.RPC(&client.Micro{}, &handler.RPCOptions{GRPC: handler.GRPC(nil)}),
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := server.Listen(ctx, "127.0.0.1:0", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, gateway) }()

	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	rsp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	fmt.Println(rsp.GetStatus(), err)
	conn.Close()
	stop()
	fmt.Println(<-ended)
	// Output:
	// SERVING <nil>
	// <nil>
}
