package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// maxRing bounds what is kept for the clients of one topic, in bytes, beside
	// its latest message.
	maxRing = 4 << 20
	// maxBatch is how much a client is sent at a time.
	maxBatch = 32 << 10
)

// errSlow is why a client is cut off that does not keep up.
var errSlow = errors.New("handler: the client is too slow")

// An item is a message on its way to clients. It is encoded once for all of
// them: read-only.
type item struct {
	position string
	body     []byte
	event    []byte           // as a server-sent event
	json     []byte           // in it
	raw      func() []byte    // see asRaw
	delivery *broker.Delivery // to be settled once it is written; nil if it is
}

// newItem returns the item of a delivery; settle says that it is settled once
// it is written.
func newItem(d *broker.Delivery, settle bool) (*item, error) {
	header := make(map[string]string, len(d.Header)+2)
	maps.Copy(header, d.Header)
	header["Micro-Topic"] = d.Topic
	if d.ID != "" {
		header["Micro-Id"] = d.ID
	}
	body := d.Body
	if body == nil {
		body = []byte{} // not null
	}
	text, err := json.Marshal(struct {
		Header map[string]string
		Body   []byte
	}{header, body})
	if err != nil {
		return nil, fmt.Errorf("handler: encode a message: %w", err)
	}
	it := &item{position: d.Position, body: d.Body}
	it.event = fmt.Appendf(it.id(), "data: %s\n\n", text)
	end := len(it.event) - 2
	it.json = it.event[end-len(text) : end]
	it.raw = sync.OnceValue(it.asRaw)
	if settle {
		it.delivery = d
	}
	return it, nil
}

// id returns the line that begins an event.
func (it *item) id() []byte {
	if it.position == "" {
		return nil
	}
	return []byte("id: " + it.position + "\n")
}

// asRaw returns the event whose data is the body, or, if that would not arrive
// as it is, the JSON.
func (it *item) asRaw() []byte {
	if !utf8.Valid(it.body) || bytes.ContainsAny(it.body, "\r\x00") {
		return append(append(it.id(), "event: json\n"...), it.event[len(it.id()):]...)
	}
	text := it.id()
	for line := range bytes.SplitSeq(it.body, []byte("\n")) {
		text = append(append(append(text, "data: "...), line...), '\n')
	}
	return append(text, '\n')
}

// A ring holds the latest items of a topic. Each of its readers has a place:
// the number of the item that it reads next.
type ring struct {
	limit int // items

	mu      sync.Mutex
	items   []*item
	first   uint64 // number of the first of them
	bytes   int
	places  map[string]uint64 // of positions
	changed chan struct{}     // closed by wake; nil when nobody waits
	over    error             // why nothing more comes; nil as long as it may
}

// add adds an item, unless it is there already. The oldest make room.
func (q *ring) add(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.position != "" {
		if _, there := q.places[it.position]; there {
			return
		}
		if q.places == nil {
			q.places = make(map[string]uint64)
		}
		q.places[it.position] = q.first + uint64(len(q.items))
	}
	q.items = append(q.items, it)
	q.bytes += len(it.event)
	for len(q.items) > q.limit || q.bytes > maxRing && len(q.items) > 1 {
		oldest := q.items[0]
		q.items[0] = nil
		q.items = q.items[1:]
		q.first++
		q.bytes -= len(oldest.event)
		delete(q.places, oldest.position)
	}
}

// wake wakes those who wait for an item.
func (q *ring) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
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

// after returns the place after the item of a position, if that is there.
func (q *ring) after(position string) (uint64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	place, there := q.places[position]
	return place + 1, there
}

// read appends items from a place on to a list, as many as are sent at a time.
// If there are none, it returns a channel that is closed when there may be. It
// returns errSlow for a place that is gone.
func (q *ring) read(list []*item, place uint64) ([]*item, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if place < q.first {
		return list, nil, errSlow
	}
	rest := q.items[place-q.first:]
	if len(rest) > 0 {
		for size := 0; len(rest) > 0 && size < maxBatch; rest = rest[1:] {
			list = append(list, rest[0])
			size += len(rest[0].event)
		}
		return list, nil, nil
	}
	if q.over != nil {
		return list, nil, q.over
	}
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return list, q.changed, nil
}
