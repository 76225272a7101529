package handler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/proto"
)

// eventRoom is what an event holds beside its data, about.
const eventRoom = 512

// EventOptions adjust an Event handler. A nil *EventOptions means all defaults.
type EventOptions struct {
	// Publish says how requests are published. Default: its zero value.
	Publish PublishOptions
	// Protobuf says that events are published as protobuf. Default: JSON.
	// Subscribers of go-micro that take a go.api.Event read either.
	Protobuf bool
}

// Event returns a handler that publishes any request, with p, as a go.api.Event:
// see package proto. It stands on a mount, where the path names the topic, or
// serves routes whose endpoints name one. A preflight of CORS is no request, and
// 405.
//
// # Topics
//
// A request for /topic/name is published on that topic, under that name; the
// version of /v1/topic/name is part of the topic, which is v1.topic. The name
// is all that comes after the first segment, joined with dots; so after a
// version it begins with the topic, as go-micro has it. Each segment is
// unescaped once. The path "/" is the namespace, with the name "event". What a
// mount's prefix is, [http.StripPrefix] takes away. Of a route whose endpoint
// has a topic, that is the topic, and the endpoint's name is the event's,
// whatever the path and the namespace.
//
// A topic that [broker.CheckTopic] refuses is 400: there is no way to publish
// on a wildcard. One that may not be published is 403.
//
// # Events
//
// Of the request, the event has the headers that may be published, and the body,
// or of GET and HEAD, whose body is not read, the query as JSON, each name with
// a list of its values. It has the time in seconds, and the ID of its message.
// The message has the same headers, less those that say how the request was
// sent; its Content-Type is that of the event. All of the event is UTF-8:
// another body or header is 415, another path or query 400.
//
// The answer is 202 with {"id":…}, the ID of the message, and is sent once the
// broker has the message; what that promises, the broker's Capabilities say. A
// broker that is away is 503, one that does not answer in time 504; the message
// may then have been published nevertheless. A body or message that is too
// large is 413.
//
// A request with an Idempotency-Key, of up to 255 characters, is published under
// an ID that is made of the topic, the caller and the key. So a request that is
// sent again is published once, for as long as the broker knows IDs, and no key
// hides the message of another topic or caller.
func Event(p broker.Publisher, opts *EventOptions) http.Handler {
	if opts == nil {
		opts = &EventOptions{}
	}
	h := &event{publishing: newPublishing(p, opts.Publish), contentType: mucp.JSON}
	if opts.Protobuf {
		h.contentType = mucp.Protobuf
	}
	return goapi.HandlerFunc(h.serve)
}

type event struct {
	*publishing

	contentType string // of the messages
}

func (h *event) serve(w http.ResponseWriter, r *http.Request) error {
	topic, name, err := h.topic(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodOptions && r.Header["Access-Control-Request-Method"] != nil {
		return goapi.NewError(http.StatusMethodNotAllowed, "this is no request, but a browser's question (CORS), and there is no answer here", nil)
	}
	d := h.desk()
	defer h.leave(d)
	if err := h.headers(d, r); err != nil {
		return err
	}
	id, err := h.keyedID(r, topic)
	if err != nil {
		return err
	}
	data, err := h.data(d, w, r)
	if err != nil {
		return err
	}
	now := time.Now()
	body, err := h.encode(d, name, id, now, data)
	if err != nil {
		return err
	}
	messageHeader(d.message, d.header)
	d.message["Content-Type"] = h.contentType
	m := &broker.Message{ID: id, Header: d.message, Body: body, Time: now}
	if err := h.check(m); err != nil {
		return err
	}
	ctx := h.deadline(r)
	defer ctx.cancel()
	if err := h.publish(ctx, topic, m); err != nil {
		return err
	}
	writeAcceptedID(w, r, id)
	return nil
}

// data returns what a request says beside its header.
func (h *event) data(d *desk, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !hasBody(r.Method) {
		if r.ContentLength != 0 {
			forgetBody(w)
		}
		return queryData(r.URL.RawQuery)
	}
	body, err := d.in.read(w, r, h.maxBody(r))
	if err == nil && !utf8.Valid(body) {
		err = notText("body")
	}
	return body, err
}

// queryData returns a query as JSON: lists of values by name.
func queryData(query string) ([]byte, error) {
	values, err := queryValues(query)
	if err != nil {
		return nil, err
	}
	return marshalJSON(values)
}

// queryValues returns the values of a query by their names.
func queryValues(query string) (map[string][]string, error) {
	pairs, err := parsePairs(query, "query")
	if err != nil {
		return nil, err
	}
	values := make(map[string][]string, len(pairs))
	for _, p := range pairs {
		if notUTF8(p.name) || notUTF8(p.text) {
			return nil, badRequest(quote(p.name) + " in the query, or its value, is not UTF-8")
		}
		values[p.name] = append(values[p.name], p.text)
	}
	return values, nil
}

// encode returns an event as it is published.
func (h *event) encode(d *desk, name, id string, at time.Time, data []byte) ([]byte, error) {
	if notUTF8(name) {
		return nil, badRequest("the name of the event is not UTF-8")
	}
	if h.contentType == mucp.JSON {
		d.out.Grow(len(data) + len(data)/8 + eventRoom)
		_, _ = d.out.Write(appendEvent(d.out.AvailableBuffer(), name, id, at.Unix(), d.header, data)) // never fails
		return d.out.Bytes(), nil
	}
	return protobuf.Marshal(&proto.Event{Name: name, Id: id, Timestamp: at.Unix(), Header: headerPairs(d.header), Data: string(data)})
}

// headerPairs returns headers as a message of go.api has them.
func headerPairs(header http.Header) map[string]*proto.Pair {
	pairs := make(map[string]*proto.Pair, len(header))
	for name, values := range header {
		pairs[name] = &proto.Pair{Key: name, Values: values}
	}
	return pairs
}

// marshalJSON returns v as JSON, with the characters of HTML as they are.
func marshalJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("handler: encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
