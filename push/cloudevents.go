package push

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
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

// cloudType is how the media types of all formats of CloudEvents begin.
const cloudType = "application/cloudevents"

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

// cloudEvent returns the header of a message as a CloudEvent over HTTP. The body
// is the message's own.
func cloudEvent(m *broker.Message) http.Header {
	h := make(http.Header)
	follow(h, m.Header)
	kind := contentType(m.Header)
	attributes := attributesOf(m.Header)
	switch {
	case strings.HasPrefix(mucp.MediaType(kind), cloudType): // in whichever format
		h.Set("Content-Type", kind)
		return h
	case attributes != nil:
	case isEvent(kind, m.Body):
		h.Set("Content-Type", cloudType+"+json; charset=utf-8")
		return h
	default:
		attributes = wrapped(m)
	}
	for name, text := range attributes {
		setAttribute(h, name, text)
	}
	if kind == "" {
		kind = attributes["datacontenttype"]
	}
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	return h
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
		if ok && isAttribute(name) {
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

// setAttribute sets the header of an attribute. The content type of the data has
// another.
func setAttribute(h http.Header, name, text string) {
	if name != "datacontenttype" {
		h.Set("Ce-"+name, encode(text))
	}
}

// encode returns a text as the value of a header, percent-encoded as the HTTP
// binding of CloudEvents has it.
func encode(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
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
