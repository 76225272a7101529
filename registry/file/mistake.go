package file

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi/internal/spelling"
)

// unknownAnchor begins what the parser says of an alias of nothing.
const unknownAnchor = "unknown anchor '"

// A mistake is what is wrong with a file, and where.
type mistake struct {
	file         string
	line, column int // from 1; 0 for the file as such
	reason       string
	syntax       bool // it is no YAML
}

// Error implements error.
func (m *mistake) Error() string { return m.place() + ": " + m.reason }

// place returns file:line:column.
func (m *mistake) place() string {
	if m.line == 0 {
		return m.file
	}
	return fmt.Sprintf("%s:%d:%d", m.file, m.line, m.column)
}

// A place is where something stands in a file.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// mistake returns what is wrong at a place.
func (p place) mistake(format string, args ...any) *mistake {
	return &mistake{line: p.line, column: p.column, reason: fmt.Sprintf(format, args...)}
}

// syntaxMistake returns what the parser says of a part. It names a line at most,
// and that one is counted from 0 where a token stands in the wrong place.
func syntaxMistake(err error, p part) *mistake {
	if errors.Is(err, io.EOF) {
		return &mistake{line: 1, column: 1, reason: "it is empty; write services: [] for none", syntax: true}
	}
	m := &mistake{line: 1, reason: strings.TrimPrefix(err.Error(), "yaml: ")}
	m.syntax = !strings.HasPrefix(m.reason, unknownAnchor)
	if rest, ok := strings.CutPrefix(m.reason, "line "); ok {
		number, said, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			m.line, m.reason = line, said
			if strings.HasPrefix(said, "did not find expected") {
				m.line++
			}
		}
	} else if at := unreadable(m.reason, p.text); at >= 0 {
		m.line += strings.Count(p.text[:at], "\n")
		m.column = at - strings.LastIndexByte(p.text[:at], '\n')
	}
	lines := strings.Split(p.text, "\n")
	m.line = min(m.line, len(lines))
	if m.column == 0 {
		line := lines[m.line-1]
		m.column = 1 + len(line) - len(strings.TrimLeft(line, " \t"))
	}
	m.line += p.line
	return m
}

// unreadable returns where something is that the parser says nothing of the
// place of; -1 if it is not found.
func unreadable(reason, text string) int {
	if name, ok := strings.CutPrefix(reason, unknownAnchor); ok {
		name, _, _ = strings.Cut(name, "'")
		alias := regexp.MustCompile(`\*` + regexp.QuoteMeta(name) + `\b`)
		if at := alias.FindStringIndex(text); at != nil {
			return at[0]
		}
		return -1
	}
	if !strings.Contains(reason, "UTF-8") && !strings.Contains(reason, "control character") {
		return -1
	}
	for at, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[at:], string(utf8.RuneError)) || r < ' ' && !strings.ContainsRune("\t\r\n", r) || r == 0x7f {
			return at
		}
	}
	return -1
}

// unknownKey returns what to say of a key that nobody knows.
func unknownKey(key string, known []string) string {
	slices.Sort(known)
	if nearest := spelling.Nearest(key, known); nearest != "" {
		return fmt.Sprintf("unknown key %.80q; did you mean %s?", key, nearest)
	}
	return fmt.Sprintf("unknown key %.80q; known: %s", key, strings.Join(known, ", "))
}
