package router

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// A dict is a map from strings that does not change: set and remove return a
// new one, which shares with the old one all but the way to the key. It is a
// hash trie: each branch looks at the next 5 bits of a key's hash. The zero
// value is empty.
//
// What was made in the same era may be changed in place, for nobody else has it
// yet: then the old dict must not be used any more.
type dict[V any] struct {
	root branch[V] // in place: a look-up waits for memory most of its time
}

// hasher is the hash function of the dicts of a table. Its seed is random, so
// that nobody can choose keys that collide.
type hasher struct {
	seed maphash.Seed
	mask uint64 // of the bits that count: all, but in tests
	era  uint32 // that new branches are of; 0 is none
}

const (
	fanBits  = 5  // of a hash, for each level
	maxDepth = 13 // levels until a 64-bit hash is used up; below is a plain list
)

// branch has an entry for each bit of the map that is set.
type branch[V any] struct {
	bitmap  uint32
	era     uint32 // in which entries was made
	entries []entry[V]
}

// entry holds a key and its value, or a branch of keys whose hashes agree so
// far.
type entry[V any] struct {
	key   string
	sub   branch[V] // in place, too; unless it is empty, key and value mean nothing
	value V
}

// isKey says whether the entry holds a key.
func (e *entry[V]) isKey() bool { return len(e.sub.entries) == 0 }

func newHasher() hasher { return hasher{seed: maphash.MakeSeed(), mask: ^uint64(0)} }

func (h hasher) hash(key string) uint64 { return maphash.String(h.seed, key) & h.mask }

// isEmpty says whether there is no key.
func (d *dict[V]) isEmpty() bool { return len(d.root.entries) == 0 }

// get returns the value of a key, or the zero value.
func (d *dict[V]) get(h hasher, key string) (value V) {
	if at := d.find(h, key); at != nil {
		value = *at
	}
	return value
}

// find returns where the value of a key is, or nil. It is read-only.
func (d *dict[V]) find(h hasher, key string) *V {
	if d.isEmpty() {
		return nil
	}
	b, hash := &d.root, h.hash(key)
	for range maxDepth {
		bit, i := b.at(hash)
		if b.bitmap&bit == 0 {
			return nil
		}
		e := &b.entries[i]
		if e.isKey() {
			if e.key == key {
				return &e.value
			}
			return nil
		}
		b, hash = &e.sub, hash>>fanBits
	}
	if i := b.index(key); i >= 0 {
		return &b.entries[i].value
	}
	return nil
}

// set returns d with the value of a key.
func (d *dict[V]) set(h hasher, key string, value V) dict[V] {
	return dict[V]{d.root.set(h, h.hash(key), 0, entry[V]{key: key, value: value})}
}

// remove returns d without a key.
func (d *dict[V]) remove(h hasher, key string) dict[V] {
	return dict[V]{d.root.remove(h, h.hash(key), 0, key)}
}

// all returns keys and values in no order.
func (d *dict[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { d.root.each(yield) }
}

// at returns the bit of a hash, and where in the entries it is or would be.
func (b *branch[V]) at(hash uint64) (bit uint32, i int) {
	bit = 1 << (hash & (1<<fanBits - 1))
	return bit, bits.OnesCount32(b.bitmap & (bit - 1))
}

// index returns where a key is in a plain list, or -1.
func (b *branch[V]) index(key string) int {
	return slices.IndexFunc(b.entries, func(e entry[V]) bool { return e.key == key })
}

// set returns b with an entry. The hash is shifted to what the depth looks at.
func (b *branch[V]) set(h hasher, hash uint64, depth int, e entry[V]) branch[V] {
	if depth == maxDepth {
		if i := b.index(e.key); i >= 0 {
			return b.with(h, i, e)
		}
		return b.insert(h, 0, len(b.entries), e)
	}
	bit, i := b.at(hash)
	if b.bitmap&bit == 0 {
		return b.insert(h, bit, i, e)
	}
	switch old := b.entries[i]; {
	case !old.isKey():
		e = entry[V]{sub: old.sub.set(h, hash>>fanBits, depth+1, e)}
	case old.key != e.key:
		var sub branch[V]
		sub = sub.set(h, h.hash(old.key)>>(fanBits*(depth+1)), depth+1, old)
		sub = sub.set(h, hash>>fanBits, depth+1, e)
		e = entry[V]{sub: sub}
	}
	return b.with(h, i, e)
}

// remove returns b without a key.
func (b *branch[V]) remove(h hasher, hash uint64, depth int, key string) branch[V] {
	if depth == maxDepth {
		if i := b.index(key); i >= 0 {
			return b.without(h, 0, i)
		}
		return *b
	}
	bit, i := b.at(hash)
	if b.bitmap&bit == 0 {
		return *b
	}
	e := b.entries[i]
	if e.isKey() {
		if e.key == key {
			return b.without(h, bit, i)
		}
		return *b
	}
	sub := e.sub.remove(h, hash>>fanBits, depth+1, key)
	if len(sub.entries) == 1 && sub.entries[0].isKey() {
		return b.with(h, i, sub.entries[0]) // a single key needs no branch
	}
	return b.with(h, i, entry[V]{sub: sub})
}

// isOwn says whether the entries may be changed in place.
func (b *branch[V]) isOwn(h hasher) bool { return h.era != 0 && b.era == h.era }

// own returns the entries such that they may be changed.
func (b *branch[V]) own(h hasher) []entry[V] {
	if b.isOwn(h) {
		return b.entries
	}
	return slices.Clone(b.entries)
}

// with returns b with another entry at i.
func (b *branch[V]) with(h hasher, i int, e entry[V]) branch[V] {
	entries := b.own(h)
	entries[i] = e
	return branch[V]{b.bitmap, h.era, entries}
}

// insert returns b with an entry more at i, which has the bit.
func (b *branch[V]) insert(h hasher, bit uint32, i int, e entry[V]) branch[V] {
	entries := b.entries
	if n := len(entries); n == cap(entries) || !b.isOwn(h) {
		entries = append(make([]entry[V], 0, n+1+n/4), entries...) // what is inserted comes in numbers, or alone
	}
	return branch[V]{b.bitmap | bit, h.era, slices.Insert(entries, i, e)}
}

// without returns b without the entry at i, which has the bit.
func (b *branch[V]) without(h hasher, bit uint32, i int) branch[V] {
	return branch[V]{b.bitmap &^ bit, h.era, slices.Delete(b.own(h), i, i+1)}
}

// each yields every key below b, and says whether to go on.
func (b *branch[V]) each(yield func(string, V) bool) bool {
	for i := range b.entries {
		e := &b.entries[i]
		if !e.isKey() {
			if !e.sub.each(yield) {
				return false
			}
		} else if !yield(e.key, e.value) {
			return false
		}
	}
	return true
}
