package config

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// matched is a set of patterns, by their place in the order.
type matched [maxPatterns / 64]uint64

func (m *matched) add(i int)      { m[i/64] |= 1 << (i % 64) }
func (m *matched) has(i int) bool { return m[i/64]&(1<<(i%64)) != 0 }

// A matcher finds the patterns of requests.
type matcher struct {
	patterns []*pattern
	hosts    bool  // a pattern is for some hosts only
	root     node  // of the patterns without a verb
	verbs    []int // the patterns with one
}

// A node is where the segments of patterns lead that begin alike.
type node struct {
	literals map[string]*node
	one      *node
	ends     []int // the patterns that end here
	rests    []int // those that go on with "**"
}

// add adds a pattern by its place in the order.
func (m *matcher) add(i int, p *pattern) {
	if p.verb != "" {
		m.verbs = append(m.verbs, i)
		return
	}
	n := &m.root
	for _, s := range p.segments {
		switch s.kind {
		case rest:
			n.rests = append(n.rests, i)
			return
		case one:
			if n.one == nil {
				n.one = new(node)
			}
			n = n.one
		default:
			if n.literals == nil {
				n.literals = map[string]*node{}
			}
			if n.literals[s.text] == nil {
				n.literals[s.text] = new(node)
			}
			n = n.literals[s.text]
		}
	}
	n.ends = append(n.ends, i)
}

// match returns the patterns that a request matches, as the router would match
// them, except that a slash at the end of the path says nothing.
//
// Services read paths in other ways: many take an escaped slash for a slash, two
// slashes for one, or leave out what follows a semicolon. Where the path that such
// a service would see matches other patterns, nobody can say which of the
// policies are meant, and the request is refused.
func (m *matcher) match(r *http.Request) (matched, error) {
	var set matched
	if len(m.patterns) == 0 {
		return set, nil
	}
	var buf [24]string
	segments, plain, err := splitPath(r.URL, buf[:0])
	if err != nil {
		return set, err
	}
	var h host
	if m.hosts {
		h = hostOf(r.Host)
	}
	set = m.of(h, segments)
	if plain {
		return set, nil
	}
	other, err := reread(segments)
	if err != nil {
		return set, err
	}
	if m.of(h, other) != set {
		return set, refused("services may read it in another way, which is under other policies", nil)
	}
	return set, nil
}

// of returns the patterns for a host and the segments of a path.
func (m *matcher) of(h host, segments []string) matched {
	var set matched
	m.walk(&m.root, h, segments, &set)
	for _, i := range m.verbs {
		if m.patterns[i].matches(segments) {
			m.put(i, h, &set)
		}
	}
	return set
}

// walk adds the patterns below a node that match the rest of a path. It comes to
// no node twice.
func (m *matcher) walk(n *node, h host, segments []string, set *matched) {
	for _, i := range n.rests {
		m.put(i, h, set)
	}
	if len(segments) == 0 {
		for _, i := range n.ends {
			m.put(i, h, set)
		}
		return
	}
	if next := n.literals[segments[0]]; next != nil {
		m.walk(next, h, segments[1:], set)
	}
	if n.one != nil && segments[0] != "" {
		m.walk(n.one, h, segments[1:], set)
	}
}

// put adds a pattern if it is for the host.
func (m *matcher) put(i int, h host, set *matched) {
	if h.fits(m.patterns[i].host) {
		set.add(i)
	}
}

// refused returns the error for a path.
func refused(reason string, cause error) error {
	return goapi.NewError(http.StatusBadRequest, "the path is refused: "+reason, cause)
}

