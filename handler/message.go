package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

const (
	maxPairs   = 1000 // in a query or form
	maxNesting = 32   // of a name in a query or form
	maxDepth   = 1000 // of a JSON body
	maxQuoted  = 64   // bytes of what a client sent, in an error
)

// parts are what a JSON message is put together from.
type parts struct {
	value *registry.Value // describes the message; nil where nothing is known
	field string          // takes the body; empty or "*" is the whole message
	vars  []pair          // of the path
	query string
	body  []byte
	form  bool // the body is pairs, not JSON
}

// A pair is a name and a text, of a query, a form or a path.
type pair struct{ name, text string }

// jsonMessage returns the message: the variables of the path, over these the
// query, over these the body. Where there is a body alone, it passes as it is.
func jsonMessage(p *parts) ([]byte, error) {
	body := bytes.TrimSpace(p.body)
	if !p.form && len(body) > 0 {
		if err := checkJSON(body, "body"); err != nil {
			return nil, err
		}
	}
	msg, err := belowBody(p)
	if err != nil {
		return nil, err
	}
	whole := p.field == "" || p.field == "*"
	switch {
	case len(body) == 0:
	case whole && !p.form && len(msg) == 0:
		return body, nil
	case whole:
		msg, err = layBody(msg, p, body)
	default:
		msg, err = layField(msg, p, body)
	}
	if err != nil {
		return nil, err
	}
	return encodeJSON(msg)
}

// belowBody returns the part of the message that lies below the body.
func belowBody(p *parts) (map[string]any, error) {
	vars := fields{value: p.value, lenient: true}
	if err := vars.addAll(p.vars); err != nil {
		return nil, err
	}
	query, err := parseFields(p.value, p.query, "query")
	return lay(vars.obj, query), err
}

// layBody lays a body over the message.
func layBody(msg map[string]any, p *parts, body []byte) (map[string]any, error) {
	if p.form {
		form, err := parseFields(p.value, string(body), "form")
		return lay(msg, form), err
	}
	if body[0] != '{' {
		return nil, badRequest("the body is no JSON object: there is no place in it for the names of the path and the query")
	}
	return msg, layJSON(msg, p.value, body)
}

// layField lays a body over the field of the message that the endpoint names.
func layField(msg map[string]any, p *parts, body []byte) (map[string]any, error) {
	path, v, err := (&fields{value: p.value}).resolve(p.field)
	if err != nil {
		return nil, goapi.NewError(http.StatusBadGateway, "the service wants the body in the field "+quote(p.field)+", which its message does not have", err)
	}
	f := fields{obj: msg}
	at, name, err := f.enter(path, p.field)
	if err != nil {
		return nil, err
	}
	under, both := at[name].(map[string]any)
	switch {
	case p.form:
		var form map[string]any
		form, err = parseFields(v, string(body), "form")
		at[name] = lay(under, form)
	case both && body[0] == '{':
		err = layJSON(under, v, body)
	case both:
		err = badRequest("the body is no JSON object: there is no place in it for the names below " + quote(p.field))
	default:
		at[name] = json.RawMessage(body)
	}
	return f.obj, err
}

// lay lays one message over another, object by object, and returns it. Either
// may be nil.
func lay(below, above map[string]any) map[string]any {
	if below == nil {
		return above
	}
	for name, value := range above {
		obj, ok := value.(map[string]any)
		under, both := below[name].(map[string]any)
		if ok && both {
			value = lay(under, obj)
		}
		below[name] = value
	}
	return below
}

// layJSON lays a JSON object over a message. Only what both have is decoded.
func layJSON(below map[string]any, v *registry.Value, object json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return badRequest("the body is no JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		same := name
		field, _ := fieldOf(v, name)
		if field != nil && field.Name != name {
			// The client may write a field in one way here and in another there.
			if _, ok := members[field.Name]; !ok {
				same = field.Name
			}
		}
		under, both := below[same].(map[string]any)
		delete(below, same)
		if both && value[0] == '{' {
			if err := layJSON(under, field, value); err != nil {
				return err
			}
			below[name] = under
			continue
		}
		below[name] = value
	}
	return nil
}

// checkJSON returns an error unless text, which is what the client knows as
// where, is one JSON value that services can read.
func checkJSON(text []byte, where string) error {
	if len(text) == 0 {
		return badRequest("the " + where + " is empty, and not JSON")
	}
	if !json.Valid(text) {
		var (
			raw    json.RawMessage
			syntax *json.SyntaxError
			at     int64
		)
		if err := json.Unmarshal(text, &raw); errors.As(err, &syntax) {
			at = syntax.Offset
		}
		return badRequest(fmt.Sprintf("the %s is not JSON: byte %d of %d does not fit", where, at, len(text)))
	}
	if !utf8.Valid(text) {
		return badRequest("the " + where + " is not JSON: it is not UTF-8")
	}
	if isDeep(text) {
		return badRequest(fmt.Sprintf("the %s is nested deeper than %d", where, maxDepth))
	}
	return nil
}

// isDeep says whether valid JSON is nested deeper than maxDepth.
func isDeep(text []byte) bool {
	if len(text) <= 2*maxDepth {
		return false
	}
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inString = !inString
		case inString:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// encodeJSON returns the message, with the names of every object in order.
func encodeJSON(msg map[string]any) ([]byte, error) {
	if len(msg) == 0 {
		return []byte("{}"), nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(msg); err != nil {
		return nil, fmt.Errorf("handler: message: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// pathVariables returns the variables of the path that the route's pattern
// names. Without one, the pattern is that of the mux which the handler is on.
func pathVariables(rt *goapi.Route, r *http.Request) []pair {
	pattern := rt.Pattern
	if pattern == "" {
		pattern = r.Pattern
	}
	open, closing := "{", "=}"
	if strings.HasPrefix(pattern, "^") {
		open, closing = "<", ">" // (?P<name>…)
	}
	var vars []pair
	for {
		_, rest, ok := strings.Cut(pattern, open)
		end := strings.IndexAny(rest, closing)
		if !ok || end < 0 {
			return vars
		}
		name := strings.TrimSuffix(rest[:end], "...")
		if text := r.PathValue(name); text != "" {
			vars = append(vars, pair{name, text})
		}
		pattern = rest[end:]
	}
}

func badRequest(detail string) error { return goapi.NewError(http.StatusBadRequest, detail, nil) }

// quote returns what a client sent as it may stand in an error.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return strconv.Quote(s)
}
