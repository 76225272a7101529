package handler

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
)

// maxPosition is the size of the longest position.
const maxPosition = 1 << 10

// errEnough is why a client receives no more that asked for so many messages.
var errEnough = errors.New("handler: the client has what it asked for")

// A listener is a client that receives messages. An error is that it is gone.
type listener interface {
	sender
	// write sends items, in as few pieces as it can.
	write(items []*item) error
	// end tells the client why it receives no more; nil is that it has left.
	end(err error)
}

// subscribe hands the messages of a topic to a client.
func (h *brokerHandler) subscribe(w http.ResponseWriter, r *http.Request) error {
	s := &session{opts: &StreamOptions{Ping: h.opts.Ping, Take: h.opts.Take}, w: w, r: r, ex: exchangeOf(r.Context())}
	serve := h.asEvents
	known := []string{"queue", "from"}
	switch {
	case asksWebSocket(r):
		if err := checkHandshake(r); err != nil {
			return err
		}
		serve = h.overWebSocket
	case acceptsEvents(r.Header["Accept"]):
		known = append(known, "format", "max")
	default:
		return goapi.NewError(http.StatusNotAcceptable,
			"a subscription has no end: open a WebSocket, or send the header Accept: "+typeEvents, nil)
	}
	query, topic, err := readTopic(r, known...)
	if err != nil {
		return err
	}
	opts, err := h.subscription(r, query, topic)
	if err != nil {
		return err
	}
	most, err := mostOf(query.Get("max"))
	if err != nil {
		return err
	}
	if h.clients.Add(1) > int64(h.opts.MaxClients) {
		h.clients.Add(-1)
		return unavailable("the broker has as many subscribers as the gateway takes", nil)
	}
	defer h.clients.Add(-1)
	t, err := h.hub.tail(r.Context(), topic, opts, most)
	if err != nil {
		return err
	}
	defer t.close()
	return serve(s, t, query, topic)
}

// mostOf returns how many messages ?max= asks for.
func mostOf(most string) (int, error) {
	if most == "" {
		return math.MaxInt, nil
	}
	n, err := strconv.Atoi(most)
	if err != nil || n < 1 {
		return 0, badRequest("max=" + quote(most) + " is not a number of messages, at least 1")
	}
	return n, nil
}

// acceptsEvents says whether an Accept header names server-sent events.
func acceptsEvents(accept []string) bool {
	for _, list := range accept {
		for list != "" {
			var element string
			if element, list = cutElement(list); streamType([]string{element}) == typeEvents {
				return true
			}
		}
	}
	return false
}

// subscription returns what a client asks for, if it may.
func (h *brokerHandler) subscription(r *http.Request, query url.Values, topic string) (broker.SubscribeOptions, error) {
	var none broker.SubscribeOptions
	opts := broker.SubscribeOptions{Group: query.Get("queue"), AckWait: 2 * h.opts.Take}
	if !h.receives.Match(topic) {
		return none, notAllowed("receiving", topic)
	}
	if opts.Group != "" && !h.groups.Match(opts.Group) {
		return none, notAllowed("joining the group", opts.Group)
	}
	last := r.Header.Get("Last-Event-ID")
	if last != "" && opts.Group != "" {
		return none, badRequest("a group keeps its own place: leave out Last-Event-ID")
	}
	var err error
	if last != "" {
		opts.Start = broker.Start{After: last}
	} else {
		if opts.Start, err = startOf(query.Get("from"), time.Now()); err != nil {
			return none, err
		}
	}
	if opts.Start != (broker.Start{}) && !h.broker.Capabilities().History {
		return none, badRequest("the broker has no history: a subscription can only begin now; leave out from and Last-Event-ID")
	}
	if opts, err = opts.For(h.broker.Capabilities()); err != nil {
		return none, refused(err)
	}
	return opts, nil
}

// startOf returns where ?from= has a subscription begin.
func startOf(from string, now time.Time) (broker.Start, error) {
	switch from {
	case "", "now":
		return broker.Start{}, nil
	case "earliest":
		return broker.Start{Earliest: true}, nil
	}
	since, err := time.Parse(time.RFC3339, from)
	switch {
	case err != nil && isPosition(from):
		return broker.Start{After: from}, nil
	case err != nil:
		return broker.Start{}, badRequest("from=" + quote(from) + " is neither earliest, a time such as 2006-01-02T15:04:05Z, nor a position")
	case since.After(time.Unix(0, math.MaxInt64)): // which is how brokers count
		return broker.Start{}, badRequest("from=" + quote(from) + " is later than any time that is known here")
	case since.After(now):
		return broker.Start{}, nil
	case since.Unix() < 0:
		return broker.Start{Earliest: true}, nil
	}
	return broker.Start{Since: since}, nil
}

