package router

import (
	"errors"
	"net/http"
	"strings"
)

// maxWork bounds the search for one request's route, in steps: a look at a node
// is one, a regular expression some more, in proportion to the path. Patterns
// that are alike make a search try many; honest ones a few dozen.
const maxWork = 1 << 14

// errTooAlike is the error of a search that its budget ended.
var errTooAlike = errors.New("router: too many patterns are alike")

// A search finds the most specific claim for one request. It goes through the
// tries of the table depth first, what is more specific first, and so ends at
// the first claim that fits.
type search struct {
	table  *Table
	path   string // as received
	method string
	named  bool      // only claims that name the method count
	work   int       // what is left of the budget
	missed bool      // a pattern matched, but for another method
	others *[]string // where to collect the methods of such patterns; nil is nowhere
}

// claim returns the claim for a host, or nil.
func (s *search) claim(h host) *claim {
	t := s.table
	if !t.hosts.isEmpty() {
		for i := range len(h.name) {
			if i > 0 && h.name[i] != '.' {
				continue // else it is the host itself, or a wildcard
			}
			if len(h.full) != len(h.name) {
				if c := s.walk(t.hosts.get(t.hasher, h.full[i:]), s.path[1:]); c != nil {
					return c
				}
			}
			if c := s.walk(t.hosts.get(t.hasher, h.name[i:]), s.path[1:]); c != nil {
				return c
			}
		}
	}
	return s.walk(t.anyHost, s.path[1:])
}

// walk returns the claim of a pattern below n, which may be nil. The path goes
// on with rest, which starts with a segment.
func (s *search) walk(n *node, rest string) *claim {
	if n == nil || !s.spend(1) {
		return nil
	}
	raw, after, more := strings.Cut(rest, "/")
	if !more {
		if c := s.last(n, raw); c != nil {
			return c
		}
		return s.tail(n, rest)
	}
	if child := s.literal(n, raw); child != nil {
		if c := s.walk(child, after); c != nil {
			return c
		}
	}
	if n.variable != nil && raw != "" {
		if c := s.walk(n.variable, after); c != nil {
			return c
		}
	}
	return s.tail(n, rest)
}

// last returns the claim of a pattern below n for the last segment of the path,
// which may end in a verb.
func (s *search) last(n *node, raw string) *claim {
	text, verb, ok := cutVerb(raw)
	if ok {
		if c := s.end(s.literal(n, text), verb); c != nil {
			return c
		}
	}
	if c := s.end(s.literal(n, raw), ""); c != nil {
		return c
	}
	if ok && text != "" {
		if c := s.end(n.variable, verb); c != nil {
			return c
		}
	}
	if raw != "" {
		return s.end(n.variable, "")
	}
	return nil
}

// end returns the claim of a pattern that ends at n, which may be nil, where
// the path does.
func (s *search) end(n *node, verb string) *claim {
	if n == nil || !s.spend(1) {
		return nil
	}
	if n.end != nil {
		if c := s.pick([]*claim{n.end}, verb); c != nil {
			return c
		}
	}
	if n.tail == nil {
		return nil
	}
	if c := s.pick(n.tail.ends, verb); c != nil {
		return c
	}
	return s.pick(n.tail.rests, verb) // "**" matches nothing, too
}

// tail returns the claim of a pattern at n that matches all the rest of the
// path.
func (s *search) tail(n *node, rest string) *claim {
	if n.tail == nil {
		return nil
	}
	if _, verb, ok := cutVerb(rest); ok {
		if c := s.pick(n.tail.rests, verb); c != nil {
			return c
		}
	}
	if c := s.pick(n.tail.rests, ""); c != nil {
		return c
	}
	return s.expression(n.tail, rest)
}

// expression returns the claim of a regular expression. Those come first that
// start with more of the next segment.
func (s *search) expression(t *tail, rest string) *claim {
	if t.exprs.isEmpty() {
		return nil
	}
	next, _, _ := strings.Cut(rest, "/")
	for i := min(len(next), t.longest); i >= 0 && s.spend(1); i-- {
		for claims := t.exprs.get(s.table.hasher, next[:i]); len(claims) > 0; {
			same := 1 // claims of one expression
			for same < len(claims) && claims[same].pattern.text == claims[0].pattern.text {
				same++
			}
			if s.matches(claims[0].pattern.expr) {
				if c := s.pick(claims[:same], ""); c != nil {
					return c
				}
			}
			claims = claims[same:]
		}
	}
	return nil
}

// matches says whether the path matches an expression.
func (s *search) matches(e *expression) bool {
	return s.spend(1) && strings.HasPrefix(s.path, e.prefix) &&
		s.spend(8+len(s.path)/16) && e.re.MatchString(s.path)
}

// pick returns the claim for the method, of those of one place that have the
// verb, "" for none.
func (s *search) pick(claims []*claim, rawVerb string) *claim {
	if len(claims) == 0 {
		return nil
	}
	verb, err := unescape(rawVerb)
	if err != nil {
		return nil
	}
	var get, anyMethod *claim
	for _, c := range claims {
		if c.pattern.verb != verb {
			continue
		}
		switch {
		case s.others != nil:
			*s.others = append(*s.others, c.method)
		case c.method == s.method:
			return c
		case c.method == http.MethodGet:
			get = c
		case c.method == "":
			anyMethod = c
		}
		s.missed = true
	}
	if get != nil && s.method == http.MethodHead {
		return get
	}
	if s.named {
		return nil
	}
	return anyMethod
}

// literal returns the node that a segment leads to by its text.
func (s *search) literal(n *node, raw string) *node {
	if n.literals.isEmpty() {
		return nil
	}
	text, err := unescape(raw)
	if err != nil {
		return nil
	}
	return n.literals.get(s.table.hasher, text)
}

// spend takes from the budget, and says whether there was enough.
func (s *search) spend(work int) bool {
	s.work -= work
	return s.work >= 0
}

// cutVerb splits what follows the last colon of the last segment from what is
// before it.
func cutVerb(s string) (before, verb string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || i == len(s)-1 || strings.IndexByte(s[i:], '/') >= 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
