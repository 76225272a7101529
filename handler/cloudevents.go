package handler

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
)

const (
	// cloudType is how the media types of all formats of CloudEvents begin, and
	// cloudBatch those of batches.
	cloudType  = "application/cloudevents"
	cloudBatch = "application/cloudevents-batch"

	defaultBatch = 1000
)

// A CloudEventsMode says how a CloudEvent lies in a message.
type CloudEventsMode int

const (
	// CloudEventsMicro is the event as JSON, with the Content-Type
	// application/json: subscribers of go-micro know no other for JSON.
	CloudEventsMicro CloudEventsMode = iota
	// CloudEventsStructured is the same, with the Content-Type
	// application/cloudevents+json.
	CloudEventsStructured
	// CloudEventsBinary is the event's data, with its attributes in the header,
	// as CloudEvents have it for HTTP and NATS: ce-id, ce-source, ….
	CloudEventsBinary
)

// CloudEventsOptions adjust a CloudEvents handler. A nil *CloudEventsOptions
// means all defaults.
type CloudEventsOptions struct {
	// Publish says how events are published. Default: its zero value.
	Publish PublishOptions
	// Mode says how events lie in messages. Default: CloudEventsMicro.
	Mode CloudEventsMode
	// MaxBatch bounds the events of one request. Default: 1,000.
	MaxBatch int
	// WebhookOrigins are the senders of webhooks that get permission when they
	// ask for it with OPTIONS: names of hosts, "*.example.com" for all below
	// one, "*" for all. Default: none.
	WebhookOrigins []string
	// WebhookRate is how many requests a minute such a sender gets permission
	// for. It is not enforced here. Default: any number.
	WebhookRate int
}

// CloudEvents returns a handler that publishes CloudEvents, with p, as the HTTP
// binding of CloudEvents 1.0 has them. It stands where [Event] can, and topics
// are the same; what follows the topic in a path means nothing.
//
// An event is
//
//   - structured, as application/cloudevents+json;
//   - one of a batch, as application/cloudevents-batch+json;
//   - binary, where one of the headers ce-specversion, ce-id, ce-source and
//     ce-type is there: attributes are headers, the body is the data;
//   - or else the request itself, wrapped: of type http.request, from its host
//     and path, with a new ID or that of its Idempotency-Key (see [Event]). Its
//     data is a JSON object of method, host, path, query, headers, and of body
//     if there is one: JSON if the Content-Type says so and it is, a string if it
//     is UTF-8, else body_base64.
//
// Events of CloudEvents 0.3 are converted to 1.0; a schemaurl that is relative stays
// an extension, as a dataschema cannot be. A time may be a leap second, at the end of
// a month in UTC, and is published as the second after it. An event that is not valid is 400,
// and the error names the attribute; if it is of a batch, nothing of the batch
// is published. Another format than JSON is 415.
//
// The message of an event has an ID that is made of source and id, so that one
// that is sent again is published once, for as long as the broker knows IDs. Its
// header has the headers of the request that may be published, too. The answer
// is 202 with {"id":…}, the event's id, or {"ids":[…]} for a batch, when the
// broker has taken all. Events of a batch are published in their order. Should
// one fail, those after it are not published: the answer is the error, with the
// ids of those that are.
//
// OPTIONS is not published. It is how a sender of webhooks asks for permission,
// and answered so. A request that names its sender in WebHook-Request-Origin is
// 403 if that has no permission.
func CloudEvents(p broker.Publisher, opts *CloudEventsOptions) http.Handler {
	var o CloudEventsOptions
	if opts != nil {
		o = *opts
	}
	h := &cloudEvents{
		publishing: newPublishing(p, o.Publish),
		mode:       o.Mode,
		maxBatch:   cmp.Or(o.MaxBatch, defaultBatch),
		senders:    o.WebhookOrigins,
		maxRate:    o.WebhookRate,
	}
	return goapi.HandlerFunc(h.serve)
}

type cloudEvents struct {
	*publishing

	mode     CloudEventsMode
	maxBatch int
	senders  []string // patterns, that may send webhooks
	maxRate  int
}

