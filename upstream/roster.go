package upstream

import (
	"math/rand/v2"
	"net/http"
)

// headerCanary is the header by which a request asks for a canary, or asks for
// none.
const headerCanary = "X-Canary"

// roster is the nodes of a Set, by the requests that they are for. It does not
// change.
type roster struct {
	nodes []*node // all, in the order of their announcement
	plain group   // for requests that nothing else is for
	// special is what is for certain requests. Nil, which is nearly always, for
	// nothing.
	special *special
}

// special is the nodes that are not for every request.
type special struct {
	matches []matching
	canary  group
	percent float64 // of the requests that do not ask
}

// matching is the nodes that are for requests with a header.
type matching struct {
	match match
	group group
}

// group is nodes that are for the same requests.
type group struct {
	nodes []*node
	// mean and most are of the nodes' weights, which differ if uneven is set.
	mean, most float64
	uneven     bool
	drained    *group // those of weight 0 that are not among them; nil for none
	holds      bool   // nodes that the registry does not have any more
}

// newRoster sorts nodes by the requests that they are for.
func newRoster(nodes []*node) *roster {
	r := &roster{nodes: nodes}
	plain := nodes
	for i, n := range nodes {
		t := n.traits.Load()
		if t == nil || t.match == (match{}) && !t.canary {
			if r.special != nil {
				plain = append(plain, n)
			}
			continue
		}
		if r.special == nil {
			r.special = new(special)
			plain = append(make([]*node, 0, len(nodes)), nodes[:i]...)
		}
		r.special.add(n, t)
	}
	r.plain = newGroup(plain)
	if s := r.special; s != nil {
		s.canary = newGroup(s.canary.nodes)
		for i := range s.matches {
			s.matches[i].group = newGroup(s.matches[i].group.nodes)
		}
	}
	return r
}

// add sorts in a node that is not for every request.
func (s *special) add(n *node, t *traits) {
	if t.match == (match{}) {
		s.canary.nodes = append(s.canary.nodes, n)
		s.percent = max(s.percent, t.percent)
		return
	}
	for i := range s.matches {
		if m := &s.matches[i]; m.match == t.match {
			m.group.nodes = append(m.group.nodes, n)
			return
		}
	}
	s.matches = append(s.matches, matching{t.match, group{nodes: []*node{n}}})
}

// newGroup returns the group of nodes, less those of weight 0, if there is any
// of another.
func newGroup(nodes []*node) group {
	g := group{nodes: nodes, mean: 1, most: 1}
	if len(nodes) == 0 {
		return g
	}
	total, most, drained := 0.0, 0.0, 0
	for _, n := range nodes {
		g.holds = g.holds || n.held()
		if n.drained() {
			drained++
			continue
		}
		w := n.weight()
		g.uneven = g.uneven || most != 0 && w != most
		total, most = total+w, max(most, w)
	}
	kept := len(nodes) - drained
	if kept == 0 {
		return g
	}
	g.mean, g.most = total/float64(kept), most
	if drained > 0 {
		g.nodes = make([]*node, 0, kept)
		g.drained = &group{nodes: make([]*node, 0, drained), mean: 1, most: 1}
		for _, n := range nodes {
			if n.drained() {
				g.drained.nodes = append(g.drained.nodes, n)
			} else {
				g.nodes = append(g.nodes, n)
			}
		}
	}
	return g
}

// group returns the nodes for a request with the given header, and those to
// take when none of them is available.
func (r *roster) group(h http.Header) (g, spare *group) {
	s := r.special
	if s == nil {
		return &r.plain, &r.plain
	}
	for i := range s.matches {
		if m := &s.matches[i]; m.match.holds(h) {
			return &m.group, &r.plain
		}
	}
	if len(s.canary.nodes) == 0 {
		return &r.plain, &r.plain
	}
	asks := ""
	if v := h[headerCanary]; len(v) > 0 {
		asks = v[0]
	}
	if asks == "true" || asks != "false" && s.percent > 0 && rand.Float64()*100 < s.percent { //nolint:gosec // balance is no secret
		return &s.canary, &r.plain
	}
	return &r.plain, &r.plain
}
