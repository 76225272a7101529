package registry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

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
		{strings.Repeat("[", maxCut+2) + strings.Repeat("]", maxCut+2), nil, false},
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

// FuzzRecord: what is read quickly is what is read strictly, also when the list
// of endpoints is known.
func FuzzRecord(f *testing.F) {
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
		var r Records
		r.init()
		for _, of := range []string{"a new list", "a known list"} {
			got, ok := r.decodePlain(value)
			if !ok {
				continue
			}
			want := new(Service)
			if err := json.Unmarshal(value, want); err != nil || want.Name == "" {
				t.Fatalf("decodePlain(%s) = %s, want an error: %v", value, said(t, got), err)
			}
			if said(t, got) != encoded(t, want) {
				t.Fatalf("decodePlain(%s) of %s =\n%s, want\n%s", value, of, said(t, got), encoded(t, want))
			}
		}
	})
}

// said returns all that a record says, as JSON.
func said(t *testing.T, rec *record) string {
	t.Helper()
	s := rec.service()
	s.Nodes = rec.nodes
	return encoded(t, s)
}

// encoded returns JSON in which what is null and what is empty are the same.
func encoded(t *testing.T, s *Service) string {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("{}", "null", "[]", "null").Replace(string(data))
}