func (h *cloudEvents) serve(w http.ResponseWriter, r *http.Request) error {
	topic, _, err := h.topic(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodOptions {
		return h.permit(w, r)
	}
	if err := h.checkWebhook(r); err != nil {
		return err
	}
	d := h.desk()
	defer h.leave(d)
	events, batch, err := h.read(d, w, r, topic)
	if err != nil {
		return err
	}
	messages, err := h.messages(d, r, events)
	if err != nil {
		return err
	}
	ctx := h.deadline(r)
	defer ctx.cancel()
	ids := make([]string, 0, len(events))
	for i, m := range messages {
		if err := h.publish(ctx, topic, m); err != nil {
			return partly(w, r, ids, len(events), err)
		}
		ids = append(ids, events[i].ID())
	}
	if batch {
		return writeAccepted(w, r, map[string][]string{"ids": ids})
	}
	writeAcceptedID(w, r, ids[0])
	return nil
}

// read returns the events that a request is, all of them valid.
func (h *cloudEvents) read(d *desk, w http.ResponseWriter, r *http.Request, topic string) (events []*cloudEvent, batch bool, err error) {
	body, err := d.in.read(w, r, h.maxBody(r))
	if err != nil {
		return nil, false, err
	}
	mode := contentModeOf(r.Header)
	if mode != modeNone {
		if err := checkCoding(r.Header, mode); err != nil {
			return nil, false, err
		}
	}
	e := new(cloudEvent)
	switch mode {
	case modeBatch:
		events, err = eventsOfBatch(body, h.maxBatch)
		return events, true, err
	case modeStructured:
		e, err = eventOfJSON(body)
	case modeBinary:
		e.Event, err = eventOfHeader(r.Header, body)
	default:
		e.Event, err = h.wrap(d, r, topic, body)
	}
	return []*cloudEvent{e}, false, err
}

// A contentMode is one of those in which HTTP carries events.
type contentMode int

const (
	modeNone contentMode = iota
	modeBinary
	modeStructured
	modeBatch
)

// contentModeOf returns the mode of a request with this header.
func contentModeOf(h http.Header) contentMode {
	kind := strings.ToLower(strings.TrimSpace(h.Get("Content-Type")))
	switch {
	case strings.HasPrefix(kind, cloudBatch):
		return modeBatch
	case strings.HasPrefix(kind, cloudType):
		return modeStructured
	}
	for _, name := range []string{"Ce-Specversion", "Ce-Id", "Ce-Source", "Ce-Type"} {
		if h[name] != nil {
			return modeBinary
		}
	}
	return modeNone
}

// checkCoding returns an error for a body that is not readable as it is.
func checkCoding(h http.Header, mode contentMode) error {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return goapi.NewError(http.StatusUnsupportedMediaType, "the body of a CloudEvent has no Content-Encoding here: send it as it is", nil)
	}
	if len(h["Content-Type"]) > 1 {
		return badAttribute("datacontenttype", "there is more than one Content-Type")
	}
	if mode == modeBinary {
		return nil
	}
	if h.Get("Content-Type") == ce.ApplicationCloudEventsJSON { // as nearly all are
		return nil
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || kind != cloudType+"+json" && kind != cloudBatch+"+json" ||
		charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return goapi.NewError(http.StatusUnsupportedMediaType,
			quote(h.Get("Content-Type"))+" is no format of CloudEvents that is known here; use "+cloudType+"+json in UTF-8", err)
	}
	return nil
}

// messages returns events as they are published. None is one that is bound to be
// refused.
func (h *cloudEvents) messages(d *desk, r *http.Request, events []*cloudEvent) ([]*broker.Message, error) {
	if err := h.headers(d, r); err != nil {
		return nil, err
	}
	messageHeader(d.message, d.header)
	inJSON := contentModeOf(r.Header) > modeBinary
	list := make([]*broker.Message, len(events))
	for i, e := range events {
		if inJSON && h.mode == CloudEventsBinary && e.DataContentType() == "" && isJSON(e.Data()) {
			e.SetDataContentType(ce.ApplicationJSON) // which goes without saying in JSON only
		}
		header := d.message
		if i > 0 {
			header = make(map[string]string, len(d.header)+1)
			messageHeader(header, d.header)
		}
		m, err := h.message(d, e, header)
		if err == nil {
			err = h.check(m)
		}
		if err != nil {
			return nil, err
		}
		list[i] = m
	}
	return list, nil
}

