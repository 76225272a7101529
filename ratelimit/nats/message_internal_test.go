package nats

import (
	"bytes"
	"testing"
)

// FuzzEntries: what is read of a message, written again, is the message; and
// nothing is read of what is no message of another.
func FuzzEntries(f *testing.F) {
	m := newMessage(memberID{1}, 10)
	m.add(entry{limiterID{2}, keyID{3}, 4})
	m.add(entry{limiterID{5}, keyID{6}, 7})
	f.Add(m.data)
	f.Add([]byte("GRL\x01"))
	f.Add([]byte("GRL\x01selfself"))
	self := memberID([]byte("selfself"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var read []entry
		for e := range entries(data, self) {
			read = append(read, e)
		}
		if len(read) == 0 {
			return
		}
		again := newMessage(memberID(data[4:]), maxEntries)
		for _, e := range read {
			if again.isFull() {
				t.Fatalf("%d entries are read of one message", len(read))
			}
			again.add(e)
		}
		if !bytes.Equal(again.data, data) || memberID(data[4:]) == self {
			t.Fatalf("entries(%q) = %v, which is not what it says", data, read)
		}
	})
}

func TestTally(t *testing.T) {
	var c tally
	drained := func() (keys, n, lost int) {
		lost = c.drain(func(_ keyID, count uint32) { keys, n = keys+1, n+int(count) })
		return keys, n, lost
	}
	for i := range maxTally + 10 {
		c.add(keyID{byte(i), byte(i >> 8)})
	}
	c.add(keyID{1})
	if keys, n, lost := drained(); keys != maxTally || n != maxTally+1 || lost != 10 {
		t.Errorf("drain() = %d keys, %d requests, %d lost; want %d, %d, 10", keys, n, lost, maxTally, maxTally+1)
	}
	for range 3 { // the maps take turns
		if keys, n, lost := drained(); keys+n+lost != 0 {
			t.Errorf("drain() of nothing = %d keys, %d requests, %d lost", keys, n, lost)
		}
		c.add(keyID{7})
		if keys, n, lost := drained(); keys != 1 || n != 1 || lost != 0 {
			t.Errorf("drain() of one = %d keys, %d requests, %d lost", keys, n, lost)
		}
	}
}
