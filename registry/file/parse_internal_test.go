package file

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// node is enough for a service to be valid.
const node = "nodes: [\"h:1\"]"

func TestMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a key of the file", "sevices: []", `1:1: unknown key "sevices"; did you mean services?`},
		{"no services", "{}", "1:1: there are no services; write services: [] for none"},
		{"null for services", "services:\n", "1:10: want a list of services; write services: [] for none"},
		{"a text for services", "services: none\n", "1:11: want a list of services; write services: [] for none"},
		{"a text for the file", "none", "1:1: the file is a mapping; want key: value"},
		{"a text for a service", "services: [billing]", "1:12: a service is a mapping; want key: value"},
		{"an unknown key", "services:\n- name: a\n  " + node + "\n  zone: b", `4:3: unknown key "zone"; known: endpoints, metadata, name, nodes, version`},
		{"one like no other", "services:\n- {labels: {}}", `2:4: unknown key "labels"; known: endpoints, metadata, name, nodes, version`},
		{"one in capitals", "services:\n- {Name: a}", `2:4: unknown key "Name"; did you mean name?`},
		{"a key of a node", "services:\n- name: a\n  nodes:\n  - {addrss: \"h:1\"}", `4:6: unknown key "addrss"; did you mean address?`},
		{"a key of an endpoint", "services:\n- name: a\n  " + node + "\n  endpoints:\n  - {name: b, methods: GET}", `5:15: unknown key "methods"; did you mean method?`},
		{"a merge key", "services:\n- &a {name: a, " + node + "}\n- {<<: *a, name: b}", `3:4: unknown key "<<"; known: endpoints, metadata, name, nodes, version`},
		{"a key twice", "services:\n- {name: a, name: b}", `2:13: the key "name" is there twice`},
		{"a key of metadata twice", "services:\n- {metadata: {a: b, a: c}}", `2:21: the key "a" is there twice`},
		{"a list for a key", "services:\n- {[a]: b}", "2:4: a key is a text"},
		{"a list for a name", "services:\n- {name: [a]}", "2:10: want a text, not a list or a mapping"},
		{"a list for metadata", "services:\n- {metadata: [a]}", "2:14: want key: value"},
		{"a mapping for nodes", "services:\n- {nodes: {a: b}}", "2:11: want a list"},
		{"a tag", "services:\n- {name: !secret a}", "2:10: the tag \"!secret\" means nothing here"},
		{"no name", "services:\n- " + node, "2:3: name: a service needs a name"},
		{"no nodes", "services:\n- name: a\n", "2:3: nodes: a service needs at least one node"},
		{"no nodes in the list", "services:\n- name: a\n  nodes: []\n", "3:10: nodes: a service needs at least one node"},
		{"a bad name", "services:\n- name: \"\\t\"\n  " + node, "2:9: name: it holds a character that is not printable"},
		{"an address without a port", "services:\n- name: a\n  nodes:\n  - h\n", `4:5: nodes[0].address: "h" is not host:port`},
		{"a node without an address", "services:\n- name: a\n  nodes:\n  - {id: a-1}\n", `4:5: nodes[0].address: "" is not host:port`},
		{"an empty node", "services:\n- name: a\n  nodes: [null]\n", "3:11: nodes[0].id: a node needs an id"},
		{"an id twice", "services:\n- name: a\n  nodes: [\"h:1\", \"h:1\"]\n", `3:18: nodes[1].id: nodes[0] has the id "a-h:1" too`},
		{"an id twice in two places", "services:\n- {name: a, " + node + "}\n\n- {name: a, version: b, " + node + "}", `4:33: service "a" has another node with the id "a-h:1"`},
		{"an endpoint without a name", "services:\n- name: a\n  endpoints: [{path: /}]", "3:15: an endpoint needs a name"},
		{"a key in two places", "services:\n- name: a\n  endpoints: [{name: b, path: /, metadata: {path: /}}]", "3:15: the endpoint and its metadata both have path; want one"},
		{"a comma", "services:\n- name: a\n  endpoints: [{name: b, method: \"GET,PUT\"}]", `3:33: "GET,PUT" holds a comma; write a list`},
		{"a comma that would split an expression", "services:\n- name: a\n  endpoints: [{name: b, path: \"^/a, /b$\"}]", `3:31: "^/a, /b$" holds a comma; write a list`},
		{"an empty path", "services:\n- name: a\n  endpoints: [{name: b, path: [\"\"]}]", "3:32: it is empty"},
		{"half a truth", "services:\n- name: a\n  endpoints: [{name: b, stream: maybe}]", `3:33: "maybe" is neither true nor false`},
		{"values that nest too deep", "services:\n- name: a\n  endpoints: [{name: b, request: " + strings.Repeat("{values: [", 64) + "{}" + strings.Repeat("]}", 64) + "}]", "3:674: values nest deeper than 64"},
		{"two documents", serves("a") + "---\n" + serves("b"), "4:1: a second document; want one"},
		{"an open quote", serves("a") + "  - name: \"b\n    version: c\n", "6:1: found unexpected end of stream"},
		{"an open bracket", serves("a", "b") + "    metadata: {a: b\n    version: c\n" + strings.TrimPrefix(serves("c"), "services:\n"), "6:5: did not find expected ',' or '}'"},
		{"a tab", serves("a") + "\t- name: b\n", "4:2: found character that cannot start any token"},
		{"a wrong indent", serves("a") + "   version: b\n", "4:4: did not find expected '-' indicator"},
		{"two values", serves("a") + "  - name: b: c\n", "4:3: mapping values are not allowed in this context"},
		{"an unknown alias", serves("a") + "    metadata: *b\n", "4:15: unknown anchor 'b' referenced"},
		{"a control character", serves("a") + "    version: \x01\n", "4:14: control characters are not allowed"},
		{"no UTF-8", serves("a") + "    version: \xff\n", "4:14: invalid leading UTF-8 octet"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p parser
			got, err := p.parse(tt.text)
			if err == nil {
				t.Fatalf("parse() = %d services, want %s", len(got), tt.want)
			}
			if at := fmt.Sprintf("%d:%d: %s", err.line, err.column, err.reason); at != tt.want {
				t.Errorf("parse() error = %s, want %s", at, tt.want)
			}
		})
	}
}

