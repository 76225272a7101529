package router

import (
	"cmp"
	"slices"
	"strings"
)

// A node is a place in a trie of patterns: what the segments on the way to it
// have matched. Tries do not change: edit returns a new one, which shares with
// the old one all but the way to what changed.
type node struct {
	literals dict[*node] // by the text of the next segment
	variable *node       // the next segment is "*"
	ends     []*claim    // patterns that end here
	tail     *tail       // patterns that match all that follows; nil is none
}

// tail is the rarer part of a node.
type tail struct {
	rests []*claim // the pattern goes on with "**"
	exprs []*claim // regular expressions whose literal segments end here
}

// find returns the claim of a pattern's shape and a method, or nil.
func (n *node) find(h hasher, p *pattern, method string) *claim {
	trunk, more := p.trunk()
	for _, s := range trunk {
		if n == nil {
			return nil
		}
		n = n.next(h, s)
	}
	if n == nil {
		return nil
	}
	list := *n.place(p, more)
	if i, found := position(list, p, method); found {
		return list[i]
	}
	return nil
}

// put returns n, which may be nil, with c, or with nothing if c is nil, as the
// claim of a pattern's shape and a method. It is nil when nothing is left.
func (n *node) put(h hasher, p *pattern, method string, c *claim) *node {
	trunk, more := p.trunk()
	return n.edit(h, trunk, func(n *node) {
		list := n.place(p, more)
		i, found := position(*list, p, method)
		to := i
		if found {
			to++
		}
		if c == nil {
			*list = slices.Concat((*list)[:i], (*list)[to:])
		} else {
			*list = slices.Concat((*list)[:i], []*claim{c}, (*list)[to:])
		}
	})
}

// edit returns a copy of n, which may be nil, in which change was applied to
// what the segments lead to. It is nil when nothing is left.
func (n *node) edit(h hasher, segments []segment, change func(*node)) *node {
	var e node
	if n != nil {
		e = *n
	}
	switch {
	case len(segments) == 0:
		e.tail = e.tail.clone()
		change(&e)
		if e.tail.isEmpty() {
			e.tail = nil
		}
	case segments[0].kind == one:
		e.variable = e.variable.edit(h, segments[1:], change)
	default:
		text := segments[0].text
		if child := e.literals.get(h, text).edit(h, segments[1:], change); child != nil {
			e.literals = e.literals.set(h, text, child)
		} else {
			e.literals = e.literals.remove(h, text)
		}
	}
	if e.literals.isEmpty() && e.variable == nil && len(e.ends) == 0 && e.tail == nil {
		return nil
	}
	return &e
}

// next returns the node that a segment leads to, or nil.
func (n *node) next(h hasher, s segment) *node {
	if s.kind == one {
		return n.variable
	}
	return n.literals.get(h, s.text)
}

// place returns the list that a pattern is in whose trunk leads to n.
func (n *node) place(p *pattern, more bool) *[]*claim {
	switch {
	case p.expr == nil && !more:
		return &n.ends
	case n.tail == nil:
		return new([]*claim) // to read
	case more:
		return &n.tail.rests
	}
	return &n.tail.exprs
}

// clone returns a copy of t, which may be nil.
func (t *tail) clone() *tail {
	if t == nil {
		return new(tail)
	}
	c := *t
	return &c
}

func (t *tail) isEmpty() bool { return len(t.rests) == 0 && len(t.exprs) == 0 }

// position returns where the claim of a pattern's shape and a method is in a
// list, or would be. What is more specific comes first.
func position(list []*claim, p *pattern, method string) (int, bool) {
	return slices.BinarySearchFunc(list, p, func(c *claim, p *pattern) int {
		return cmp.Or(c.pattern.compare(p), strings.Compare(c.method, method))
	})
}
