package service

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/goapi-dev/goapi/registry"
)

// maxDepth is how deep messages are described: fields of fields, as go-micro's
// services do.
const maxDepth = 3

// valueOf describes a message by its type.
func valueOf(t reflect.Type) *registry.Value {
	if m, ok := reflect.TypeAssert[proto.Message](reflect.Zero(t)); ok {
		d := m.ProtoReflect().Descriptor()
		return &registry.Value{Name: string(d.Name()), Type: string(d.Name()), Values: protoFields(d, 1)}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return &registry.Value{Name: t.Name(), Type: typeName(t), Values: structFields(t, 1)}
}

// structFields describes the fields of a struct as encoding/json has them.
func structFields(t reflect.Type, depth int) []*registry.Value {
	if depth >= maxDepth || t.Kind() != reflect.Struct || isText(t) || isOwnJSON(t) {
		return nil
	}
	var values []*registry.Value
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		typ := deref(f.Type)
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "" && typ.Kind() == reflect.Struct:
			values = append(values, structFields(typ, depth)...)
		case f.IsExported():
			if name == "" {
				name = f.Name
			}
			values = append(values, &registry.Value{Name: name, Type: typeName(typ), Values: structFields(typ, depth+1)})
		}
	}
	return values
}

// typeName returns a type as a registry has it: its kind for what is a scalar,
// its name for a message, nothing for a map.
func typeName(t reflect.Type) string {
	switch {
	case isText(t):
		return "string"
	case isOwnJSON(t):
		return t.Name()
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "[]" + typeName(deref(t.Elem()))
	case reflect.Struct:
		return t.Name()
	case reflect.Map, reflect.Interface:
		return ""
	default:
		return t.Kind().String()
	}
}

func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// isText says that JSON has a type as a string.
func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// isOwnJSON says that a type has a JSON form of its own, which is not known.
func isOwnJSON(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// protoFields describes the fields of a message by its descriptor, which knows
// of what is generated and of its oneofs.
func protoFields(d protoreflect.MessageDescriptor, depth int) []*registry.Value {
	if depth >= maxDepth {
		return nil
	}
	fields := d.Fields()
	values := make([]*registry.Value, 0, fields.Len())
	for i := range fields.Len() {
		f := fields.Get(i)
		v := &registry.Value{Name: string(f.Name()), Type: protoType(f)}
		if m := f.Message(); m != nil && !f.IsMap() && !f.IsList() && m.FullName().Parent() != "google.protobuf" {
			v.Values = protoFields(m, depth+1)
		}
		values = append(values, v)
	}
	return values
}

// protoType is typeName for a field of a message.
func protoType(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return ""
	}
	typ := protoScalar(f)
	if f.IsList() {
		return "[]" + typ
	}
	return typ
}

func protoScalar(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.StringKind, protoreflect.BoolKind:
		return f.Kind().String()
	case protoreflect.BytesKind:
		return "[]uint8"
	case protoreflect.FloatKind:
		return "float32"
	case protoreflect.DoubleKind:
		return "float64"
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return "int32"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return "int64"
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "uint32"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "uint64"
	case protoreflect.EnumKind:
		return string(f.Enum().Name())
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return string(f.Message().Name())
	}
	return ""
}
