package push

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// maxDetail bounds what a service says of an error, in bytes.
const maxDetail = 200

// microEvent returns the header of a message as an event of go-micro. The body
// is the message's own.
func microEvent(m *broker.Message) http.Header {
	h := make(http.Header)
	follow(h, m.Header)
	for name, text := range attributesOf(m.Header) {
		setAttribute(h, name, text)
	}
	h.Set(mucp.HeaderTopic, m.Topic)
	h.Set(mucp.HeaderID, m.ID)
	if kind := microType(mucp.MediaType(contentType(m.Header))); kind != "" {
		h.Set("Content-Type", kind)
	}
	return h
}

// setAttribute sets the header of an attribute, percent-encoded. The content type
// of the data has another.
func setAttribute(h http.Header, name, text string) {
	if name != "datacontenttype" {
		h.Set("Ce-"+name, encode(text))
	}
}

// encode returns a text as the value of a header, percent-encoded as the HTTP
// binding of CloudEvents has it.
func encode(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		if isPlain(text[i : i+1]) {
			b.WriteByte(text[i])
			continue
		}
		fmt.Fprintf(&b, "%%%02X", text[i])
	}
	return b.String()
}

// microType returns the content type under which subscribers of go-micro know
// another: they match it as a whole. That of gRPC is in the header of what its
// clients publish, but the body is not framed.
func microType(kind string) string {
	switch kind {
	case "application/grpc", "application/grpc+proto", "application/proto", "application/x-protobuf":
		return mucp.Protobuf
	case "application/grpc+json", cloudType + "+json":
		return mucp.JSON
	}
	return kind
}

// subscriberPrefix is how go-micro begins the detail of the error, always 500,
// in which it wraps those of its subscribers, one a line.
const subscriberPrefix = "subscriber error: "

// microError returns the error in an answer's header, or nil if there is none.
// Of several, one counts after which the message is pushed again.
func microError(h http.Header) *refusal {
	text := mucp.Get(h, mucp.HeaderError)
	if text == "" {
		return nil
	}
	e := mucp.ParseError(text)
	wrapped, ok := strings.CutPrefix(e.Detail, subscriberPrefix)
	if !ok {
		return refusalOf(e)
	}
	var counts *refusal
	for line := range strings.Lines(wrapped) {
		line = strings.TrimPrefix(strings.TrimSpace(line), subscriberPrefix)
		if r := refusalOf(mucp.ParseError(line)); counts == nil || counts.verdict() == never {
			counts = r
		}
	}
	if counts == nil {
		return refusalOf(e)
	}
	return counts
}

// refusalOf returns an error of go-micro as a refusal. The text of one without a
// code is for its service's own log: it may name anything.
func refusalOf(e *mucp.Error) *refusal {
	if e.Code == 0 {
		return &refusal{plain: true, reason: "the service answered with an error that has no code"}
	}
	status := e.HTTPStatus()
	return &refusal{status: status, reason: fmt.Sprintf("the service answered with the error %d: %s", status, cut(cmp.Or(e.Detail, e.ID), maxDetail))}
}
