package router

import (
	"cmp"
	"slices"
	"strings"
)

// A node is a place in a trie of patterns: what the segments on the way to it
// have matched. Tries do not change: edit returns a new one, which shares with
// the old one all but the way to what changed.
//
// It is small and lies in its place of the dict: a search waits for memory most
// of its time.
type node struct {
	literals dict[node] // in place; by the text of the next segment
	variable *node      // the next segment is "*"
	end      *claim     // of the pattern that ends here; nil if there is none, or more than one
	tail     *tail      // the rarer parts; nil is none
}

// tail is the rarer part of a node.
type tail struct {
	ends  []*claim // of the patterns that end here, if there are several
	rests []*claim // of those that go on with "**"
	// exprs are of the regular expressions whose literal segments end here, by
	// what the next segment of a path has to start with. Stems are not longer
	// than longest.
	exprs   dict[*crowd]
	longest int
}

// find returns the claim of a pattern's shape and a method, or nil. One of a
// regular expression may wait for room.
func (n *node) find(h hasher, p *pattern, method string) (c *claim, waits bool) {
	for _, s := range p.trunk() {
		if n == nil {
			return nil, false
		}
		n = n.next(h, s)
	}
	switch {
	case n == nil:
		return nil, false
	case p.expr == nil:
		claims := n.claims(p)
		if i, found := position(claims, p, method); found {
			return claims[i], false
		}
	case n.tail != nil:
		return n.tail.exprs.get(h, p.expr.stem).find(p, method)
	}
	return nil, false
}

// An edit makes a claim that of a host, a pattern's shape and a method.
type edit struct {
	at  *claim // has all three
	now *claim // nil takes out what is there
}

// follows says whether an edit goes on with a segment at a depth.
func (e edit) follows(s segment, depth int) bool {
	trunk := e.at.pattern.trunk()
	return depth < len(trunk) && trunk[depth].kind == s.kind && (s.kind == one || trunk[depth].text == s.text)
}

// edit returns n, which may be nil, with edits, whose trunks lead to it in as
// many segments as depth says. It is nil when nothing is left. What edits side
// by side have in common of their way is copied once.
func (n *node) edit(h hasher, edits []edit, depth int) *node {
	var next node
	if n != nil {
		next = *n
	}
	for len(edits) > 0 {
		trunk := edits[0].at.pattern.trunk()
		if len(trunk) == depth {
			next.put(h, edits[0])
			edits = edits[1:]
			continue
		}
		run := 1
		for run < len(edits) && edits[run].follows(trunk[depth], depth) {
			run++
		}
		next.editChild(h, trunk[depth], edits[:run], depth+1)
		edits = edits[run:]
	}
	if next.literals.isEmpty() && next.variable == nil && next.end == nil && next.tail == nil {
		return nil
	}
	return &next
}

// editChild makes edits in what a segment leads to. It is called on a node that
// nobody has yet.
func (n *node) editChild(h hasher, s segment, edits []edit, depth int) {
	child := n.next(h, s).edit(h, edits, depth)
	switch {
	case s.kind == one:
		n.variable = child
	case child == nil:
		n.literals = n.literals.remove(h, s.text)
	default:
		n.literals = n.literals.set(h, s.text, *child)
	}
}

// put makes an edit whose trunk leads to n. It is called on a node that nobody
// has yet.
func (n *node) put(h hasher, e edit) {
	p := &e.at.pattern
	if p.expr != nil {
		n.putExpression(h, e)
		return
	}
	claims := n.claims(p)
	i, found := position(claims, p, e.at.method)
	after := claims[i:]
	if found {
		after = after[1:]
	}
	if e.now == nil {
		n.setClaims(p, slices.Concat(claims[:i], after))
	} else {
		n.setClaims(p, slices.Concat(claims[:i], []*claim{e.now}, after))
	}
}

// next returns the node that a segment leads to, or nil.
func (n *node) next(h hasher, s segment) *node {
	if s.kind == one {
		return n.variable
	}
	return n.literals.find(h, s.text)
}

// claims returns the claims that stand where those of a template do, whose
// trunk leads to n.
func (n *node) claims(p *pattern) []*claim {
	at := p.place()
	switch {
	case at == atEnd && n.end != nil:
		return []*claim{n.end}
	case n.tail == nil:
		return nil
	case at == atEnd:
		return n.tail.ends
	}
	return n.tail.rests
}

// setClaims replaces what claims returns. It is called on a node that nobody
// has yet.
func (n *node) setClaims(p *pattern, claims []*claim) {
	t := n.tail.copied()
	switch at := p.place(); {
	case at == atEnd && len(claims) == 1:
		n.end, t.ends = claims[0], nil
	case at == atEnd:
		n.end, t.ends = nil, claims
	default:
		t.rests = claims
	}
	n.setTail(t)
}

// putExpression is put for a regular expression whose trunk leads to n. It is
// called on a node that nobody has yet.
func (n *node) putExpression(h hasher, e edit) {
	t := n.tail.copied()
	p := &e.at.pattern
	stem := p.expr.stem
	if next := t.exprs.get(h, stem).put(p, e.at.method, e.now); next != nil {
		t.exprs = t.exprs.set(h, stem, next)
		t.longest = max(t.longest, len(stem))
	} else {
		t.exprs = t.exprs.remove(h, stem)
	}
	n.setTail(t)
}

// copied returns a copy of t, which may be nil.
func (t *tail) copied() tail {
	if t == nil {
		return tail{}
	}
	return *t
}

// setTail sets the tail, if there is anything in it.
func (n *node) setTail(t tail) {
	n.tail = nil
	if len(t.ends) > 0 || len(t.rests) > 0 || !t.exprs.isEmpty() {
		n.tail = &t
	}
}

// position returns where the claim of a pattern's shape and a method is in a
// list, or would be. What is more specific comes first.
func position(list []*claim, p *pattern, method string) (int, bool) {
	return slices.BinarySearchFunc(list, p, func(c *claim, p *pattern) int {
		return cmp.Or(c.pattern.compare(p), strings.Compare(c.method, method))
	})
}
