package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// maxAttributes bounds the attributes of an event.
const maxAttributes = 100

// A cloudEvent is a valid event.
type cloudEvent struct {
	*ce.Event

	came []byte // in JSON that can be passed on as it came; nil if it cannot
}

// attributes are those of an event as they came: each a string, bool or int32.
type attributes map[string]any

// eventData is the data of an event.
type eventData struct {
	bytes  []byte
	base64 bool // what the JSON format writes as data_base64
}

// badAttribute is the error for an event that is not valid. The name is that of
// one of its attributes, or "data".
func badAttribute(name, reason string) error {
	return badRequest("invalid CloudEvent: " + name + ": " + reason)
}

// newEvent returns an event of CloudEvents 1.0, with attributes of that or of
// 0.3.
func newEvent(a attributes, data *eventData) (*ce.Event, error) {
	if len(a) > maxAttributes {
		return nil, badRequest(fmt.Sprintf("invalid CloudEvent: it has more than %d attributes", maxAttributes))
	}
	version, err := a.version()
	if err != nil {
		return nil, err
	}
	if version == ce.CloudEventsVersionV03 {
		if err := a.convert(); err != nil {
			return nil, err
		}
	}
	c := &ce.EventContextV1{}
	var room [16]string
	names := slices.AppendSeq(room[:0], maps.Keys(a))
	slices.Sort(names)
	for _, name := range names {
		if err := setAttribute(c, name, a[name]); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"id", "source", "type"} {
		if _, ok := a[name]; !ok {
			return nil, badAttribute(name, "it is missing")
		}
	}
	e := &ce.Event{Context: c}
	if data != nil {
		e.DataEncoded, e.DataBase64 = data.bytes, data.base64
	}
	return e, validate(e)
}

// validate returns what the library still finds wrong with an event.
func validate(e *ce.Event) error {
	err := e.Validate()
	var faults ce.ValidationError
	if !errors.As(err, &faults) {
		return err
	}
	name := slices.Min(slices.Collect(maps.Keys(faults)))
	return badAttribute(quoteName(name), "its value is not as CloudEvents want it")
}

// version returns the version of CloudEvents that an event says it is of.
func (a attributes) version() (string, error) {
	switch v := a["specversion"].(type) {
	case nil:
		return "", badAttribute("specversion", "it is missing")
	case string:
		if v == ce.CloudEventsVersionV1 || v == ce.CloudEventsVersionV03 {
			return v, nil
		}
		return "", badAttribute("specversion", quote(v)+" is neither 1.0 nor 0.3")
	}
	return "", badAttribute("specversion", "it is no string")
}

// convert makes the attributes of 0.3 those of 1.0. The data is decoded already.
func (a attributes) convert() error {
	a["specversion"] = ce.CloudEventsVersionV1
	delete(a, "datacontentencoding")
	if _, ok := a["dataschema"]; ok {
		return badAttribute("dataschema", "events of 0.3 have it as schemaurl")
	}
	schema, ok := a["schemaurl"]
	if !ok {
		return nil
	}
	text, ok := schema.(string)
	if !ok {
		return badAttribute("schemaurl", "it is no string")
	}
	switch u := parseURI(text); {
	case u == nil:
		return badAttribute("schemaurl", quote(text)+" is no URI-reference")
	case u.IsAbs(): // else it stays an extension: dataschema is never relative
		delete(a, "schemaurl")
		a["dataschema"] = text
	}
	return nil
}

// setAttribute sets an attribute of an event, if it is valid.
func setAttribute(c *ce.EventContextV1, name string, value any) error {
	if err := checkName(name); err != nil {
		return err
	}
	text, isText := value.(string)
	if isText {
		if reason := textFault(text); reason != "" {
			return badAttribute(name, reason)
		}
	}
	switch name {
	case "specversion":
		return nil
	case "id", "source", "type", "subject", "time", "dataschema", "datacontenttype":
	default:
		if err := c.SetExtension(name, value); err != nil {
			return badAttribute(name, "it is no extension that CloudEvents allow")
		}
		return nil
	}
	if !isText {
		return badAttribute(name, "it is no string")
	}
	if text == "" {
		return badAttribute(name, "it is empty")
	}
	if reason := setText(c, name, text); reason != "" {
		return badAttribute(name, quote(text)+" is no "+reason)
	}
	return nil
}

