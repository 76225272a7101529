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
	ends     []end       // patterns that end here
	tail     *tail       // patterns that match all that follows; nil is none
}

// tail is the rarer part of a node.
type tail struct {
	rests []end // the pattern goes on with "**"
	exprs []end // regular expressions whose literal segments end here
}

// end is where the patterns of one shape end. Its claims differ in their
// method; there is at least one.
type end struct {
	verb   string      // of templates
	expr   *expression // of regular expressions
	claims []*claim
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
	for _, e := range *n.place(p, more) {
		if e.is(p) {
			for _, c := range e.claims {
				if c.method == method {
					return c
				}
			}
		}
	}
	return nil
}

// put returns n, which may be nil, with c, or with nothing if c is nil, as the
// claim of a pattern's shape and a method. It is nil when nothing is left.
func (n *node) put(h hasher, p *pattern, method string, c *claim) *node {
	trunk, more := p.trunk()
	return n.edit(h, trunk, func(n *node) {
		place := n.place(p, more)
		*place = withClaim(*place, p, method, c)
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
func (n *node) place(p *pattern, more bool) *[]end {
	switch {
	case p.expr == nil && !more:
		return &n.ends
	case n.tail == nil:
		return &[]end{} // to read
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

// is says whether a pattern of the same trunk has the shape of e.
func (e end) is(p *pattern) bool {
	if p.expr == nil {
		return e.expr == nil && e.verb == p.verb
	}
	return e.expr != nil && e.expr.String() == p.expr.String()
}

// compare orders the ends of one list, the more specific first.
func (e end) compare(f end) int {
	if e.expr == nil {
		return -cmp.Compare(e.verb, f.verb) // no verb last
	}
	return cmp.Or(-cmp.Compare(len(e.expr.prefix), len(f.expr.prefix)), strings.Compare(e.expr.String(), f.expr.String()))
}

// withClaim returns ends with a claim, or without it if c is nil.
func withClaim(ends []end, p *pattern, method string, c *claim) []end {
	e := end{verb: p.verb, expr: p.expr}
	i, found := slices.BinarySearchFunc(ends, e, end.compare)
	ends = slices.Clone(ends)
	if !found {
		ends = slices.Insert(ends, i, e)
	}
	claims := slices.Clone(ends[i].claims)
	claims = slices.DeleteFunc(claims, func(old *claim) bool { return old.method == method })
	if c != nil {
		claims = append(claims, c)
	}
	if len(claims) == 0 {
		return slices.Clip(slices.Delete(ends, i, i+1))
	}
	ends[i].claims = slices.Clip(claims)
	return slices.Clip(ends)
}