// message returns an event as it is published.
func (h *cloudEvents) message(d *desk, e *cloudEvent, header map[string]string) (*broker.Message, error) {
	m := &broker.Message{ID: hashID("cloudevent", e.Source(), e.ID()), Header: header, Time: time.Now()}
	// The data of a binary event cannot be an event: it would be taken for that.
	if h.mode == CloudEventsBinary && !strings.HasPrefix(strings.ToLower(e.DataContentType()), cloudType) {
		return m, addToHeader(m, e.Event)
	}
	m.Header["Content-Type"] = ce.ApplicationJSON
	if h.mode != CloudEventsMicro {
		m.Header["Content-Type"] = ce.ApplicationCloudEventsJSON
	}
	if e.came != nil {
		m.Body = e.came
		return m, nil
	}
	start := d.out.Len() // behind those of the same batch
	if err := ce.WriteJson(e.Event, &d.out); err != nil {
		return nil, fmt.Errorf("handler: encode CloudEvent: %w", err)
	}
	m.Body = d.out.Bytes()[start:]
	return m, nil
}

// A partialAnswer is the error of a batch of which a part was published.
type partialAnswer struct {
	ID     string   `json:"id"`
	Code   int      `json:"code"`
	Detail string   `json:"detail"`
	Status string   `json:"status"`
	IDs    []string `json:"ids"` // of those that were published
}

// partly answers a request for events of which those with these ids were
// published when err came. If there are none, it returns err.
func partly(w http.ResponseWriter, r *http.Request, ids []string, all int, err error) error {
	if len(ids) == 0 {
		return err
	}
	var e *goapi.Error
	if !errors.As(err, &e) {
		e = goapi.NewError(goapi.Status(err), "the broker failed", err)
	}
	if ex := goapi.ExchangeFrom(r.Context()); ex != nil {
		ex.Err = err
	}
	body, err := json.Marshal(partialAnswer{
		ID: e.ID, Code: e.Code, Status: http.StatusText(e.Code), IDs: ids,
		Detail: fmt.Sprintf("%s; the first %d of %d events were published", e.Detail, len(ids), all),
	})
	if err != nil {
		return fmt.Errorf("handler: encode ids: %w", err)
	}
	maps.Copy(w.Header(), e.Header)
	writeBody(w, r, e.Code, body)
	return nil
}

// wrap returns the event that a request is which carries none.
func (h *cloudEvents) wrap(d *desk, r *http.Request, topic string, body []byte) (*ce.Event, error) {
	if err := h.headers(d, r); err != nil {
		return nil, err
	}
	id, err := h.keyedID(r, topic)
	if err != nil {
		return nil, err
	}
	data, err := requestData(r, d.header, body)
	if err != nil {
		return nil, err
	}
	return newEvent(attributes{
		"specversion":     ce.CloudEventsVersionV1,
		"id":              id,
		"source":          requestSource(r),
		"type":            "http.request",
		"time":            time.Now().UTC().Format(time.RFC3339Nano),
		"datacontenttype": ce.ApplicationJSON,
	}, &eventData{bytes: data})
}

// requestFacts are the data of a request that is an event.
type requestFacts struct {
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Query   map[string][]string `json:"query"`
	Headers map[string]string   `json:"headers"`
	Body    any                 `json:"body,omitempty"`
	Base64  []byte              `json:"body_base64,omitempty"`
}

// requestData returns the data of the event that a request is. The header is what
// is published of the request's.
func requestData(r *http.Request, header http.Header, body []byte) ([]byte, error) {
	if notUTF8(r.URL.Path) || notUTF8(r.Host) || notUTF8(r.Method) {
		return nil, badRequest("the method, host or path is not UTF-8")
	}
	query, err := queryValues(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	facts := requestFacts{Method: r.Method, Host: r.Host, Path: r.URL.Path, Query: query, Headers: make(map[string]string, len(header))}
	for name, values := range header {
		facts.Headers[name] = strings.Join(values, ", ")
	}
	switch {
	case len(body) == 0:
	case isJSONType(mediaType(r.Header.Get("Content-Type"))) && isJSON(body):
		facts.Body = json.RawMessage(body)
	case utf8.Valid(body):
		facts.Body = string(body)
	default:
		facts.Base64 = body
	}
	return marshalJSON(facts)
}
