package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
)

// Set returns what the file says for a flag of goapi run, by the flag's name and
// as it would be given there; false where it says nothing.
func (f *File) Set(flag string) ([]string, bool) {
	name := strings.ReplaceAll(flag, "-", "_")
	server := reflect.ValueOf(&f.Server).Elem()
	for _, field := range fieldsOf(server.Type()) {
		v := server.FieldByIndex(field.index)
		if field.name != name || isAbsent(v) {
			continue
		}
		if v.Kind() != reflect.Slice {
			return []string{textOf(v)}, true
		}
		texts := make([]string, v.Len())
		for i := range texts {
			texts[i] = textOf(v.Index(i))
		}
		return texts, true
	}
	return nil, false
}

// textOf returns the text of a value that is one in the file.
func textOf(v reflect.Value) string {
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v.Addr()); ok {
		text, _ := m.MarshalText() // those of this package never fail
		return string(text)
	}
	return v.String()
}

// Fixed returns the keys that say another thing than they did in old, or name a
// file that does, and that take a restart to change.
func (f *File) Fixed(old *File) []string {
	keys := changed("", reflect.ValueOf(f).Elem(), reflect.ValueOf(old).Elem())
	before := old.readOnce()
	for _, once := range f.readOnce() {
		i := slices.IndexFunc(before, func(b named) bool { return b.key == once.key })
		if i >= 0 && before[i].path == once.path && f.inputs[string(once.path)] != old.inputs[string(once.path)] {
			keys = append(keys, once.key)
		}
	}
	return keys
}

// A named is a file that a key names.
type named struct {
	key  string
	path Path
}

// readOnce returns the files that are read when the gateway starts, and not again.
func (f *File) readOnce() []named {
	files := []named{{"upstream_ca", f.UpstreamCA}, {"nats_token_file", f.NATSTokenFile}}
	if f.Tracing != nil {
		files = append(files, named{"tracing.ca", f.Tracing.CA})
	}
	if f.TLS != nil && f.TLS.ACME != nil {
		files = append(files, named{"tls.acme.ca_root", f.TLS.ACME.CARoot})
	}
	return files
}

// changed returns the keys of two structs that differ and are not reloaded.
func changed(key string, now, before reflect.Value) []string {
	var keys []string
	for _, field := range fieldsOf(now.Type()) {
		a, b := now.FieldByIndex(field.index), before.FieldByIndex(field.index)
		if field.reload || reflect.DeepEqual(a.Interface(), b.Interface()) {
			continue
		}
		name := join(key, field.name)
		if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
			keys = append(keys, changed(name, a.Elem(), b.Elem())...)
			continue
		}
		keys = append(keys, name)
	}
	return keys
}

// Inputs returns the paths of the files that the file names and that were read,
// itself included, in order.
func (f *File) Inputs() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for path := range f.inputs {
			if !yield(path) {
				return
			}
		}
	})
}
