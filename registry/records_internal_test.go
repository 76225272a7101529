package registry

import (
	"fmt"
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
