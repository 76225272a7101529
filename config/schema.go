package config

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"regexp"
	"strconv"
)

// schemaDialect is the version of JSON Schema that Schema is in.
const schemaDialect = "https://json-schema.org/draft/2020-12/schema"

// Schema returns the JSON Schema of the file, for editors and for other programs.
// What it refuses Load refuses; of what a schema cannot say (that a file is there,
// that a pattern is one, that keys do not go together) it knows nothing.
func Schema() []byte {
	s := &schemas{defs: map[string]any{}}
	root := s.object(reflect.TypeFor[File]())
	root["$schema"] = schemaDialect
	root["title"] = "Configuration of goapi"
	root["type"] = []any{"object", "null"} // an empty file is all defaults
	root["$defs"] = s.defs
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil // maps of texts and numbers are always written
	}
	return append(b, '\n')
}

// schemas makes schemas of types, each of a name once.
type schemas struct {
	defs map[string]any
}

// A ruler is a type of whose keys some need others.
type ruler interface{ rules() map[string]any }

// need returns the rule that a key is there only with another.
func need(key, other string) map[string]any {
	return map[string]any{"dependentRequired": map[string]any{key: []any{other}}}
}

// exactlyOne returns the rule that exactly one of some keys is there.
func exactlyOne(keys ...string) map[string]any {
	rules := make([]any, len(keys))
	for i, key := range keys {
		rules[i] = map[string]any{"required": []any{key}}
	}
	return map[string]any{"oneOf": rules}
}

func (*File) rules() map[string]any {
	return map[string]any{"dependentRequired": map[string]any{
		"tls_cert": []any{"tls_key"}, "tls_key": []any{"tls_cert"},
		"upstream_cert": []any{"upstream_key"}, "upstream_key": []any{"upstream_cert"},
	}}
}

func (*JWT) rules() map[string]any     { return exactlyOne("jwks", "keys_file", "secret", "secret_file") }
func (*EAB) rules() map[string]any     { return exactlyOne("mac_key", "mac_key_file") }
func (*Auth) rules() map[string]any    { return exactlyOne("any", "none") }
func (*Rewrite) rules() map[string]any { return need("replacement", "regexp") }
func (*Route) rules() map[string]any {
	return map[string]any{"dependentRequired": map[string]any{"endpoint": []any{"handler"}, "protocol": []any{"handler"}}}
}

// of returns the schema of a type; the field is what holds it, or the list or map
// that it is in.
func (s *schemas) of(t reflect.Type, f *field) map[string]any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case isText(t):
		return s.text(t, f)
	case t.Kind() == reflect.Slice:
		list := map[string]any{"type": "array", "items": s.of(t.Elem(), f)}
		if f.filled {
			list["minItems"] = 1
		}
		if isText(t.Elem()) {
			return map[string]any{"anyOf": []any{list, s.of(t.Elem(), f)}}
		}
		return list
	case t.Kind() == reflect.Map:
		m := map[string]any{"type": "object", "additionalProperties": s.of(t.Elem(), f)}
		if f.keys != "" {
			m["propertyNames"] = map[string]any{"pattern": formats()[f.keys].pattern}
		}
		return m
	}
	name := t.Name()
	if s.defs[name] == nil {
		s.defs[name] = map[string]any{} // ends recursion
		s.defs[name] = s.object(t)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

// object returns the schema of a struct.
func (s *schemas) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range fieldsOf(t) {
		p := s.of(f.kind, &f)
		p["description"] = f.doc
		if f.fallback != "" {
			p["description"] = f.doc + " Default: " + f.fallback + "."
		}
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	o := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	if r, ok := reflect.TypeAssert[ruler](reflect.New(t)); ok {
		maps.Copy(o, r.rules())
	}
	return o
}

// text returns the schema of a value that is one text in the file. It may have
// environment variables, of which a schema cannot know what they stand for.
func (s *schemas) text(t reflect.Type, f *field) map[string]any {
	var value map[string]any
	if v, ok := reflect.TypeAssert[scalar](reflect.New(t)); ok {
		value = v.schema()
	} else {
		value = plainSchema(t, f)
	}
	if value["type"] == "string" {
		constrain(value, f)
	}
	if value["type"] == "string" && fitsNumber(value) {
		value["type"] = []any{"string", "number", "boolean"} // a text as it is written
	}
	if len(value) == 1 && value["enum"] == nil {
		return value // any text
	}
	s.defs["variable"] = map[string]any{
		"type": "string", "pattern": `\$\{` + variableName + `(:-[^}]*)?\}`,
		"description": "A text with environment variables: ${NAME} or ${NAME:-DEFAULT}.",
	}
	return map[string]any{"anyOf": []any{value, map[string]any{"$ref": "#/$defs/variable"}}}
}

// fitsNumber says whether a number is a text that a schema of texts takes.
func fitsNumber(value map[string]any) bool {
	pattern, _ := value["pattern"].(string)
	ok, err := regexp.MatchString(pattern, "42")
	return ok && err == nil
}

// constrain adds to the schema of a text what the field says of it.
func constrain(value map[string]any, f *field) {
	if len(f.enum) > 0 {
		delete(value, "type")
		words := make([]any, 0, len(f.enum))
		for _, w := range f.enum {
			words = append(words, w)
			if n, err := strconv.ParseFloat(w, 64); err == nil {
				words = append(words, n) // 1.2 is a number, for who does not ask for a text
			}
		}
		value["enum"] = words
		return
	}
	if f.format != "" {
		value["pattern"] = formats()[f.format].pattern
	}
}

// plainSchema returns the schema of a type of Go.
func plainSchema(t reflect.Type, f *field) map[string]any {
	value := map[string]any{}
	switch t.Kind() {
	case reflect.Bool:
		value["enum"] = []any{true, false, "true", "false", "True", "False", "TRUE", "FALSE"}
		return value
	case reflect.Int, reflect.Float64:
		value["type"] = "integer"
		if t.Kind() == reflect.Float64 {
			value["type"] = "number"
		}
		if f.least != "" {
			value["minimum"] = bound(t, f.least)
		}
		if f.most != "" {
			value["maximum"] = math.Min(bound(t, f.most), 1<<40)
		}
		return value
	}
	value["type"] = "string"
	return value
}
