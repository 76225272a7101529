package handler

import (
	"hash/maphash"
	"slices"

	"github.com/goapi-dev/goapi/broker"
)

// A recent remembers the latest messages that a subscription has returned, so
// that what comes again is known. What has come is what Next returned: that a
// broker has sent a message before says nothing, since it may have been lost on
// its way.
//
// What holds for clients is this. Where a broker's capabilities say Ordered and
// History, Next returns each message in order when it returns it first; so the
// ids that a client sees go up, and what comes again is dropped. Should a
// message that is not remembered say that it was sent before, it is late, or it
// came so long ago that it is forgotten: it is passed on, since it may be new,
// but without its position, since the client may have had later ones, and its
// Last-Event-ID must not go back. Receivers know it by its ID.
//
// Without positions, only what says that it was sent before, and has a known ID,
// is dropped: others may publish one ID twice.
type recent struct {
	limit int
	seed  maphash.Seed
	keys  []uint64
	next  int // the oldest of them, once there are as many as limit
}

func newRecent(limit int) recent { return recent{limit: limit, seed: maphash.MakeSeed()} }

// knows says whether a message has come before; if not, it has now. A position
// that would lead a client back is taken away.
func (r *recent) knows(d *broker.Delivery) bool {
	name := d.Position
	if name == "" {
		name = d.ID
	}
	if name == "" {
		return false
	}
	key, resent := maphash.String(r.seed, name), d.Attempt > 1
	known := slices.Contains(r.keys, key)
	if known && (d.Position != "" || resent) {
		return true
	}
	if resent {
		d.Position = ""
	}
	switch {
	case known:
	case len(r.keys) < r.limit:
		r.keys = append(r.keys, key)
	default:
		r.keys[r.next] = key
		r.next = (r.next + 1) % r.limit
	}
	return false
}
