package client

import (
	"context"
	"fmt"

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
//
// A node whose protocol has no caller cannot be called: the error is a
// *ProtocolError and nothing was sent, so that another node may be.
type ByProtocol map[string]Caller

// A Selective is a Caller that cannot call every node.
type Selective interface {
	// Calls says whether it can call a node. It only looks at what that
	// announces, and is quick.
	Calls(n *registry.Node) bool
}

var (
	_ Caller   = ByProtocol(nil)
	_ Streamer = ByProtocol(nil)

	_ Selective = ByProtocol(nil)
)

// Calls implements Selective.
func (b ByProtocol) Calls(n *registry.Node) bool {
	_, ok := b[protocolOf(n)]
	return ok
}

// Call implements Caller.
func (b ByProtocol) Call(ctx context.Context, n *registry.Node, req *Request) (*Response, error) {
	protocol := protocolOf(n)
	caller, ok := b[protocol]
	if !ok {
		return nil, &ProtocolError{Node: n.ID, Protocol: protocol}
	}
	return caller.Call(ctx, n, req)
}

// Stream implements Streamer. A caller that is no Streamer is no caller here.
func (b ByProtocol) Stream(ctx context.Context, n *registry.Node, req *Request) (Stream, error) {
	protocol := protocolOf(n)
	streamer, ok := b[protocol].(Streamer)
	if !ok {
		return nil, &ProtocolError{Node: n.ID, Protocol: protocol}
	}
	return streamer.Stream(ctx, n, req)
}

// protocolOf returns the protocol that a node speaks.
func protocolOf(n *registry.Node) string {
	if p := n.Metadata["protocol"]; p != "" {
		return p
	}
	return ProtocolMicro
}

// A ProtocolError is returned by [ByProtocol] for a node that speaks a protocol
// which has no caller.
type ProtocolError struct {
	// Node is the id of the node, and Protocol what it announces.
	Node, Protocol string
}

// Error implements error.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("client: node %s speaks the protocol %q, for which there is no caller", e.Node, e.Protocol)
}
