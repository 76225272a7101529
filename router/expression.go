package router

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// maxExpression bounds the size of a regular expression before it is compiled:
// a few bytes can make very many instructions.
const maxExpression = 1000

// maxStem bounds what is compared to find the expressions for a path.
const maxStem = 64 // bytes

// expression is a regular expression that is matched with a path as it was
// received.
type expression struct {
	re     *regexp.Regexp
	prefix string // every match starts with it
	stem   string // the start of the segment after the literal ones
	cost   int    // of matching it, in instructions
	named  bool   // it has named groups
}

// parseExpression reads a regular expression that starts with "^" and ends with
// "$".
func parseExpression(text string) (*pattern, error) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the regular expression is not one of RE2: %w", err)
	}
	if expressionSize(tree) > maxExpression {
		return nil, errors.New("the regular expression is too large")
	}
	tree = tree.Simplify()
	prefix := literalStart(tree)
	cost, err := expressionCost(tree, prefix)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(anchored(text))
	if err != nil {
		return nil, fmt.Errorf("the regular expression is not one of RE2: %w", err)
	}
	groups := 0
	for _, name := range re.SubexpNames() {
		if name != "" {
			groups++
		}
	}
	if groups > maxVariables {
		return nil, fmt.Errorf("it has more than %d named groups", maxVariables)
	}
	segments, stem := literalSegments(prefix)
	e := &expression{re: re, prefix: prefix, stem: stem, cost: cost, named: groups > 0}
	return &pattern{text: text, segments: segments, expr: e}, nil
}

// anchored returns the expression so that it has to match all of a path, even
// if it is "^a|b$".
func anchored(text string) string { return `\A(?:` + text + `)\z` }

// literalStart returns the text that everything starts with that the
// expression, which starts with "^", matches.
func literalStart(re *syntax.Regexp) string {
	if re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText {
		return ""
	}
	var b strings.Builder
	for _, sub := range re.Sub[1:] {
		if sub.Op != syntax.OpLiteral || sub.Flags&syntax.FoldCase != 0 {
			break
		}
		b.WriteString(string(sub.Rune))
	}
	return b.String()
}

// literalSegments returns the whole segments that a prefix of paths consists
// of, and the start of the segment after them.
func literalSegments(prefix string) (segments []segment, stem string) {
	rest, ok := strings.CutPrefix(prefix, "/")
	if !ok {
		return nil, ""
	}
	for {
		raw, after, whole := strings.Cut(rest, "/")
		text, err := unescape(raw)
		if !whole || err != nil || len(segments) == maxSegments {
			return segments, raw[:min(len(raw), maxStem)]
		}
		segments = append(segments, segment{kind: literal, text: text})
		rest = after
	}
}

// expressionCost returns what it costs to match an expression: a little, and if
// it comes to the worst, each instruction for each byte of the path. Those for
// the prefix are soon done.
func expressionCost(tree *syntax.Regexp, prefix string) (int, error) {
	prog, err := syntax.Compile(tree)
	if err != nil {
		return 0, fmt.Errorf("the regular expression is not one of RE2: %w", err)
	}
	cost := 4 + len(prog.Inst) - utf8.RuneCountInString(prefix)
	if cost > maxCost {
		return 0, errors.New("the regular expression is too large")
	}
	return cost, nil
}

// expressionSize returns about how many instructions an expression compiles
// to, without doing it: a few bytes can repeat a thousandfold.
func expressionSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		size = min(size+expressionSize(sub), maxExpression+1)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return min(size, maxExpression+1)
}
