package config

import (
	"encoding"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// String returns the file in one line of YAML, in the order of the keys and
// without secrets. It says the same as the file: variables are expanded, and
// paths are whole.
func (f *File) String() string {
	return strings.ReplaceAll(flow(reflect.ValueOf(f).Elem()), "$", "$$")
}

// flow returns a value in one line of YAML. What is zero is left out of what it
// is within.
func flow(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.CanAddr() {
		if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v.Addr()); ok {
			return flowText(m)
		}
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		return flowText(m)
	}
	switch v.Kind() {
	case reflect.Struct:
		return flowStruct(v)
	case reflect.Map:
		var parts []string
		for _, name := range keysOf(namesOf(v)) {
			parts = append(parts, quote(name)+": "+flow(v.MapIndex(reflect.ValueOf(name))))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = flow(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	return quote(v.String())
}

func flowText(m encoding.TextMarshaler) string {
	text, err := m.MarshalText()
	if err != nil {
		return quote(err.Error()) // those of this package never fail
	}
	return quote(string(text))
}

func flowStruct(v reflect.Value) string {
	var parts []string
	given := map[string]bool{}
	fields := fieldsOf(v.Type())
	for _, f := range fields {
		given[f.name] = !isAbsent(v.FieldByIndex(f.index))
	}
	for _, f := range fields {
		if !given[f.name] || f.kind == reflect.TypeFor[Secret]() && given[f.name+"_file"] {
			continue
		}
		text := flow(v.FieldByIndex(f.index))
		if f.isURL() {
			text = regexp.MustCompile(`://[^/@\s"]+@`).ReplaceAllString(text, "://"+hidden+"@")
		}
		parts = append(parts, f.name+": "+text)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// isAbsent says whether a value is as it is where the file does not have it. An
// empty list is not.
func isAbsent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		return v.IsNil()
	case reflect.Struct:
		return v.IsZero()
	}
	return v.IsZero()
}

// namesOf returns the keys of a map from texts.
func namesOf(v reflect.Value) map[string]struct{} {
	set := make(map[string]struct{}, v.Len())
	for _, k := range v.MapKeys() {
		set[k.String()] = struct{}{}
	}
	return set
}

// quote returns a text as YAML has it, plain where that is one for sure.
func quote(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	plain := s != "" && strings.Trim(s, letters+"0123456789_./-") == "" && strings.IndexByte(letters+"/", s[0]) >= 0
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}
