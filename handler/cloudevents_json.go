package handler

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/goapi-dev/goapi"
)

// eventOfJSON returns the event of a structured body.
func eventOfJSON(body []byte) (*cloudEvent, error) {
	if !isJSON(body) {
		return nil, badRequest("invalid CloudEvent: the body is not JSON in UTF-8")
	}
	e, _, err := readEvent(body)
	return e, err
}

// eventsOfBatch returns the events of a batched body, of which there may be max.
// They are of one version.
func eventsOfBatch(body []byte, limit int) ([]*cloudEvent, error) {
	if !isJSON(body) {
		return nil, badRequest("invalid batch of CloudEvents: the body is not JSON in UTF-8")
	}
	rest := skipSpace(body)
	if rest[0] != '[' {
		return nil, badRequest("invalid batch of CloudEvents: the body is no array")
	}
	var (
		events []*cloudEvent
		first  string // version
	)
	for rest = skipSpace(rest[1:]); rest[0] != ']'; rest = skipSpace(bytes.TrimPrefix(rest, []byte(","))) {
		i := len(events)
		if i == limit {
			return nil, goapi.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("a batch has at most %d CloudEvents here", limit), nil)
		}
		var raw json.RawMessage
		raw, rest = cutValue(rest)
		rest = skipSpace(rest)
		e, version, err := readEvent(raw)
		if err == nil && first != "" && version != first {
			err = badAttribute("specversion", "it is not that of the first event: the events of a batch are of one version")
		}
		if err != nil {
			return nil, atIndex(i, err)
		}
		first = version
		events = append(events, e)
	}
	return events, nil
}

// atIndex says which event of a batch an error is about.
func atIndex(i int, err error) error {
	var e *goapi.Error
	if !errors.As(err, &e) {
		return err
	}
	where := *e
	where.Detail = fmt.Sprintf("event %d of the batch, counted from 0: %s", i, e.Detail)
	return &where
}

// readEvent reads an event from valid JSON, and says which version it is of.
func readEvent(raw json.RawMessage) (e *cloudEvent, version string, err error) {
	members, plain, err := readMembers(raw)
	if err != nil {
		return nil, "", err
	}
	a := make(attributes, len(members))
	for name, value := range members {
		if string(value) == "null" { // which is as good as absent
			plain = false
			continue
		}
		if name == "data" { // which is the sender's
			continue
		}
		plain = plain && bytes.IndexByte(value, '\\') < 0
		if name == "data_base64" {
			continue
		}
		if a[name], err = readAttribute(name, value); err != nil {
			return nil, "", err
		}
		plain = plain && (name != "time" || isPlainTime(value))
	}
	if version, err = a.version(); err != nil {
		return nil, "", err
	}
	data, err := readData(a, members, version)
	if err != nil {
		return nil, "", err
	}
	read, err := newEvent(a, data)
	if err != nil {
		return nil, "", err
	}
	e = &cloudEvent{Event: read}
	if _, there := members["data"]; plain && version == ce.CloudEventsVersionV1 && (!there || !data.base64) {
		e.came = raw
	}
	return e, version, nil
}

// readMembers returns the members of an object in valid JSON, and whether their
// names are plain: without escapes. One that is there twice is an error: readers
// do not agree on which counts.
func readMembers(raw json.RawMessage) (members map[string]json.RawMessage, plain bool, err error) {
	rest := skipSpace(raw)
	if rest[0] != '{' {
		return nil, false, badRequest("invalid CloudEvent: it is no JSON object")
	}
	members, plain = make(map[string]json.RawMessage, 8), true
	for rest = skipSpace(rest[1:]); rest[0] != '}'; rest = skipSpace(bytes.TrimPrefix(rest, []byte(","))) {
		var key, value json.RawMessage
		key, rest = cutValue(rest)
		name, ok := asString(key)
		if !ok {
			return nil, false, badRequest("invalid CloudEvent: it is not JSON")
		}
		if _, ok := members[name]; ok {
			return nil, false, badAttribute(quoteName(name), "it is there more than once")
		}
		plain = plain && len(name)+len(`""`) == len(key)
		value, rest = cutValue(skipSpace(skipSpace(rest)[1:])) // after the colon
		members[name] = value
		rest = skipSpace(rest)
	}
	return members, plain, nil
}

