package handler

import (
	"errors"
	"sync"
)

const (
	// maxRing bounds what is kept for the clients of one topic, in bytes, beside
	// its latest message.
	maxRing = 16 << 20
	// maxBatch is how much a client is sent at a time.
	maxBatch = 32 << 10
)

// errSlow is why a client is cut off that does not keep up.
var errSlow = errors.New("handler: the client is too slow")

// A ring holds the latest items of a topic. Each of its readers has a place:
// the number of the item that it reads next.
type ring struct {
	limit int // items

	mu      sync.Mutex
	items   []*item
	first   uint64    // number of the first of them
	before  string    // position of what came before the first; may be empty
	pair    [2]string // a position, and the one right after it, which was not here yet
	bytes   int64
	places  map[string]uint64 // of positions
	changed chan struct{}     // closed by wake; nil when nobody waits
	over    error             // why nothing more comes; nil as long as it may
}

// add adds an item, of which the ring is a user. The oldest make room.
func (q *ring) add(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.position != "" {
		if q.places == nil {
			q.places = make(map[string]uint64)
		}
		q.places[it.position] = q.first + uint64(len(q.items))
		if q.first == 0 && len(q.items) == 0 && it.position == q.pair[1] {
			q.before = q.pair[0]
			q.tell()
		}
	}
	q.items = append(q.items, it)
	q.bytes += it.size()
	for len(q.items) > q.limit || q.bytes > maxRing && len(q.items) > 1 {
		q.evict()
	}
}

// evict drops the oldest item. The caller holds q.mu.
func (q *ring) evict() {
	oldest := q.items[0]
	q.items[0] = nil
	q.items = q.items[1:]
	q.first++
	q.before = oldest.position
	q.bytes -= oldest.size()
	delete(q.places, oldest.position)
	oldest.release()
}

// shrink drops the older half of the items.
func (q *ring) shrink() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range (len(q.items) + 1) / 2 {
		q.evict()
	}
}

// lose is add for an item that there is no room for: none of the readers gets
// any further.
func (q *ring) lose(position string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) > 0 {
		q.evict()
	}
	q.first++
	q.before = position
}

// clear drops all items.
func (q *ring) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) > 0 {
		q.evict()
	}
}

// size is what the items hold, in bytes.
func (q *ring) size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// wake wakes those who wait for an item.
func (q *ring) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tell()
}

// tell is wake for a caller who holds q.mu.
func (q *ring) tell() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// watch returns a channel that is closed by wake. The caller holds q.mu.
func (q *ring) watch() <-chan struct{} {
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return q.changed
}

// end says that nothing more comes, and why.
func (q *ring) end(err error) {
	q.mu.Lock()
	q.over = err
	q.mu.Unlock()
	q.wake()
}

// next returns the place after the latest item.
func (q *ring) next() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first + uint64(len(q.items))
}

// after returns the place after a position, if that is known. If it is not, it
// returns a channel that is closed when it may be.
func (q *ring) after(position string) (place uint64, ok bool, changed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if place, there := q.places[position]; there {
		return place + 1, true, nil
	}
	if position != "" && position == q.before {
		return q.first, true, nil
	}
	return 0, false, q.watch()
}

// link says that one position comes right before another. If that is the first
// here, those who know the one can begin here.
func (q *ring) link(before, position string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case before == "" || q.before != "":
	case len(q.items) == 0:
		q.pair = [2]string{before, position}
	case q.items[0].position == position:
		q.before = before
		q.tell()
	}
}

// read appends items from a place on to a list, as many as are sent at a time;
// the caller is a user of them. If there are none, it returns a channel that
// is closed when there may be. It returns errSlow for a place that is gone.
func (q *ring) read(list []*item, place uint64) ([]*item, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if place < q.first {
		return list, nil, errSlow
	}
	rest := q.items[place-q.first:]
	if len(rest) > 0 {
		for size := 0; len(rest) > 0 && size < maxBatch; rest = rest[1:] {
			rest[0].use()
			list = append(list, rest[0])
			size += len(rest[0].event)
		}
		return list, nil, nil
	}
	if q.over != nil {
		return list, nil, q.over
	}
	return list, q.watch(), nil
}