// splitPath appends the segments of a path, decoded, less an empty one at the
// end. It says whether the path is plain: everybody reads it alike.
func splitPath(u *url.URL, segments []string) (_ []string, plain bool, err error) {
	path, escaped := u.Path, false
	if u.RawPath != "" { // it is not what Path would be by default
		path, escaped = received(u), true
	}
	switch {
	case path == "" && u.Opaque == "":
		return append(segments, ""), true, nil
	case !strings.HasPrefix(path, "/"):
		return nil, false, goapi.NewError(http.StatusBadRequest, "the request's target is not a path", nil)
	}
	if len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	plain = true
	start := 1
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			plain = plain && path[i] != ';' && path[i] != '\\'
			continue
		}
		segment := path[start:i]
		if escaped {
			decoded, err := url.PathUnescape(segment)
			if err != nil {
				return nil, false, goapi.NewError(http.StatusBadRequest, "the path is not well escaped", err)
			}
			plain = plain && decoded == segment
			segment = decoded
		}
		plain = plain && (segment == "" && len(path) == 1 || segment != "" && segment[0] != '.')
		segments = append(segments, segment)
		start = i + 1
	}
	return segments, plain, nil
}

// received returns the path in the form in which it was received, and is routed
// and forwarded.
func received(u *url.URL) string {
	if path, err := url.PathUnescape(u.RawPath); err != nil || path != u.Path {
		return u.EscapedPath()
	}
	return u.RawPath
}

// reread returns the segments that a service may see that decodes a path before
// it splits it, that takes a backslash for a slash, that has no empty segments,
// and that leaves out what follows a semicolon.
func reread(segments []string) ([]string, error) {
	var other []string
	for _, s := range segments {
		for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '/' || r == '\\' }) {
			part, _, _ = strings.Cut(part, ";")
			switch part {
			case "":
			case ".", "..":
				return nil, refused(`it has a segment "." or ".."`, nil)
			default:
				other = append(other, part)
			}
		}
	}
	if len(other) == 0 {
		other = append(other, "")
	}
	return other, nil
}

// matches says whether the pattern, which has a verb, matches a path.
func (p *pattern) matches(segments []string) bool {
	last := len(segments) - 1
	if last < len(p.segments)-2 || !strings.HasSuffix(segments[last], p.verb) { // the last of the pattern may be "**"
		return false
	}
	for i, s := range p.segments {
		switch {
		case s.kind == rest:
			return true
		case i > last:
			return false
		}
		text := segments[i]
		if i == last {
			text = text[:len(text)-len(p.verb)]
		}
		if s.kind == literal && s.text != text || s.kind == one && text == "" {
			return false
		}
	}
	return len(segments) == len(p.segments)
}

// A host is that of a request in lower case, with and without its port.
type host struct{ full, name string }

// hostOf reads the Host of a request. One that is none fits no pattern; the
// router refuses it.
func hostOf(s string) host {
	end := len(s)
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		end = i
	}
	name := strings.ToLower(strings.TrimSuffix(s[:end], "."))
	if end == len(s) || end == len(s)-1 {
		return host{name, name}
	}
	if name == s[:end] {
		return host{s, name} // as nearly always: no copy
	}
	return host{name + s[end:], name}
}

// fits says whether the host is one that a pattern is for.
func (h host) fits(pattern string) bool {
	switch {
	case pattern == "":
		return true
	case pattern[0] == '.':
		return len(h.name) > len(pattern) && strings.HasSuffix(h.name, pattern) ||
			len(h.full) > len(pattern) && strings.HasSuffix(h.full, pattern)
	}
	return h.name == pattern || h.full == pattern
}

// newMatcher orders the patterns of a file, the less specific first. It returns
// their places in the file, too.
func newMatcher(list []Pattern) (*matcher, []int, error) {
	m := &matcher{patterns: make([]*pattern, 0, len(list))}
	type placed struct {
		*pattern

		at int
	}
	all := make([]placed, 0, len(list))
	for i, l := range list {
		p, err := parsePattern(l.Match)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, placed{p, i})
		m.hosts = m.hosts || p.host != ""
	}
	slices.SortStableFunc(all, func(a, b placed) int { return a.compare(b.pattern) })
	order := make([]int, len(all))
	for i, p := range all {
		m.add(i, p.pattern)
		m.patterns = append(m.patterns, p.pattern)
		order[i] = p.at
	}
	return m, order, nil
}
