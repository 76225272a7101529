package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxPatterns = 256 // of a file: each request is held against all
	maxSegments = 64
	maxHost     = 255
)

// A kind says what a segment of a pattern matches; the more specific is greater.
type kind byte

const (
	rest    kind = iota // "**": all segments that follow, or none
	one                 // "*", "{name}": any segment that is not empty
	literal             // its text
)

// A segment is one step of a pattern.
type segment struct {
	kind kind
	text string // of a literal, decoded
}

// A pattern is a host and a path, in the words of endpoints: "/admin/**",
// "*.example.com/x/{id}".
type pattern struct {
	host     string // in lower case; "" is any; ".example.com" is a wildcard
	segments []segment
	verb     string // decoded, with the colon before it; "" is none
}

// parsePattern reads PATH or HOST/PATH.
func parsePattern(text string) (*pattern, error) {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		return nil, fmt.Errorf("it is a URL; write %.80s", rest)
	}
	slash := strings.IndexByte(text, '/')
	if slash < 0 {
		return nil, errors.New("it has no path; write PATH or HOST/PATH, such as /admin/** or api.example.com/**")
	}
	p := new(pattern)
	var err error
	if p.host, err = parseHost(text[:slash]); err != nil {
		return nil, err
	}
	if err := p.parsePath(text[slash:]); err != nil {
		return nil, err
	}
	return p, nil
}

// parseHost reads the host of a pattern, which may have a port.
func parseHost(s string) (string, error) {
	if s == "" || s == "*" {
		return "", nil
	}
	name, wildcard := strings.CutPrefix(strings.ToLower(s), "*.")
	bare, port, _ := strings.Cut(name, ":")
	if strings.HasPrefix(name, "[") {
		end := strings.IndexByte(name, ']')
		bare, port = name[:end+1], strings.TrimPrefix(name[end+1:], ":")
	}
	bare = strings.TrimSuffix(bare, ".")
	odd := strings.Trim(bare, "abcdefghijklmnopqrstuvwxyz0123456789-._[]:") != "" || strings.Contains(bare, "..") || strings.HasPrefix(bare, ".")
	if bare == "" || odd || port != "" && !isDigits(port) || len(s) > maxHost {
		return "", fmt.Errorf("%.80q is no host; write a name, *.NAME, or nothing for any", s)
	}
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n == 0 || n > 65535) {
		return "", fmt.Errorf("%.80q has no port that there is; write one from 1 to 65535, or none for any", s)
	}
	host := bare
	if port != "" {
		host += ":" + port
	}
	if wildcard {
		return "." + host, nil
	}
	return host, nil
}

