package admin

import (
	"time"

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
}

// A Member is one of several registries that are read as one.
type Member struct {
	Name string `json:"name"`
	// Ready says that there is contact.
	Ready bool `json:"ready"`
	// Since is when Ready last changed.
	Since time.Time `json:"since"`
}
