package upstream

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// draws is how often a free node is drawn at random before all are looked at.
const draws = 4

// pick is the choice of a node for a try: of two free nodes drawn at random the
// one that has less to do.
type pick struct {
	now        time.Duration
	idempotent bool
	limit      int    // of tries in flight on one node; 0 for none
	adaptive   bool   // nodes have limits of their own
	key        uint64 // what the choice depends on, if keyed
	keyed      bool
	sparing    bool          // of nodes that the registry does not have any more
	cold       bool          // some node is in its slow start
	slow       time.Duration // a node that was silent for longer is no choice for a key; 0: none
	fits       func(*registry.Node) bool
	tried      []*node
	begun      begun
}

// begun is what a try keeps of its beginning.
type begun struct {
	age   uint32 // of the node
	entry entry  // of the node's limiter, if it has one
}

// fitting returns g, if any of its nodes fits; else the group of its drained
// nodes, if any of those does; else one without nodes.
func (p *pick) fitting(g *group) *group {
	for ; g != nil; g = g.drained {
		if slices.ContainsFunc(g.nodes, p.fit) {
			return g
		}
	}
	return new(group)
}

// fit says that the node can serve the request.
func (p *pick) fit(n *node) bool { return p.fits == nil || p.fits(n.announced.Load()) }

// from returns a node of g, or of spare if there is none, and the ejection that
// the try probes. A node that the request has not tried comes first, then one
// that it has, then one that is ejected. It is nil if there are no nodes, or
// all have reached the limit. The try counts as begun.
//
// A node that the registry does not have any more may be about to end, and then
// what it is working on is lost: it serves what can be tried again, and the rest
// only if no other can.
func (p *pick) from(g, spare *group) (*node, *ejection) {
	if !p.idempotent && (g.holds || spare.holds) {
		p.sparing = true
		n, probe := p.available(g)
		if n == nil && spare != g {
			n, probe = p.available(spare)
		}
		if p.sparing = false; n != nil {
			return n, probe
		}
	}
	if n, probe := p.available(g); n != nil {
		return n, probe
	}
	if spare != g {
		if n, probe := p.available(spare); n != nil {
			return n, probe
		}
	}
	if len(p.tried) > 0 {
		again := *p
		again.tried = nil
		if n, probe := again.available(g); n != nil {
			p.begun = again.begun
			return n, probe
		}
	}
	if n := p.oldestEjected(g); n != nil || spare == g {
		return n, nil
	}
	return p.oldestEjected(spare), nil
}

// available returns an available node of g.
func (p *pick) available(g *group) (*node, *ejection) {
	for {
		n := p.choose(g)
		if n == nil {
			return nil, nil
		}
		probe, ok := n.claim(p.now, p.idempotent)
		if !ok {
			continue
		}
		if p.begin(n) {
			return n, probe
		}
		probe.release()
	}
}

// begin begins the try on the node, unless that has reached a limit.
func (p *pick) begin(n *node) (ok bool) {
	p.begun = begun{}
	if p.adaptive {
		if p.begun.entry, ok = n.limited().enter(p.now); !ok {
			return false
		}
	}
	if p.begun.age, ok = n.begin(p.now, p.limit); !ok && p.adaptive {
		n.limited().leave()
	}
	return ok
}

// dismiss undoes begin.
func (p *pick) dismiss(n *node) {
	if p.adaptive {
		n.limited().leave()
	}
	n.dismiss(p.begun.age)
}

// free says that the node may be chosen.
func (p *pick) free(n *node) bool {
	return n.available(p.now, p.idempotent) &&
		!p.full(n) &&
		(!p.sparing || !n.held()) &&
		!slices.Contains(p.tried, n) &&
		p.fit(n)
}

// full says that the node has reached a limit.
func (p *pick) full(n *node) bool {
	return p.limit > 0 && n.load.inFlight() >= p.limit || p.adaptive && !n.limiter.Load().admits(p.now)
}

// choose returns a free node of g, or nil. When one is drawn that is to be
// probed, that is it: its load is not what is asked.
func (p *pick) choose(g *group) *node {
	if p.keyed {
		if n := p.byKey(g); n != nil {
			return n
		}
	}
	if p.cold || g.uneven {
		return p.weighted(g)
	}
	n := p.draw(g.nodes, nil)
	if n == nil || len(g.nodes) == 1 || n.ejection.Load() != nil {
		return n
	}
	if m := p.draw(g.nodes, n); m != nil && m.lighter(n, p.now) {
		return m
	}
	return n
}

// draw returns a free node at random, but not the one given.
func (p *pick) draw(nodes []*node, not *node) *node {
	if len(nodes) == 0 {
		return nil
	}
	for range draws {
		if n := nodes[rand.IntN(len(nodes))]; n != not && p.free(n) { //nolint:gosec // balance is no secret
			return n
		}
	}
	var found *node
	seen := 0
	for _, n := range nodes {
		if n == not || !p.free(n) {
			continue
		}
		seen++
		if rand.IntN(seen) == 0 { //nolint:gosec // balance is no secret
			found = n
		}
	}
	return found
}

// oldestEjected returns the node of g that was ejected before all others, of
// those that are not tried; but first any that only probes speak against.
func (p *pick) oldestEjected(g *group) *node {
	var (
		oldest *node
		at     time.Duration
		unwell int
	)
	for _, n := range g.nodes {
		if slices.Contains(p.tried, n) || p.full(n) || !p.fit(n) {
			continue
		}
		e := n.ejection.Load()
		if e == nil { // it came back this instant
			oldest = n
			break
		}
		if e.why == Unhealthy && n.failures.Load() == 0 {
			if unwell++; rand.IntN(unwell) == 0 { //nolint:gosec // balance is no secret
				oldest = n
			}
			continue
		}
		if unwell == 0 && (oldest == nil || e.at < at) {
			oldest, at = n, e.at
		}
	}
	if oldest == nil || !p.begin(oldest) {
		return nil
	}
	return oldest
}
