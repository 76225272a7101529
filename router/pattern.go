package router

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

const (
	maxPattern   = 2 << 10 // bytes
	maxSegments  = 64
	maxVariables = 32
)

// place says where at the end of its trunk a pattern stands.
type place byte

const (
	atEnd        place = iota // the pattern ends there
	atRest                    // it goes on with "**"
	atExpression              // it is a regular expression
)

// kind says what a segment of a template matches.
type kind byte

const (
	literal kind = iota // its text
	one                 // "*": any segment that is not empty
	rest                // "**": all segments that follow, or none
)

// segment is one step of a pattern.
type segment struct {
	kind kind
	text string // of a literal, decoded
}

// variable is a part of the path that has a name: the segments from start up to
// end. It reaches to the end of the path when toEnd is set, less the verb.
type variable struct {
	name       string
	start, end int
	toEnd      bool
}

// pattern is a path as a service announces it: a template or a regular
// expression.
type pattern struct {
	verb      string // of a template
	variables []variable
	expr      *expression // nil for a template
	text      string      // as announced
	// segments are the steps of a template, or the literal ones that an
	// expression starts with.
	segments []segment
}

// parsePattern reads a path as a service announces it.
func parsePattern(text string) (*pattern, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("the path is longer than %d bytes", maxPattern)
	}
	start, end := strings.HasPrefix(text, "^"), strings.HasSuffix(text, "$")
	switch {
	case start && end:
		return parseExpression(text)
	case start:
		return nil, errors.New(`it starts with "^" but does not end with "$": a regular expression needs both`)
	case end:
		return nil, errors.New(`it ends with "$" but does not start with "^": a regular expression needs both`)
	}
	return parseTemplate(text)
}

// trunk returns the segments that lead to the pattern's place in the trie.
func (p *pattern) trunk() []segment {
	if p.place() == atRest {
		return p.segments[:len(p.segments)-1]
	}
	return p.segments
}

// place says where at the end of its trunk the pattern stands.
func (p *pattern) place() place {
	switch n := len(p.segments); {
	case p.expr != nil:
		return atExpression
	case n > 0 && p.segments[n-1].kind == rest:
		return atRest
	}
	return atEnd
}

// compare orders patterns of one trunk and kind, the more specific first: one
// with a verb, one with a longer literal start.
func (p *pattern) compare(q *pattern) int {
	if p.expr == nil || q.expr == nil {
		return strings.Compare(q.verb, p.verb)
	}
	return cmp.Or(len(q.expr.prefix)-len(p.expr.prefix), strings.Compare(p.text, q.text))
}

// shape is equal for patterns that match the same paths: the names of variables
// do not matter. No other pattern has it.
func (p *pattern) shape() string {
	if p.expr != nil {
		return p.text
	}
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		switch s.kind {
		case literal:
			b.WriteByte('=')
			b.WriteString(s.text)
			b.WriteByte(0) // which no literal has
		case one:
			b.WriteByte('*')
		case rest:
			b.WriteString("**")
		}
	}
	b.WriteByte(':')
	b.WriteString(p.verb)
	return b.String()
}

// String returns a template or expression that means the same.
func (p *pattern) String() string {
	if p.expr != nil {
		return p.text
	}
	var b strings.Builder
	vars := p.variables
	for i, s := range p.segments {
		b.WriteByte('/')
		if len(vars) > 0 && vars[0].start == i {
			b.WriteString("{" + vars[0].name + "=")
		}
		switch s.kind {
		case literal:
			b.WriteString(escapeLiteral(s.text))
		case one:
			b.WriteByte('*')
		case rest:
			b.WriteString("**")
		}
		if len(vars) > 0 && vars[0].end == i+1 {
			b.WriteByte('}')
			vars = vars[1:]
		}
	}
	if p.verb != "" {
		b.WriteString(":" + escapeLiteral(p.verb))
	}
	return b.String()
}
