package config_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi/config"
)

// compileSchema returns the schema as others read it.
func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("goapi.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("goapi.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// document returns a text in YAML as the values of JSON, and nil for what is no
// YAML, or has no counterpart.
func document(t testing.TB, text string) any {
	t.Helper()
	var v any
	if yaml.Unmarshal([]byte(text), &v) != nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// refuses says whether a schema refuses a text.
func refuses(t testing.TB, s *jsonschema.Schema, text string) bool {
	t.Helper()
	return s.Validate(document(t, text)) != nil
}

func TestSchemaTakesTheExample(t *testing.T) {
	f, err := config.Load(exampleDir(t)+"/goapi.yaml", noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if err := compileSchema(t).Validate(document(t, f.String())); err != nil {
		t.Errorf("the schema refuses the example: %v", err)
	}
	if strings.Contains(f.String(), "0123456789abcdef") {
		t.Errorf("String of the example holds a secret: %s", f)
	}
}

func TestSchemaDescribes(t *testing.T) {
	var s struct {
		Schema     string `json:"$schema"`
		Properties map[string]struct{ Description string }
		Defs       map[string]struct {
			Properties map[string]struct{ Description string }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(config.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Schema != "https://json-schema.org/draft/2020-12/schema" || len(s.Properties) < 30 || len(s.Defs) < 20 {
		t.Fatalf("Schema has %d keys and %d definitions in %q", len(s.Properties), len(s.Defs), s.Schema)
	}
	for name, p := range s.Properties {
		if p.Description == "" {
			t.Errorf("the key %s has no description", name)
		}
	}
	for def, d := range s.Defs {
		for name, p := range d.Properties {
			if p.Description == "" {
				t.Errorf("the key %s of %s has no description", name, def)
			}
		}
	}
}

func TestSchemaVariables(t *testing.T) {
	s := compileSchema(t)
	tests := []struct {
		text    string
		refused bool
	}{
		{"", false},
		{"limits: {in_flight: ${N}}", false},
		{"policy: {timeout: '${T:-5s}'}", false},
		{"policy: {timeout: $T}", true},
		{"log_level: ${LEVEL}", false},
		{"log_level: loud", true},
		{"metadata: timeout", false},
		{"tls: {min_version: 1.2}", false},
		{"policy: {auth: {none: 'true'}}", false},
		{"identity: {jwt: {a: {algorithms: RS256, issuer: 42, audience: [1], jwks: 'https://x'}}}", false},
	}
	for _, tt := range tests {
		if got := refuses(t, s, tt.text); got != tt.refused {
			t.Errorf("schema refuses %q = %t, want %t", tt.text, got, tt.refused)
		}
	}
}
