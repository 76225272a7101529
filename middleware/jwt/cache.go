package jwt

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
)

// ways is how many places a token may have in the cache.
const ways = 8

// An entry is a token that was verified. Shared: read-only.
type entry struct {
	sum      [sha256.Size]byte // of the token
	identity *goapi.Identity
	until    time.Time
	keys     *keySet // those that it was verified with
}

// serves says that a token may be taken for verified.
func (e *entry) serves(keys *keySet, now time.Time) bool {
	return e.keys == keys && now.Before(e.until)
}

// A cache holds verified tokens: a table whose size never changes, where each
// token has few places. Nobody waits for anybody; who loses a place is
// verified once more.
type cache struct{ places []atomic.Pointer[entry] }

// newCache returns a cache for about size tokens. Negative is none.
func newCache(size int) *cache {
	if size < 0 {
		return &cache{}
	}
	return &cache{places: make([]atomic.Pointer[entry], (size+ways-1)/ways*ways)}
}

// at returns the places of a token.
func (c *cache) at(sum *[sha256.Size]byte) []atomic.Pointer[entry] {
	if len(c.places) == 0 {
		return nil
	}
	sets := uint64(len(c.places) / ways)
	first := binary.LittleEndian.Uint64(sum[:]) % sets * ways
	return c.places[first : first+ways]
}

// get returns the identity of a token that was verified with keys, or nil.
func (c *cache) get(sum *[sha256.Size]byte, keys *keySet, now time.Time) *goapi.Identity {
	places := c.at(sum)
	for i := range places {
		if e := places[i].Load(); e != nil && e.sum == *sum && e.serves(keys, now) {
			return e.identity
		}
	}
	return nil
}

// put remembers a token, in place of itself, of one that serves no more, or of
// any.
func (c *cache) put(e *entry, now time.Time) {
	places := c.at(&e.sum)
	if len(places) == 0 {
		return
	}
	place := int(e.sum[len(e.sum)-1]) % ways
	for i := range places {
		old := places[i].Load()
		if old == nil || old.sum == e.sum || !old.serves(e.keys, now) {
			place = i
			break
		}
	}
	places[place].Store(e)
}
