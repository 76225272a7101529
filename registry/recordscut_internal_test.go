package registry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	nested := strings.Repeat("[", maxCut+1) + strings.Repeat("]", maxCut+1)
	tests := []struct {
		name, value string
		rest, list  string // both empty for what cannot be cut
	}{
		{"alone", `{"endpoints":[{}]}`, `{"endpoints":null}`, `[{}]`},
		{"among others", `{"name":"a","endpoints":[1,[2]],"nodes":[{"id":"1"}]}`, `{"name":"a","endpoints":null,"nodes":[{"id":"1"}]}`, `[1,[2]]`},
		{"white space", " {\n\"endpoints\"\t: [ ] , \"name\" : \"a\" } ", " {\n\"endpoints\"\t: null , \"name\" : \"a\" } ", `[ ]`},
		{"any case", `{"EndPoints":[]}`, `{"EndPoints":null}`, `[]`},
		{"a long s", `{"endpointſ":[]}`, `{"endpointſ":null}`, `[]`},
		{"brackets in strings", `{"name":"\"endpoints\":[","endpoints":["]\\"]}`, `{"name":"\"endpoints\":[","endpoints":null}`, `["]\\"]`},
		{"deeper ones", `{"metadata":{"endpoints":[]},"endpoints":[1]}`, `{"metadata":{"endpoints":[]},"endpoints":null}`, `[1]`},
		{"what is no JSON beside", `{"name":nonsense,"endpoints":[}]}`, "", ""},
		{"what is no JSON after", `{"endpoints":[]}]`, `{"endpoints":null}]`, `[]`},
		{"none", `{"name":"a"}`, "", ""},
		{"null", `{"endpoints":null}`, "", ""},
		{"an object", `{"endpoints":{}}`, "", ""},
		{"two", `{"endpoints":[],"Endpoints":[]}`, "", ""},
		{"an escape in a name", `{"endpoint\u0073":[],"name":"a"}`, "", ""},
		{"deep", `{"endpoints":` + nested + `}`, "", ""},
		{"nothing", ``, "", ""},
		{"empty", `{}`, "", ""},
		{"a list", `["endpoints",[]]`, "", ""},
		{"no end", `{"endpoints":[]`, "", ""},
		{"no end of the list", `{"endpoints":["]}`, "", ""},
		{"no value", `{"name":,"endpoints":[]}`, "", ""},
		{"no colon", `{"name" "endpoints":[]}`, "", ""},
		{"no name", `{"endpoints":[],}`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rest, list, ok := cut([]byte(tt.value))
			if !ok {
				rest, list = nil, nil
			}
			if string(rest) != tt.rest || string(list) != tt.list {
				t.Errorf("cut(%.60s) = %s, %s; want %s, %s", tt.value, rest, list, tt.rest, tt.list)
			}
		})
	}
}

func TestElements(t *testing.T) {
	tests := []struct {
		text string
		want []string
		ok   bool
	}{
		{`[]`, nil, true},
		{"[ \n]", nil, true},
		{`[1]`, []string{"1"}, true},
		{`[ {"a":[1,2]} , null,"],\"",[] ]`, []string{`{"a":[1,2]}`, "null", `"],\""`, "[]"}, true},
		{`[1,]`, nil, false},
		{`[,1]`, nil, false},
		{`[1 2]`, nil, false},
		{`[1`, nil, false},
		{`[1]]`, nil, false},
		{`[] `, nil, false},
		{`{}`, nil, false},
		{``, nil, false},
	}
	for _, tt := range tests {
		got, ok := elements([]byte(tt.text))
		var list []string
		for _, e := range got {
			list = append(list, string(e))
		}
		if ok != tt.ok || ok && !reflect.DeepEqual(list, tt.want) {
			t.Errorf("elements(%s) = %q, %t; want %q, %t", tt.text, list, ok, tt.want, tt.ok)
		}
	}
}

// TestRecordsShareLists: of one more node of a service its own part is read
// alone, whatever is before the endpoints and after them.
func TestRecordsShareLists(t *testing.T) {
	const endpoints = `"endpoints":[{"name":"A.B"},{"name":"A.C"}]`
	var r Records
	for key, value := range map[string]string{
		"1": `{"name":"a",` + endpoints + `,"nodes":[{"id":"1"}]}`,
		"2": `{"name":"a","nodes":[{"id":"2"}],` + endpoints + `}`,
		"3": `{` + endpoints + `,"name":"b","version":"1"}`,
	} {
		if err := r.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	for key, rec := range r.byKey {
		if rec.endpoints != r.byKey["1"].endpoints {
			t.Errorf("the list of record %s is read again, want that of another", key)
		}
	}
	if got := r.byKey["1"].endpoints.uses; got != 3 {
		t.Errorf("the list has %d uses, want 3", got)
	}
	if err := r.Put("4", []byte(`{"name":"c","nodes":[{"id":"1"}],"endpoints":null}`)); err != nil {
		t.Fatal(err)
	}
	if got := r.Get("c"); len(got) != 1 || len(got[0].Endpoints) != 0 {
		t.Errorf("Get(c) = %v, want one without endpoints", got)
	}
}

// FuzzCut: what is read in parts is what is read whole, also when the list is
// known, and what is wrong in parts is wrong whole.
func FuzzCut(f *testing.F) {
	captures, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(captures) == 0 {
		f.Fatalf("Glob() = %v, %v, want the captures", captures, err)
	}
	for _, name := range captures {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, value := range []string{
		`{"name":"a","endpointſ":[null,{"name":"A.B"},{}],"nodes":[{"ID":"1","address":"::1","port":80}]}`,
		`{"name":"a","endpoints":[{"name":"A.B"}],"endpoints":[]}`,
		`{"name":"a","endpoints":[{"name":1}]}`,
		`{"name":"a","endpoints":[{}}`,
		`{"name":"a\"endpoints\":[","endpoints":["]"]}`,
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var parts, whole Records
		parts.init()
		whole.init()
		var want *record
		raw, err := readService(value)
		if err == nil {
			want, err = whole.assemble(raw, new(list))
		}
		for _, of := range []string{"a new list", "a known list"} {
			got, ok := parts.decodeParts(value)
			if _, _, able := cut(value); ok != (able && err == nil) {
				t.Fatalf("decodeParts(%s) = %t, want the same as whole: %v", value, ok, err)
			}
			if ok && said(t, got) != said(t, want) {
				t.Fatalf("decodeParts(%s) of %s =\n%s, want\n%s", value, of, said(t, got), said(t, want))
			}
		}
	})
}

// said returns all that a record says, as JSON.
func said(t *testing.T, rec *record) string {
	t.Helper()
	s := rec.service()
	s.Nodes = rec.nodes
	data, err := json.Marshal([]any{s, rec.group.sum})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
