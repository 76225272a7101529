package router

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
	"unique"
)

// parseTemplate reads a template as of google.api.http:
//
//	template = "/" segment { "/" segment } [ ":" verb ]
//	segment  = "*" | "**" | literal | "{" name [ "=" segment { "/" segment } ] "}"
//
// A literal may be empty. "**" is the last segment.
func parseTemplate(text string) (*pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New(`it does not start with "/"`)
	}
	if strings.ContainsAny(text, `()[]\+?|^$`) {
		return nil, fmt.Errorf(`it looks like a regular expression: those are written "^%s$"`, clip(text, 80))
	}
	p := &templateParser{pattern: &pattern{text: text}, rest: text}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.pattern, nil
}

type templateParser struct {
	*pattern

	rest string // what is not read yet
}

// parse reads "/" and a segment until nothing is left.
func (p *templateParser) parse() error {
	for p.rest != "" {
		p.rest = p.rest[1:] // the "/"
		var err error
		if strings.HasPrefix(p.rest, "{") {
			err = p.parseVariable()
		} else {
			err = p.parseSegment()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseSegment reads a segment that is no variable, and the verb after it.
func (p *templateParser) parseSegment() error {
	var text string
	text, p.rest = cutBefore(p.rest, "/")
	if strings.HasPrefix(text, ":") {
		return fmt.Errorf("%q is no variable: those are written {%s}", clip(text, 40), clip(text[1:], 40))
	}
	if p.rest == "" {
		var err error
		if text, err = p.cutVerb(text); err != nil {
			return err
		}
	}
	return p.addSegment(text)
}

// parseVariable reads "{name}" or "{name=segments}", and the verb after it.
func (p *templateParser) parseVariable() error {
	inner, after, ok := strings.Cut(p.rest[1:], "}")
	if !ok {
		return errors.New(`a variable has no "}"`)
	}
	name, segments, ok := strings.Cut(inner, "=")
	switch {
	case !ok:
		segments = "*"
	case segments == "":
		return errors.New(`nothing follows the "=" of a variable`)
	}
	if !isFieldPath(name) {
		return fmt.Errorf("%q is not the name of a variable: letters, digits, \"_\" and \".\"", clip(name, 40))
	}
	for _, v := range p.variables {
		if v.name == name {
			return fmt.Errorf("there are two variables %q", name)
		}
	}
	if len(p.variables) == maxVariables {
		return fmt.Errorf("it has more than %d variables", maxVariables)
	}
	v := variable{name: unique.Make(name).Value(), start: len(p.segments)}
	for text := range strings.SplitSeq(segments, "/") {
		if err := p.addSegment(text); err != nil {
			return err
		}
	}
	v.end = len(p.segments)
	p.rest = after
	if !strings.HasPrefix(after, "/") {
		p.rest, v.toEnd = "", true
		text, err := p.cutVerb(after)
		if err != nil {
			return err
		}
		if text != "" {
			return fmt.Errorf("%q follows a variable: it must be a whole segment", clip(text, 40))
		}
	}
	p.variables = append(p.variables, v)
	return nil
}

// cutVerb takes the verb off what the template ends in.
func (p *templateParser) cutVerb(last string) (string, error) {
	i := strings.LastIndexByte(last, ':')
	if i < 0 {
		return last, nil
	}
	verb, err := readLiteral(last[i+1:])
	if err != nil {
		return "", err
	}
	if verb == "" {
		return "", errors.New(`nothing follows the ":" of a verb`)
	}
	p.verb = verb
	return last[:i], nil
}

// addSegment adds a segment that is no variable.
func (p *templateParser) addSegment(text string) error {
	if n := len(p.segments); n > 0 && p.segments[n-1].kind == rest {
		return errors.New(`something follows "**": it must be the last segment`)
	}
	if len(p.segments) == maxSegments {
		return fmt.Errorf("it has more than %d segments", maxSegments)
	}
	s := segment{kind: literal}
	switch text {
	case "*":
		s.kind = one
	case "**":
		s.kind = rest
	default:
		var err error
		if s.text, err = readLiteral(text); err != nil {
			return err
		}
		s.text = unique.Make(s.text).Value() // many services have the same segments
	}
	p.segments = append(p.segments, s)
	return nil
}

// readLiteral returns a literal decoded. It refuses what no request can have,
// and what is not meant to be a literal.
func readLiteral(text string) (string, error) {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '*':
			return "", fmt.Errorf(`%q: "*" must be a whole segment; regular expressions are written "^…$"`, clip(text, 40))
		case c == '{', c == '}':
			return "", fmt.Errorf("%q: a variable must be a whole segment", clip(text, 40))
		case c <= ' ', c == 0x7f, strings.IndexByte("\"#<>`", c) >= 0:
			return "", fmt.Errorf("%q has a character that no path has", clip(text, 40))
		}
	}
	decoded, err := url.PathUnescape(text)
	if err != nil || !utf8.ValidString(decoded) {
		return "", fmt.Errorf("%q is not well escaped", clip(text, 40))
	}
	if reason := ambiguous(decoded); reason != "" {
		return "", fmt.Errorf("%q matches no request: %s", clip(text, 40), reason)
	}
	return decoded, nil
}

// escapeLiteral is the reverse of readLiteral.
func escapeLiteral(text string) string {
	return strings.NewReplacer("(", "%28", ")", "%29", "[", "%5B", "]", "%5D", "+", "%2B", "*", "%2A", ":", "%3A", "$", "%24").
		Replace(url.PathEscape(text))
}

// isFieldPath says whether s is names joined by dots.
func isFieldPath(s string) bool {
	for name := range strings.SplitSeq(s, ".") {
		for i := range len(name) {
			c := name[i]
			if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || i == 0) {
				return false
			}
		}
		if name == "" {
			return false
		}
	}
	return true
}

// cutBefore is strings.Cut that leaves the separator on what follows.
func cutBefore(s, sep string) (before, after string) {
	if i := strings.Index(s, sep); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// clip returns the start of s, for messages.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
