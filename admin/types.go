package admin

import (
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/router"
)

// A Service is one version of a service as the gateway sees it.
type Service struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Endpoints []string `json:"endpoints"`
	Nodes     []Node   `json:"nodes"`
}

// A Node is a node of a service with what the gateway knows of its health.
type Node struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Protocol string `json:"protocol"`
	// State is StateUp, StateEjected, or StateUnused.
	State string `json:"state"`
	// Reason is why the node is ejected: unreachable, failing, slow or
	// unhealthy.
	Reason string `json:"reason,omitempty"`
	// Weight is the node's share in relation to others as its metadata asks for
	// it, less while it starts slowly. 0 is a node that is drained.
	Weight float64 `json:"weight"`
	// Ignored says what the node's metadata asks for that means nothing.
	Ignored []string `json:"ignored,omitempty"`
	// InFlight counts the requests that this gateway has on the node.
	InFlight int `json:"in_flight"`
	// LatencyMS is an average of the time to the head of an answer, in
	// milliseconds; 0 until the node has answered.
	LatencyMS float64 `json:"latency_ms"`
}

// The states of a node.
const (
	// StateUp is a node that gets requests.
	StateUp = "up"
	// StateEjected is a node that gets none for a while, because it failed.
	StateEjected = "ejected"
	// StateUnused is a node that cannot be used; the reports of Routes say why.
	StateUnused = "unused"
)

// Routes is the routing table: what is routed, what is not routed as announced,
// and how fresh all of it is.
type Routes struct {
	Routes   []router.Listing `json:"routes"`
	Reports  []router.Report  `json:"reports"`
	Registry Freshness        `json:"registry"`
}

// Freshness says when the registry was last heard of.
type Freshness struct {
	// Updated is when the current state came.
	Updated time.Time `json:"updated"`
	// Error is why the registry cannot be followed now; empty when it is.
	Error string `json:"error,omitempty"`
	// Members are the registries that are read as one; none if there is one.
	Members []Member `json:"members,omitempty"`
	// Kept says of each registry what is told beyond what it says.
	Kept []Kept `json:"kept,omitempty"`
}

// Kept is what is told of a registry whatever becomes of it.
type Kept struct {
	Name string `json:"name"`
	// Contact says that the registry is followed.
	Contact bool `json:"contact"`
	// Snapshot says that it has said nothing yet: what is served is what it said
	// before the gateway was started.
	Snapshot bool `json:"snapshot"`
	// Heard is when it last said what is served.
	Heard time.Time `json:"heard"`
	// Held are nodes that it has removed, and that are kept for a while.
	Held []Held `json:"held,omitempty"`
	// Error is why the snapshot is not kept; empty when it is.
	Error string `json:"error,omitempty"`
}

// Held is nodes of a service that are kept although they were removed.
type Held struct {
	Service string    `json:"service"`
	Nodes   []string  `json:"nodes"`
	Until   time.Time `json:"until"`
	Reason  string    `json:"reason"`
}

// A Member is one of several registries that are read as one.
type Member struct {
	Name string `json:"name"`
	// Ready says that there is contact.
	Ready bool `json:"ready"`
	// Since is when Ready last changed.
	Since time.Time `json:"since"`
}

// A Mount is a path that a handler serves by configuration, with all below it. The
// path begins with a slash, and does not end with one. Of two mounts that hold a
// path the one with the longer path serves it.
type Mount struct {
	Path    string `json:"path"`
	Handler string `json:"handler"`
}

// Holds says whether the path of a request, as it was received, is the mount's or
// below it.
func (m *Mount) Holds(path string) bool {
	below, ok := strings.CutPrefix(path, m.Path)
	return ok && (below == "" || below[0] == '/')
}

// Route returns what policies, logs and metrics know the mount as.
func (m *Mount) Route() *goapi.Route {
	pattern := m.Path + "/**"
	return &goapi.Route{Pattern: pattern, Endpoint: &goapi.Endpoint{Name: m.Path, Handler: m.Handler, Path: []string{pattern}}}
}

// An Explanation says how a request would be routed, and why.
type Explanation struct {
	// Status is 200 if the request is routed, or what it would be answered with,
	// for the reason in Error.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// Mount is where the request goes, if it is below a mount: no route is
	// looked for.
	Mount *Mount `json:"mount,omitempty"`
	// Service, Endpoint, Handler and Path are the route's. The path is empty for
	// one that the resolver found.
	Service  string `json:"service,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Handler  string `json:"handler,omitempty"`
	Path     string `json:"path,omitempty"`
	// Variables are what the path holds.
	Variables map[string]string `json:"variables,omitempty"`
	// Policies is what configuration and flags lay on it: where they say nothing,
	// the defaults hold.
	Policies []Applied `json:"policies,omitempty"`
	// Nodes are those of the endpoint, with which of them get the request.
	Nodes []ExplainedNode `json:"nodes,omitempty"`
	// Candidates are the announced routes for the path, the first first, and More
	// how many there are besides.
	Candidates []router.Candidate `json:"candidates"`
	More       int                `json:"more,omitempty"`
	// Targets are the readings of the resolver, where no route has the path.
	Targets []router.TargetOutcome `json:"targets,omitempty"`
}

// Exposed is what the public can reach.
type Exposed struct {
	// Mounts are there by configuration.
	Mounts []Mount `json:"mounts"`
	// Routes are announced.
	Routes []router.Listing `json:"routes"`
	// Resolver names the services of requests without a route: "none" is that
	// only routes are reached.
	Resolver string `json:"resolver"`
	// Resolved is what it reaches.
	Resolved []router.Resolvable `json:"resolved"`
}
