package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// The protocols that nodes announce.
const (
	ProtocolMicro = "mucp"
	ProtocolGRPC  = "grpc"
)

// ByProtocol picks a caller by the protocol that a node announces in its
// metadata: nodes of one service may differ. Nodes that announce none are
// called as ProtocolMicro, which old services speak.
type ByProtocol map[string]Caller

var _ Caller = ByProtocol(nil)

// Call implements Caller.
func (b ByProtocol) Call(ctx context.Context, n *registry.Node, req *Request) (*Response, error) {
	protocol := n.Metadata["protocol"]
	if protocol == "" {
		protocol = ProtocolMicro
	}
	caller, ok := b[protocol]
	if !ok {
		return nil, goapi.NewError(http.StatusBadGateway,
			fmt.Sprintf("%s speaks the protocol %q, which this gateway does not", req.Service, protocol), nil)
	}
	return caller.Call(ctx, n, req)
}
