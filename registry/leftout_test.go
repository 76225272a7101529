package registry_test

import (
	"context"
	"slices"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestRecordsLeftOut(t *testing.T) {
	const (
		one   = `{"name":"a","version":"1","nodes":[{"id":"n1","address":"a:1"}]}`
		two   = `{"name":"a","version":"2","nodes":[{"id":"n1","address":"a:2"},{"id":"n2","address":"a:2"}]}`
		twice = `{"name":"a","nodes":[{"id":"n1","address":"a:1"},{"id":"n1","address":"a:2"}]}`
	)
	bad := registry.Omission{Key: "2", Reason: "nodes[0].id: it cannot be a JSON number"}
	shadowed := func(key, winner string) registry.Omission {
		return registry.Omission{Key: key, Service: "a", Node: "n1", Reason: `the record "` + winner + `" has a node with the same id`}
	}
	var r registry.Records
	steps := []struct {
		name   string
		change func() error
		want   []registry.Omission
	}{
		{"nothing is there", func() error { return nil }, nil},
		{"a good record", func() error { return r.Put("1", []byte(one)) }, nil},
		{"a bad one", func() error { _ = r.Put("2", []byte(`{"name":"a","nodes":[{"id":1}]}`)); return nil }, []registry.Omission{bad}},
		{"the same again", func() error { _ = r.Put("2", []byte(`{"name":"a","nodes":[{"id":1}]}`)); return nil }, []registry.Omission{bad}},
		{"bad in another way", func() error { _ = r.Put("2", []byte(`{"nodes":[]}`)); return nil },
			[]registry.Omission{{Key: "2", Reason: "name: a service needs a name"}}},
		{"a good one, with a node that is there", func() error { return r.Put("2", []byte(two)) }, []registry.Omission{shadowed("1", "2")}},
		{"a third with it", func() error { return r.Put("0", []byte(one)) }, []registry.Omission{shadowed("0", "1"), shadowed("1", "2")}},
		{"the second is gone", func() error { r.Delete("1"); return nil }, []registry.Omission{shadowed("0", "2")}},
		{"a good one is set", func() error { r.Set("2", serving("b", "n1")); return nil }, nil},
		{"a node twice in a record", func() error { return r.Put("0", []byte(twice)) },
			[]registry.Omission{{Key: "0", Service: "a", Node: "n1", Reason: "a later node of the record has the same id"}}},
		{"a bad one more", func() error { _ = r.Put("9", nil); return nil }, []registry.Omission{
			{Key: "0", Service: "a", Node: "n1", Reason: "a later node of the record has the same id"},
			{Key: "9", Reason: "unexpected end of JSON input"},
		}},
		{"the first is gone", func() error { r.Delete("0"); return nil }, []registry.Omission{{Key: "9", Reason: "unexpected end of JSON input"}}},
		{"only what is good is retained", func() error { r.Retain(func(key string) bool { return key == "2" }); return nil }, nil},
	}
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.change(); err != nil {
				t.Fatal(err)
			}
			got := r.LeftOut()
			if !slices.Equal(got, tt.want) {
				t.Errorf("LeftOut() =\n%+v, want\n%+v", got, tt.want)
			}
			if again := r.LeftOut(); len(got) > 0 && &again[0] != &got[0] {
				t.Error("LeftOut() called twice = another slice, want the same")
			}
		})
	}
}

// TestRecordsOmit: what the caller refuses is told of as what Records refuses.
func TestRecordsOmit(t *testing.T) {
	const one = `{"name":"a","nodes":[{"id":"n1","address":"a:1"}]}`
	long := registry.Omission{Key: "1", Service: "a", Reason: "it is too long"}
	steps := []struct {
		name     string
		change   func(*registry.Records) error
		services int
		want     []registry.Omission
	}{
		{"a good record", func(r *registry.Records) error { return r.Put("1", []byte(one)) }, 1, nil},
		{"that is refused", func(r *registry.Records) error { r.Omit(long); return nil }, 0, []registry.Omission{long}},
		{"again", func(r *registry.Records) error { r.Omit(long); return nil }, 0, []registry.Omission{long}},
		{"and another", func(r *registry.Records) error { r.Omit(registry.Omission{Key: "0", Reason: "no"}); return nil }, 0,
			[]registry.Omission{{Key: "0", Reason: "no"}, long}},
		{"that is gone", func(r *registry.Records) error { r.Delete("0"); return nil }, 0, []registry.Omission{long}},
		{"for another reason", func(r *registry.Records) error { r.Omit(registry.Omission{Key: "1", Reason: "no"}); return nil }, 0,
			[]registry.Omission{{Key: "1", Reason: "no"}}},
		{"the good one again", func(r *registry.Records) error { return r.Put("1", []byte(one)) }, 1, nil},
		{"refused, and not retained", func(r *registry.Records) error {
			r.Omit(long)
			r.Retain(func(string) bool { return false })
			return nil
		}, 0, nil},
	}
	var r registry.Records
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.change(&r); err != nil {
				t.Fatal(err)
			}
			if got := r.Services(); len(got) != tt.services {
				t.Errorf("Services() = %q, want %d", outline(got), tt.services)
			}
			got := r.LeftOut()
			if !slices.Equal(got, tt.want) {
				t.Errorf("LeftOut() =\n%+v, want\n%+v", got, tt.want)
			}
			if again := r.LeftOut(); len(got) > 0 && &again[0] != &got[0] {
				t.Error("LeftOut() called twice = another slice, want the same")
			}
		})
	}
}

func TestMultiLeftOut(t *testing.T) {
	one, two := reporting{{Key: "k1", Reason: "r1"}}, reporting{{Key: "k2", Reason: "r2"}, {Key: "k3", Service: "a", Node: "n", Reason: "r3"}}
	got := multi(one, new(registry.Memory), two).LeftOut()
	want := []registry.Omission{
		{Registry: "0", Key: "k1", Reason: "r1"},
		{Registry: "2", Key: "k2", Reason: "r2"},
		{Registry: "2", Key: "k3", Service: "a", Node: "n", Reason: "r3"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("LeftOut() = %+v, want %+v", got, want)
	}
	if one[0].Registry != "" {
		t.Errorf("what the member said has become %+v, want it unchanged", one[0])
	}
}

// reporting is a Reader that left something out.
type reporting []registry.Omission

func (r reporting) LeftOut() []registry.Omission { return r }

func (reporting) Get(context.Context, string) ([]*registry.Service, error) {
	return nil, registry.ErrNotFound
}
func (reporting) List(context.Context) ([]*registry.Service, error) { return nil, nil }
func (reporting) Watch(context.Context) (registry.Watcher, error) {
	return nil, registry.ErrUnavailable
}
