package broker

import (
	"fmt"
	"slices"
	"strings"
)

// Patterns list topics, or groups, that something is allowed for. None at all
// match nothing.
//
// A pattern is words joined by dots, of which "*" is any one, and "**" as the
// last is one or more. So "**" alone is every topic, but for those whose first
// word begins with "_": these are a gateway's own, and no wildcard matches that
// word.
type Patterns struct{ words [][]string }

// NewPatterns returns patterns. One that is malformed, as [CheckPattern] has it,
// matches nothing.
func NewPatterns(list ...string) Patterns {
	var p Patterns
	for _, text := range list {
		if CheckPattern(text) == nil {
			p.words = append(p.words, strings.Split(text, "."))
		}
	}
	return p
}

// CheckPattern returns an error that says what a pattern is, if the text is
// none.
func CheckPattern(text string) error {
	words := strings.Split(text, ".")
	for i, word := range words {
		wild := word == "*" || word == "**" && i == len(words)-1
		if !wild && CheckTopic(word) != nil {
			return fmt.Errorf("broker: %q is no pattern: want words joined by dots, of which * is any one and ** as the last is one or more", cut(text))
		}
	}
	return nil
}

// Match says whether one of the patterns matches a topic.
func (p Patterns) Match(topic string) bool {
	words := strings.Split(topic, ".")
	return slices.ContainsFunc(p.words, func(pattern []string) bool { return matchWords(pattern, words) })
}

// matchWords says whether a pattern matches words.
func matchWords(pattern, words []string) bool {
	for i, want := range pattern {
		switch {
		case i >= len(words):
			return false
		case want == words[i]:
		case i == 0 && strings.HasPrefix(words[0], "_"):
			return false
		case want == "**":
			return true
		case want != "*":
			return false
		}
	}
	return len(pattern) == len(words)
}