// parsePath reads the path. A slash at its end says nothing.
func (p *pattern) parsePath(text string) error {
	if strings.ContainsAny(text, `()[]\+?|^$`) {
		return fmt.Errorf("%.80q looks like a regular expression; write a path with {name}, * or **", text)
	}
	if len(text) > 1 {
		text = strings.TrimSuffix(text, "/")
	}
	if strings.Contains(text, "//") {
		return errors.New(`services read "//" in different ways, and such requests may be refused; write one slash`)
	}
	for text != "" {
		var segments string
		var err error
		if segments, text, err = p.cutStep(text[1:]); err != nil { // less the "/"
			return err
		}
		for s := range strings.SplitSeq(segments, "/") {
			if err := p.add(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutStep cuts a segment, or a variable of several, off a text, and, from the
// last, the verb.
func (p *pattern) cutStep(text string) (segments, after string, err error) {
	segments, after, isVariable := cutVariable(text)
	if isVariable && strings.HasPrefix(after, "/") {
		return segments, after, nil
	}
	if isVariable {
		err := p.cutVerb(&after)
		if err == nil && after != "" {
			err = fmt.Errorf("%.40q follows a variable; write it as a segment of its own", after)
		}
		return segments, "", err
	}
	segments, after = text, ""
	if i := strings.IndexByte(text, '/'); i >= 0 {
		segments, after = text[:i], text[i:]
	}
	if strings.HasPrefix(segments, ":") {
		return "", "", fmt.Errorf("%.40q is no variable; write {%.40s}", segments, segments[1:])
	}
	if after == "" {
		err = p.cutVerb(&segments)
	}
	return segments, after, err
}

// cutVariable cuts "{name}" or "{name=segments}" off a text, and returns the
// segments that it stands for.
func cutVariable(text string) (segments, after string, ok bool) {
	if !strings.HasPrefix(text, "{") {
		return "", "", false
	}
	inner, after, ok := strings.Cut(text[1:], "}")
	if !ok {
		return "", "", false
	}
	name, segments, has := strings.Cut(inner, "=")
	if !has {
		segments = "*"
	}
	isName := name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_.") == ""
	return segments, after, isName && segments != "" && !strings.Contains(segments, "{")
}

// cutVerb cuts the verb off what the pattern ends in.
func (p *pattern) cutVerb(last *string) error {
	i := strings.LastIndexByte(*last, ':')
	if i < 0 {
		return nil
	}
	verb, err := readLiteral((*last)[i+1:])
	if err == nil && verb == "" {
		err = errors.New(`nothing follows the ":"; write a verb, or %3A for the character`)
	}
	p.verb, *last = ":"+verb, (*last)[:i]
	return err
}

// add adds a segment.
func (p *pattern) add(text string) error {
	if n := len(p.segments); n > 0 && p.segments[n-1].kind == rest {
		return errors.New(`something follows "**"; write ** last, or * for one segment`)
	}
	if len(p.segments) == maxSegments {
		return fmt.Errorf("it has more than %d segments; write fewer", maxSegments)
	}
	switch text {
	case "*":
		p.segments = append(p.segments, segment{kind: one})
	case "**":
		p.segments = append(p.segments, segment{kind: rest})
	default:
		s, err := readLiteral(text)
		if err != nil {
			return err
		}
		if strings.ContainsAny(s, `/\;`) {
			return fmt.Errorf("%.40q: services read a slash, a backslash and a semicolon in a segment in different ways, and such requests may be refused; write {name}", text)
		}
		p.segments = append(p.segments, segment{kind: literal, text: s})
	}
	return nil
}

// readLiteral returns a literal decoded. It refuses what no request can have,
// and what is not meant to be a literal.
func readLiteral(text string) (string, error) {
	switch {
	case strings.Contains(text, "*"):
		return "", fmt.Errorf(`%.40q: "*" is a whole segment; write {name}, * or **`, text)
	case strings.ContainsAny(text, "{}"):
		return "", fmt.Errorf("%.40q: a variable is a whole segment; write {name}", text)
	case strings.ContainsAny(text, "\"#<>`") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "", fmt.Errorf("%.40q has a character that no path has; write it with an escape, such as %%20", text)
	}
	decoded, err := url.PathUnescape(text)
	if err != nil || !utf8.ValidString(decoded) {
		return "", fmt.Errorf("%.40q is not well escaped; write %%25 for a %%", text)
	}
	if strings.ContainsFunc(decoded, func(r rune) bool { return r < ' ' || r == 0x7f }) || hasDots(decoded) {
		return "", fmt.Errorf("%.40q matches no request: such paths are refused; write the path that is meant", text)
	}
	return decoded, nil
}

// hasDots says whether a decoded segment is, or hides, "." or "..".
func hasDots(s string) bool {
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// compare orders patterns, the less specific first: by host, then segment by
// segment.
func (p *pattern) compare(q *pattern) int {
	if c := cmp.Or(compareHosts(p.host, q.host)); c != 0 {
		return c
	}
	for i := range min(len(p.segments), len(q.segments)) {
		if c := cmp.Compare(p.segments[i].kind, q.segments[i].kind); c != 0 {
			return c
		}
	}
	// Where one goes on, it is the more specific, unless it goes on with "**".
	longer, sign := p, 1
	if len(q.segments) > len(p.segments) {
		longer, sign = q, -1
	}
	if n := min(len(p.segments), len(q.segments)); n < len(longer.segments) {
		if longer.segments[n].kind == rest {
			return -sign
		}
		return sign
	}
	return cmp.Or(cmp.Compare(min(len(p.verb), 1), min(len(q.verb), 1)), strings.Compare(p.shape(), q.shape()))
}

// compareHosts orders hosts: any, wildcards by length, names, and those with a
// port.
func compareHosts(a, b string) int {
	rank := func(host string) int {
		r := 0
		switch {
		case host == "":
		case host[0] == '.':
			r = 2 + 2*strings.Count(host, ".")
		default:
			r = 2 * maxHost
		}
		if hasPort(host) {
			r++
		}
		return r
	}
	return cmp.Compare(rank(a), rank(b))
}

// hasPort says whether a host has one.
func hasPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}

// shape is equal for patterns that match the same requests.
func (p *pattern) shape() string {
	var b strings.Builder
	b.WriteString(p.host)
	for _, s := range p.segments {
		switch s.kind {
		case literal:
			b.WriteString("/=" + url.PathEscape(s.text))
		case one:
			b.WriteString("/*")
		case rest:
			b.WriteString("/**")
		}
	}
	return b.String() + p.verb
}
