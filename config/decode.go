package config

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi/internal/spelling"
)

// maxVisits bounds how many values a file may have where aliases count as what
// they stand for.
const maxVisits = 100_000

// A decoder reads the tree of a text into the types of this package, and notes
// what is wrong.
type decoder struct {
	file     string // as mistakes have it
	dir      string // where relative paths start
	env      func(string) (string, bool)
	left     int // how many values may still be looked at
	mistakes []Mistake
	places   map[string]place // of values, by key
	inputs   inputs           // the files that were read, or will be
	patterns map[string]*regexp.Regexp
	failed   map[string]bool // keys that there is a mistake about
	fields   map[reflect.Type][]field
}

// A checker is a type that says itself what is wrong with its values as a whole.
type checker interface{ check(d *decoder, key string) }

// wrongf notes what is wrong with the value of a key, or, where the file has no
// such key, with what it would be within. What is known to be wrong is not noted
// again: the one may follow from the other.
func (d *decoder) wrongf(key, format string, args ...any) {
	if d.failed[key] {
		return
	}
	at, ok := d.places[key]
	for within := key; !ok && within != ""; at, ok = d.places[within] {
		within = parent(within)
	}
	d.notef(at, key, format, args...)
}

// notef notes what is wrong at a place.
func (d *decoder) notef(at place, key, format string, args ...any) {
	d.failed[key] = true
	d.mistakes = append(d.mistakes, Mistake{File: d.file, Line: at.line, Column: at.column, Key: key, Reason: fmt.Sprintf(format, args...)})
}

// parent returns the key that a key is within, "" for the file.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

// join returns the key of a name within a key.
func join(key, name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }) {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

// value reads a value of the file. The field is what holds it, or what the list
// or map is in that does.
func (d *decoder) value(n *yaml.Node, v reflect.Value, key string, f *field) {
	at := place{n.Line, n.Column}
	d.places[key] = at
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.left--; d.left < 0 {
		if d.left == -1 {
			d.notef(at, key, "there are too many values, aliases included; write fewer")
		}
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		d.notef(at, key, "it has no value; write one, or remove the key")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case isText(v.Type()):
		d.text(n, at, v, key, f)
	case v.Kind() == reflect.Struct:
		d.mapping(n, at, v, key, f)
	case v.Kind() == reflect.Map:
		d.names(n, at, v, key, f)
	case v.Kind() == reflect.Slice:
		d.list(n, at, v, key, f)
	}
}

// pairs calls f with each key and value of a mapping whose keys are texts that
// differ.
func (d *decoder) pairs(n *yaml.Node, at place, key string, of *field, f func(name string, at place, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.notef(at, key, "want keys and values, one below the other; not %s%s", kindOf(n), such(key, of))
		return
	}
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		at := place{k.Line, k.Column}
		switch line, twice := first[k.Value]; {
		case k.Kind == yaml.AliasNode || k.Kind != yaml.ScalarNode:
			d.notef(at, key, "a key is a text; not %s", kindOf(k))
		case k.ShortTag() == "!!merge":
			d.notef(at, key, "merge keys (<<) are not taken; write the keys themselves, or an alias of a whole value")
		case twice:
			d.notef(at, join(key, clip(k.Value)), "the key is there twice, first on line %d; remove one", line)
		default:
			first[k.Value] = k.Line
			f(k.Value, at, n.Content[i+1])
		}
	}
}

// advice says where to write a key that is not one of a struct's.
func (d *decoder) advice(of reflect.Type, name string, fields []field) string {
	has := func(f field) bool { return f.name == name }
	if of == reflect.TypeFor[File]() && slices.ContainsFunc(d.fieldsOf(reflect.TypeFor[Policy]()), has) {
		return "it is part of a policy: write it in policy, for all routes, or in patterns, services or routes"
	}
	return instead(name, names(fields))
}

