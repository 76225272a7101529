package upstream

import (
	"math/rand/v2"
	"time"
)

const (
	// slowStart is how long a node that is new or has come back gets less than
	// its share, from coldShare of it at first.
	slowStart = 5 * time.Second
	coldShare = 0.1
	// weightedDraws is as draws, where nodes are drawn by weight.
	weightedDraws = 12
	// margin is how much lighter another node must be to take a request from
	// the node that the weights gave it to.
	margin = 2
)

// share is the part of its weight that a node counts for, which grows during
// its slow start.
func (n *node) share(now time.Duration) float64 {
	since := now - time.Duration(n.warming.Load())
	if since >= slowStart {
		return 1
	}
	return coldShare + (1-coldShare)*float64(max(0, since))/float64(slowStart)
}

// weight is how much of the requests the node asks for, in relation to others:
// 1 if it asks for nothing, and among nodes that are all drained.
func (n *node) weight() float64 {
	if t := n.traits.Load(); t != nil && t.weight > 0 {
		return t.weight
	}
	return 1
}

// drained says that the node asks for no requests.
func (n *node) drained() bool {
	t := n.traits.Load()
	return t != nil && t.weight == 0
}

// held says that the registry does not have the node any more.
func (n *node) held() bool {
	t := n.traits.Load()
	return t != nil && t.held
}

// weighted returns a free node of g, or nil: each with the probability of its
// weight, as long as it is idle or no other has less than half as much to do for
// its weight. What they have to do alone would not do: of two idle nodes the
// faster would get everything.
func (p *pick) weighted(g *group) *node {
	n := p.drawWeighted(g, nil)
	if n == nil || len(g.nodes) == 1 || n.busy() == 0 || n.ejection.Load() != nil {
		return n
	}
	m := p.drawWeighted(g, n)
	if m == nil {
		return n
	}
	x, known := n.expect(p.now)
	y, both := m.expect(p.now)
	if !known || !both {
		x, y = 1, 1
	}
	if y*p.queue(m, g)*margin < x*p.queue(n, g) {
		return m
	}
	return n
}

// queue is what a node has to do: its tries in flight as if it had the mean
// weight, and the next one.
func (p *pick) queue(n *node, g *group) float64 {
	return n.busy()*g.mean/(n.weight()*n.share(p.now)) + 1
}

// drawWeighted returns a free node at random, by weight, but not the one given.
func (p *pick) drawWeighted(g *group, not *node) *node {
	if len(g.nodes) == 0 {
		return nil
	}
	for range weightedDraws {
		n := g.nodes[rand.IntN(len(g.nodes))]                                           //nolint:gosec // balance is no secret
		if n != not && p.free(n) && rand.Float64()*g.most < n.weight()*n.share(p.now) { //nolint:gosec // as above
			return n
		}
	}
	var found *node
	total := 0.0
	for _, n := range g.nodes {
		if n == not || !p.free(n) {
			continue
		}
		w := n.weight() * n.share(p.now)
		total += w
		if rand.Float64()*total < w { //nolint:gosec // as above
			found = n
		}
	}
	return found
}
