package grpc_test

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

// serveNative starts a server as grpc-go makes them: with no codec but that of
// protobuf.
func serveNative(t *testing.T) *registry.Node {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Stop
	}()
	t.Cleanup(func() { srv.Stop(); <-done })
	return &registry.Node{ID: "native-1", Address: ln.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}
}

const serving = "\x08\x01" // of HealthCheckResponse

// A native server is found by its package, wherever that stands.
func TestNativeNames(t *testing.T) {
	n := serveNative(t)
	tests := []struct{ name, service, endpoint, pkg string }{
		{"the service is the type", "grpc.health.v1.Health", "Health.Check", ""},
		{"the service is the package", "grpc.health.v1", "Health.Check", ""},
		{"in the endpoint", "health", "grpc.health.v1.Health.Check", ""},
		{"in the endpoint, of a service by that name", "grpc.health.v1.Health", "grpc.health.v1.Health.Check", ""},
		{"of the node", "health", "Health.Check", "grpc.health.v1"},
	}
	c := protocol{}.Caller(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node := &registry.Node{ID: n.ID, Address: n.Address, Metadata: map[string]string{"package": tt.pkg}}
			res, err := c.Call(t.Context(), node, &client.Request{Service: tt.service, Endpoint: tt.endpoint, ContentType: mucp.Protobuf})
			if err != nil || string(res.Body) != serving {
				t.Errorf("Call = %v, %v, want %q", res, err, serving)
			}
		})
	}
}
