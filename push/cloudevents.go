package push

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/internal/mucp"
)

const (
	// cloudType is how the media types of all formats of CloudEvents begin.
	cloudType = "application/cloudevents"
	// typeStructured is that of an event as JSON.
	typeStructured = cloudType + "+json; charset=utf-8"
)

// identified returns a message that has an ID: the same one each time it is
// delivered.
func identified(m *broker.Message) *broker.Message {
	if m.ID != "" {
		return m
	}
	c := *m
	c.ID = hashOf(m.Topic, m.Time.UTC().Format(time.RFC3339Nano), string(m.Body))
	return &c
}

// hashOf returns an ID for a list of texts that no other list has.
func hashOf(texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(text))) // a hash takes everything
		h.Write([]byte(text))
	}
	return hex.EncodeToString(h.Sum(nil)[:16]) // what a command line takes for no flag
}

// cloudEvent returns the header and body of a message as a CloudEvent over HTTP.
// It goes in binary mode where it can: the body is then the message's own. The
// escapes that an attribute may need there not all receivers undo, that of
// sdk-go among them; an event with such an attribute goes as JSON.
func cloudEvent(m *broker.Message) (http.Header, []byte) {
	h := make(http.Header)
	follow(h, m.Header)
	kind := contentType(m.Header)
	attributes := attributesOf(m.Header)
	switch {
	case strings.HasPrefix(mucp.MediaType(kind), cloudType): // in whichever format
		h.Set("Content-Type", kind)
		return h, m.Body
	case attributes != nil:
	case isEvent(kind, m.Body):
		h.Set("Content-Type", typeStructured)
		return h, m.Body
	default:
		attributes = wrapped(m)
	}
	if kind == "" {
		kind = attributes["datacontenttype"]
	}
	delete(attributes, "datacontenttype") // which has a header of another name
	for _, text := range attributes {
		if !isPlain(text) {
			h.Set("Content-Type", typeStructured)
			return h, inJSON(attributes, kind, m.Body)
		}
	}
	for name, text := range attributes {
		h.Set("Ce-"+name, text)
	}
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	return h, m.Body
}

// isPlain says whether a text can be the value of a header as it is, as the HTTP
// binding of CloudEvents has it.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			return false
		}
	}
	return true
}

// inJSON returns an event as JSON, with data of a content type, which may be
// empty.
func inJSON(attributes map[string]string, kind string, data []byte) []byte {
	old := attributes["specversion"] == "0.3"
	var b []byte
	add := func(name string, value []byte) {
		b = append(append(b, `,"`+name+`":`...), value...)
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		add(name, asText(attributes[name]))
	}
	if kind != "" {
		add("datacontenttype", asText(kind))
	}
	encoded := old && attributes["datacontentencoding"] != "" // by whoever made the event
	form := formOf(kind, data)
	switch {
	case len(data) == 0:
	case form == formJSON && !encoded:
		add("data", data)
	case form == formText || encoded:
		add("data", asText(string(data)))
	case old:
		add("datacontentencoding", asText("base64"))
		add("data", asText(base64.StdEncoding.EncodeToString(data)))
	default:
		add("data_base64", asText(base64.StdEncoding.EncodeToString(data)))
	}
	b[0] = '{'
	return append(b, '}')
}

// asText returns a text as a string of JSON.
func asText(text string) []byte {
	b, _ := json.Marshal(text) //nolint:errchkjson // a string cannot fail
	return b
}

// A form is what data is in an event as JSON, so that all receivers read it
// alike.
type form int

const (
	formBase64 form = iota
	formText
	formJSON
)

// formOf returns the form of data of a content type. That of a type that ends in
// +json is JSON to the standard, and a text to sdk-go.
func formOf(kind string, data []byte) form {
	switch kind = mucp.MediaType(kind); {
	case kind == "", kind == mucp.JSON, kind == "text/json":
		if json.Valid(data) && utf8.Valid(data) && len(bytes.TrimSpace(data)) == len(data) {
			return formJSON
		}
	case utf8.Valid(data) && !strings.HasSuffix(kind, "+json"):
		return formText
	}
	return formBase64
}

