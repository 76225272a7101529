package etcd

import (
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestMirrorIsBounded: what does not fit is left out, and is there again when
// all is read and fits.
func TestMirrorIsBounded(t *testing.T) {
	m := mirror{prefix: "/p/", room: 1 << 20}
	m.begin()
	const each = 10_000
	const whole = 1 << 20 / (each + overhead + 100)
	for i := range whole + 10 {
		m.put(record1(i, strings.Repeat(" ", each)))
	}
	m.complete(1)
	if !m.crowded || m.roomy() || m.size > m.room {
		t.Errorf("a mirror of too much is crowded: %t, roomy: %t, of size %d; want it full", m.crowded, m.roomy(), m.size)
	}
	left := m.leftOut()
	if len(left) != 1 || left[0].Key != "/p/" || !strings.Contains(left[0].Reason, "some records are left out") {
		t.Errorf("leftOut() = %v, want one that stands for all", left)
	}
	if got := len(m.records.Services()[0].Nodes); got < whole || got >= whole+10 {
		t.Errorf("there are %d nodes, want all that fit", got)
	}
	for i := range whole / 2 {
		m.remove(string(record1(i, "").GetKey()))
	}
	if !m.roomy() {
		t.Error("a mirror with half of its records removed is not roomy")
	}
	m.begin()
	m.put(record1(1, ""))
	m.complete(2)
	if m.crowded || len(m.leftOut()) > 0 || len(m.records.Services()[0].Nodes) != 1 {
		t.Errorf("a mirror of one record = %+v, want it whole", m.records.Services())
	}
	m.remove("/p/s/1")
	m.remove("/p/s/1")
	if m.size != 0 || len(m.marks) != 0 {
		t.Errorf("an empty mirror has size %d and %d marks", m.size, len(m.marks))
	}
}

// TestMirrorLeftOut: the same slice is returned while nothing changes, whatever
// is left out.
func TestMirrorLeftOut(t *testing.T) {
	m := mirror{prefix: "/p/"}
	m.begin()
	bad := &mvccpb.KeyValue{Key: []byte("/p/s/bad"), Value: []byte("{")}
	long := &mvccpb.KeyValue{Key: []byte("/p/s/" + strings.Repeat("x", 2*maxKey)), Value: []byte("{}")}
	m.put(record1(1, ""))
	m.put(long)
	m.put(bad)
	m.complete(1)
	first := m.leftOut()
	if len(first) != 2 || first[0].Key != "/p/s/bad" || len(first[1].Key) > maxKey+len("…") {
		t.Fatalf("leftOut() = %v, want both, and no long key", first)
	}
	m.put(bad)
	m.put(record1(2, ""))
	if again := m.leftOut(); &again[0] != &first[0] {
		t.Errorf("leftOut() = %v, which is another slice", again)
	}
	m.remove(string(long.GetKey()))
	if after := m.leftOut(); len(after) != 1 {
		t.Errorf("leftOut() after one was removed = %v, want the other", after)
	}
	m.put(&mvccpb.KeyValue{Key: bad.GetKey(), Value: record1(3, "").GetValue()})
	if after := m.leftOut(); len(after) != 0 {
		t.Errorf("leftOut() after the other was replaced = %v, want none", after)
	}
}

func TestMirrorLatest(t *testing.T) {
	m := mirror{prefix: "/p/"}
	m.begin()
	if key, latest := m.latest(); key != "" || latest != (mark{}) {
		t.Errorf("latest() of nothing = %q, %v", key, latest)
	}
	for i, modified := range []int64{3, 9, 5} {
		kv := record1(i, "")
		kv.ModRevision, kv.Lease = modified, 100+modified
		m.put(kv)
	}
	if key, latest := m.latest(); key != "/p/s/1" || latest.modified != 9 || latest.lease != 109 {
		t.Errorf("latest() = %q, %v, want /p/s/1 of revision 9", key, latest)
	}
}

// FuzzMirror: whatever is put, what is held is counted rightly, and each
// record is a node or left out.
func FuzzMirror(f *testing.F) {
	f.Add([]byte("/p/s/1"), record1(1, "").GetValue(), true)
	f.Add([]byte("/p/s/1"), []byte("{"), false)
	f.Add([]byte(strings.Repeat("k", 2000)), []byte("{}"), false)
	f.Fuzz(func(t *testing.T, key, value []byte, remove bool) {
		m := mirror{prefix: "/p/"}
		m.begin()
		m.put(record1(1, ""))
		before := m.size
		kv := &mvccpb.KeyValue{Key: key, Value: value, ModRevision: 2}
		m.put(kv)
		size := 0
		for _, mark := range m.marks {
			size += mark.size
		}
		if size != m.size {
			t.Fatalf("size = %d, want %d", m.size, size)
		}
		if _, ok := m.marks[string(key)]; !ok {
			t.Fatalf("there is no mark of %q", key)
		}
		if remove && string(key) != "/p/s/1" {
			m.remove(string(key))
			if list := m.leftOut(); m.size != before || len(list) > 0 || len(m.records.Services()) != 1 {
				t.Fatalf("after removing it again: size %d, want %d; left out: %v", m.size, before, list)
			}
		}
	})
}

// record1 returns a record of one service; padding makes it longer.
func record1(node int, padding string) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key:         fmt.Appendf(nil, "/p/s/%d", node),
		Value:       fmt.Appendf(nil, `{"name":"s","nodes":[{"id":"%d","address":"127.0.0.1:1"}]}%s`, node, padding),
		ModRevision: int64(node + 1),
	}
}

func TestIsOf(t *testing.T) {
	tests := []struct {
		key, service string
		want         bool
	}{
		{"greeter/greeter-1", "greeter", true},
		{"go.micro.srv.greeter/1", "go.micro.srv.greeter", true},
		{"a-b/1", "a/b", true},
		{"greeter/1", "other", false},
		{"greeter/other/1", "other", false},
		{"greeter/other/1", "greeter", true},
		{"micro/greeter/greeter-1", "greeter", true}, // with go-micro's domain
		{"micro/greeter/greeter-1", "micro", false},
		{"micro/micro-1", "micro", true},
		{"other/greeter/greeter-1", "greeter", false},
		{"greeter", "greeter", true},
		{"", "greeter", false},
	}
	for _, tt := range tests {
		if got := isOf(tt.key, tt.service); got != tt.want {
			t.Errorf("isOf(%q, %q) = %t, want %t", tt.key, tt.service, got, tt.want)
		}
	}
}