// mapping reads a struct.
func (d *decoder) mapping(n *yaml.Node, at place, v reflect.Value, key string, of *field) {
	before := len(d.mistakes)
	fields := d.fieldsOf(v.Type())
	given := make(map[string]bool, len(n.Content)/2)
	d.pairs(n, at, key, of, func(name string, at place, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			d.notef(at, join(key, clip(name)), "unknown key; %s", d.advice(v.Type(), name, fields))
			return
		}
		given[name] = true
		d.value(value, v.FieldByIndex(fields[i].index), join(key, name), &fields[i])
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, f := range fields {
		if f.required && !given[f.name] {
			d.notef(at, key, "the key %s is missing; write %s", f.name, sample(f))
		}
	}
	d.secrets(v, key, fields, given)
	if len(d.mistakes) > before {
		return // what is wrong as a whole may only follow from that
	}
	if c, ok := reflect.TypeAssert[checker](v.Addr()); ok {
		c.check(d, key)
	}
}

// fieldsOf is the function fieldsOf with a memory.
func (d *decoder) fieldsOf(t reflect.Type) []field {
	fields, ok := d.fields[t]
	if !ok {
		fields = fieldsOf(t)
		d.fields[t] = fields
	}
	return fields
}

// sample returns a field as it may be written.
func sample(f field) string {
	return f.name + ": " + f.example
}

// such says how to write the value of a field, "" where no example is known of it
// as a whole.
func such(key string, f *field) string {
	if f.example == "" || key != f.name && !strings.HasSuffix(key, "."+f.name) {
		return ""
	}
	return "; write " + sample(*f)
}

// secrets reads the secrets that the fields of a struct give by the names of
// files: what token_file names is token.
func (d *decoder) secrets(v reflect.Value, key string, fields []field, given map[string]bool) {
	for _, f := range fields {
		name := f.name + "_file"
		if f.kind != reflect.TypeFor[Secret]() || !given[name] {
			continue
		}
		if given[f.name] {
			d.wrongf(join(key, name), "%s is there, too; write one of the two", f.name)
			continue
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		path, _ := reflect.TypeAssert[Path](v.FieldByIndex(fields[i].index))
		if path == "" {
			continue // it is wrong, and that is noted
		}
		text, err := d.inputs.secret(string(path))
		if err != nil {
			d.wrongf(join(key, name), "%s; want a file whose first line is the secret", err)
			continue
		}
		v.FieldByIndex(f.index).SetString(text)
	}
}

// names reads a map from names.
func (d *decoder) names(n *yaml.Node, at place, v reflect.Value, key string, f *field) {
	v.Set(reflect.MakeMap(v.Type()))
	ofNames := field{format: f.keys}
	d.pairs(n, at, key, f, func(name string, at place, value *yaml.Node) {
		if want := d.misfit(&ofNames, name); want != "" {
			d.notef(at, join(key, clip(name)), "%.80q is not a name that can be here; want %s", name, want)
			return
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, join(key, name), f)
		v.SetMapIndex(reflect.ValueOf(name), element)
	})
}

// list reads a list; a text alone is a list of one.
func (d *decoder) list(n *yaml.Node, at place, v reflect.Value, key string, f *field) {
	elements := n.Content
	switch {
	case n.Kind == yaml.ScalarNode && isText(v.Type().Elem()):
		elements = []*yaml.Node{n}
	case n.Kind != yaml.SequenceNode:
		d.notef(at, key, "want a list; not %s%s", kindOf(n), such(key, f))
		return
	}
	if f.filled && len(elements) == 0 {
		d.notef(at, key, "the list is empty; write %s", sample(*f))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(elements), len(elements)))
	for i, e := range elements {
		d.value(e, v.Index(i), fmt.Sprintf("%s[%d]", key, i), f)
	}
}

// text reads a text, and what is one in the file.
func (d *decoder) text(n *yaml.Node, at place, v reflect.Value, key string, f *field) {
	if n.Kind != yaml.ScalarNode {
		d.notef(at, key, "want %s; not %s", d.wanted(v, f), kindOf(n))
		return
	}
	if !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}, n.ShortTag()) {
		d.notef(at, key, "the tag %.40s means nothing here; remove it", n.ShortTag())
		return
	}
	text, err := expand(n.Value, d.env)
	if err != nil {
		d.notef(at, key, "%s", err)
		return
	}
	if want := d.set(v, text, f); want != "" {
		d.notef(at, key, "%swant %s", shown(n.Value, v, f), want)
	}
}