// wrapped returns the attributes of an event whose data is a message that is
// none.
func wrapped(m *broker.Message) map[string]string {
	a := map[string]string{
		"specversion": "1.0",
		"id":          m.ID,
		"source":      "/topics/" + url.PathEscape(m.Topic),
		"type":        "broker.message",
	}
	if !m.Time.IsZero() {
		a["time"] = m.Time.UTC().Format(time.RFC3339Nano)
	}
	return a
}

// attributesOf returns the attributes in a message's header, or nil if they are
// not those of an event.
func attributesOf(header map[string]string) map[string]string {
	a := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(header)) {
		name, ok := strings.CutPrefix(strings.ToLower(key), "ce-")
		if ok && isAttribute(name) && name != "data" { // which JSON has for another thing
			a[name] = decode(header[key])
		}
	}
	version := a["specversion"]
	if version != "1.0" && version != "0.3" || a["id"] == "" || a["source"] == "" || a["type"] == "" {
		return nil
	}
	return a
}

func isAttribute(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// isEvent says whether a body is an event as JSON that does not say so in its
// content type: subscribers of go-micro know no other for JSON.
func isEvent(kind string, body []byte) bool {
	if mucp.MediaType(kind) != mucp.JSON || !bytes.Contains(body, []byte("specversion")) {
		return false
	}
	var members map[string]json.RawMessage // by exact names, which a struct's are not
	if json.Unmarshal(body, &members) != nil {
		return false
	}
	text := func(name string) string {
		var s string
		if json.Unmarshal(members[name], &s) != nil {
			return ""
		}
		return s
	}
	version := text("specversion")
	return (version == "1.0" || version == "0.3") && text("id") != "" && text("source") != "" && text("type") != ""
}

// decode returns the text that a value in a message's header stands for, as the
// handlers of package handler read it from a request: without quotes around all of
// it, and with one round of percent-decoding. Not all who publish encode: a percent
// sign that begins no escape is itself, and so is a value that would not be UTF-8.
func decode(value string) string {
	quoted := unquote(value)
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		c := quoted[i]
		if c == '%' && i+2 < len(quoted) {
			if escaped, err := strconv.ParseUint(quoted[i+1:i+3], 16, 8); err == nil {
				c = byte(escaped)
				i += 2
			}
		}
		b.WriteByte(c)
	}
	if text := b.String(); utf8.ValidString(text) {
		return text
	}
	return value
}

// unquote returns what is within double quotes, or else the value itself.
func unquote(value string) string {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value
	}
	inner, escaped := value[1:len(value)-1], false
	var b strings.Builder
	for _, c := range []byte(inner) {
		if !escaped && c == '"' {
			return value // there is more than one quoted text
		}
		escaped = !escaped && c == '\\'
		if !escaped {
			b.WriteByte(c)
		}
	}
	if escaped {
		return value // the last quote is not the end
	}
	return b.String()
}

// follow copies those headers of a message that go with it in every protocol:
// they tell which request it comes from.
func follow(h http.Header, header map[string]string) {
	for _, name := range []string{"X-Request-Id", "Traceparent", "Tracestate"} {
		if value := valueOf(header, name); value != "" {
			h.Set(name, value)
		}
	}
}

func contentType(header map[string]string) string { return valueOf(header, "Content-Type") }

// valueOf returns a value in a message's header, whatever the case of its name.
// Of several, the first by name counts.
func valueOf(header map[string]string, name string) string {
	if value, ok := header[name]; ok {
		return value
	}
	for _, key := range slices.Sorted(maps.Keys(header)) {
		if strings.EqualFold(key, name) {
			return header[key]
		}
	}
	return ""
}