// isPosition says whether text may be a position. A word or a date is none:
// positions count something, and are not written for people.
func isPosition(text string) bool {
	if len(text) > maxPosition || strings.Contains(text, " ") || !isPrintableASCII(text) || !strings.ContainsAny(text, "0123456789") {
		return false
	}
	_, err := time.Parse(time.DateOnly, text[:min(len(text), len(time.DateOnly))])
	return err != nil
}

// relay sends a client what it receives, until either ends, and returns why.
func (h *brokerHandler) relay(ctx context.Context, t *tail, out listener) error {
	always := make(chan struct{})
	close(always)
	ping := time.NewTicker(h.opts.Ping)
	defer ping.Stop()
	done, over := h.opts.Done, errEnough
	for {
		items, changed, err := t.take()
		switch {
		case ctx.Err() != nil:
			return causeOf(ctx)
		case len(items) > 0:
			if err := out.write(items); err != nil {
				return clientGone(err)
			}
			changed = always // there may be more; but look at the others now and then
		case err != nil:
			return err
		}
		t.written(ctx)
		if t.enough() {
			return over
		}
		select {
		case <-changed:
		case <-t.due():
		case <-ping.C:
			if err := out.ping(); err != nil {
				return clientGone(err)
			}
		case <-done:
			done, over, t.most = nil, errGoingAway, 0 // what was written is settled still
		case <-ctx.Done():
			return causeOf(ctx)
		}
	}
}

// finishListener ends the answer to a client that receives no more.
func (s *session) finishListener(out listener, err error) {
	var (
		known *goapi.Error
		wrong *violation
	)
	switch {
	case errors.Is(err, errLeft), errors.Is(err, errEnough):
		out.end(nil)
		return
	case errors.Is(err, errSlow):
		err = unavailable("this client takes messages more slowly than they come; it may connect again", err)
	case errors.As(err, &known), errors.As(err, &wrong), errors.Is(err, errGoingAway), errors.Is(err, errCutOff):
	default:
		err = unavailable("the broker has ended the subscription", err)
	}
	out.end(err)
	s.ex.Err = s.answerable(err)
}

// eventListener is a client that gets server-sent events.
type eventListener struct {
	events

	raw bool
}

// asEvents serves a client that gets server-sent events.
func (h *brokerHandler) asEvents(s *session, t *tail, query url.Values, _ string) error {
	out := &eventListener{events: events{session: s, kind: typeEvents, rc: http.NewResponseController(s.w)}}
	switch query.Get("format") {
	case "", "json":
	case "raw":
		out.raw = true
	default:
		return badRequest("format is json or raw")
	}
	if err := out.begin(); err != nil {
		return err
	}
	s.finishListener(out, h.relay(s.r.Context(), t, out))
	return nil
}

// write implements listener: all in one flush. A large message is not copied for
// each client that takes its time.
func (l *eventListener) write(items []*item) error {
	l.buf.Reset()
	for _, it := range items {
		var err error
		if l.raw {
			err = it.raw(l.put)
		} else {
			err = l.put(it.event)
		}
		if err != nil {
			return err
		}
	}
	return l.flush()
}

// put adds to what is sent with the next flush, or sends it.
func (l *eventListener) put(p []byte) error {
	if l.buf.Len()+len(p) <= takeStep {
		_, err := l.buf.Write(p)
		return err
	}
	if err := l.send(l.buf.Bytes()); err != nil {
		return err
	}
	l.buf.Reset()
	return l.send(p)
}

// send sends a text, without a flush.
func (l *eventListener) send(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), takeStep)
		l.arm()
		if _, err := l.w.Write(p[:n]); err != nil { //nolint:gosec // no browser takes its content type for a page
			return err
		}
		p = p[n:]
	}
	return nil
}

// end implements listener.
func (l *eventListener) end(err error) {
	if err = l.answerable(err); err == nil || goapi.Status(err) == goapi.StatusClientClosedRequest {
		return
	}
	text := `{"error":"` + reasonOf(err) + `",` + strings.TrimPrefix(string(errorText(err)), "{")
	_ = l.event("error", []byte(text)) // the client is gone; nobody to tell
}

// reasonOf returns one word for why a client is cut off.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, errSlow):
		return "slow"
	case errors.Is(err, errGoingAway):
		return "closing"
	}
	return "broker"
}
