package broker

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxTopic is the size in bytes of the longest topic. With a prefix before
	// it, it fits into what the systems behind brokers allow.
	MaxTopic = 200

	maxGroup = 200
	maxID    = 255
	maxName  = 255
	maxValue = 65_535
)

// Wildcards are the characters that stand for many topics in one of the systems
// behind brokers. No topic holds them.
const Wildcards = "*>#+"

// CheckTopic returns ErrTopic with a reason if a topic breaks the rule that all
// brokers share, so that no name is a wildcard, or means something else, to any
// of them.
//
// A topic is 1 to MaxTopic bytes of UTF-8: words joined by dots, none of them
// empty, without white space, control characters and [Wildcards]. It does not
// begin with "$". Case matters, and so does how a letter with an accent is
// composed.
func CheckTopic(topic string) error {
	if reason := topicFault(topic); reason != "" {
		return fmt.Errorf("%w: %q %s", ErrTopic, cut(topic), reason)
	}
	return nil
}

// topicFault returns what is wrong with a topic, or "".
func topicFault(topic string) string {
	switch {
	case topic == "":
		return "is empty"
	case len(topic) > MaxTopic:
		return fmt.Sprintf("has %d bytes, want at most %d", len(topic), MaxTopic)
	case !utf8.ValidString(topic):
		return "is not UTF-8"
	case strings.IndexFunc(topic, unicode.IsSpace) >= 0:
		return "has white space in it"
	case strings.IndexFunc(topic, unicode.IsControl) >= 0:
		return "has control characters in it"
	case strings.ContainsAny(topic, Wildcards):
		return "has a wildcard in it: one of " + Wildcards
	case topic[0] == '$':
		return "begins with $"
	case strings.HasPrefix(topic, ".") || strings.HasSuffix(topic, ".") || strings.Contains(topic, ".."):
		return "has an empty word before or after a dot"
	}
	return ""
}

// Check returns ErrMessage with a reason if a message breaks the rule that all
// brokers share. An ID has at most 255 bytes. A name in the header has 1 to 255
// characters that HTTP allows in a field's name; its value has at most 65,535
// bytes. IDs and values are UTF-8 without control characters (a tab may be in a
// value) and without white space at either end.
func (m *Message) Check() error {
	if m == nil {
		return fmt.Errorf("%w: there is none", ErrMessage)
	}
	if m.ID != "" && (!printable(m.ID, maxID) || strings.TrimSpace(m.ID) != m.ID) {
		return fmt.Errorf("%w: the ID %q is more than %d bytes, or not UTF-8 without control characters and outer spaces", ErrMessage, cut(m.ID), maxID)
	}
	for name, value := range m.Header {
		if !token(name) {
			return fmt.Errorf("%w: header %q is not 1 to %d letters, digits and !#$%%&'*+-.^_`|~", ErrMessage, cut(name), maxName)
		}
		if !printable(strings.ReplaceAll(value, "\t", " "), maxValue) || strings.TrimSpace(value) != value {
			return fmt.Errorf("%w: header %q is more than %d bytes, or not UTF-8 without control characters and outer spaces", ErrMessage, name, maxValue)
		}
	}
	return nil
}

// Clean leaves out what breaks the rule of Check: it is for brokers that receive
// what others have published.
func (m *Message) Clean() {
	if m.Check() == nil {
		return
	}
	for name, value := range m.Header {
		if one := (&Message{Header: map[string]string{name: value}}); one.Check() != nil {
			delete(m.Header, name)
		}
	}
	if m.Check() != nil {
		m.ID = ""
	}
}

// Size returns the size of a message in bytes: the body, the ID, and the names
// and values in the header with 4 bytes for each pair.
func (m *Message) Size() int {
	size := len(m.Body) + len(m.ID)
	for name, value := range m.Header {
		size += len(name) + len(value) + 4
	}
	return size
}

// printable says whether s is of at most limit bytes of UTF-8 without control
// characters.
func printable(s string, limit int) bool {
	if len(s) > limit {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' { // nearly all are ASCII
			return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
		}
	}
	return true
}

// token says whether a name may be one of an HTTP field.
func token(name string) bool {
	for i := range len(name) {
		c := name[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// cut returns the beginning of s, for errors.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
