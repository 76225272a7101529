package handler

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
)

// socketListener is a client over WebSocket, which publishes what it sends.
type socketListener struct {
	socket

	handler *brokerHandler
	topic   string
	raw     bool
}

// overWebSocket serves a client over WebSocket.
func (h *brokerHandler) overWebSocket(s *session, t *tail, _ url.Values, topic string) error {
	l := &socketListener{socket: socket{session: s, limit: h.opts.MaxBody, budget: h.held}, handler: h, topic: topic}
	l.chosen, l.raw = socketForm(s.r.Header)
	content := cmp.Or(s.r.Header.Get("Content-Type"), "text/plain")
	header := map[string]string{"Content-Type": content}
	if err := (&broker.Message{Header: header}).Check(); err != nil {
		return refused(err)
	}
	if err := l.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(s.r.Context())
	fed := make(chan struct{})
	go func() { // ends with the connection, which finishListener closes
		defer close(fed)
		cancel(l.feed(ctx, header))
	}()
	err := h.relay(ctx, t, l)
	cancel(nil)
	s.finishListener(l, err)
	<-fed
	return nil
}

// socketForm returns the first subprotocol of those that the client offers that
// is known, and whether it says that a frame is a body.
func socketForm(h http.Header) (chosen string, raw bool) {
	for _, list := range h["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(list, ",") {
			protocol = strings.TrimSpace(protocol)
			switch strings.ToLower(protocol) {
			case "json":
				return protocol, false
			case "raw":
				return protocol, true
			}
		}
	}
	return "", false
}

// feed publishes what the client sends, and returns why there is no more.
func (l *socketListener) feed(ctx context.Context, header map[string]string) error {
	defer l.release()
	for {
		kind, msg, err := l.read()
		switch {
		case err != nil:
			return l.readError(err)
		case l.frames.ended.Load():
			return clientGone(io.ErrUnexpectedEOF) // the library takes what came of a message for all of it
		case kind == websocket.MessageText && !utf8.Valid(msg):
			return &violation{websocket.StatusInvalidFramePayloadData, "the text is not UTF-8"}
		case !l.handler.publishes.Match(l.topic):
			return notAllowed("publishing on", l.topic)
		}
		if err := l.handler.hand(ctx, l.topic, &broker.Message{Header: header, Body: msg}); err != nil {
			return goapi.NewError(goapi.Status(err), "a message was not published: "+detailOf(err), err)
		}
	}
}

// write implements listener: a message is a frame.
func (l *socketListener) write(items []*item) error {
	for _, it := range items {
		kind, msg := websocket.MessageText, it.json
		if l.raw {
			if msg = it.body; !utf8.Valid(msg) {
				kind = websocket.MessageBinary
			}
		}
		if err := l.conn.Write(context.Background(), kind, msg); err != nil { // bounded by the connection's own deadlines
			return err
		}
	}
	return nil
}

// end implements listener. The close frame says why: any other would be taken
// for a message.
func (l *socketListener) end(err error) {
	if errors.Is(err, errCutOff) {
		err = errGoingAway // the client has no part in the request any more
	}
	var (
		code   websocket.StatusCode
		reason string
		wrong  *violation
	)
	if errors.As(err, &wrong) {
		code, reason = wrong.code, wrong.detail
	} else {
		err = l.answerable(err)
		if err == nil || goapi.Status(err) == goapi.StatusClientClosedRequest {
			_ = l.conn.CloseNow() // it may be closed already
			return
		}
		code, reason = closeCode(err), detailOf(err)
	}
	l.frames.linger()
	_ = l.conn.Close(code, cutReason(reason)) // the client may be gone already
}
