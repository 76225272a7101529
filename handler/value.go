package handler

import (
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

// maxFields is how many fields a message may have to be known by them: each name
// of a query is looked for among all.
const maxFields = 1000

// fieldOf returns what describes a field of a message, or nil. Exact names go
// first; else case and underscores make no difference. All says that the
// message has no other fields than those announced.
//
// Services of go-micro v1 and v2 announce also what is internal to generated
// types, and name a field without a JSON name after its type: then the message
// has fields that are not known.
func fieldOf(message *registry.Value, name string) (field *registry.Value, all bool) {
	if message == nil || len(message.Values) == 0 || len(message.Values) > maxFields {
		return nil, false
	}
	generated := slices.ContainsFunc(message.Values, func(v *registry.Value) bool { return v != nil && v.Name == "MessageState" })
	all = true
	for _, v := range message.Values {
		switch {
		case v == nil || isInternal(v):
		case v.Name == v.Type:
			all = all && generated && v.Type == "int32" // the size of a generated message
		case v.Name == name:
			return v, true
		case field == nil && isAlike(v.Name, name):
			field = v
		}
	}
	return field, all
}

// isInternal says whether a value is no field of a message.
func isInternal(v *registry.Value) bool {
	switch v.Name {
	case "-", "MessageState", "unknownFields", "sizeCache":
		return true
	}
	return strings.HasPrefix(v.Name, "XXX_")
}

// isAlike says whether two names differ in case and underscores only, as
// snake_case and camelCase do.
func isAlike(a, b string) bool {
	for {
		a, b = strings.TrimLeft(a, "_"), strings.TrimLeft(b, "_")
		if a == "" || b == "" {
			return a == b
		}
		if lower(a[0]) != lower(b[0]) {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// elementType returns the type of one value of a field, and whether the field
// takes a list of them. It is empty where nothing is known.
func elementType(v *registry.Value) (typ string, list bool) {
	if v == nil {
		return "", false
	}
	if isList(v.Type) {
		return v.Type[2:], true
	}
	return v.Type, false
}

// isList says whether a type is a list; bytes are a text.
func isList(typ string) bool {
	return strings.HasPrefix(typ, "[]") && typ != "[]uint8" && typ != "[]byte"
}

// isScalar says whether a type has no fields.
func isScalar(typ string) bool {
	switch typ {
	case "string", "bool", "[]uint8", "[]byte",
		"int", "int8", "int16", "int32", "int64",
		"uint", "uint8", "uint16", "uint32", "uint64",
		"float32", "float64":
		return true
	}
	return false
}
