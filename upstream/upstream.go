// Package upstream holds the nodes behind services and decides which of them
// serves a request. It is the only place where a node is chosen.
//
// [Pools] has a [Pool] for each service; a Pool keeps the load and the health
// of the service's nodes for as long as they are announced. A [Set] is those
// nodes of a Pool that announce a certain endpoint, and [Set.Do] serves a
// request from it: of two nodes drawn at random it takes the one with less to
// do, watches the attempt, and tries again on another node what is safe to try
// again. [Policy] says how often and for how long.
//
// # Health
//
// A node that cannot be reached, or that fails five times in a row, is
// ejected: it gets no requests for a second, then twice as long each time, at
// most 30 s; then one request at a time probes it until one is answered. The
// last nodes of a Set are never given up: when all are ejected, the one whose
// ejection is the oldest is tried nevertheless; and when one of them answers,
// all others are probed at once.
//
// A node is silent that was asked at least twice since its last answer, and has
// given none. Silence counts as latency while requests still wait, so that a node
// that has stopped is passed over after two of them. One may be a call that
// waits, as a long poll or a watch does: it says nothing of its node, is no load
// for it after a second, and what it took is not the node's latency.
//
// An idempotent request that waits on a node from which nothing is heard for
// longer than answers take (at least 100 ms) is abandoned there, and tried on
// another node within the budget of retries; one that is not idempotent waits.
//
// A silent node, and one that takes five times as long as the pool's median and
// more than 100 ms, is ejected for being slow, for at most 4 s at a time, and as
// long as half of the pool is left. Idempotent requests probe it; an answer that
// it gives to a request from before lets it be probed at once.
//
// A node that has come back, or joins others, gets a tenth of its share at
// first, and all of it after 5 s.
//
// With [Options.Probe], [Pools.Run] probes nodes as well, and what probes find
// unhealthy comes back by probes. Without, nothing runs but what requests do.
//
// # Traffic
//
// The metadata of a node may say which requests it is for. What is malformed
// counts as absent, and [NodeState] tells.
//
//   - weight: a number from 0 to 1000, its share in relation to other nodes;
//     others have 1. A node of weight 0 gets nothing as long as another has more.
//   - match: "Name:value". The node gets the requests whose header has that
//     value, and no other requests.
//   - canary: true, or a percentage. The node gets the requests that ask for it
//     with the header X-Canary: true, and that percentage of those that do not
//     say X-Canary: false. Several canaries share the highest percentage.
//
// When no node that a header asks for is available, any that is for every request
// serves it.
//
// # Overload
//
// With [Policy.Adaptive] each node is given as many requests at a time as it can
// answer in time, once it has shown that it cannot do more: when answers are late,
// all of 16 in a row, to requests that met more others than any did in the last ten
// seconds whose answer was in time. Late is half as long again as answers take when
// there are few, and 10 ms. What else makes answers late makes no limit. The limit
// is at least 4, follows what the node can do, and is lifted when for ten seconds
// nothing came near to it. What is beyond goes to other nodes, and when all have as
// many as they can do it is refused at once.
//
// Only what waits for the head of an answer counts, and so no stream, no long poll
// that waits, and no body that is on its way.
//
// Clients that wait for their turn, each for one answer at a time, are refused by
// that where they would have been served late. So it is no default.
//
// [Guard] keeps a dialler away from addresses that no node may have.
package upstream

import (
	"net/http"
	"time"

	"github.com/goapi-dev/goapi/registry"
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
	// those of other routes included. An open stream is one. Default: none.
	MaxInFlight int
	// Adaptive bounds the attempts on each node that wait for an answer, by how
	// many of them it has answered in time: see Overload in the text of the
	// package. Default: it does not.
	Adaptive bool
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
	c.Adaptive = c.Adaptive || d.Adaptive
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
	// Fits says whether a node can serve the request at all. For the choice of
	// one, those that cannot are as if they were not there; when none can, Do
	// returns ErrNoNodes. It is called often and from any goroutine, also while
	// an attempt runs: it only looks at the node, and is quick. Nil means that
	// all can.
	Fits func(*registry.Node) bool
}
