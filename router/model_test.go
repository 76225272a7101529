package router_test

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

// model is a table that knows no trie: it looks at every pattern of every
// service for every request, and decides every slot again in every state.
type model struct {
	granted []*modelClaim            // that are routed
	losers  []*modelClaim            // that wait
	holders map[string]string        // slot → service
	chosen  map[[2]string]string     // service, slot → key
	exprs   map[string]*expressionOf // by text
}

// modelClaim is one path, host and method of an endpoint.
type modelClaim struct {
	service, endpoint, path, host, method string

	key   string
	nodes []string
}

// expressionOf is a regular expression, and what it starts with.
type expressionOf struct {
	re     *regexp.Regexp
	prefix string
}

func newModel() *model {
	m := &model{holders: map[string]string{}, chosen: map[[2]string]string{}, exprs: map[string]*expressionOf{}}
	for text, prefix := range modelExpressions() {
		m.exprs[text] = &expressionOf{regexp.MustCompile(text), prefix}
	}
	return m
}

// modelExpressions are expressions, and what their matches start with.
func modelExpressions() map[string]string {
	return map[string]string{
		"^/a/.*$":      "/a/",
		"^/a/b/[ab]+$": "/a/b/",
		"^.*b$":        "",
		"^/(a|b)/b$":   "/",
		"^/a$":         "/a",
		"^/a/b$":       "/a/b",
	}
}

// slot is equal for claims that want the same requests.
func (c *modelClaim) slot() string {
	shape := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(c.path, "*")
	shape = regexp.MustCompile(`\{\w+=(.*?)\}`).ReplaceAllString(shape, "$1")
	return strings.Join([]string{c.host, c.method, shape}, " ")
}

// next decides who has what in a new state.
func (m *model) next(services []*registry.Service) {
	var names []string
	wanted := map[string][]*modelClaim{} // by service
	for _, s := range services {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
		wanted[s.Name] = addClaims(wanted[s.Name], s)
	}
	holders, chosen := m.holders, m.chosen
	m.granted, m.losers, m.holders, m.chosen = nil, nil, map[string]string{}, map[[2]string]string{}
	bySlot := map[string][]*modelClaim{}
	for _, name := range names {
		own := map[string][]*modelClaim{}
		for _, c := range wanted[name] {
			own[c.slot()] = append(own[c.slot()], c)
		}
		for slot, claims := range own {
			c := m.first(claims, func(c *modelClaim) bool { return c.key == chosen[[2]string{name, slot}] })
			m.chosen[[2]string{name, slot}] = c.key
			bySlot[slot] = append(bySlot[slot], c)
		}
	}
	for slot, claims := range bySlot {
		c := m.first(claims, func(c *modelClaim) bool { return c.service == holders[slot] })
		m.holders[slot] = c.service
		m.granted = append(m.granted, c)
	}
}

// first returns the claim that had it before, or else the first one. The others
// lose.
func (m *model) first(claims []*modelClaim, had func(*modelClaim) bool) *modelClaim {
	best := claims[max(slices.IndexFunc(claims, had), 0)]
	for _, c := range claims {
		if c != best {
			m.losers = append(m.losers, c)
		}
	}
	return best
}

// addClaims adds what a service wants. Claims of one key are one, with the
// nodes of all.
func addClaims(list []*modelClaim, s *registry.Service) []*modelClaim {
	for _, e := range s.Endpoints {
		md := e.Metadata
		for path := range strings.SplitSeq(md["path"], ",") {
			for method := range strings.SplitSeq(md["method"], ",") {
				c := &modelClaim{service: s.Name, endpoint: e.Name, path: path, host: md["host"], method: method}
				if c.host == "*" {
					c.host = ""
				}
				c.key = strings.Join([]string{e.Name, md["handler"], c.host, method, path}, " ")
				i := slices.IndexFunc(list, func(o *modelClaim) bool { return o.key == c.key })
				if i < 0 {
					list = append(list, c)
				} else {
					c = list[i]
				}
				for _, n := range s.Nodes {
					if !slices.Contains(c.nodes, n.ID) {
						c.nodes = append(c.nodes, n.ID)
					}
				}
			}
		}
	}
	return list
}

// find returns the claim for a request, or nil and the methods that there are.
func (m *model) find(r *http.Request) (best *modelClaim, methods []string) {
	var bestRank []int
	for _, c := range m.granted {
		host, ok := hostRank(c.host, r.Host)
		if !ok {
			continue
		}
		path, ok := m.pathRank(c.path, r.URL.EscapedPath())
		if !ok {
			continue
		}
		method, ok := methodRank(c.method, r.Method)
		if !ok {
			methods = append(methods, c.method)
			if c.method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
			continue
		}
		rank := append(append([]int{host}, path...), method)
		if best == nil || slices.Compare(rank, bestRank) < 0 {
			best, bestRank = c, rank
		}
	}
	slices.Sort(methods)
	return best, slices.Compact(methods)
}

// hostRank says how specific a host is for that of a request, less is more, and
// whether it fits. So do the other ranks.
func hostRank(want, host string) (int, bool) {
	full := strings.ToLower(host)
	name, _, _ := strings.Cut(full, ":")
	suffix, wildcard := strings.CutPrefix(want, "*")
	switch {
	case want == "":
		return 1000, true
	case wildcard:
		return 500 - len(suffix), strings.HasSuffix(name, suffix)
	case strings.Contains(want, ":"):
		return 0, want == full
	}
	return 1, want == name
}

func methodRank(want, method string) (int, bool) {
	switch {
	case want == method:
		return 0, true
	case want == http.MethodGet && method == http.MethodHead:
		return 1, true
	}
	return 2, want == ""
}

const (
	rankEnd = iota
	rankLiteral
	rankVariable
	rankRest
	rankExpression
)

func (m *model) pathRank(want, path string) (rank []int, ok bool) {
	if e := m.exprs[want]; e != nil {
		for range max(strings.Count(e.prefix, "/")-1, 0) {
			rank = append(rank, rankLiteral, 0)
		}
		order := cmp.Compare(want, "^/a/b$") // there are two with one prefix length
		return append(rank, rankExpression, -len(e.prefix), order), e.re.MatchString(path)
	}
	segments := strings.Split(path[1:], "/")
	noVerb := 1
	if i := strings.LastIndex(want, ":"); i >= 0 {
		last := &segments[len(segments)-1]
		j := strings.LastIndex(*last, ":")
		if j < 0 || (*last)[j:] != want[i:] {
			return nil, false
		}
		want, *last, noVerb = want[:i], (*last)[:j], 0
	}
	for i, step := range strings.Split(want[1:], "/") {
		if strings.Contains(step, "**") {
			return append(rank, rankRest, noVerb), i <= len(segments)
		}
		if i >= len(segments) {
			return nil, false
		}
		verb := 0
		if i == len(segments)-1 {
			verb = noVerb
		}
		text, _ := url.PathUnescape(segments[i])
		switch {
		case strings.ContainsAny(step, "{*") && text != "":
			rank = append(rank, rankVariable, verb)
		case step == text:
			rank = append(rank, rankLiteral, verb)
		default:
			return nil, false
		}
	}
	return append(rank, rankEnd), strings.Count(want, "/") == len(segments)
}
