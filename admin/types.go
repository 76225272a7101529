package admin

import "time"

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
	// State is "up", or "ejected" while the gateway keeps requests away.
	State string `json:"state"`
	// InFlight counts the requests that the node is serving for this gateway.
	InFlight int `json:"in_flight"`
	// LatencyMS is the moving average of the time to the head of an answer.
	LatencyMS float64 `json:"latency_ms"`
}

// Routes is the routing table: what is routed, what was left out or decided,
// and where the table comes from.
type Routes struct {
	Routes  []Route  `json:"routes"`
	Reports []Report `json:"reports"`
	// Registry says how fresh the table is.
	Registry Freshness `json:"registry"`
}

// A Route is a line of the routing table.
type Route struct {
	Host     string `json:"host"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Handler  string `json:"handler"`
	Service  string `json:"service"`
	Endpoint string `json:"endpoint"`
	Nodes    int    `json:"nodes"`
}

// A Report is a part of an announcement that is not served as announced.
type Report struct {
	Kind     string `json:"kind"`
	Service  string `json:"service"`
	Endpoint string `json:"endpoint,omitempty"`
	Pattern  string `json:"pattern,omitempty"`
	Node     string `json:"node,omitempty"`
	Reason   string `json:"reason"`
}

// Freshness says when the registry was last heard of.
type Freshness struct {
	// Updated is when the current state came.
	Updated time.Time `json:"updated"`
	// Error is why the registry cannot be followed now; empty when it is.
	Error string `json:"error,omitempty"`
}