func TestForms(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"none", "services: []", `[]`},
		{"none in a list alone", "[]", `[]`},
		{"a scalar is a text as it is written", "services: [{name: 1.10, version: 0x10, metadata: {a: true, b: ~, c: 2026-01-01}, nodes: [\"h:1\"]}]",
			`[{"name":"1.10","version":"0x10","metadata":{"a":"true","b":"","c":"2026-01-01"},"endpoints":null,"nodes":[{"id":"1.10-h:1","address":"h:1","metadata":null}]}]`},
		{"null is absent", "services: [{name: a, version: null, metadata: null, endpoints: null, nodes: [{id: n, address: \"h:1\", metadata: null}]}]",
			`[{"name":"a","version":"","metadata":null,"endpoints":null,"nodes":[{"id":"n","address":"h:1","metadata":null}]}]`},
		{"one method and two", "services:\n- name: a\n  " + node + "\n  endpoints:\n  - {name: b, method: GET}\n  - {name: c, method: [GET, PUT], host: [], stream: false}\n",
			`[{"name":"a","version":"","metadata":null,"endpoints":[{"name":"b","request":null,"response":null,"metadata":{"method":"GET"}},` +
				`{"name":"c","request":null,"response":null,"metadata":{"method":"GET,PUT"}}],"nodes":[{"id":"a-h:1","address":"h:1","metadata":null}]}]`},
		{"aliases, also of other services", "services:\n- name: a\n  nodes: &n [&h \"h:1\", *x]\n" + "  metadata: {y: z}\n", ""},
		{"an alias of another service", "services:\n- &a\n  name: a\n  nodes: &n [\"h:1\"]\n- name: b\n  nodes: *n\n",
			`[{"name":"a","version":"","metadata":null,"endpoints":null,"nodes":[{"id":"a-h:1","address":"h:1","metadata":null}]},` +
				`{"name":"b","version":"","metadata":null,"endpoints":null,"nodes":[{"id":"b-h:1","address":"h:1","metadata":null}]}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p parser
			entries, err := p.parse(tt.text)
			if (err == nil) != (tt.want != "") {
				t.Fatalf("parse() error = %v, want one: %t", err, tt.want == "")
			}
			if err == nil && inJSON(t, entries) != tt.want {
				t.Errorf("parse() =\n%s, want\n%s", inJSON(t, entries), tt.want)
			}
		})
	}
}

// TestReadsWhatGoMicroWrites: its JSON is YAML, and its services are of the same
// form.
func TestReadsWhatGoMicroWrites(t *testing.T) {
	for _, name := range []string{"v2-greeter.json", "v6-greeter.json"} {
		data, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var want registry.Service
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		var p parser
		entries, wrong := p.parse("[" + string(data) + "]")
		if wrong != nil {
			t.Errorf("parse(%s) error = %v", name, wrong)
			continue
		}
		if got, want := withoutNull(inJSON(t, entries)), withoutNull(mustJSON(t, []*registry.Service{&want})); got != want {
			t.Errorf("parse(%s) =\n%s, want\n%s", name, got, want)
		}
	}
}

// TestPartsAreReadOnce: what did not change is not read again.
func TestPartsAreReadOnce(t *testing.T) {
	var p parser
	before, err := p.parse(serves("a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.parse("# more lines\n" + serves("c", "d", "a"))
	if err != nil {
		t.Fatal(err)
	}
	if after[0].service != before[2].service || after[2].service != before[0].service {
		t.Error("a part that did not change was read again")
	}
	if got := after[2].place(0).line; got != 8 {
		t.Errorf("a node is in line %d, want 8", got)
	}
	if _, err := p.parse(serves("a", "a")); err == nil || err.line != 5 {
		t.Errorf("parse() of a service that is there twice: error = %v, want one in line 5", err)
	}
}

// TestAliasBomb: few bytes that stand for very many values are refused soon.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n- name: a\n  " + node + "\n  endpoints:\n  - name: e\n    request:\n      values:\n      - &v0 {name: x}\n")
	for i := range 40 {
		fmt.Fprintf(&b, "      - &v%d {values: [*v%d, *v%d, *v%d]}\n", i+1, i, i, i)
	}
	var p parser
	_, err := p.parse(b.String())
	if err == nil || !strings.Contains(err.reason, "aliases included") {
		t.Errorf("parse() error = %v, want that there are too many values", err)
	}
}

// TestAliasOfItself ends, too.
func TestAliasOfItself(t *testing.T) {
	var p parser
	_, err := p.parse("services:\n- name: a\n  " + node + "\n  endpoints:\n  - name: e\n    request: &v {values: [*v]}\n")
	if err == nil || err.reason != "values nest deeper than 64" {
		t.Errorf("parse() error = %v, want that values nest too deep", err)
	}
}

// FuzzParse holds that a text read in parts means what it means as a whole, that
// what is read is valid, and that whatever is wrong has a place in the text.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("testdata/services.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add(serves("a", "b"))
	f.Add("[" + `{"name":"a","nodes":[{"id":"n","address":"h:1"}]}` + "]")
	f.Add("services:\n- name: \"a\n- b\"\n  " + node + "\n")
	f.Add("services:\n- name: |\n    a\n- &x {name: b, " + node + "}\n- *x\n")
	f.Add("services: # here\n\n  # first\n  - name: a\n    " + node + "\n  -\n    name: b\n    " + node + "\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		var p parser
		entries, err := p.parse(text)
		whole, wrong := readWhole(part{text: text})
		if wrong == nil {
			wrong = checkIDs(whole)
		}
		if (err == nil) != (wrong == nil) {
			t.Fatalf("parse() error = %v, as a whole %v: want both or none", err, wrong)
		}
		if err != nil {
			if lines := len(text) + 1; err.line < 1 || err.line > lines || err.column < 1 || err.reason == "" {
				t.Fatalf("parse() error = %+v, want a place in a text of %d lines at most", err, lines)
			}
			return
		}
		if got, want := inJSON(t, entries), inJSON(t, whole); got != want {
			t.Fatalf("parse() =\n%s, as a whole\n%s", got, want)
		}
		for i, e := range entries {
			if err := e.service.Validate(); err != nil {
				t.Fatalf("parse() = a service that is invalid: %v", err)
			}
			if got, want := e.place(0), whole[i].place(0); got != want {
				t.Fatalf("the first node of service %d is at %v, as a whole at %v", i, got, want)
			}
		}
		again, err := p.parse(text)
		if err != nil || len(again) != len(entries) {
			t.Fatalf("parse() again = %d services, %v, want %d", len(again), err, len(entries))
		}
	})
}

// serves returns a file with services of these names.
func serves(names ...string) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - name: %s\n    %s\n", name, node)
	}
	return b.String()
}

func inJSON(t *testing.T, entries []entry) string {
	t.Helper()
	services := make([]*registry.Service, len(entries))
	for i, e := range entries {
		services[i] = e.service
	}
	return mustJSON(t, services)
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// withoutNull makes null of what is empty.
func withoutNull(s string) string {
	return strings.NewReplacer(`{}`, "null", `[]`, "null").Replace(s)
}
