package registry

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestRecordsHoldNothingBack: however often nodes come and go with ever new
// endpoints, what is held is what is there.
func TestRecordsHoldNothingBack(t *testing.T) {
	var r Records
	value := func(node, deploy int) []byte {
		return fmt.Appendf(nil, `{"name":"a","nodes":[{"id":"n%d"}],
			"endpoints":[{"name":"A.Stays"},{"name":"A.Stays"},{"name":"A.New%d"}]}`, node, deploy)
	}
	for deploy := range 1000 {
		for node := range 3 {
			key := fmt.Sprint(node)
			if err := r.Put(key, value(node, deploy)); err != nil {
				t.Fatal(err)
			}
			if deploy%7 == node {
				_ = r.Put(key, []byte(`{"name":"a","endpoints":[{"name":"A.Stays"},{"name":"A.Other"},1]}`))
			}
			if deploy%10 == 0 {
				r.Delete(key)
			}
			r.Services()
		}
	}
	for node := range 3 {
		if err := r.Put(fmt.Sprint(node), value(node, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(r.endpoints); got != 2 {
		t.Errorf("%d endpoints are held, want 2", got)
	}
	r.Retain(func(string) bool { return false })
	r.Services()
	if got := []int{
		len(r.byKey), len(r.byName), len(r.endpoints), len(r.lists), len(r.changed), len(r.services), len(r.bad), len(r.shadowed), len(r.LeftOut()),
	}; fmt.Sprint(got) != "[0 0 0 0 0 0 0 0 0]" {
		t.Errorf("records, names, endpoints, lists of them, changes, services and what is left out held = %v, want none", got)
	}
}

// TestRecordsAreBounded: what has no room is left out, is told of once, and is
// there when it is put again and there is room.
func TestRecordsAreBounded(t *testing.T) {
	value := func(i int) []byte {
		return fmt.Appendf(nil, `{"name":"a%d","nodes":[{"id":"1"}],"metadata":{"fat":%q}}`, i, strings.Repeat("x", overhead))
	}
	r := Records{room: 10 * 2 * overhead}
	put := func(i int) bool { return r.Put(fmt.Sprint(i), value(i)) == nil }
	for i := range 20 {
		if got, want := put(i), i < 9; got != want {
			t.Errorf("Put() of record %d = %t, want %t", i, got, want)
		}
	}
	want := Omission{Reason: fmt.Sprintf("some records are left out: there is no room: all records are more than %d bytes together", r.room)}
	if left := r.LeftOut(); len(left) != 1 || left[0] != want || len(r.Services()) != 9 {
		t.Errorf("LeftOut() = %+v beside %d services, want %+v beside 9", left, len(r.Services()), want)
	}
	large := bytes.Replace(value(0), []byte("xx"), bytes.Repeat([]byte("x"), 3*overhead), 1)
	if err := r.Put("0", large); !errors.Is(err, ErrTooLarge) || r.byKey["0"] != nil {
		t.Errorf("Put() of more than there is room for error = %v, want ErrTooLarge, and nothing of the key", err)
	}
	fat := &Service{Name: "a1", Nodes: []*Node{{ID: "1", Address: "h:1"}}, Metadata: map[string]string{"fat": strings.Repeat("x", 5*overhead)}}
	if err := r.Set("1", fat); !errors.Is(err, ErrTooLarge) || len(r.Services()) != 7 {
		t.Errorf("Set() of more than there is room for error = %v, and there are %d services, want ErrTooLarge and 7", err, len(r.Services()))
	}
	if left := r.LeftOut(); len(left) != 0 || !put(19) {
		t.Errorf("LeftOut() with room again = %+v, want none, and what is put is there", left)
	}
	m := &Memory{records: Records{room: 4 * overhead}}
	if err := m.Register(t.Context(), fat, 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Register() of more than there is room for error = %v, want ErrTooLarge", err)
	}
	for i := range 20 {
		r.Delete(fmt.Sprint(i))
	}
	if r.size != 0 {
		t.Errorf("no records have the size %d", r.size)
	}
}

// TestRecordsBoundWhatIsBad: of very many that are left out, the first are told of.
func TestRecordsBoundWhatIsBad(t *testing.T) {
	var r Records
	for i := range maxBad + 100 {
		_ = r.Put(fmt.Sprint(i), nil)
	}
	left := r.LeftOut()
	if len(left) != maxBad+1 || left[0].Reason != fmt.Sprintf("more than %d records are left out", maxBad) {
		t.Errorf("LeftOut() has %d, the first of them %+v; want %d, and that there are more", len(left), left[0], maxBad+1)
	}
	for i := range maxBad / 2 {
		r.Delete(fmt.Sprint(i))
	}
	if left := r.LeftOut(); len(left) != maxBad/2 {
		t.Errorf("LeftOut() with half of them gone has %d, want %d", len(left), maxBad/2)
	}
}
