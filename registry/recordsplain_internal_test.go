package registry

import (
	"reflect"
	"strings"
	"testing"
)

func TestReadRecord(t *testing.T) {
	tests := []struct {
		name, text string
		endpoints  string // that are left to be read
		ok         bool
	}{
		{"empty", `{}`, "", true},
		{"every field", `{"name":"a","version":"1","metadata":{"team":"blue"},"endpoints":[{"name":"A.B"}],"nodes":[` +
			`{"metadata":{"protocol":"mucp"},"id":"a-1","address":"10.0.0.1:80"},{"id":"a-2"}]}`, `[{"name":"A.B"}]`, true},
		{"in another order", `{"nodes":[],"endpoints":[],"name":"a"}`, `[]`, true},
		{"nulls", `{"metadata":null,"endpoints":null,"nodes":null}`, "", true},
		{"brackets in strings", `{"name":"\"endpoints\":[","endpoints":["]\\"]}`, "", false},
		{"escapes in endpoints", `{"endpoints":[{"name":"]\"\\"}],"name":"a"}`, `[{"name":"]\"\\"}]`, true},
		{"white space in endpoints", `{"endpoints":[ ],"name":"a"}`, `[ ]`, true},
		{"a string twice", `{"name":"a","name":"b","nodes":[{"id":"1","id":"2"}]}`, "", true},
		{"null, then a value", `{"endpoints":null,"endpoints":[1]}`, "[1]", true},
		{"endpoints twice", `{"endpoints":[],"endpoints":[]}`, "", false},
		{"nodes twice", `{"nodes":[],"nodes":[]}`, "", false},
		{"metadata twice", `{"metadata":{},"metadata":{}}`, "", false},
		{"metadata of a node twice", `{"nodes":[{"metadata":{},"metadata":{}}]}`, "", false},
		{"null in nodes", `{"nodes":[null]}`, "", false},
		{"a port of old", `{"nodes":[{"id":"1","address":"a","port":80}]}`, "", false},
		{"a name in another case", `{"Endpoints":[]}`, "", false},
		{"endpoints that are no list", `{"endpoints":{}}`, "", false},
		{"endpoints without end", `{"endpoints":[{]`, "", false},
		{"no endpoints", `{"endpoints":`, "", false},
		{"white space", ` {}`, "", false},
		{"two", `{}{}`, "", false},
		{"nothing", ``, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec, ok := new(known).readRecord([]byte(tt.text))
			if ok != tt.ok {
				t.Fatalf("readRecord(%s) = %t, want %t", tt.text, ok, tt.ok)
			}
			if !ok {
				return
			}
			if string(rec.endpoints) != tt.endpoints {
				t.Errorf("readRecord(%s) leaves the endpoints %s, want %s", tt.text, rec.endpoints, tt.endpoints)
			}
			raw, err := readService([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			nodes, err := readList("nodes", raw.Nodes, readNode)
			if rec.name != raw.Name || rec.version != raw.Version || !reflect.DeepEqual(rec.metadata, raw.Metadata) || !reflect.DeepEqual(rec.nodes, nodes) {
				t.Errorf("readRecord(%s) = %+v, want %+v with the nodes %v, %v", tt.text, rec, raw, nodes, err)
			}
		})
	}
}

func TestReadPlain(t *testing.T) {
	deep := func(levels int) string {
		return `{"request":` + strings.Repeat(`{"values":[`, levels-1) + `{}` + strings.Repeat(`]}`, levels-1) + `}`
	}
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"empty", `{}`, true},
		{"every field", `{"name":"A.B","request":{"name":"r","type":"R","values":[{"name":"a","type":"string","values":null},{}]},` +
			`"response":null,"metadata":{"path":"/é","":"x"}}`, true},
		{"in another order", `{"metadata":{},"name":"A.B"}`, true},
		{"nulls", `{"request":null,"response":{"values":null},"metadata":null}`, true},
		{"empty lists", `{"response":{"values":[]},"metadata":{}}`, true},
		{"a string twice", `{"name":"a","name":"b","metadata":{"k":"1","k":"2"}}`, true},
		{"null, then a value", `{"request":null,"request":{"name":"r"}}`, true},
		{"as deep as values may be", deep(maxDepth), true},
		{"deeper", deep(maxDepth + 1), false},
		{"a value twice", `{"request":{"name":"r"},"request":{"type":"R"}}`, false},
		{"metadata twice", `{"metadata":{"a":"1"},"metadata":{"b":"2"}}`, false},
		{"a list twice", `{"request":{"values":[{"name":"a"}],"values":[{"type":"b"}]}}`, false},
		{"null in a list", `{"request":{"values":[null]}}`, false},
		{"white space", `{"name": "a"}`, false},
		{"white space after", `{"name":"a"} `, false},
		{"an escape", `{"name":"a\n"}`, false},
		{"a control character", "{\"name\":\"a\n\"}", false},
		{"bytes that are no text", "{\"name\":\"\xff\"}", false},
		{"a name in another case", `{"Name":"a"}`, false},
		{"an unknown name", `{"names":"a"}`, false},
		{"a number", `{"name":1}`, false},
		{"a string that is null", `{"name":null}`, false},
		{"metadata that is no string", `{"metadata":{"a":1}}`, false},
		{"a list", `[]`, false},
		{"nothing", ``, false},
		{"a comma first", `{,"name":"a"}`, false},
		{"a comma last", `{"name":"a",}`, false},
		{"no comma", `{"name":"a""metadata":null}`, false},
		{"no colon", `{"name""a"}`, false},
		{"no end", `{"name":"a"`, false},
		{"no end of a string", `{"name":"a`, false},
		{"no end of a list", `{"request":{"values":[`, false},
		{"two", `{}{}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := new(known).readEndpoint([]byte(tt.text))
			if ok != tt.ok {
				t.Fatalf("readEndpoint(%.80s) = %t, want %t", tt.text, ok, tt.ok)
			}
			if want, err := readEndpoint([]byte(tt.text)); ok && !reflect.DeepEqual(got, want) {
				t.Errorf("readEndpoint(%.80s) = %+v, want %+v, %v", tt.text, got, want, err)
			}
		})
	}
}

// FuzzPlain: what is read quickly is what is read slowly.
func FuzzPlain(f *testing.F) {
	for _, text := range []string{
		`{"name":"A.B","request":{"name":"r","type":"R","values":[{"name":"a","type":"string","values":null},{}]},"response":null,"metadata":{"path":"/é"}}`,
		`{"metadata":{},"request":{"values":[]},"name":"A.B"}`,
		`{"request":{"values":[{"values":null,"values":[]}]}}`,
		`{"name":"\u0061"}`,
		`{}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var w known
		got, ok := w.readEndpoint(data)
		if !ok {
			return
		}
		want, err := readEndpoint(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("readEndpoint(%s) = %+v, want %+v, %v", data, got, want, err)
		}
		if again, _ := w.readEndpoint(data); !reflect.DeepEqual(again, want) {
			t.Errorf("readEndpoint(%s) again = %+v, want %+v", data, again, want)
		}
	})
}