// setText sets an attribute that CloudEvents define. It returns what the text
// is not.
func setText(c *ce.EventContextV1, name, text string) (not string) {
	switch name {
	case "id":
		c.ID = text
	case "type":
		c.Type = text
	case "subject":
		c.Subject = &text
	case "source":
		u := parseURI(text)
		if u == nil {
			return "URI-reference"
		}
		c.Source = types.URIRef{URL: *u}
	case "dataschema":
		u := parseURI(text)
		if u == nil || !u.IsAbs() {
			return "absolute URI"
		}
		c.DataSchema = &types.URI{URL: *u}
	case "time":
		t, ok := parseTime(text)
		if !ok {
			return "timestamp as of RFC 3339"
		}
		c.Time = &types.Timestamp{Time: t}
	case "datacontenttype":
		if _, _, err := mime.ParseMediaType(text); err != nil || strings.TrimSpace(text) != text {
			return "media type"
		}
		c.DataContentType = &text
	}
	return ""
}

// parseTime returns the time that a text is, as of RFC 3339. It is not ok for what
// is none, or has no such text in UTC, where its year may be another.
func parseTime(text string) (t time.Time, ok bool) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil { // as nearly never
		t, ok = parseRareTime(strings.ToUpper(text))
		if !ok {
			return time.Time{}, false
		}
	}
	year := t.UTC().Year()
	return t, year >= 0 && year <= 9999
}

// parseRareTime takes a leap second at the end of a month as well, for the second
// after it.
func parseRareTime(text string) (t time.Time, ok bool) {
	const minute, second = len("2006-01-02T15:04"), len("2006-01-02T15:04:05")
	leap := len(text) > second && text[minute:second] == ":60"
	if leap {
		text = text[:minute] + ":59" + text[second:]
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !leap {
		return t, err == nil
	}
	t = t.Add(time.Second).UTC()
	month := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return t, t.Sub(month) < time.Second
}

// checkName returns the error for a name that no attribute has.
func checkName(name string) error {
	switch {
	case !isName(name):
		return badAttribute(quote(name), "a name is of lower-case letters and digits")
	case name == "data":
		return badAttribute(name, "it is no name of an attribute")
	}
	return nil
}

func isName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// quoteName returns a name as it may stand in an error.
func quoteName(name string) string {
	if isName(name) || name == "data_base64" {
		return name
	}
	return quote(name)
}

// textFault returns what is wrong with the text of an attribute, or "".
func textFault(text string) string {
	switch {
	case isPrintableASCII(text): // as nearly all are
		return ""
	case !utf8.ValidString(text):
		return "it is not UTF-8"
	case strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) }) >= 0:
		return "it has control characters, or what is no character, in it"
	}
	return ""
}

// parseURI returns a URI-reference, or nil for a text that is none.
func parseURI(text string) *url.URL {
	if strings.ContainsAny(text, " \"<>\\^`{|}") || !isPrintableASCII(text) {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.String() == "" {
		return nil
	}
	return u
}

// mediaType returns a content type without its parameters, or "".
func mediaType(contentType string) string {
	switch contentType {
	case "", ce.ApplicationJSON: // as nearly all are
		return contentType
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return kind
}

// isJSONType says whether a media type is JSON. Of those with a suffix, the
// library holds the data for a text.
func isJSONType(kind string) bool {
	return kind == ce.ApplicationJSON || kind == ce.TextJSON || strings.HasSuffix(kind, "+json")
}

// libraryJSON says whether the library reads and writes data of a media type as
// JSON.
func libraryJSON(kind string) bool {
	switch kind {
	case "", ce.ApplicationJSON, ce.TextJSON, ce.ApplicationCloudEventsJSON, ce.ApplicationCloudEventsBatchJSON:
		return true
	}
	return false
}

// rawData returns data that came as bytes. It goes into JSON as what it is, where
// that is the same to all readers, else as base64.
func rawData(a attributes, body []byte) *eventData {
	if len(body) == 0 {
		return nil
	}
	contentType, _ := a["datacontenttype"].(string)
	kind := mediaType(contentType)
	switch {
	case libraryJSON(kind):
		return &eventData{bytes: body, base64: !isJSON(body)}
	case isJSONType(kind):
		return &eventData{bytes: body, base64: true}
	}
	return &eventData{bytes: body, base64: !utf8.Valid(body)}
}

// requestSource returns where a request that is an event comes from.
func requestSource(r *http.Request) string {
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	return (&url.URL{Host: r.Host, Path: path}).String()
}

// asString returns the text of a string, in JSON that is valid and UTF-8.
func asString(raw json.RawMessage) (string, bool) {
	if raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var s *string
	err := json.Unmarshal(raw, &s)
	if err != nil || s == nil {
		return "", false
	}
	return *s, true
}
