package etcd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxRecord bounds the JSON of one record, read or written.
	maxRecord = 1 << 20
	// maxTotal bounds the JSON of all records. Equal endpoints are held once, so
	// that memory is far less.
	maxTotal = 512 << 20
	// maxKey bounds keys, and maxPrefix what they have in common.
	maxKey    = 1024
	maxPrefix = 255
	// overhead is about what a record takes besides its key and its value, in the
	// routing table too.
	overhead = 4 << 10
)

// A mirror is what etcd holds below a prefix, as of a revision. Without more it
// is empty. It is used by one goroutine at a time.
type mirror struct {
	prefix   string // of all keys
	records  registry.Records
	marks    map[string]mark // of all records, those that are left out too
	revision int64           // 0 until all was read
	size     int             // of all records
	room     int             // for them; 0 is maxTotal
	omitted  map[string]string
	crowded  bool // there are more records than maxTotal allows

	list []registry.Omission // all that is left out
	from []registry.Omission // what records has of that
	more bool                // omitted or crowded changed since
}

// mark is what is known of a record besides its content.
type mark struct {
	modified int64 // the revision that wrote it
	lease    int64 // 0 for none
	size     int
}

// begin is for reading all anew. What is held stays, so that it need not be
// decoded again.
func (m *mirror) begin() {
	m.marks = make(map[string]mark, len(m.marks))
	m.revision, m.size, m.crowded, m.more = 0, 0, false, true
	m.omitted = make(map[string]string)
}

// complete ends the reading that began.
func (m *mirror) complete(revision int64) {
	m.records.Retain(func(key string) bool { _, ok := m.marks[key]; return ok })
	m.revision = revision
}

// put takes a record in, or notes why it is left out.
func (m *mirror) put(kv *mvccpb.KeyValue) {
	if n := len(kv.GetKey()); n > maxKey {
		m.omit(kv, fmt.Sprintf("its key is %d bytes long, more than %d", n, maxKey))
		return
	}
	if n := len(kv.GetValue()); n > maxRecord {
		m.omit(kv, fmt.Sprintf("it is %d bytes long, more than %d", n, maxRecord))
		return
	}
	key := string(kv.GetKey())
	if !m.mark(key, kv, len(kv.GetValue())) {
		return
	}
	m.admit(key)
	_ = m.records.PutOf(key, kv.GetValue(), func(service string) bool { // leftOut tells of what is no service
		return isOf(strings.TrimPrefix(key, m.prefix), service)
	})
}

// omit notes why a record is left out.
func (m *mirror) omit(kv *mvccpb.KeyValue, reason string) {
	key := string(kv.GetKey())
	if m.mark(key, kv, 0) {
		m.records.Delete(key)
		m.omitted[key], m.more = reason, true
	}
}

// admit forgets that a record was left out.
func (m *mirror) admit(key string) {
	if _, ok := m.omitted[key]; ok {
		delete(m.omitted, key)
		m.more = true
	}
}

// mark counts a record. It returns false, and there is none, when there is no
// room.
func (m *mirror) mark(key string, kv *mvccpb.KeyValue, value int) bool {
	old := m.marks[key].size
	now := mark{kv.GetModRevision(), kv.GetLease(), overhead + len(key) + value}
	if m.size-old+now.size > m.limit() {
		m.remove(key)
		m.crowded, m.more = true, true
		return false
	}
	m.size += now.size - old
	m.marks[key] = now
	return true
}

// remove takes a record out.
func (m *mirror) remove(key string) {
	m.size -= m.marks[key].size
	delete(m.marks, key)
	m.admit(key)
	m.records.Delete(key)
}

// roomy says that records which were left out for want of room may fit by now.
func (m *mirror) roomy() bool { return m.crowded && m.size < m.limit()*9/10 }

func (m *mirror) limit() int { return cmp.Or(m.room, maxTotal) }

// latest returns the record that was written last.
func (m *mirror) latest() (key string, latest mark) {
	for k, mark := range m.marks {
		if mark.modified > latest.modified {
			key, latest = k, mark
		}
	}
	return key, latest
}

// leftOut returns what is left out, as [registry.Reporter] has it: the same
// slice when nothing changed. The prefix is the key that stands for all others.
func (m *mirror) leftOut() []registry.Omission {
	from := m.records.LeftOut()
	if !m.more && slices.Equal(from, m.from) {
		return m.list
	}
	m.from, m.more = from, false
	list := slices.Clone(from)
	for key, reason := range m.omitted {
		list = append(list, registry.Omission{Key: short(key), Reason: reason})
	}
	if m.crowded {
		list = append(list, registry.Omission{Key: m.prefix, Reason: fmt.Sprintf("some records are left out: together they are more than %d bytes", m.limit())})
	}
	slices.SortFunc(list, func(a, b registry.Omission) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Node, b.Node))
	})
	m.list = slices.Clip(list)
	return m.list
}

// short returns a key that is no longer than keys may be.
func short(key string) string {
	if len(key) <= maxKey {
		return key
	}
	return key[:maxKey] + "…"
}
