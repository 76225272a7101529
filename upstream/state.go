package upstream

import (
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A NodeState is what is known of a node at a moment.
type NodeState struct {
	Node *registry.Node
	// InFlight counts the attempts that have not ended.
	InFlight int
	// Limit is how many attempts that wait for an answer the node is given at a
	// time at most, by [Policy.Adaptive]. 0 is no limit.
	Limit int
	// Latency is an average of the time to the head of the answer, in which
	// recent and slow answers weigh most. 0 until the node has answered.
	Latency time.Duration
	// Typical is the latency that the node is compared with others by, in which
	// a few slow answers weigh little. 0 until the node has answered.
	Typical time.Duration
	// Silent is for how long the node has been asked and has given no answer: a
	// node that has stopped shows by it, if it owes more than one. What was asked
	// before its last answer does not count.
	Silent time.Duration
	// Failures counts the attempts that failed since the last answer.
	Failures int
	// EjectedUntil is zero for a node that is well. From then on, one request
	// at a time probes the node.
	EjectedUntil time.Time
	// Ejected is why the node is ejected, "" for one that is well.
	Ejected Reason
	// Weight is what the node's metadata asks for, 1 if nothing.
	Weight float64
	// Share is the part of its weight that the node counts for: less than 1 in
	// its slow start.
	Share float64
	// Ignored says what the node's metadata asks for that means nothing.
	Ignored []string
}

// Nodes returns the state of every node of the Set.
func (s *Set) Nodes() []NodeState {
	nodes := s.list()
	states := make([]NodeState, 0, len(nodes))
	for _, n := range nodes {
		states = append(states, s.pool.state(n))
	}
	return states
}

// state returns the state of a node.
func (p *Pool) state(n *node) NodeState {
	now := p.pools.now()
	st := NodeState{
		Node:     n.announced.Load(),
		InFlight: n.load.inFlight(),
		Latency:  n.latency.last(),
		Typical:  n.typical.value(),
		Failures: int(n.failures.Load()),
		Weight:   1,
		Share:    n.share(now),
	}
	if l := n.limiter.Load(); l != nil && !l.forgotten(now) {
		st.Limit = int(l.limit.Load())
	}
	if st.InFlight > 0 {
		st.Silent = n.waits(now)
	}
	if t := n.traits.Load(); t != nil {
		st.Weight, st.Ignored = t.weight, t.bad
	}
	if e := n.ejection.Load(); e != nil {
		st.EjectedUntil, st.Ejected = p.pools.start.Add(time.Duration(e.until.Load())), e.why
	}
	return st
}
