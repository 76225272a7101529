package handler

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
)

const (
	defaultMaxPublish = 4 << 20
	defaultQueue      = 1024
	// defaultHeldMessages is in bytes.
	defaultHeldMessages = 256 << 20
	brokerMethods       = "GET, POST"
)

// BrokerOptions say who may do what on a broker handler, and bound it. A nil
// *BrokerOptions lets nobody do anything.
//
// Topics and groups are listed as [broker.Patterns] has them.
type BrokerOptions struct {
	// Publish lists the topics that may be published on. Default: none.
	Publish []string
	// Subscribe lists the topics that may be received. Default: none.
	Subscribe []string
	// Groups lists the groups that a subscription may join with ?queue=. Who
	// joins the group of a service takes messages away from it. Default: none.
	Groups []string
	// Header adjusts which of a request's headers are published. Default: all
	// but credentials.
	Header BrokerHeader
	// TrustedProxies and Caller are as in [PublishOptions]. Default: as there.
	TrustedProxies []netip.Prefix
	Caller         func(*http.Request) string
	// Origins are the web pages that may use the handler, as in
	// [StreamOptions]. Default: those of the requested host itself.
	Origins []string
	// MaxBody bounds the body of a message, in bytes. Default: what the broker
	// takes, at most 4 MiB.
	MaxBody int64
	// Bodies is as in [RPCOptions]. Default: as there.
	Bodies *Bodies
	// Timeout bounds publishing a message, and subscribing. Default: 30 s.
	Timeout time.Duration
	// MaxClients bounds the clients that are subscribed: further ones are
	// refused (503 with Retry-After). Default: 10,000.
	MaxClients int
	// Queue is how many messages a client may be behind the latest. One that is
	// further behind is cut off. Default: 1,024.
	Queue int
	// MaxHeld bounds the messages that are held for all clients, in bytes, in
	// all forms they are held in. Where there is no more room, the slowest
	// clients are cut off. Default: 256 MiB.
	MaxHeld int64
	// Ping and Take are as in [StreamOptions]. Default: 30 s.
	Ping, Take time.Duration
	// Done ends all subscriptions when it is closed, as in [StreamOptions].
	// Default: none.
	Done <-chan struct{}
}

func (o *BrokerOptions) orDefault(c broker.Capabilities) BrokerOptions {
	var d BrokerOptions
	if o != nil {
		d = *o
	}
	if d.MaxBody <= 0 {
		d.MaxBody = defaultMaxPublish
		if c.MaxMessage > 0 {
			d.MaxBody = min(d.MaxBody, int64(c.MaxMessage))
		}
	}
	if d.MaxClients <= 0 {
		d.MaxClients = defaultMaxStreams
	}
	if d.Queue <= 0 {
		d.Queue = defaultQueue
	}
	if d.MaxHeld <= 0 {
		d.MaxHeld = defaultHeldMessages
	}
	d.Timeout = orElse(d.Timeout, defaultEventTimeout)
	d.Ping = orElse(d.Ping, defaultPing)
	d.Take = orElse(d.Take, defaultTake)
	return d
}

// Broker returns a handler that publishes messages and hands them to clients
// over HTTP. It needs no route. Every request names its ?topic=.
//
//   - POST publishes the body, with the request's headers but for credentials.
//     The answer is 202 with {"id":"…"}, once the broker has the message; 503,
//     504 and the Idempotency-Key are as for [Event].
//   - GET as a WebSocket subscribes, and publishes each frame of the client,
//     with the Content-Type of the handshake or text/plain. Messages come as
//     text in go-micro's JSON, {"Header":{…},"Body":"base64"}, in whose header
//     Micro-Id and Micro-Topic are the message's ID and topic; with the
//     subprotocol "raw" a frame is the body, as text if it is UTF-8. A frame
//     that cannot be published ends the connection, and the close frame says
//     why.
//   - GET with "Accept: text/event-stream" subscribes. An event's data is the
//     same JSON; with ?format=raw it is the body, unless that is not text or
//     holds carriage returns: those come in JSON still, as the event "json".
//
// A subscription begins now; with ?from=earliest, ?from=TIME (as in RFC 3339)
// or ?from=POSITION, earlier, if the broker has a history. The id of an event
// is its position, and the header Last-Event-ID goes before ?from: so an
// EventSource that has lost its connection misses nothing and gets nothing
// twice once it has received an event; before, it knows no position, and begins
// again where its address says. A position that the broker does not know any
// more is 410. A time before 1970 is the earliest there is, one to come is now.
//
// With ?queue=GROUP, clients share the messages of a topic as a group. A message
// counts as received when the client is still there a quarter of a second after
// it was written. That is all that can be known: a write to a client that is
// gone succeeds until the system has heard of it, and what is cut off without a
// word may take longer than that. What a client that leaves was sent last so goes
// to the others, who may receive it again, and know it by its ID. At most 128
// messages, of 1 MiB, are on their way to a client in this sense.
//
// With ?max=N, server-sent events end after so many messages; those of a group
// have then been received.
//
// Clients that begin in the past, or in a group, have a subscription of their
// own. 64 catch up with the others at a time; further ones wait for the Timeout,
// and are then refused (503 with Retry-After).
//
// Publishers never wait for clients. One that is too far behind is cut off,
// with an event "error" whose data has "error":"slow", or with the code 1013.
func Broker(b broker.Broker, opts *BrokerOptions) http.Handler {
	o := opts.orDefault(b.Capabilities())
	h := &brokerHandler{
		broker:     b,
		opts:       o,
		pages:      (&StreamOptions{Origins: o.Origins}).pages(),
		publishing: newPublishing(b, PublishOptions{Header: o.Header, Bodies: o.Bodies, TrustedProxies: o.TrustedProxies, Caller: o.Caller}),
		held:       newBudget(defaultMaxHeld),
		publishes:  broker.NewPatterns(o.Publish...),
		receives:   broker.NewPatterns(o.Subscribe...),
		groups:     broker.NewPatterns(o.Groups...),
		hub:        newHub(b, o),
	}
	return goapi.HandlerFunc(h.serve)
}

