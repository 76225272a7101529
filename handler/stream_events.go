package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
)

const (
	eventMethods = "GET, POST, PUT, PATCH, DELETE"
	// eventPatience is how long an answer waits for the first message: an error
	// until then has a status of its own.
	eventPatience = time.Second
	// takeStep is sent with one deadline: a client that takes it in time makes
	// progress.
	takeStep = 64 << 10
)

// events is a carrier for answers without an end, of which only the service
// sends messages: server-sent events, or lines of JSON.
type events struct {
	*session

	kind string // content type
	rc   *http.ResponseController
	buf  bytes.Buffer
}

// asEvents makes s a stream of events.
func (s *session) asEvents(rt *goapi.Route) error {
	switch s.r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		err := goapi.NewError(http.StatusMethodNotAllowed, quote(s.r.Method)+" opens no stream; use one of "+eventMethods, nil)
		err.Header = http.Header{"Allow": {eventMethods}}
		return err
	}
	kind := streamType(s.r.Header["Accept"])
	if kind == "" {
		return goapi.NewError(http.StatusNotAcceptable, fmt.Sprintf(
			"%s of service %s is a stream: open a WebSocket, or send an Accept header with %s", rt.Endpoint.Name, rt.Service, streamAccept), nil)
	}
	enc, msg, err := readMessage(s.w, s.r, rt, &s.body, s.policy.MaxBody)
	switch {
	case err != nil:
		return err
	case enc.message != mucp.JSON:
		return goapi.NewError(http.StatusNotAcceptable, kind+" holds JSON only: send JSON as well, or open a WebSocket", nil)
	}
	s.request.ContentType, s.first, s.idempotent = mucp.JSON, msg, idempotent(s.r)
	s.patience = eventPatience
	s.carrier = &events{session: s, kind: kind, rc: http.NewResponseController(s.w)}
	return nil
}

// begin implements carrier.
func (e *events) begin() error {
	h := e.w.Header()
	h.Set("Content-Type", e.kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that know it pass on each piece as it comes
	e.arm()
	defer disarm(e.rc, e.r)
	e.w.WriteHeader(http.StatusOK)
	if err := e.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return clientGone(err)
	}
	return nil
}

// feed implements carrier: the request is the only message. Services of gRPC may
// wait to hear that; those of go-micro that hear it do not say any more when they
// have ended.
func (e *events) feed(stream client.Stream) error {
	if stream.Send(e.first) == nil && e.protocol == client.ProtocolGRPC { // else Recv tells why
		_ = stream.CloseSend() // as above
	}
	e.first = nil
	e.body.release()
	return nil
}

// send implements carrier.
func (e *events) send(msg []byte) error { return e.event("", msg) }

// event sends a message, as an event of a name if that is not empty.
func (e *events) event(name string, msg []byte) error {
	e.buf.Reset()
	if e.kind == typeEvents {
		if name != "" {
			e.buf.WriteString("event: " + name + "\n")
		}
		e.buf.WriteString("data: ")
	}
	msg = bytes.TrimSpace(msg)
	if bytes.ContainsAny(msg, "\r\n") { // between names and values: within them it is escaped
		if err := json.Compact(&e.buf, msg); err != nil {
			return err // was looked at before
		}
	} else {
		e.buf.Write(msg)
	}
	e.buf.WriteByte('\n')
	if e.kind == typeEvents {
		e.buf.WriteByte('\n')
	}
	return e.flush()
}

// flush sends what the buffer holds.
func (e *events) flush() error {
	defer disarm(e.rc, e.r)
	for e.buf.Len() > 0 {
		e.arm()
		if _, err := e.w.Write(e.buf.Next(takeStep)); err != nil { //nolint:gosec // no browser takes its content type for a page
			return err
		}
	}
	if e.buf.Cap() > takeStep { // one large message is not a reason to hold on to as much
		e.buf = bytes.Buffer{}
	}
	return e.rc.Flush()
}

// arm gives the client time to take what is sent next.
func (e *events) arm() {
	_ = e.rc.SetWriteDeadline(time.Now().Add(e.opts.Take)) // a writer that has none bounds its client itself
}

// disarm ends the time in which a client takes what it is sent. The deadlines of
// HTTP/2 also end an answer that has nothing to send; those of HTTP/1 do not, and
// bound what the server writes behind it.
func disarm(rc *http.ResponseController, r *http.Request) {
	if r.ProtoMajor > 1 {
		_ = rc.SetWriteDeadline(time.Time{}) // as for arm
	}
}

// ping implements carrier. Lines of JSON have nothing that readers pass over.
func (e *events) ping() error {
	if e.kind != typeEvents {
		return nil
	}
	e.buf.Reset()
	e.buf.WriteString(":\n\n")
	return e.flush()
}

// end implements carrier.
func (e *events) end(err error) {
	switch {
	case err == nil && e.kind == typeEvents:
		_ = e.event("end", []byte("{}")) // the client is gone; nobody to tell
	case err == nil, goapi.Status(e.answerable(err)) == goapi.StatusClientClosedRequest:
	default:
		text := errorText(e.answerable(err))
		if e.kind != typeEvents {
			text = bytes.Join([][]byte{[]byte(`{"error":`), text, []byte("}")}, nil)
		}
		_ = e.event("error", text) // as above
	}
}
