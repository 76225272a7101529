package registry_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi/registry"
)

func TestRecordsServices(t *testing.T) {
	const (
		n1, n2, n3 = `{"id":"n1","address":"a:1"}`, `{"id":"n2","address":"a:2"}`, `{"id":"n3","address":"a:3"}`
		hello, bye = `{"name":"A.Hello","metadata":{"path":"/hello"}}`, `{"name":"A.Bye"}`
	)
	record := func(name, version, endpoints string, nodes ...string) string {
		return fmt.Sprintf(`{"name":%q,"version":%q,"endpoints":[%s],"nodes":[%s]}`, name, version, endpoints, strings.Join(nodes, ","))
	}
	tests := []struct {
		name    string
		records map[string]string
		want    []string // name, version, endpoints: node addresses
	}{
		{"none", nil, nil},
		{"no nodes", map[string]string{"1": record("a", "1", hello)}, nil},
		{"ordered", map[string]string{
			"1": record("b", "1", hello, n1), "2": record("a", "2", hello, n2), "3": record("a", "1", hello, n1), "4": record("a.b", "", hello, n1),
		}, []string{"a 1 A.Hello: a:1", "a 2 A.Hello: a:2", "a.b  A.Hello: a:1", "b 1 A.Hello: a:1"}},
		{"grouped", map[string]string{
			"1": record("a", "1", hello, n3), "2": record("a", "1", hello, n1), "3": record("a", "1", hello, n2),
		}, []string{"a 1 A.Hello: a:1 a:2 a:3"}},
		{"grouped whatever the encoding", map[string]string{
			"1": record("a", "1", hello, n1),
			"2": `{"VERSION":"1", "nodes":[null,` + n2 + `], "Name":"a", "metadata":{}, "endpoints":[null,{"metadata":{"path":"/hello"},"response":null,"name":"A.Hello"}]}`,
		}, []string{"a 1 A.Hello: a:1 a:2"}},
		{"several nodes in a record", map[string]string{
			"1": record("a", "1", hello, n3, n1), "2": record("a", "1", hello, n2),
		}, []string{"a 1 A.Hello: a:1 a:2 a:3"}},
		{"differing announcements", map[string]string{
			"1": record("a", "1", hello, n1), "2": record("a", "1", bye, n2), "3": record("a", "1", hello, n3),
		}, []string{"a 1 A.Bye: a:2", "a 1 A.Hello: a:1 a:3"}},
		{"order of endpoints is kept", map[string]string{
			"1": record("a", "1", hello+","+bye, n1),
		}, []string{"a 1 A.Hello A.Bye: a:1"}},
		{"the greatest key wins an id", map[string]string{
			"2": record("a", "1", hello, `{"id":"n1","address":"b:1"}`), "1": record("a", "1", hello, n1), "3": record("b", "1", hello, n1),
		}, []string{"a 1 A.Hello: b:1", "b 1 A.Hello: a:1"}},
		{"the greatest key wins an id of another version", map[string]string{
			"2": record("a", "2", hello, `{"id":"n1","address":"b:1"}`), "1": record("a", "1", hello, n1, n2),
		}, []string{"a 1 A.Hello: a:2", "a 2 A.Hello: b:1"}},
		{"the last wins an id within a record", map[string]string{
			"1": record("a", "1", hello, n1, n2, `{"id":"n1","address":"b:1"}`),
		}, []string{"a 1 A.Hello: b:1 a:2"}},
		{"address without a port is kept", map[string]string{
			"1": record("a", "1", hello, `{"id":"n1","address":"queue"}`, `{"id":"n2"}`),
		}, []string{"a 1 A.Hello: queue "}},
		{"port of old", map[string]string{
			"1": record("a", "1", hello, `{"id":"n1","address":"::1","port":80}`),
		}, []string{"a 1 A.Hello: [::1]:80"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r registry.Records
			for _, key := range slices.Sorted(maps.Keys(tt.records)) {
				put(t, &r, key, tt.records[key])
			}
			got := outline(r.Services())
			slices.Sort(got) // announcements that differ are in an order of their own
			if !slices.Equal(got, tt.want) {
				t.Errorf("Services() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRecordsRefuse(t *testing.T) {
	list := func(field string) string {
		return `{"name":"a","` + field + `":[` + strings.TrimSuffix(strings.Repeat("{},", 10_001), ",") + `]}`
	}
	tests := []struct{ name, value string }{
		{"nothing", ``},
		{"no JSON", `hello`},
		{"a list", `[]`},
		{"null", `null`},
		{"no name", `{"version":"1","nodes":[{"id":"n"}]}`},
		{"a bad endpoint", `{"name":"a","endpoints":[{"name":"A.B"},{"name":1}]}`},
		{"a bad node", `{"name":"a","nodes":[{"id":1}]}`},
		{"too many endpoints", list("endpoints")},
		{"too many nodes", list("nodes")},
		{"deep values", `{"name":"a","endpoints":[{"request":` + strings.Repeat(`{"values":[`, 100) + strings.Repeat(`]}`, 100) + `}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r registry.Records
			put(t, &r, "key", `{"name":"a","nodes":[{"id":"n1","address":"a:1"}]}`)
			for range 2 {
				if err := r.Put("key", []byte(tt.value)); err == nil || !strings.Contains(err.Error(), `record "key"`) {
					t.Errorf("Put(key, %.60s) error = %v, want one that names the key", tt.value, err)
				}
				if got := r.Services(); len(got) != 0 {
					t.Errorf("Services() after a bad Put = %q, want none", outline(got))
				}
			}
			put(t, &r, "key", `{"name":"a","nodes":[{"id":"n1","address":"a:1"}]}`)
			if got := r.Services(); len(got) != 1 {
				t.Errorf("Services() after a good Put = %q, want one", outline(got))
			}
		})
	}
}

// TestRecordsPutOf: what is of another service than its key is left out until it
// is not, and leaves nothing behind.
func TestRecordsPutOf(t *testing.T) {
	const a, b = `{"name":"a","endpoints":[{"name":"A.B"}],"nodes":[{"id":"1"}]}`, `{"name":"b","endpoints":[{"name":"A.B"}],"nodes":[{"id":"1"}]}`
	var r registry.Records
	of := func(service string) bool { return service == "a" }
	steps := []struct {
		value string
		ok    bool
	}{{a, true}, {b, false}, {b, false}, {a, true}}
	for i, tt := range steps {
		err := r.PutOf("a/1", []byte(tt.value), of)
		if ok := err == nil; ok != tt.ok || !ok && !strings.Contains(err.Error(), `record "a/1": it says that it is of the service "b"`) {
			t.Errorf("step %d: PutOf() error = %v, want success: %t", i, err, tt.ok)
		}
		if got := len(r.Services()) == 1; got != tt.ok {
			t.Errorf("step %d: Services() = %q, want one: %t", i, outline(r.Services()), tt.ok)
		}
		if left := r.LeftOut(); (len(left) == 0) != tt.ok || !tt.ok && left[0].Service != "b" {
			t.Errorf("step %d: LeftOut() = %+v, want none: %t", i, left, tt.ok)
		}
	}
}

func TestRecordsKeepPointers(t *testing.T) {
	const a1, a2 = `{"name":"a","nodes":[{"id":"1","address":"a:1"}]}`, `{"name":"a","nodes":[{"id":"2","address":"a:2"}]}`
	var r registry.Records
	put(t, &r, "a1", a1)
	put(t, &r, "b1", `{"name":"b","version":"1","nodes":[{"id":"1","address":"b:1"}]}`)
	put(t, &r, "b2", `{"name":"b","version":"2","nodes":[{"id":"2","address":"b:2"}]}`)
	first := r.Services()
	tests := []struct {
		name   string
		change func()
		kept   []bool // for each of first
	}{
		{"nothing", func() {}, []bool{true, true, true}},
		{"equal bytes", func() { put(t, &r, "a1", a1) }, []bool{true, true, true}},
		{"equal content", func() { put(t, &r, "a1", strings.ReplaceAll(a1, ",", ", ")) }, []bool{true, true, true}},
		{"absent key", func() { r.Delete("a3") }, []bool{true, true, true}},
		{"under another key", func() { put(t, &r, "a9", a1); r.Delete("a1") }, []bool{true, true, true}},
		{"there and back", func() { put(t, &r, "a2", a2); r.Delete("a2") }, []bool{true, true, true}},
		{"another node", func() { put(t, &r, "a2", a2) }, []bool{false, true, true}},
		{"another version", func() { r.Delete("b2") }, []bool{false, true, false}},
		{"retain", func() { r.Retain(func(key string) bool { return key == "b1" }) }, []bool{false, true, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.change()
			got := r.Services()
			for i, s := range first {
				if kept := slices.Contains(got, s); kept != tt.kept[i] {
					t.Errorf("%s %s is kept: %t, want %t", s.Name, s.Version, kept, tt.kept[i])
				}
			}
			if again := r.Services(); len(got) > 0 && &again[0] != &got[0] {
				t.Error("Services() called twice = another slice, want the same")
			}
		})
	}
}

func TestRecordsShareEndpoints(t *testing.T) {
	var r registry.Records
	for i, name := range []string{"a", "b", "b"} {
		put(t, &r, fmt.Sprint(i), fmt.Sprintf(`{"name":%q,"version":"%d","nodes":[{"id":"n"}],"endpoints":[{"name":"A.B"}]}`, name, i))
	}
	services := r.Services()
	for _, s := range services {
		if s.Endpoints[0] != services[0].Endpoints[0] {
			t.Errorf("the endpoint of %s %s is decoded again, want it shared", s.Name, s.Version)
		}
	}
}

func TestRecordsGet(t *testing.T) {
	var r registry.Records
	r.Delete("absent")
	if got := r.Get("a"); len(got) != 0 {
		t.Errorf("Get(a) of none = %q, want none", outline(got))
	}
	for i, name := range []string{"a", "b", "b", "c"} {
		s := greeter()
		s.Name, s.Version, s.Endpoints = name, fmt.Sprint(i), nil
		s.Nodes = s.Nodes[:1]
		s.Nodes[0].ID = fmt.Sprint(i)
		r.Set(fmt.Sprint(i), s)
	}
	for name, want := range map[string]int{"a": 1, "b": 2, "c": 1, "d": 0, "": 0} {
		if got := r.Get(name); len(got) != want {
			t.Errorf("Get(%s) = %q, want %d services", name, outline(got), want)
		}
	}
}

// TestRecordsAgreeWithModel compares Records with a slow and simple version of
// it, and holds it to its pointers.
func TestRecordsAgreeWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r registry.Records
		model := make(map[string]*registry.Service)
		var before []*registry.Service
		var said []string
		t.Repeat(map[string]func(*rapid.T){
			"Put": func(t *rapid.T) {
				key, s := drawKey(t), drawService(t)
				data, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				if rapid.Bool().Draw(t, "sparse") {
					data = []byte(strings.ReplaceAll(string(data), `"response":null,`, ""))
				}
				if err := r.Put(key, data); err != nil {
					t.Fatalf("Put(%s, %s) error = %v, want nil", key, data, err)
				}
				model[key] = s
			},
			"Set": func(t *rapid.T) {
				key, s := drawKey(t), drawService(t)
				r.Set(key, s.Copy())
				model[key] = s
			},
			"PutBad": func(t *rapid.T) {
				key := drawKey(t)
				if err := r.Put(key, []byte("{")); err == nil {
					t.Fatal("Put({) error = nil, want one")
				}
				delete(model, key)
			},
			"Delete": func(t *rapid.T) {
				key := drawKey(t)
				r.Delete(key)
				delete(model, key)
			},
			"Retain": func(t *rapid.T) {
				least := drawKey(t)
				r.Retain(func(key string) bool { return key >= least })
				maps.DeleteFunc(model, func(key string, _ *registry.Service) bool { return key < least })
			},
			"Services": func(t *rapid.T) {
				got := r.Services()
				if !slices.IsSortedFunc(got, compareVersions) {
					t.Fatalf("Services() = %q, want it ordered by name, then version", outline(got))
				}
				text := slices.Sorted(slices.Values(contents(got)))
				if want := modelContents(model); !slices.Equal(text, want) {
					t.Fatalf("Services() =\n%s\nwant\n%s", strings.Join(text, "\n"), strings.Join(want, "\n"))
				}
				if !slices.Equal(contents(before), said) {
					t.Fatal("what Services returned before has changed")
				}
				for _, s := range got {
					i := slices.Index(said, contents([]*registry.Service{s})[0])
					if i >= 0 && before[i] != s {
						t.Fatalf("%s did not change and is another pointer", said[i])
					}
				}
				before, said = got, contents(got)
			},
		})
	})
}

// FuzzRecords: Put agrees with reading the service whole and setting it, and
// says the same of bytes that it knows.
func FuzzRecords(f *testing.F) {
	for _, name := range []string{"v1-greeter.json", "v2-greeter.json", "v6-greeter.json", "v6-broker.json"} {
		f.Add(capture(f, name), capture(f, "v6-greeter.json"))
	}
	f.Add([]byte(`{"name":"a","nodes":[{"id":"1","address":"::1","port":80}]}`), []byte(`{"name":"a","nodes":[null,{"id":"1"},{"id":"2"}]}`))
	f.Add([]byte(`{"name":"a","endpoints":[{"name":"A.B"}],"endpoints":[null,{}],"nodes":[{}]}`), []byte(`{"name":""}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var put, set registry.Records
		for key, data := range map[string][]byte{"1": first, "2": second} {
			err := put.Put(key, data)
			s := new(registry.Service)
			if valid := json.Unmarshal(data, s) == nil && s.Name != ""; valid != (err == nil) {
				t.Fatalf("Put(%s) error = %v, want one: %t", data, err, !valid)
			}
			if err == nil {
				set.Set(key, s)
			}
		}
		services := put.Services()
		got, want := encode(t, services), encode(t, set.Services())
		if !bytes.Equal(got, want) {
			t.Errorf("Services() =\n%s, want\n%s", got, want)
		}
		if put.Put("1", first) == nil && !slices.Equal(put.Services(), services) {
			t.Errorf("Services() after the same Put = other pointers, want the same")
		}
	})
}

func drawKey(t *rapid.T) string {
	return rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "key")
}

// drawService returns one of few services, so that records meet.
func drawService(t *rapid.T) *registry.Service {
	oneOf := func(label string, values ...string) string { return rapid.SampledFrom(values).Draw(t, label) }
	s := &registry.Service{Name: oneOf("name", "a", "b", "c"), Version: oneOf("version", "1", "2")}
	if rapid.Bool().Draw(t, "metadata") {
		s.Metadata = map[string]string{"team": oneOf("team", "blue", "red")}
	}
	for range rapid.IntRange(0, 2).Draw(t, "endpoints") {
		s.Endpoints = append(s.Endpoints, &registry.Endpoint{
			Name:     oneOf("endpoint", "A.B", "A.C"),
			Metadata: map[string]string{"path": oneOf("path", "/", "/b")},
		})
	}
	for range rapid.IntRange(0, 3).Draw(t, "nodes") {
		s.Nodes = append(s.Nodes, &registry.Node{ID: oneOf("id", "n1", "n2", "n3"), Address: oneOf("address", "a:1", "a:2")})
	}
	return s
}

// modelContents is what contents is of Services, worked out anew.
func modelContents(records map[string]*registry.Service) []string {
	type place struct{ name, id string }
	type announced struct {
		service *registry.Service
		node    *registry.Node
	}
	latest := make(map[place]announced)
	for _, key := range slices.Sorted(maps.Keys(records)) {
		for _, n := range records[key].Nodes {
			latest[place{records[key].Name, n.ID}] = announced{records[key], n}
		}
	}
	groups := make(map[string]*registry.Service)
	for _, a := range latest {
		bare := *a.service
		bare.Nodes = nil
		group := fmt.Sprint(contents([]*registry.Service{&bare}))
		if groups[group] == nil {
			groups[group] = &bare
		}
		groups[group].Nodes = append(groups[group].Nodes, a.node)
	}
	services := slices.Collect(maps.Values(groups))
	for _, s := range services {
		slices.SortFunc(s.Nodes, func(a, b *registry.Node) int { return cmp.Compare(a.ID, b.ID) })
	}
	return slices.Sorted(slices.Values(contents(services)))
}

// contents returns each service as text.
func contents(services []*registry.Service) []string {
	list := make([]string, len(services))
	for i, s := range services {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s %v", s.Name, s.Version, s.Metadata)
		for _, e := range s.Endpoints {
			fmt.Fprintf(&b, " %s%v", e.Name, e.Metadata)
		}
		for _, n := range s.Nodes {
			fmt.Fprintf(&b, " %s=%s", n.ID, n.Address)
		}
		list[i] = b.String()
	}
	return list
}

func compareVersions(a, b *registry.Service) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
}

func put(t testing.TB, r *registry.Records, key, value string) {
	t.Helper()
	if err := r.Put(key, []byte(value)); err != nil {
		t.Fatalf("Put(%s, %s) error = %v, want nil", key, value, err)
	}
}

// outline returns each service as its name, version, endpoints and addresses.
func outline(services []*registry.Service) []string {
	var list []string
	for _, s := range services {
		line := s.Name + " " + s.Version
		for _, e := range s.Endpoints {
			line += " " + e.Name
		}
		line += ":"
		for _, n := range s.Nodes {
			line += " " + n.Address
		}
		list = append(list, line)
	}
	return list
}
