package handler

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/registry"
)

const maxListed = 1 << 10 // bytes of field names, in an error

// fields is a JSON object that grows out of names and texts.
type fields struct {
	value   *registry.Value // describes the object; nil where nothing is known
	lenient bool            // names of no field are left out
	obj     map[string]any
}

// parseFields returns the object that a query or form is.
func parseFields(v *registry.Value, query, where string) (map[string]any, error) {
	pairs, err := parsePairs(query, where)
	if err != nil {
		return nil, err
	}
	f := fields{value: v}
	err = f.addAll(pairs)
	return f.obj, err
}

// parsePairs reads pairs as url.ParseQuery does, and keeps their order.
func parsePairs(query, where string) ([]pair, error) {
	if query == "" {
		return nil, nil
	}
	if n := strings.Count(query, "&") + 1; n > maxPairs {
		return nil, badRequest(fmt.Sprintf("the %s has more than %d names", where, maxPairs))
	}
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		if strings.Contains(part, ";") {
			return nil, badRequest("the " + where + " has a semicolon, which must be written as %3B")
		}
		name, text, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			text, err = url.QueryUnescape(text)
		}
		if err != nil {
			return nil, badRequest("the " + where + " has a bad escape in " + quote(part))
		}
		pairs = append(pairs, pair{name, text})
	}
	return pairs, nil
}

func (f *fields) addAll(pairs []pair) error {
	for _, p := range pairs {
		if err := f.add(p.name, p.text); err != nil {
			return err
		}
	}
	return nil
}

// add puts a text where its name leads.
func (f *fields) add(name, text string) error {
	if !utf8.ValidString(name) || !utf8.ValidString(text) {
		return badRequest(quote(name) + " or its value is not UTF-8")
	}
	name, many := strings.CutSuffix(name, "[]")
	path, v, err := f.resolve(name)
	if err != nil || path == nil {
		return err
	}
	typ, list := elementType(v)
	if many && !list && typ != "" {
		return badRequest(fmt.Sprintf("%s takes one %s, not a list", quote(name), typ))
	}
	value, err := convert(name, typ, text)
	if err != nil {
		return err
	}
	at, last, err := f.enter(path, name)
	if err != nil {
		return err
	}
	switch have := at[last].(type) {
	case nil:
		at[last] = value
		if many || list {
			at[last] = []any{value}
		}
	case []any:
		at[last] = append(have, value)
	case map[string]any:
		return conflict(name)
	default:
		if typ != "" {
			return badRequest(fmt.Sprintf("%s is there more than once, and takes one %s", quote(name), typ))
		}
		at[last] = []any{have, value}
	}
	return nil
}

// resolve returns the names of the fields that a name leads through, as the
// service announced them, and what describes the last. There are none for a
// name that is left out.
func (f *fields) resolve(name string) (path []string, v *registry.Value, err error) {
	var ok bool
	if path, ok = splitName(name); !ok {
		return nil, nil, badRequest(quote(name) + " is no name of a field; write a.b or a[b]")
	}
	if len(path) > maxNesting {
		return nil, nil, badRequest(fmt.Sprintf("%s is nested deeper than %d", quote(name), maxNesting))
	}
	v = f.value
	for i, seg := range path {
		if i > 0 && v != nil && (isScalar(v.Type) || isList(v.Type)) {
			return nil, nil, badRequest(fmt.Sprintf("%s: %s is %s and has no fields", quote(name), v.Name, v.Type))
		}
		field, all := fieldOf(v, seg)
		switch {
		case field != nil:
			path[i] = field.Name
		case all && f.lenient:
			return nil, nil, nil
		case all:
			return nil, nil, badRequest(noField(name, v))
		}
		v = field
	}
	return path, v, nil
}

// enter returns the object that holds the field at the end of a path, and the
// name of that field. Objects on the way are made.
func (f *fields) enter(path []string, name string) (at map[string]any, last string, err error) {
	if f.obj == nil {
		f.obj = map[string]any{}
	}
	at = f.obj
	for _, seg := range path[:len(path)-1] {
		switch child := at[seg].(type) {
		case nil:
			obj := map[string]any{}
			at[seg] = obj
			at = obj
		case map[string]any:
			at = child
		default:
			return nil, "", conflict(name)
		}
	}
	return at, path[len(path)-1], nil
}

func conflict(name string) error {
	return badRequest(quote(name) + " is there both with and without fields of its own")
}

// splitName returns the segments of a name: a.b and a[b] are the same.
func splitName(name string) (segs []string, ok bool) {
	for {
		end := strings.IndexAny(name, ".[]")
		if end < 0 {
			return append(segs, name), name != ""
		}
		if end == 0 || name[end] == ']' {
			return nil, false
		}
		segs = append(segs, name[:end])
		name = name[end:]
		for strings.HasPrefix(name, "[") {
			seg, rest, ok := strings.Cut(name[1:], "]")
			if !ok || seg == "" || strings.Contains(seg, "[") {
				return nil, false
			}
			segs, name = append(segs, seg), rest
		}
		if name == "" {
			return segs, true
		}
		if name[0] != '.' {
			return nil, false
		}
		name = name[1:]
	}
}

// convert returns a text as the JSON value that a type takes.
func convert(name, typ, text string) (any, error) {
	switch typ {
	case "bool":
		if text == "true" || text == "false" {
			return text == "true", nil
		}
	case "int", "int8", "int16", "int32", "int64":
		if n, err := strconv.ParseInt(text, 10, bits(typ)); err == nil {
			return n, nil
		}
	case "uint", "uint8", "uint16", "uint32", "uint64":
		if n, err := strconv.ParseUint(text, 10, bits(typ)); err == nil {
			return n, nil
		}
	case "float32", "float64":
		if _, err := strconv.ParseFloat(text, bits(typ)); err == nil && isNumber(text) {
			return json.Number(text), nil
		}
	default:
		return text, nil
	}
	return nil, badRequest(fmt.Sprintf("%s takes %s, not %s", quote(name), typ, quote(text)))
}

// bits returns the size of a number's type.
func bits(typ string) int {
	switch {
	case strings.HasSuffix(typ, "t8"):
		return 8
	case strings.HasSuffix(typ, "16"):
		return 16
	case strings.HasSuffix(typ, "32"):
		return 32
	}
	return 64 // that of int and uint, at the most
}

// isNumber says whether a text is a number in JSON.
func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || '0' <= text[0] && text[0] <= '9') && json.Valid([]byte(text))
}

// noField is the detail of the error for a name that is no field of v.
func noField(name string, v *registry.Value) string {
	names := make([]string, 0, len(v.Values))
	for _, field := range v.Values {
		if field != nil && !isInternal(field) {
			names = append(names, field.Name)
		}
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	if len(list) > maxListed {
		list = strings.ToValidUTF8(list[:maxListed], "") + "…"
	}
	return fmt.Sprintf("%s is no field of %s, which has %s", quote(name), v.Type, list)
}
