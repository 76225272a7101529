// Package upstream holds the nodes behind services and decides which of them
// serves a request. It is the only place where a node is chosen.
//
// [Pools] has a [Pool] for each service; a Pool keeps the load and the health
// of the service's nodes for as long as they are announced. A [Set] is those
// nodes of a Pool that announce a certain endpoint, and [Set.Do] serves a
// request from it: of two nodes drawn at random it takes the one with less to
// do, watches the attempt, and tries again on another node what is safe to try
// again.
//
// A node that cannot be reached, or that fails five times in a row, is
// ejected: it gets no requests for a second, then twice as long each time, at
// most 30 s; then one request at a time probes it until one is answered. The
// last nodes of a Set are never given up: when all are ejected, the one whose
// ejection is the oldest is tried nevertheless.
//
// [Guard] keeps a dialler away from addresses that no node may have.
package upstream

import (
	"net/http"
	"time"
)

// defaults returns the policy where nobody has another.
func defaults() *Policy {
	return &Policy{Tries: 3, TryTimeout: 30 * time.Second, Timeout: 30 * time.Second}
}

// A Policy says how the nodes of a route are tried. It is data. A nil *Policy,
// and a zero field, mean the default: that of [Options.Policy] for the service,
// and else the one named here.
type Policy struct {
	// Tries is the most attempts a request gets. Default: 3.
	Tries int
	// TryTimeout bounds the time from picking a node to Try.Answered.
	// Default: 30 s.
	TryTimeout time.Duration
	// Timeout bounds that time for all tries together: no try begins later, and
	// none gets more than what is left. Default: 30 s.
	Timeout time.Duration
	// MaxPerNode bounds the attempts in flight on a node, those of other routes
	// included. A node that has reached it is passed over. Default: none.
	MaxPerNode int
	// MaxInFlight bounds the attempts in flight on all nodes of the service,
	// those of other routes included. Default: none.
	MaxInFlight int
	// HashBy keeps requests that are alike on one node, as long as that can
	// serve: those with the same value of a header ("header:X-User") or of a
	// cookie ("cookie:session"). Requests without it go anywhere. Default: none
	// is kept.
	HashBy string
}

// over returns p with every zero field as in d; p may be nil.
func (p *Policy) over(d *Policy) Policy {
	if p == nil {
		return *d
	}
	c := *p
	if c.Tries <= 0 {
		c.Tries = d.Tries
	}
	if c.TryTimeout <= 0 {
		c.TryTimeout = d.TryTimeout
	}
	if c.Timeout <= 0 {
		c.Timeout = d.Timeout
	}
	if c.MaxPerNode <= 0 {
		c.MaxPerNode = d.MaxPerNode
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = d.MaxInFlight
	}
	if c.HashBy == "" {
		c.HashBy = d.HashBy
	}
	return c
}

// A Call is what Do must know of a request.
type Call struct {
	// Policy is the route's. Nil means all defaults.
	Policy *Policy
	// Idempotent requests may be sent again after bytes of them may have left.
	// A request whose body cannot be sent a second time is not.
	Idempotent bool
	// Header is the request's, for what is decided by it. It is only read, and
	// may be nil.
	Header http.Header
}
