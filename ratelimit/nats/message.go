package nats

import (
	"encoding/binary"
	"iter"
)

// headSize, entrySize and maxEntries are of a message; see message.
const (
	headSize   = 4 + 8
	entrySize  = 8 + 16 + 4
	maxEntries = 1 << 10
)

// message is what one member tells the others: a mark, its ID, and what has
// passed, each a limiter, a key and how many.
type message struct {
	data []byte
	most int // entries
}

// entry is what has passed for one key.
type entry struct {
	limiter limiterID
	key     keyID
	n       uint32
}

// mark begins a message. Its last byte is the version.
func mark() [4]byte { return [4]byte{'G', 'R', 'L', 1} }

// newMessage returns a message of up to so many entries.
func newMessage(self memberID, most int64) *message {
	begin := mark()
	return &message{data: append(begin[:], self[:]...), most: int(max(1, min(most, maxEntries)))}
}

func (m *message) add(e entry) {
	m.data = append(m.data, e.limiter[:]...)
	m.data = append(m.data, e.key[:]...)
	m.data = binary.BigEndian.AppendUint32(m.data, e.n)
}

func (m *message) entries() int { return (len(m.data) - headSize) / entrySize }
func (m *message) isFull() bool { return m.entries() >= m.most }
func (m *message) clear()       { m.data = m.data[:headSize] }

// entries returns what another member tells; nothing, if data is not a message
// of another member, or holds more than one does.
func entries(data []byte, self memberID) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		if len(data) < headSize || [4]byte(data) != mark() || memberID(data[4:]) == self {
			return
		}
		rest := data[headSize:]
		if len(rest)%entrySize != 0 || len(rest) > maxEntries*entrySize {
			return
		}
		for ; len(rest) > 0; rest = rest[entrySize:] {
			e := entry{limiterID(rest), keyID(rest[8:]), binary.BigEndian.Uint32(rest[24:])}
			if !yield(e) {
				return
			}
		}
	}
}
