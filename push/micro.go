package push

import (
	"cmp"
	"fmt"
	"net/http"

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

// microError returns the error in an answer's header, or nil if there is none.
// The text of an error without a code is for its service's own log: it may name
// anything.
func microError(h http.Header) *refusal {
	text := mucp.Get(h, mucp.HeaderError)
	if text == "" {
		return nil
	}
	e := mucp.ParseError(text)
	if e.Code == 0 {
		return &refusal{plain: true, reason: "the service answered with an error that has no code"}
	}
	status := e.HTTPStatus()
	return &refusal{status: status, reason: fmt.Sprintf("the service answered with the error %d: %s", status, cut(cmp.Or(e.Detail, e.ID), maxDetail))}
}
