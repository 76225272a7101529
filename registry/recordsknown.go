package registry

import "hash/maphash"

// known is what was read of late: what comes again and again is read and held
// once. The zero value is ready for use.
type known struct {
	words    latest[struct{}]
	messages latest[*Value]            // what requests and responses are
	metadata latest[map[string]string] // of nodes
}

// A latest is what texts were read as, of those that were read of late.
type latest[T any] struct {
	seed  maphash.Seed
	slots []reading[T]
}

type reading[T any] struct {
	text string
	is   T
}

const (
	// slots is how many texts of a kind are known, and maxWord and maxText how
	// long words, and others, may be.
	slots   = 1024
	maxWord = 64
	maxText = 2048
)

// slot returns where a text would be.
func (l *latest[T]) slot(text []byte) *reading[T] {
	if l.slots == nil {
		l.seed, l.slots = maphash.MakeSeed(), make([]reading[T], slots)
	}
	return &l.slots[maphash.Bytes(l.seed, text)%slots]
}

// word returns a string of the same bytes.
func (k *known) word(b []byte) string {
	if len(b) > maxWord {
		return string(b)
	}
	slot := k.words.slot(b)
	if slot.text != string(b) {
		slot.text = string(b)
	}
	return slot.text
}

// again returns what an object was read as that is known, or else reads it.
func again[T any](c *plain, l *latest[T], read func() T) (v T) {
	from := c.at
	end := -1
	if from < len(c.text) && c.text[from] == '{' {
		end = bracketed(c.text, from)
	}
	if end < 0 || end-from > maxText {
		return read()
	}
	text := c.text[from:end]
	slot := l.slot(text)
	if slot.text == string(text) {
		c.at = end
		return slot.is
	}
	if v = read(); !c.failed && c.at == end {
		*slot = reading[T]{string(text), v}
	}
	return v
}
