package router

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// The search for one request's route is bounded, however many services there
// are. What a service may announce is bounded so that it takes very many that
// mean it to use up either budget; what is then not looked at is the less
// specific.
const (
	maxWork     = 1 << 14 // nodes of tries that are looked at
	maxMatching = 1 << 15 // costs of regular expressions, for each 64 bytes of the path
	maxAllowed  = 64      // methods that are collected
)

// errTooAlike is the error of a search that a budget ended.
var errTooAlike = errors.New("router: too many patterns are alike")

// A search finds the most specific claim for one request. It goes through the
// tries of the table depth first, what is more specific first, and so ends at
// the first claim that fits.
type search struct {
	table    *Table
	request  *http.Request
	path     string // as received
	method   string
	named    bool // only claims that name the method count
	work     int  // what is left of the budgets
	matching int
	ended    bool      // there was not enough
	missed   bool      // a pattern matched, but for another method
	others   *[]string // where to collect the methods of such patterns; nil is nowhere
}

// claim returns the claim for a host, or nil.
func (s *search) claim(h host) *claim {
	t := s.table
	if !t.hosts.isEmpty() {
		s.refill()
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
	s.refill() // hosts are not at the expense of what is for any
	return s.walk(t.anyHost, s.path[1:])
}

// walk returns the claim of a pattern below n, which may be nil. The path goes
// on with rest, which starts with a segment.
func (s *search) walk(n *node, rest string) *claim {
	if n == nil || !s.spend() {
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
	if n == nil || !s.spend() {
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
	for i := min(len(next), t.longest); i >= 0 && s.matching > 0; i-- {
		crowd := t.exprs.get(s.table.hasher, next[:i])
		if crowd == nil {
			continue
		}
		for claims := crowd.tried; len(claims) > 0 && s.matching > 0; {
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
	if !strings.HasPrefix(s.path, e.prefix) {
		s.matching--
		return false
	}
	s.matching -= e.cost * (1 + len(s.path)/64)
	s.ended = s.ended || s.matching < 0
	return s.matching >= 0 && e.re.MatchString(s.path)
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
	if claims = ofVerb(claims, verb); len(claims) == 0 {
		return nil
	}
	if s.others != nil {
		for _, c := range claims[:min(len(claims), maxAllowed-len(*s.others))] {
			*s.others = append(*s.others, c.method)
		}
		return nil
	}
	s.missed = true
	c := ofMethod(claims, s.method)
	if c == nil && s.method == http.MethodHead {
		c = ofMethod(claims, http.MethodGet)
	}
	if c == nil && !s.named {
		c = ofMethod(claims, "")
	}
	if c == nil && isHandshake(s.request) {
		c = ofStream(claims)
	}
	return c
}

// isHandshake says whether a request would open a WebSocket, which is always a
// GET.
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// ofStream returns the first of the claims that is for a stream of messages: it
// takes handshakes, too, whatever methods it names. It is nil for none.
func ofStream(claims []*claim) *claim {
	for _, c := range claims {
		if e := c.route.Endpoint; e.Stream && e.Handler == handlerRPC {
			return c
		}
	}
	return nil
}

// ofVerb returns those of the claims of one place that have a verb. There may
// be thousands.
func ofVerb(claims []*claim, verb string) []*claim {
	if len(claims) == 1 && claims[0].pattern.verb == verb {
		return claims // as nearly always
	}
	from, _ := slices.BinarySearchFunc(claims, verb, func(c *claim, verb string) int {
		return strings.Compare(verb, c.pattern.verb)
	})
	n, _ := slices.BinarySearchFunc(claims[from:], verb, func(c *claim, verb string) int {
		if c.pattern.verb == verb {
			return -1
		}
		return 1
	})
	return claims[from : from+n]
}

// ofMethod returns that one of the claims of one verb that has a method, or nil.
func ofMethod(claims []*claim, method string) *claim {
	i, found := slices.BinarySearchFunc(claims, method, func(c *claim, method string) int {
		return strings.Compare(c.method, method)
	})
	if !found {
		return nil
	}
	return claims[i]
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
	return n.literals.find(s.table.hasher, text)
}

// spend takes a step from the budget, and says whether there was one.
func (s *search) spend() bool {
	s.work--
	s.ended = s.ended || s.work < 0
	return s.work >= 0
}

// refill makes the budgets full.
func (s *search) refill() { s.work, s.matching = maxWork, maxMatching }

// cutVerb splits what follows the last colon of the last segment from what is
// before it.
func cutVerb(s string) (before, verb string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || i == len(s)-1 || strings.IndexByte(s[i:], '/') >= 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
