package grpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

// Health asks a node by grpc.health.v1 whether it serves, and returns why not.
// A node that answers that it has no such method is well: of many a service
// no more can be known. It is an upstream.Prober.
func (c *Caller) Health(ctx context.Context, n *registry.Node) error {
	res, err := c.Call(ctx, n, &client.Request{
		Service: n.ID, Endpoint: grpc_health_v1.Health_Check_FullMethodName, ContentType: mucp.Protobuf,
	})
	var known *goapi.Error
	switch {
	case errors.As(err, &known) && (known.Code == http.StatusNotFound || known.Code == http.StatusNotImplemented):
		return nil
	case err != nil:
		return err
	}
	var health grpc_health_v1.HealthCheckResponse
	if err := proto.Unmarshal(res.Body, &health); err != nil {
		return fmt.Errorf("grpc: node %s answers grpc.health.v1 with something else: %w", n.ID, err)
	}
	if s := health.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("grpc: node %s says that it is %v", n.ID, s)
	}
	return nil
}
