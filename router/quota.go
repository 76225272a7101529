package router

import (
	"fmt"
	"strings"
)

const (
	// maxWays bounds what a service's templates can make a search go through.
	// Services that do not mean to need a few dozen.
	maxWays = 512
	// maxCost bounds what a service's expressions can cost one request: about
	// 30 plain ones, or one of that many instructions.
	maxCost = 400
)

// A quota keeps what one service adds to the search for a route within bounds,
// whatever the path of the request is.
type quota struct {
	ways  map[way]struct{}
	exprs []*charge
}

// A way says which of the first segments of a path are taken for variables, bit
// by bit. On each way, a search comes to one place at most.
type way struct {
	variables uint64 // there are at most maxSegments
	length    int
}

// A charge is for a regular expression.
type charge struct {
	*pattern

	methods map[string]struct{}
	cost    int
	sum     int // of the costs of it and of all others whose prefixes its prefix starts with
}

// admit says why there is no room for a claim, if so.
func (q *quota) admit(c *claim) error {
	if c.pattern.expr != nil {
		return q.admitExpression(&c.pattern, c.method)
	}
	return q.admitTemplate(c.pattern.trunk())
}

func (q *quota) admitTemplate(trunk []segment) error {
	all := way{length: len(trunk)}
	for i, s := range trunk {
		if s.kind == one {
			all.variables |= 1 << i
		}
	}
	if _, known := q.ways[all]; known {
		return nil
	}
	var added []way
	for n := 1; n <= all.length; n++ {
		w := way{all.variables & (1<<n - 1), n}
		if _, known := q.ways[w]; !known {
			added = append(added, w)
		}
	}
	if len(q.ways)+len(added) > maxWays {
		return fmt.Errorf("the service mixes literal segments and variables in more than %d ways: announce fewer, or use \"**\"", maxWays)
	}
	if q.ways == nil {
		q.ways = make(map[way]struct{}, len(added))
	}
	for _, w := range added {
		q.ways[w] = struct{}{}
	}
	return nil
}

// admitExpression charges the expression with its cost, and with 1 for each
// further method. A path is matched with all expressions whose prefixes it
// starts with.
func (q *quota) admitExpression(p *pattern, method string) error {
	own, before := q.charged(p)
	cost := p.expr.cost
	if own != nil {
		if _, known := own.methods[method]; known {
			return nil // for another host
		}
		cost = 1
	}
	highest := before
	for _, c := range q.exprs {
		if strings.HasPrefix(c.expr.prefix, p.expr.prefix) {
			highest = max(highest, c.sum)
		}
	}
	switch {
	case highest+cost > maxCost:
		return fmt.Errorf("too many regular expressions of the service start with %q, or with a part of it: %s",
			printable(p.expr.prefix, 80), startLiteral)
	case own == nil && len(q.exprs) == maxExpressions:
		return fmt.Errorf("the service has more than %d regular expressions", maxExpressions)
	case own == nil:
		own = &charge{pattern: p, methods: make(map[string]struct{}), sum: before}
		q.exprs = append(q.exprs, own)
	}
	own.methods[method] = struct{}{}
	own.cost += cost
	for _, c := range q.exprs {
		if strings.HasPrefix(c.expr.prefix, p.expr.prefix) {
			c.sum += cost
		}
	}
	return nil
}

// charged returns the charge for an expression, or nil, and the sum of what is
// charged for all that are matched where it is.
func (q *quota) charged(p *pattern) (own *charge, sum int) {
	for _, c := range q.exprs {
		if c.text == p.text {
			own = c
		}
		if strings.HasPrefix(p.expr.prefix, c.expr.prefix) {
			sum += c.cost
		}
	}
	return own, sum
}

// startLiteral is what to do about expressions that cost too much.
const startLiteral = "start each with literal segments of its own, as in ^/name/…$, or write templates"
