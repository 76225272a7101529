package goapi

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

// A Router finds the route of a request. It may be used concurrently.
//
// The variables of the route's path are set with r.SetPathValue. A request
// that nothing claims is ErrNoRoute, wrapped or in the Cause of an *Error that
// says more (405 with Allow, 404 with the names that were looked up).
type Router interface {
	Route(r *http.Request) (*Route, error)
}

// A Route is what a routing table holds: a pattern, its endpoint, the service
// behind it and its policy. Shared: read-only.
type Route struct {
	// Service is the name of the service.
	Service string
	// Pattern is the path as announced, for reports, logs and metrics. A route
	// that a resolver found has none.
	Pattern string
	// Endpoint is never nil.
	Endpoint *Endpoint
	// Upstream is the nodes that serve the route.
	Upstream *upstream.Set
	// Policy is what the operator laid on the route. Nil means all defaults.
	Policy *Policy

	like *Route // the route whose inner ring this one shares, if not its own
	ring atomic.Pointer[ring]
}

// Like returns a route for another endpoint of the service, announced or not, on
// rt's nodes and under its policy.
func (rt *Route) Like(e *Endpoint) *Route {
	like := rt
	if rt.like != nil {
		like = rt.like
	}
	return &Route{Service: rt.Service, Pattern: rt.Pattern, Endpoint: e, Upstream: rt.Upstream, Policy: rt.Policy, like: like}
}

// Under returns rt as it is under another policy, with an inner ring of its own.
func (rt *Route) Under(p *Policy) *Route {
	return &Route{Service: rt.Service, Pattern: rt.Pattern, Endpoint: rt.Endpoint, Upstream: rt.Upstream, Policy: p}
}

// A Policy is what an operator lays on a route. A nil *Policy, and a zero
// field, mean the default.
type Policy struct {
	// Timeout bounds a whole rpc, api or event call. Default: 30 s.
	Timeout time.Duration
	// MaxBody bounds a body that must be buffered, in bytes. Default: 4 MiB.
	MaxBody int64
	// Upstream says how nodes are tried.
	Upstream upstream.Policy
}

const (
	defaultTimeout = 30 * time.Second
	defaultMaxBody = 4 << 20
)

// OrDefault returns p with every zero field at its default; p may be nil.
func (p *Policy) OrDefault() Policy {
	var d Policy
	if p != nil {
		d = *p
	}
	if d.Timeout == 0 {
		d.Timeout = defaultTimeout
	}
	if d.MaxBody == 0 {
		d.MaxBody = defaultMaxBody
	}
	return d
}

// ring is a route's handler within its inner ring, made once for a gateway.
type ring struct {
	gateway *Gateway
	handler http.Handler
}
