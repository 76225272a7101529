package upstream

import (
	"fmt"
	"math"
	"net/http"
	"slices"
)

// A NodePurpose is a node, which requests it is for, and what requests with a
// certain header can expect of it.
type NodePurpose struct {
	NodeState

	// For says which requests the node is for: "all", "canary", "canary 5%" or
	// "match X-Tenant:blue".
	For string
	// Percent is how many of the requests go to the node and those that are for
	// the same requests, together. 0 is none.
	Percent float64
	// Spare says that the node gets them when none is available that is for them.
	Spare bool
}

// Purposes returns the nodes of the Set with what requests with a header, which
// may be nil, can expect of each. What [Call].Fits rules out is not known to it.
// It is for people, not for requests.
func (s *Set) Purposes(h http.Header) []NodePurpose {
	r := s.roster()
	if r == nil {
		return nil
	}
	asking, others, percent := r.prospects(h)
	purposes := make([]NodePurpose, 0, len(r.nodes))
	for _, n := range r.nodes {
		p := NodePurpose{NodeState: s.pool.state(n), For: r.purpose(n)}
		if slices.Contains(asking.nodes, n) {
			p.Percent += percent
		}
		if slices.Contains(others.nodes, n) {
			p.Percent += 100 - percent
		}
		p.Spare = p.Percent == 0 && slices.Contains(r.plain.nodes, n)
		purposes = append(purposes, p)
	}
	return purposes
}

// prospects returns the groups that requests with a header may get: the first
// for some percent of them, the second for the rest.
func (r *roster) prospects(h http.Header) (asking, others *group, percent float64) {
	as := func(canary string) *group {
		asked := h.Clone()
		if asked == nil {
			asked = make(http.Header)
		}
		asked.Set(headerCanary, canary)
		g, _ := r.group(asked)
		return g
	}
	asking, others = as("true"), as("false")
	switch v := h[headerCanary]; {
	case len(v) > 0 && v[0] == "true":
		percent = 100
	case len(v) > 0 && v[0] == "false", r.special == nil:
	default:
		percent = r.special.percent
	}
	return asking, others, percent
}

// purpose says which requests a node is for, as newRoster sorts it.
func (r *roster) purpose(n *node) string {
	if r.special == nil {
		return "all"
	}
	for i := range r.special.matches {
		if m := &r.special.matches[i]; m.group.has(n) {
			return "match " + m.match.name + ":" + m.match.value
		}
	}
	switch percent := r.special.percent; {
	case !r.special.canary.has(n):
		return "all"
	case percent == 0:
		return "canary"
	default:
		return fmt.Sprintf("canary %v%%", math.Round(percent*1000)/1000)
	}
}

// has says whether the node is of the group, or drained and would be.
func (g *group) has(n *node) bool {
	return slices.Contains(g.nodes, n) || g.drained != nil && g.drained.has(n)
}
