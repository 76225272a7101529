package handler

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/goapi-dev/goapi/broker"
)

// eventOfHeader returns the event of a binary request.
func eventOfHeader(h http.Header, body []byte) (*ce.Event, error) {
	a := make(attributes)
	for name, values := range h {
		name, ok := strings.CutPrefix(name, "Ce-")
		if !ok {
			continue
		}
		name = strings.ToLower(name)
		switch {
		case name == "datacontenttype":
			return nil, badAttribute(name, "a header ce-datacontenttype must not be there; it is the Content-Type")
		case len(values) != 1:
			return nil, badAttribute(quoteName(name), "its header is there more than once")
		}
		if a[name], ok = decodeValue(values[0]); !ok {
			return nil, badAttribute(quoteName(name), "its header is not UTF-8, percent-encoded")
		}
	}
	if kind := h.Get("Content-Type"); kind != "" {
		a["datacontenttype"] = kind
	}
	version, err := a.version()
	if err != nil {
		return nil, err
	}
	if version == ce.CloudEventsVersionV03 && a["datacontentencoding"] != nil {
		if body, err = decodeBody(a, body); err != nil {
			return nil, err
		}
	}
	return newEvent(a, rawData(a, body))
}

// decodeBody returns the data that a body of an event of 0.3 encodes.
func decodeBody(a attributes, body []byte) ([]byte, error) {
	if err := checkEncoding(a); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.AppendDecode(nil, body)
	if err != nil {
		return nil, badAttribute("datacontentencoding", "the body is not base64")
	}
	return data, nil
}

// decodeValue returns the text that a header's value stands for: without quotes
// around all of it, and with one round of percent-decoding. It is not ok if that
// is not UTF-8. A percent sign that begins no escape is itself, for those who do
// not encode.
func decodeValue(value string) (text string, ok bool) {
	value = unquoteValue(value)
	if strings.Contains(value, "%") {
		var b strings.Builder
		for i := 0; i < len(value); i++ {
			if value[i] == '%' && i+2 < len(value) && isHex(value[i+1]) && isHex(value[i+2]) {
				b.WriteByte(unhex(value[i+1])<<4 | unhex(value[i+2]))
				i += 2
				continue
			}
			b.WriteByte(value[i])
		}
		value = b.String()
	}
	return value, utf8.ValidString(value)
}

// unquoteValue returns what is within double quotes, or else the value itself.
func unquoteValue(value string) string {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value
	}
	var b strings.Builder
	for i, end := 1, len(value)-1; i < end; i++ {
		switch value[i] {
		case '"':
			return value // there is more than one quoted text
		case '\\':
			if i++; i == end {
				return value // the last quote is not the end
			}
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// encodeValue returns a text as the value of a header.
func encodeValue(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}

// addToHeader makes a message carry an event in binary mode.
func addToHeader(m *broker.Message, e *ce.Event) error {
	if _, err := binding.Write(context.Background(), binding.ToMessage(e), nil, messageWriter{m}); err != nil {
		return fmt.Errorf("handler: encode CloudEvent: %w", err)
	}
	return nil
}

// A messageWriter takes the parts of an event. The content type of the data is
// there twice: HTTP knows the one, and NATS the other.
type messageWriter struct{ m *broker.Message }

var _ binding.BinaryWriter = messageWriter{}

// Start implements binding.BinaryWriter.
func (messageWriter) Start(context.Context) error { return nil }

// End implements binding.BinaryWriter.
func (messageWriter) End(context.Context) error { return nil }

// SetAttribute implements binding.BinaryWriter.
func (w messageWriter) SetAttribute(a spec.Attribute, value any) error {
	if a.Kind() == spec.DataContentType {
		w.m.Header["Content-Type"], _ = value.(string)
	}
	return w.SetExtension(a.Name(), value)
}

// SetExtension implements binding.BinaryWriter.
func (w messageWriter) SetExtension(name string, value any) error {
	text, err := types.Format(value)
	if err != nil {
		return err
	}
	w.m.Header["ce-"+name] = encodeValue(text)
	return nil
}

// SetData implements binding.BinaryWriter.
func (w messageWriter) SetData(data io.Reader) error {
	var err error
	w.m.Body, err = io.ReadAll(data)
	return err
}
