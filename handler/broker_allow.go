package handler

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// notAllowed returns the error for what was to be done with a topic or group
// that is not listed.
func notAllowed(what, name string) error {
	return goapi.NewError(http.StatusForbidden, what+" "+quote(name)+" is not allowed here: the operator has not listed it", nil)
}

// refused returns an error of what package broker itself has looked at: its
// text is for clients.
func refused(err error) error {
	return goapi.NewError(http.StatusBadRequest, strings.TrimPrefix(err.Error(), "broker: "), err)
}

// BrokerHeader says which of a request's headers are published. What is for one
// hop or about the request alone, and Micro-*, never are. The case of names has
// no meaning.
type BrokerHeader struct {
	// Allow lists those that are published, credentials and where a request came
	// from (X-Forwarded-*, X-Real-Ip, Forwarded) too. Default: all but these.
	// Credentials are headers whose name has auth, cookie, token, jwt, assertion,
	// secret, passw, apikey, session, credential, signature or dpop in it, or one
	// of the words key, sid and otp; but not the Idempotency-Key.
	Allow []string
	// Deny lists those that are not, whatever Allow has. Default: none.
	Deny []string
}

// Publishes says whether a header of that name is published by the handler Broker,
// which takes the rest for the request's own.
func (o BrokerHeader) Publishes(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
	return name != "" && name != "Accept" && name != "Host" && o.filter().keeps(name)
}

func (o BrokerHeader) filter() headerFilter {
	return headerFilter{allow: nameSet(o.Allow), deny: nameSet(o.Deny)}
}

// nameSet returns names in canonical form; nil for none.
func nameSet(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))] = true
	}
	return set
}

// A headerFilter picks what is published of a request's headers.
type headerFilter struct{ allow, deny map[string]bool }

// keeps says whether a header is published. Its name is in canonical form.
func (f headerFilter) keeps(name string) bool {
	switch {
	case reserved(name), ofRequest(name), f.deny[name]:
		return false
	case f.allow != nil:
		return f.allow[name]
	}
	return !credential(name)
}

// ofRequest says that a header is about how the request travels, and nothing to
// those who receive the message.
func ofRequest(name string) bool {
	switch name {
	case "Content-Length", "Expect", "Origin", "Accept-Encoding", "Via":
		return true
	}
	return strings.HasPrefix(name, "Sec-Websocket-") || strings.HasPrefix(name, "Sec-Fetch-")
}

// credential says that a header lets whoever reads it act as the client.
func credential(name string) bool {
	switch name {
	case "Idempotency-Key":
		return false
	case "Accept", "Accept-Language", "Cache-Control", "Content-Encoding", "Content-Type", "Date", "Pragma", "Priority", "Referer",
		"Traceparent", "Tracestate", "User-Agent", "X-Request-Id": // nearly all have no other
		return false
	}
	name = strings.ToLower(name)
	parts := []string{"auth", "cookie", "token", "jwt", "assertion", "secret", "passw", "apikey", "session", "credential", "signature", "dpop"}
	if slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(name, part) }) {
		return true
	}
	for word := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '-' || c == '_' || c == '.' }) {
		if word == "key" || word == "sid" || word == "otp" {
			return true
		}
	}
	return false
}
