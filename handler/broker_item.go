package handler

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"sync/atomic"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/broker"
)

// itemCost is what an item holds beside its texts, about.
const itemCost = 512

// An item is a message on its way to clients. It is encoded once for all of
// them: read-only.
//
// Whoever has it counts as a user of it: what it holds is taken from the budget
// until the last one has released it.
type item struct {
	position string
	event    []byte           // as a server-sent event: its id, and the JSON
	id       []byte           // in it; may be empty
	json     []byte           // in it
	body     []byte           // the broker's
	plain    bool             // the body arrives as it is as the data of an event
	delivery *broker.Delivery // to be settled once it is written; nil if it is

	users  atomic.Int32
	budget *budget
}

// newItem returns the item of a delivery, which has no users yet; settle says
// that it is settled once it is written.
func newItem(d *broker.Delivery, settle bool) (*item, error) {
	header := make(map[string]string, len(d.Header)+2)
	maps.Copy(header, d.Header)
	header["Micro-Topic"] = d.Topic
	if d.ID != "" {
		header["Micro-Id"] = d.ID
	}
	head, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("handler: encode a message: %w", err)
	}
	id := ""
	if d.Position != "" {
		id = "id: " + d.Position + "\n"
	}
	const data, open, middle, end = "data: ", `{"Header":`, `,"Body":"`, `"}`
	size := len(id) + len(data) + len(open) + len(head) + len(middle) + base64.StdEncoding.EncodedLen(len(d.Body)) + len(end) + len("\n\n")
	text := append(make([]byte, 0, size), id+data+open...)
	text = append(append(text, head...), middle...)
	text = append(base64.StdEncoding.AppendEncode(text, d.Body), end+"\n\n"...)
	it := &item{
		position: d.Position,
		event:    text,
		id:       text[:len(id)],
		json:     text[len(id)+len(data) : len(text)-len("\n\n")],
		body:     d.Body,
		plain:    utf8.Valid(d.Body) && !bytes.ContainsAny(d.Body, "\r\x00"),
	}
	if settle {
		it.delivery = d
	}
	return it, nil
}

// size is what the item holds, in bytes.
func (it *item) size() int64 { return int64(cap(it.event)+len(it.body)) + itemCost }

// use adds a user, while there is one.
func (it *item) use() { it.users.Add(1) }

// release takes a user away.
func (it *item) release() {
	if it.users.Add(-1) == 0 {
		it.budget.give(it.size())
	}
}

// raw hands out the pieces of the event whose data is the body, or, if that
// would not arrive as it is, the JSON.
func (it *item) raw(put func([]byte) error) error {
	var err error
	add := func(piece []byte) {
		if err == nil {
			err = put(piece)
		}
	}
	add(it.id)
	if !it.plain {
		add([]byte("event: json\n"))
		add(it.event[len(it.id):])
		return err
	}
	for line := range bytes.SplitSeq(it.body, []byte("\n")) {
		add([]byte("data: "))
		add(line)
		add([]byte("\n"))
	}
	add([]byte("\n"))
	return err
}