// cutValue returns the value that valid JSON begins with, and what is behind it.
func cutValue(b []byte) (value, rest []byte) {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default: // a number or word ends before what is not of it
			if depth > 0 || i+1 < len(b) && strings.IndexByte(",]} \t\r\n", b[i+1]) < 0 {
				continue
			}
		}
		if depth == 0 {
			return b[:i+1], b[i+1:]
		}
	}
	return b, nil
}

// skipSpace returns JSON without the white space that it begins with.
func skipSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// readAttribute returns the value of an attribute in JSON.
func readAttribute(name string, raw json.RawMessage) (any, error) {
	switch raw[0] {
	case '"':
		if text, ok := asString(raw); ok {
			return text, nil
		}
	case 't', 'f':
		return raw[0] == 't', nil
	case '{', '[':
		return nil, badAttribute(quoteName(name), "it is no string, boolean or integer")
	}
	n, err := strconv.ParseInt(string(raw), 10, 32)
	if err != nil {
		return nil, badAttribute(quoteName(name), "it is no integer of 32 bits")
	}
	return int32(n), nil
}

// isPlainTime says whether a value in JSON is a time that all readers know: of
// those that RFC 3339 allows, many know none in lower case and no leap seconds.
func isPlainTime(raw json.RawMessage) bool { return new(time.Time).UnmarshalJSON(raw) == nil }

// readData returns the data of an event in JSON.
func readData(a attributes, members map[string]json.RawMessage, version string) (*eventData, error) {
	raw, hasData := members["data"]
	encoded, hasBase64 := members["data_base64"]
	hasBase64 = hasBase64 && string(encoded) != "null"
	switch {
	case hasBase64 && version == ce.CloudEventsVersionV03:
		return nil, badAttribute("data_base64", "events of 0.3 have datacontentencoding instead")
	case hasBase64 && hasData:
		return nil, badAttribute("data_base64", "it is there beside data")
	case hasBase64:
		return base64Data(encoded, "data_base64")
	case !hasData:
		return nil, nil //nolint:nilnil // an event need not have data
	case version == ce.CloudEventsVersionV03 && a["datacontentencoding"] != nil:
		if err := checkEncoding(a); err != nil {
			return nil, err
		}
		return base64Data(raw, "data")
	}
	return jsonData(a, raw)
}

// jsonData returns data that stands in JSON as it is.
func jsonData(a attributes, raw json.RawMessage) (*eventData, error) {
	contentType, _ := a["datacontenttype"].(string)
	kind := mediaType(contentType)
	if libraryJSON(kind) {
		return &eventData{bytes: raw}, nil
	}
	if text, ok := asString(raw); ok {
		return &eventData{bytes: []byte(text)}, nil
	}
	switch {
	case isJSONType(kind):
		return &eventData{bytes: raw, base64: true}, nil
	case string(raw) == "null":
		return nil, nil //nolint:nilnil // an event need not have data
	}
	return nil, badAttribute("data", "it is no string, though its datacontenttype is not JSON")
}

// base64Data returns data that is base64 in a JSON string.
func base64Data(raw json.RawMessage, name string) (*eventData, error) {
	text, ok := asString(raw)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ok {
		return nil, badAttribute(name, "it is no string of base64")
	}
	return &eventData{bytes: data, base64: true}, nil
}

// checkEncoding returns an error for data of an event of 0.3 in an encoding that
// is not known.
func checkEncoding(a attributes) error {
	if text, ok := a["datacontentencoding"].(string); !ok || !strings.EqualFold(text, ce.Base64) {
		return badAttribute("datacontentencoding", "it is not base64")
	}
	return nil
}
