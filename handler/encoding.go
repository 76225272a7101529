package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// An encoding is how the body of a request is encoded, and its answer with it.
type encoding struct {
	// message is the content type that the service is called with.
	message string
	// reply is the content type of the answer.
	reply string
	// form says that the body is pairs, as in a query.
	form bool
	// wrap frames a reply as the request was. Nil is no frame.
	wrap func(reply []byte) ([]byte, error)
}

const typeForm = "application/x-www-form-urlencoded"

// takenTypes is what a client may send, for the error that says so.
const takenTypes = "application/json, application/json-rpc, application/protobuf, application/proto-rpc or " + typeForm

var errNotJSON = errors.New("handler: not JSON")

// isJSON says that a message is JSON, which is UTF-8.
func isJSON(msg []byte) bool { return json.Valid(msg) && utf8.Valid(msg) }

// notJSON is the error for a message of a service that is not.
func notJSON(service string) error {
	return goapi.NewError(http.StatusBadGateway, "service "+service+" was called in "+mucp.JSON+", and answered with something else", errNotJSON)
}

// jsonEncoding is that of a request which says nothing else.
func jsonEncoding() encoding { return encoding{message: mucp.JSON, reply: mucp.JSON} }

// encodingOf returns the encoding that a request's headers say.
func encodingOf(h http.Header) (encoding, error) {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return encoding{}, goapi.NewError(http.StatusUnsupportedMediaType, "a call takes no Content-Encoding, and the body has "+quote(coding), nil)
	}
	contentType := h.Get("Content-Type")
	if contentType == "" || contentType == mucp.JSON {
		return jsonEncoding(), nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		mediaType = ""
	}
	switch mediaType {
	case mucp.JSON:
		return jsonEncoding(), nil
	case mucp.JSONRPC:
		return encoding{message: mucp.JSON, reply: mucp.JSONRPC}, nil
	case mucp.Protobuf, "application/x-protobuf", "application/proto", "application/octet-stream", mucp.ProtoRPC:
		return encoding{message: mucp.Protobuf, reply: mediaType}, nil
	case typeForm:
		return encoding{message: mucp.JSON, reply: mucp.JSON, form: true}, nil
	}
	// The bodies of application/grpc+json are frames of another protocol.
	if strings.HasSuffix(mediaType, "+json") && !strings.HasPrefix(mediaType, "application/grpc") {
		return jsonEncoding(), nil
	}
	return encoding{}, goapi.NewError(http.StatusUnsupportedMediaType,
		"a call takes "+takenTypes+", not "+quote(contentType), nil)
}

// replyOf returns what a service replied as the client gets it. A reply that is
// not JSON does not get the content type of JSON; an empty one says nothing.
func (e *encoding) replyOf(service string, reply []byte) ([]byte, error) {
	switch {
	case e.message == mucp.JSON && len(reply) > 0 && !isJSON(reply):
		return nil, notJSON(service)
	case e.wrap == nil:
		return reply, nil
	}
	framed, err := e.wrap(reply)
	if err != nil {
		return nil, goapi.NewError(http.StatusBadGateway, fmt.Sprintf("service %s did not reply in %s", service, e.message), err)
	}
	return framed, nil
}

// unwrap returns the message within a body, and remembers how to frame the
// reply.
func (e *encoding) unwrap(body []byte) ([]byte, error) {
	switch e.reply {
	case mucp.JSONRPC:
		return e.unwrapJSON(body)
	case mucp.ProtoRPC:
		return e.unwrapProto(body)
	}
	return body, nil
}

// unwrapJSON returns the first of the params, or the params themselves if they
// are an object. The id comes back as it is.
func (e *encoding) unwrapJSON(body []byte) ([]byte, error) {
	if err := checkJSON(body, "body"); err != nil {
		return nil, err
	}
	var call struct {
		ID     json.RawMessage `json:"id"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(body, &call); err != nil {
		return nil, goapi.NewError(http.StatusBadRequest, "the body is no json-rpc call: it is an object with id, method and params", err)
	}
	if call.ID == nil {
		call.ID = json.RawMessage("null")
	}
	e.wrap = func(reply []byte) ([]byte, error) {
		reply = bytes.TrimSpace(reply)
		if len(reply) == 0 {
			reply = []byte("null")
		}
		return bytes.Join([][]byte{[]byte(`{"id":`), call.ID, []byte(`,"result":`), reply, []byte(",\"error\":null}\n")}, nil), nil
	}
	params := bytes.TrimSpace(call.Params)
	if len(params) == 0 || params[0] != '[' {
		return params, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(params, &list); err != nil || len(list) > 1 {
		return nil, goapi.NewError(http.StatusBadRequest, "the params of a json-rpc call are one message", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list[0], nil
}

func (e *encoding) unwrapProto(body []byte) ([]byte, error) {
	call, err := mucp.DecodeRequest(mucp.ProtoRPC, body)
	if err != nil {
		return nil, goapi.NewError(http.StatusBadRequest, "the body is no proto-rpc call: it is a header and a message, each with its length before it", err)
	}
	e.wrap = func(reply []byte) ([]byte, error) {
		return mucp.EncodeResponse(mucp.ProtoRPC, mucp.Frame{ID: call.ID, Method: call.Method, Message: reply})
	}
	return call.Message, nil
}
