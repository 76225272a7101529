// Package upstream holds the nodes behind services and decides which of them
// serves a request. It is the only place where a node is chosen.
package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// ErrNoNodes is returned by [Set.Do] when no node can serve.
var ErrNoNodes = errors.New("upstream: no nodes")

// A Policy says how the nodes of a route are tried. Nil means all defaults.
type Policy struct {
	// Tries is the most attempts a request gets. Default: 3.
	Tries int
	// TryTimeout bounds the time from picking a node to Try.Answered.
	// Default: 30 s.
	TryTimeout time.Duration
}

// A Call is what Do must know of a request.
type Call struct {
	// Policy is the route's. Nil means all defaults.
	Policy *Policy
	// Idempotent requests may be sent again after bytes of them may have left.
	Idempotent bool
}

// Pools holds the Pool of every service.
type Pools struct{}

// Pool holds the nodes of one service.
type Pool struct{}

// A Set is the nodes of a Pool whose announcement holds a route's endpoint.
type Set struct{}

// Static returns a Set of fixed addresses.
func Static(addresses ...string) *Set { return nil }

// Do picks a node, attempts, and tries again what is safe.
func (s *Set) Do(ctx context.Context, c Call, attempt func(context.Context, *Try) error) error {
	return ErrNoNodes
}

// A Try is one attempt at a request on one node.
type Try struct {
	Node *registry.Node
	N    int // 1 for the first
}

// Sent says that bytes of the request may have left.
func (t *Try) Sent() {}

// Answered says that the head of the answer is here.
func (t *Try) Answered() {}

// Blameless says that the failure is not the node's, and final.
func (t *Try) Blameless() {}