type brokerHandler struct {
	broker                      broker.Broker
	opts                        BrokerOptions
	pages                       origins
	publishing                  *publishing
	publishes, receives, groups broker.Patterns
	hub                         *hub
	clients                     atomic.Int64 // that are subscribed
	held                        *budget      // for what they publish
}

func (h *brokerHandler) serve(w http.ResponseWriter, r *http.Request) error {
	if !h.pages.allow(r) {
		return goapi.NewError(http.StatusForbidden,
			"pages of the origin "+quote(r.Header.Get("Origin"))+" may not use the broker", nil)
	}
	switch r.Method {
	case http.MethodPost:
		return h.publish(w, r)
	case http.MethodGet:
		return h.subscribe(w, r)
	}
	err := goapi.NewError(http.StatusMethodNotAllowed, "the broker is for "+brokerMethods, nil)
	err.Header = http.Header{"Allow": {brokerMethods}}
	return err
}

// publish publishes the body of a request.
func (h *brokerHandler) publish(w http.ResponseWriter, r *http.Request) error {
	_, topic, err := readTopic(r)
	if err != nil {
		return err
	}
	if !h.publishes.Match(topic) {
		return notAllowed("publishing on", topic)
	}
	d := h.publishing.desk()
	defer h.publishing.leave(d)
	if err := h.publishing.headers(d, r); err != nil {
		return err
	}
	for name, values := range d.header {
		if name != "Accept" {
			d.message[name] = strings.Join(values, ", ")
		}
	}
	id, err := h.publishing.keyedID(r, topic)
	if err != nil {
		return err
	}
	body, err := d.in.read(w, r, h.opts.MaxBody)
	if err != nil {
		return err
	}
	if err := h.hand(r.Context(), topic, &broker.Message{ID: id, Header: d.message, Body: body}); err != nil {
		return err
	}
	writeAcceptedID(w, r, id)
	return nil
}

// hand hands a message to the broker.
func (h *brokerHandler) hand(ctx context.Context, topic string, m *broker.Message) error {
	bounded := within(ctx, h.opts.Timeout)
	defer bounded.cancel()
	return h.publishing.publish(bounded, topic, m)
}

// readTopic returns the query, and the topic in it.
func readTopic(r *http.Request, known ...string) (url.Values, string, error) {
	if topic, ok := plainTopic(r.URL.RawQuery); ok {
		return nil, topic, nil
	}
	query, err := readQuery(r, append([]string{"topic"}, known...))
	if err != nil {
		return nil, "", err
	}
	topic := query.Get("topic")
	if topic == "" && strings.Trim(r.URL.Path, "/") != "" {
		return nil, "", goapi.NewError(http.StatusNotFound, "there is nothing at "+quote(r.URL.Path)+" of the broker: give the topic as ?topic=NAME", nil)
	}
	if topic == "" {
		return nil, "", badRequest("Topic not specified: give it as ?topic=NAME")
	}
	if err := broker.CheckTopic(topic); err != nil {
		return nil, "", refused(err)
	}
	return query, topic, nil
}

// plainTopic returns the topic of a query that has nothing else, and no escape:
// nearly all who publish have such a one.
func plainTopic(query string) (topic string, ok bool) {
	topic, ok = strings.CutPrefix(query, "topic=")
	if !ok || strings.ContainsAny(topic, "%+&;=") {
		return "", false
	}
	return topic, topic != "" && broker.CheckTopic(topic) == nil
}

// brokerError returns an error of a broker as clients may see it.
func brokerError(err error) error {
	switch {
	case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrClosed):
		return unavailable("the broker cannot be reached", err)
	case errors.Is(err, broker.ErrPosition):
		return goapi.NewError(http.StatusGone,
			"the broker does not know this position, or not any more: begin with ?from=earliest, or now", err)
	case errors.Is(err, broker.ErrTopic):
		return goapi.NewError(http.StatusBadRequest, "the broker has no such topics", err)
	case errors.Is(err, broker.ErrTooLarge):
		return goapi.NewError(http.StatusRequestEntityTooLarge, "the message is larger than the broker takes", err)
	case errors.Is(err, broker.ErrMessage):
		return goapi.NewError(http.StatusBadRequest, "the broker cannot carry such a message", err)
	case errors.Is(err, broker.ErrOptions):
		return goapi.NewError(http.StatusBadRequest, "the broker has no such subscriptions", err)
	case errors.Is(err, context.DeadlineExceeded):
		return goapi.NewError(http.StatusGatewayTimeout, "the broker did not answer in time", err)
	}
	return err
}