// shown returns a value that is wrong as a mistake shows it: as it stands in the
// file, and not at all where it may hold a secret.
func shown(text string, v reflect.Value, f *field) string {
	if v.Type() == reflect.TypeFor[Secret]() || f.isURL() {
		return ""
	}
	return fmt.Sprintf("%.80q: ", text)
}

// set gives a value its text. It returns what to write instead, or "".
func (d *decoder) set(v reflect.Value, text string, f *field) (want string) {
	if !utf8.ValidString(text) { // of the environment
		return "a text in UTF-8"
	}
	if s, ok := reflect.TypeAssert[scalar](v.Addr()); ok {
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return err.Error()
		}
	} else if want := setPlain(v, text); want != "" {
		return want
	}
	if want := f.within(v); want != "" {
		return want
	}
	if want := d.misfit(f, text); want != "" {
		return want
	}
	if p, ok := reflect.TypeAssert[*Path](v.Addr()); ok {
		return d.locate(p, f)
	}
	return ""
}

// setPlain sets a string, a number or a truth.
func setPlain(v reflect.Value, text string) (want string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "false":
			v.SetBool(strings.EqualFold(text, "true"))
		case "yes", "on", "1":
			return "true"
		case "no", "off", "0":
			return "false"
		default:
			return "true or false"
		}
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil || n > 1<<40 || n < -1<<40 {
			return "a whole number"
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return "a number"
		}
		v.SetFloat(x)
	}
	return ""
}

// misfit returns what to write instead of a text that is not what the field
// takes, or "".
func (d *decoder) misfit(f *field, text string) (want string) {
	if len(f.enum) > 0 && !slices.Contains(f.enum, text) {
		if k := spelling.Nearest(text, f.enum); k != "" {
			return anyOf(f.enum) + "; did you mean " + k + "?"
		}
		return anyOf(f.enum)
	}
	if f.format == "" {
		return ""
	}
	form := formats()[f.format]
	re := d.patterns[f.format]
	if re == nil {
		re = regexp.MustCompile(form.pattern) // a test compiles them all
		d.patterns[f.format] = re
	}
	if !re.MatchString(text) {
		return form.want
	}
	if form.also != nil {
		if err := form.also(text); err != nil {
			return err.Error()
		}
	}
	return ""
}

// wanted says what a value that is a text may be.
func (d *decoder) wanted(v reflect.Value, f *field) string {
	switch {
	case len(f.enum) > 0:
		return anyOf(f.enum)
	case f.format != "":
		return formats()[f.format].want
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.Int && v.Type() == reflect.TypeFor[int]():
		return "a whole number"
	case v.Kind() == reflect.Float64:
		return "a number"
	}
	if s, ok := reflect.TypeAssert[scalar](v.Addr()); ok {
		if err := s.UnmarshalText([]byte("\x00")); err != nil {
			return err.Error()
		}
	}
	return "a text"
}

// locate makes a path one that does not depend on where the program runs, and
// looks at the file if it is to be there.
func (d *decoder) locate(p *Path, f *field) (want string) {
	path := string(*p)
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.dir, path)
	}
	*p = Path(path)
	if f.format != formatFile {
		return ""
	}
	if _, err := d.inputs.read(path); err != nil {
		return "a file that can be read; " + err.Error()
	}
	return ""
}

// kindOf says what a value is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	return "a text"
}

// clip returns the start of a text, for messages.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
