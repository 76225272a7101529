package router

import (
	"fmt"
	"slices"
)

// maxCrowd bounds what all expressions of one place cost.
const maxCrowd = 8 * maxCost

// A crowd is the claims for the regular expressions of one place of a trie. All
// of them are tried for a path that comes there, so that there is room for some
// only; the others wait for it. A crowd does not change.
type crowd struct {
	tried   []*claim // the more specific first; one expression's are side by side
	waiting []*claim // the earlier first
}

// find returns the claim of an expression and a method, or nil, and whether it
// waits.
func (w *crowd) find(p *pattern, method string) (c *claim, waits bool) {
	if w == nil {
		return nil, false
	}
	if i, found := position(w.tried, p, method); found {
		return w.tried[i], false
	}
	if i := w.waits(p, method); i >= 0 {
		return w.waiting[i], true
	}
	return nil, false
}

// waits returns where in waiting a claim is, or -1.
func (w *crowd) waits(p *pattern, method string) int {
	return slices.IndexFunc(w.waiting, func(c *claim) bool { return c.method == method && c.pattern.text == p.text })
}

// put returns w, which may be nil, with c, or with nothing if c is nil, as the
// claim of an expression and a method. It is nil when nothing is left.
func (w *crowd) put(p *pattern, method string, c *claim) *crowd {
	var next crowd
	if w != nil {
		next = crowd{slices.Clone(w.tried), slices.Clone(w.waiting)}
	}
	i, tried := position(next.tried, p, method)
	j := next.waits(p, method)
	switch {
	case tried && c != nil:
		next.tried[i] = c
	case tried:
		next.tried = slices.Delete(next.tried, i, i+1)
	case j >= 0 && c != nil:
		next.waiting[j] = c
	case j >= 0:
		next.waiting = slices.Delete(next.waiting, j, j+1)
	case c != nil:
		next.waiting = append(next.waiting, c)
	}
	next.fill()
	if len(next.tried)+len(next.waiting) == 0 {
		return nil
	}
	return &next
}

// fill moves up those of the waiting that there is room for.
func (w *crowd) fill() {
	cost := 0
	for i := range w.tried {
		cost += costAt(w.tried, i)
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(c *claim) bool {
		i, _ := position(w.tried, &c.pattern, c.method)
		more := c.pattern.expr.cost
		if i > 0 && w.tried[i-1].pattern.text == c.pattern.text || i < len(w.tried) && w.tried[i].pattern.text == c.pattern.text {
			more = 1
		}
		if cost+more > maxCrowd {
			return false
		}
		cost += more
		w.tried = slices.Insert(w.tried, i, c)
		return true
	})
}

// costAt returns what the claim at i adds to the cost of a list: 1, if it is
// for another method of the expression before.
func costAt(claims []*claim, i int) int {
	p := &claims[i].pattern
	if i > 0 && claims[i-1].pattern.text == p.text {
		return 1
	}
	return p.expr.cost
}

// crowdedOut reports that there is no room for the claim.
func (c *claim) crowdedOut() Report {
	return Report{
		Kind: LeftOut, Service: c.route.Service, Endpoint: c.route.Endpoint.Name, Pattern: printable(c.pattern.text, 200),
		Reason: fmt.Sprintf("too many regular expressions of other services start with %q: %s",
			printable(c.pattern.expr.prefix, 80), startLiteral),
	}
}
