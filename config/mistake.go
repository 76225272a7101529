package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/internal/spelling"
)

// maxMistakes bounds how many mistakes an error tells of.
const maxMistakes = 100

// A Mistake is one thing that is wrong with a file, and where.
type Mistake struct {
	// File is the name of the file, as it was given.
	File string
	// Line and Column count from 1; they are 0 where the file as such is wrong.
	Line, Column int
	// Key names the value: "services.greeter.timeout". It is "" where there is
	// none.
	Key string
	// Reason says what is wrong, and what to write instead.
	Reason string
}

// String returns one line: FILE:LINE:COLUMN: KEY: REASON.
func (m Mistake) String() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", m.Line, m.Column)
	}
	b.WriteString(": ")
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.Reason)
	return b.String()
}

// An Error is all that is wrong with a file, at least one mistake, in the order
// of the file.
type Error struct {
	Mistakes []Mistake
}

// Error returns one line for each mistake.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Mistakes))
	for i, m := range e.Mistakes {
		if i == maxMistakes {
			lines = append(lines, fmt.Sprintf("%s: %d more mistakes are not listed", m.File, len(e.Mistakes)-i))
			break
		}
		lines = append(lines, m.String())
	}
	return strings.Join(lines, "\n")
}

// errorOf returns mistakes in the order of the file, nil for none.
func errorOf(mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(mistakes, func(a, b Mistake) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return &Error{slices.Compact(mistakes)}
}

// A place is where something stands in a file, from 1.
type place struct{ line, column int }

// instead says what to write for a word that is not known.
func instead(word string, known []string) string {
	if k := spelling.Nearest(word, known); k != "" {
		return "did you mean " + k + "?"
	}
	if len(known) == 0 {
		return "there is none to choose from"
	}
	return "known: " + strings.Join(known, ", ")
}
