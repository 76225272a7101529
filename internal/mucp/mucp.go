// Package mucp holds the framing and headers of go-micro's RPC over HTTP/1.1,
// for the rooms that speak it.
//
// A call is a POST whose headers name the method and whose body is the message,
// as the content type says; see [Codec] for how it is framed. The answer's
// status is 200, errors included: these are text in a header; see [ParseError].
// Services echo every header of the request in the answer.
//
// A stream has a connection of its own. Its messages are calls and answers with
// HeaderStream, which are not paired: each side sends as many as it likes. The
// first call begins the stream, and its message is not read; [EndOfStream]
// says that a side sends no more.
//
// All of it comes from outside. What cannot be read is an error, and nothing is
// allocated because a length field says so.
package mucp

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Header names of a call and its answer. Old services (v0, v1.0) know them
// with "X-" in front, and every service accepts that.
const (
	HeaderService  = "Micro-Service"
	HeaderEndpoint = "Micro-Endpoint"
	HeaderMethod   = "Micro-Method" // the older name of Micro-Endpoint
	HeaderID       = "Micro-Id"
	HeaderStream   = "Micro-Stream"
	HeaderError    = "Micro-Error"
	HeaderTopic    = "Micro-Topic"
	HeaderTimeout  = "Timeout" // of the handler, in nanoseconds
)

// EndOfStream is the error that ends a stream well: a service's last message,
// and the caller's when it sends no more.
const EndOfStream = "EOS"

// legacyPrefix stands before the headers of old services.
const legacyPrefix = "X-"

// Get returns a header in its current form, or else in its old one. The name
// is one of the constants.
func Get(h http.Header, name string) string {
	if v := h.Get(name); v != "" {
		return v
	}
	return h.Get(legacyPrefix + name)
}

// Set sets a header in both its forms, as answers have it.
func Set(h http.Header, name, value string) {
	h.Set(name, value)
	h.Set(legacyPrefix+name, value)
}

// FormatTimeout returns the value of the Timeout header.
func FormatTimeout(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }

// ParseTimeout reads the value of the Timeout header. What is not a positive
// number of nanoseconds is no timeout.
func ParseTimeout(s string) (time.Duration, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return time.Duration(n), err == nil && n > 0
}

// Metadata adds md to the headers of a call, without what is [Reserved] or
// cannot stand in a header.
func Metadata(h http.Header, md map[string]string) {
	for name, value := range md {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			continue
		}
		if name = http.CanonicalHeaderKey(name); !Reserved(name) {
			h[name] = []string{value}
		}
	}
}

// Reserved says that a header belongs to the protocol or the connection, and
// does not travel as metadata: services obey those that start with Micro-, and
// echo the others into their answer, where they would break it. The name is in
// canonical form.
func Reserved(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Host", "Expect", "Proxy", "Accept", "Accept-Encoding",
		"Content-Type", "Content-Length", "Content-Encoding", HeaderTimeout:
		return true
	}
	return strings.HasPrefix(strings.TrimPrefix(name, legacyPrefix), "Micro-") || strings.HasPrefix(name, "Grpc-")
}
