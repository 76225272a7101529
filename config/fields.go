package config

import (
	"encoding"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A field is a key of the file, as the tags of a Go field say.
type field struct {
	name     string
	index    []int // of the Go field, from the struct that was asked for
	kind     reflect.Type
	doc      string   // what it is, for people
	fallback string   // what holds where the key is absent, for people
	example  string   // a value, in YAML
	enum     []string // the texts that it may be
	format   string   // a name in formats: of the text, or of each in a list or map
	keys     string   // a name in formats: of the keys of a map
	least    string   // bounds of a number, a time or a size; "" is none
	most     string
	required bool
	filled   bool // the list is not empty
	reload   bool // may change without a restart
}

// fieldsOf returns the keys of a struct in their order, those of structs that
// lie within it included.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("yaml")
		if name == "" || name == ",inline" {
			continue
		}
		fields = append(fields, field{
			name:     name,
			index:    f.Index,
			kind:     f.Type,
			doc:      f.Tag.Get("doc"),
			fallback: f.Tag.Get("default"),
			example:  f.Tag.Get("example"),
			enum:     words(f.Tag.Get("enum")),
			format:   f.Tag.Get("format"),
			keys:     f.Tag.Get("keys"),
			least:    f.Tag.Get("min"),
			most:     f.Tag.Get("max"),
			required: f.Tag.Get("required") == "true",
			filled:   f.Tag.Get("items") == "1",
			reload:   f.Tag.Get("reload") == "true",
		})
	}
	return fields
}

// isURL says whether a field holds URLs, in which passwords may be.
func (f *field) isURL() bool {
	return f.format == "url" || f.format == "collector" || strings.HasPrefix(f.format, "plugin")
}

// words splits a tag at "|".
func words(tag string) []string {
	if tag == "" {
		return nil
	}
	return strings.Split(tag, "|")
}

// names returns the names of fields.
func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.name
	}
	return list
}

// isText says whether values of a type are one text in the file.
func isText(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Bool, reflect.Float64:
		return true
	}
	return false
}

// A format is what a text has to look like.
type format struct {
	pattern string             // a regular expression, of Go and of ECMAScript
	want    string             // what to write
	also    func(string) error // what an expression cannot say; its error is what to write. Nil is nothing.
}

// formatFile is the format of a path whose file is to be there.
const formatFile = "file"

// formats returns the formats that fields name.
func formats() map[string]format {
	return map[string]format{
		"hostport": {`^([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$`, "HOST:PORT, such as 127.0.0.1:8080", port},
		"hostport or off": {`^(off|([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5})$`,
			"HOST:PORT, such as 127.0.0.1:4222, or off", port},
		"node":          {`^([A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$`, "HOST:PORT, such as 10.0.0.5:9000", port},
		"plugin":        {`^[a-z][a-z0-9+.-]*:[^\s]*$`, "a URL, such as nats://10.0.0.1:4222", nil},
		"plugin or off": {`^(off|[a-z][a-z0-9+.-]*:[^\s]*)$`, "a URL, such as nats://10.0.0.1:4222, or off", nil},
		"mount":         {`^/[^\s=?#]+=[a-z]+(\?[^\s]*)?$`, "PATH=HANDLER, such as /events=event", nil},
		"email":         {`^[^\s@]+@[^\s@]+$`, "an address such as ops@example.com", nil},
		"media type":    {`^[a-z]+/[a-z0-9.*+-]+$`, "a media type such as application/json or text/*", nil},
		"url":           {`^https?://[^\s/?#]+[^\s]*$`, "a URL that begins with https:// or http://", nil},
		"collector":     {`^(https?|grpcs?)://[^\s/?#]+[^\s]*$`, "a URL such as http://127.0.0.1:4318 or grpc://127.0.0.1:4317", nil},
		"origin":        {`^(\*|null|[a-z][a-z0-9+.-]*://[^\s/?#]+)$`, "an origin such as https://app.example.com or https://*.example.com", nil},
		"header":        {"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "the name of a header, such as X-User", nil},
		"method":        {"^[A-Z]+$", "an HTTP method in capitals, such as GET", nil},
		"name":          {`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`, "a name of letters, digits, _, - and .", nil},
		"service":       {`^[^\s\x00-\x1f\x7f]{1,255}$`, "the name of a service, such as greeter", nil},
		"match":         {`^[^\s/]*/[^\s]*$`, "PATH or HOST/PATH, such as /admin/** or api.example.com/**", nil},
		"prefix":        {`^/[^\s?#]*$`, "the start of a path, such as /api", nil},
		"domain":        {`^(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`, "the name of a host, such as api.example.com", nil},
		"authenticator": {`^(jwt|keys|basic|mtls|external)/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`,
			"KIND/NAME as identity has it, such as jwt/main", nil},
		"hash by":      {"^(none|(header|cookie):[!#$%&'*+.^_`|~0-9A-Za-z-]+)$", "header:NAME, cookie:NAME or none", nil},
		"health check": {`^(none|tcp|grpc|http:/([^\s\x00-\x1f\x7f/][^\s\x00-\x1f\x7f]*)?)$`, "tcp, grpc, http:/PATH or none", nil},
		"claim":        {`^(subject|method|scopes|claim:.+)$`, "subject, method, scopes or claim:NAME", nil},
		"rate key":     {"^(client|subject|route|claim:.+|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$", "client, subject, route, claim:NAME or header:NAME", nil},
		formatFile:     {`^[^\x00]*[^\s\x00][^\x00]*$`, "the name of a file", nil},
		"expression":   {`^.+$`, "a regular expression", nil},
		"text":         {`^[^\x00-\x1f\x7f]+$`, "a text that is not empty", nil},
		"value":        {`^[^\x00-\x08\x0a-\x1f\x7f]*$`, "a text without line breaks", nil},
	}
}

// anyOf joins words: "a, b or c".
func anyOf(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// within returns what to write instead of a number, a time or a size that is
// beyond the bounds of its field, or "".
func (f *field) within(v reflect.Value) (want string) {
	if f.least == "" && f.most == "" {
		return ""
	}
	amount := float64(0)
	switch {
	case v.CanInt():
		amount = float64(v.Int())
	case v.CanFloat():
		amount = v.Float()
	}
	tooLittle := f.least != "" && amount < bound(v.Type(), f.least)
	tooMuch := f.most != "" && amount > bound(v.Type(), f.most)
	switch {
	case !tooLittle && !tooMuch:
		return ""
	case f.most == "":
		return f.least + " or more"
	case f.least == "":
		return f.most + " or less"
	}
	return "a value from " + f.least + " to " + f.most
}

// bound reads a bound of a type.
func bound(t reflect.Type, text string) float64 {
	if t == reflect.TypeFor[Duration]() {
		d, _ := time.ParseDuration(text) // a test has seen to it that tags are right
		return float64(d)
	}
	var s Size
	if t == reflect.TypeFor[Size]() && s.UnmarshalText([]byte(text)) == nil {
		return float64(s)
	}
	n, _ := strconv.ParseFloat(text, 64) // see above
	return n
}
