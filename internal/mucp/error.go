package mucp

import (
	"encoding/json"
	"net/http"
	"strings"
)

// An Error is an error as a service writes it.
type Error struct {
	// ID says where the error comes from. A plain text has none.
	ID string
	// Code is meant as an HTTP status, but services put there what they like.
	// A plain text has none: 0.
	Code int
	// Detail is for people.
	Detail string
}

// errorText is the JSON form. Since v2 services leave out what is empty.
type errorText struct {
	ID     string `json:"id"`
	Code   int32  `json:"code"`
	Detail string `json:"detail"`
	Status string `json:"status"`
}

// ParseError reads the text of an error: the JSON form of any version, or
// plain text. Of several errors that were joined into one text, the first that
// is JSON gives id and code, and the details are kept in order.
func ParseError(text string) *Error {
	text = strings.TrimSpace(text)
	e := new(Error)
	var details []string
	for text != "" {
		one, rest, ok := cutJSON(text)
		if !ok {
			details = append(details, text)
			break
		}
		if e.ID == "" && e.Code == 0 {
			e.ID, e.Code = one.ID, int(one.Code)
		}
		if one.Detail != "" {
			details = append(details, one.Detail)
		}
		text = strings.TrimSpace(rest)
	}
	e.Detail = strings.Join(details, "; ")
	if e.Detail == "" {
		e.Detail = http.StatusText(e.HTTPStatus())
	}
	return e
}

// cutJSON cuts an error in JSON form off the text.
func cutJSON(text string) (e errorText, rest string, ok bool) {
	if text[0] != '{' {
		return e, text, false
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(&e); err != nil || e == (errorText{}) {
		return e, text, false // some other text that starts with a brace
	}
	return e, text[dec.InputOffset():], true
}

// Text returns the JSON form of e, as every version reads it.
func (e *Error) Text() string {
	status := e.HTTPStatus()
	b, err := json.Marshal(errorText{
		ID: e.ID, Code: int32(status), Detail: e.Detail, Status: http.StatusText(status), //nolint:gosec // three digits
	})
	if err != nil { // four plain fields: cannot fail
		return e.Detail
	}
	return string(b)
}

// HTTPStatus returns the status that answers e: its code where that is an
// error's, else what the text is known to mean, else 500.
func (e *Error) HTTPStatus() int {
	switch {
	case e.Code >= 400 && e.Code <= 599:
		return e.Code
	case e.Code != 0:
		return http.StatusInternalServerError
	case e.Detail == "context deadline exceeded":
		return http.StatusGatewayTimeout
	case hasPrefix(e.Detail, "rpc: can't find service", "rpc: can't find method"):
		return http.StatusNotFound
	case strings.HasPrefix(e.Detail, "rpc: service/") && strings.Contains(e.Detail, "ill-formed"), isDecodeError(e.Detail):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// isDecodeError says that a text is what a service's codec says of a message
// that it cannot read. The codecs of all versions are among them.
func isDecodeError(text string) bool {
	return hasPrefix(text, "proto:", "json:", "unknown field ", "invalid character ", "cannot unmarshal ",
		"unexpected end of JSON input", "grpc: failed to unmarshal", "mucp: malformed frame")
}

func hasPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
