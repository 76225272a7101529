package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
)

const (
	maxReason   = 123     // bytes that the reason of a close frame may have
	keptMessage = 4 << 10 // bytes of a buffer that is used for the next message, too
)

// A violation is what a client over WebSocket must not do, and the code that
// its connection is closed with.
type violation struct {
	code   websocket.StatusCode
	detail string
}

// Error implements error.
func (v *violation) Error() string { return fmt.Sprintf("handler: %d %s", v.code, v.detail) }

// socket is a carrier for WebSockets: a message is a frame, JSON is text and
// protobuf is binary.
type socket struct {
	*session

	chosen string // of the client's subprotocols; may be empty
	kind   websocket.MessageType
	limit  int64 // of a message
	frames *frames
	conn   *websocket.Conn
	in     []byte  // the message of the client that was read last
	held   int64   // bytes of it that were taken from budget
	budget *budget // for what messages hold; nil for no bound
}

// A budget is bytes that messages which are larger than most may hold together.
// A nil budget has no end.
type budget struct{ free atomic.Int64 }

// newBudget returns a budget of so many bytes.
func newBudget(n int64) *budget {
	b := new(budget)
	b.free.Store(n)
	return b
}

// take takes n bytes, if there are as many.
func (b *budget) take(n int64) bool {
	if b == nil || b.free.Add(-n) >= 0 {
		return true
	}
	b.free.Add(n)
	return false
}

// give gives n bytes back.
func (b *budget) give(n int64) {
	if b != nil {
		b.free.Add(n)
	}
}

// asksWebSocket says that a request is meant to open a WebSocket.
func asksWebSocket(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket")
}

// overWebSocket makes s a stream over WebSocket.
func (s *session) overWebSocket(rt *goapi.Route, pages origins) error {
	if err := checkHandshake(s.r); err != nil {
		return err
	}
	if !pages.allow(s.r) {
		return goapi.NewError(http.StatusForbidden,
			"pages of the origin "+quote(s.r.Header.Get("Origin"))+" may not open a stream here", nil)
	}
	c := &socket{session: s, kind: websocket.MessageText, limit: s.policy.MaxBody, budget: s.held}
	if s.opts.MaxMessage > 0 {
		c.limit = s.opts.MaxMessage
	}
	var err error
	if s.request.ContentType, c.chosen, err = socketType(s.r.Header); err != nil {
		return err
	}
	s.carrier = c
	if s.request.ContentType != mucp.JSON {
		c.kind = websocket.MessageBinary
		return nil
	}
	msg, err := jsonMessage(&parts{value: rt.Endpoint.Request, vars: pathVariables(rt, s.r), query: s.r.URL.RawQuery})
	if string(msg) != "{}" {
		s.first = msg
	}
	return err
}

// checkHandshake returns an error for a request that opens no WebSocket as RFC
// 6455, section 4.2.1 has it.
func checkHandshake(r *http.Request) error {
	key := r.Header["Sec-Websocket-Key"]
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return badRequest("a WebSocket is opened over HTTP/1.1")
	case r.Method != http.MethodGet:
		err := goapi.NewError(http.StatusMethodNotAllowed, "a WebSocket is opened by GET", nil)
		err.Header = http.Header{"Allow": {http.MethodGet}}
		return err
	case !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade"):
		return badRequest("the handshake lacks Connection: Upgrade")
	case r.ContentLength != 0:
		return badRequest("a handshake has no body")
	case !slices.Equal(r.Header["Sec-Websocket-Version"], []string{"13"}):
		err := goapi.NewError(http.StatusUpgradeRequired, "the version of WebSocket that is spoken here is 13", nil)
		err.Header = http.Header{"Sec-Websocket-Version": {"13"}, "Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
		return err
	case len(key) != 1:
		return badRequest("the handshake has not one Sec-WebSocket-Key")
	}
	if b, err := base64.StdEncoding.DecodeString(key[0]); err != nil || len(b) != 16 {
		return badRequest("the Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return nil
}

// socketType returns the content type of the messages, and the subprotocol that
// says so, if one does: of those that the client offers it is the first that is
// known.
func socketType(h http.Header) (contentType, protocol string, err error) {
	for _, list := range h["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(list, ",") {
			protocol = strings.TrimSpace(protocol)
			switch strings.ToLower(protocol) {
			case "json":
				return mucp.JSON, protocol, nil
			case "protobuf", "proto", "binary":
				return mucp.Protobuf, protocol, nil
			}
		}
	}
	enc, err := encodingOf(h)
	if err == nil && (enc.form || enc.reply == mucp.JSONRPC || enc.reply == mucp.ProtoRPC) {
		err = goapi.NewError(http.StatusUnsupportedMediaType,
			"the messages of a stream are "+mucp.JSON+" or "+mucp.Protobuf+", not "+quote(h.Get("Content-Type")), nil)
	}
	return enc.message, "", err
}

// begin implements carrier.
func (c *socket) begin() error {
	up := &upgrading{ResponseWriter: c.w, silence: 2 * c.opts.Ping, take: c.opts.Take, limit: c.limit}
	opts := &websocket.AcceptOptions{InsecureSkipVerify: true} // the origin was looked at
	if c.chosen != "" {
		opts.Subprotocols = []string{c.chosen}
	}
	var err error
	if c.conn, err = websocket.Accept(up, c.r, opts); err != nil {
		return goapi.NewError(http.StatusInternalServerError, "the connection cannot become a WebSocket", err)
	}
	c.conn.SetReadLimit(c.limit)
	c.frames = up.frames
	return nil
}

// feed implements carrier.
func (c *socket) feed(stream client.Stream) error {
	defer c.release()
	if c.first != nil && stream.Send(c.first) != nil {
		return nil // Recv tells why
	}
	more := true
	for {
		kind, msg, err := c.read()
		switch {
		case err != nil:
			return c.readError(err)
		case c.frames.ended.Load():
			return clientGone(io.ErrUnexpectedEOF) // the library takes what came of a message for all of it
		case !more:
			return &violation{websocket.StatusPolicyViolation, "a message after the empty one that ends them"}
		}
		c.idle.Reset(c.opts.Idle)
		if kind == websocket.MessageText && len(msg) == 0 {
			more = false
			_ = stream.CloseSend() // Recv tells why
			continue
		}
		if err := c.check(kind, msg); err != nil {
			return err
		}
		if stream.Send(msg) != nil {
			return nil // Recv tells why
		}
	}
}

// read returns the next message, which is good until the one after it, or until
// release. It is bounded by the connection's own deadlines, and its end.
func (c *socket) read() (websocket.MessageType, []byte, error) {
	c.release()
	kind, r, err := c.conn.Reader(context.Background())
	if err != nil {
		return kind, nil, err
	}
	c.frames.expect(time.Now().Add(bodyTime))
	err = c.fill(r)
	c.frames.expect(time.Time{})
	if err != nil {
		c.release()
	}
	return kind, c.in, err
}

// release gives back what the message holds that was read last.
func (c *socket) release() {
	c.in = c.in[:0]
	if cap(c.in) > keptMessage {
		c.in = nil
	}
	c.budget.give(c.held)
	c.held = 0
}

// fill reads a message.
func (c *socket) fill(r io.Reader) error {
	for {
		if len(c.in) == cap(c.in) {
			if err := c.grow(); err != nil {
				return err
			}
		}
		n, err := r.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// grow makes room for more of a message. It goes by what came, and not by what
// was announced, which costs a client nothing.
func (c *socket) grow() error {
	size := min(max(2*int64(cap(c.in)), bytes.MinRead), c.limit+bytes.MinRead)
	if size <= int64(cap(c.in)) {
		return websocket.ErrMessageTooBig
	}
	if size > keptMessage {
		if !c.budget.take(size - c.held) {
			return unavailable("the gateway holds as many large messages as it takes", nil)
		}
		c.held = size
	}
	c.in = append(make([]byte, 0, size), c.in...)
	return nil
}

// check returns an error for a message that the service does not get.
func (c *socket) check(kind websocket.MessageType, msg []byte) error {
	switch {
	case kind == websocket.MessageText && !utf8.Valid(msg):
		return &violation{websocket.StatusInvalidFramePayloadData, "the text is not UTF-8"}
	case kind != c.kind && c.kind == websocket.MessageText:
		return &violation{websocket.StatusUnsupportedData, "the messages of this stream are text, as JSON is"}
	case kind != c.kind:
		return &violation{websocket.StatusUnsupportedData, "the messages of this stream are binary, as protobuf is"}
	case kind == websocket.MessageBinary:
		return nil
	}
	if err := checkJSON(msg, "message"); err != nil {
		return &violation{websocket.StatusInvalidFramePayloadData, detailOf(err)}
	}
	return nil
}

// readError returns what it means that nothing more can be read.
func (c *socket) readError(err error) error {
	var known *goapi.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, errLate):
		return goapi.NewError(http.StatusRequestTimeout, fmt.Sprintf("the message did not come within %v", bodyTime), err)
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &violation{websocket.StatusMessageTooBig, tooLarge(c.limit)}
	case slices.Contains([]websocket.StatusCode{websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd}, websocket.CloseStatus(err)):
		return errLeft
	case websocket.CloseStatus(err) >= 0, c.frames.ended.Load(), errors.Is(err, net.ErrClosed):
		return clientGone(err)
	}
	return &violation{websocket.StatusProtocolError, badFrames}
}

// send implements carrier.
func (c *socket) send(msg []byte) error { return c.conn.Write(context.Background(), c.kind, msg) }

// ping implements carrier.
func (c *socket) ping() error { return c.frames.ping() }

// end implements carrier.
func (c *socket) end(err error) {
	code, reason := websocket.StatusNormalClosure, ""
	var v *violation
	switch {
	case err == nil:
	case errors.As(err, &v):
		code, reason = v.code, v.detail
	case errors.Is(err, errLeft):
		_ = c.conn.CloseNow() // it may be closed already
		return
	case errors.Is(err, errCutOff):
		err = errGoingAway // the client has no part in the request any more
		fallthrough
	default:
		err = c.answerable(err)
		if goapi.Status(err) == goapi.StatusClientClosedRequest {
			_ = c.conn.CloseNow() // as above
			return
		}
		_ = c.conn.Write(context.Background(), websocket.MessageText, errorText(err)) // Close tells as well
		code, reason = closeCode(err), detailOf(err)
	}
	c.frames.linger()
	_ = c.conn.Close(code, cutReason(reason)) // the client may be gone already
}

// closeCode returns the code of RFC 6455, section 7.4.1 for an error.
func closeCode(err error) websocket.StatusCode {
	switch status := goapi.Status(err); {
	case errors.Is(err, errGoingAway):
		return websocket.StatusGoingAway
	case status == http.StatusServiceUnavailable:
		return websocket.StatusTryAgainLater
	case status < http.StatusInternalServerError, errors.Is(err, errSilent): // which may be the client's own fault
		return websocket.StatusPolicyViolation
	}
	return websocket.StatusInternalError
}

// cutReason returns as much of a text as the reason of a close frame may be.
func cutReason(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	for len(text) > maxReason {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// detailOf returns what clients may see of an error.
func detailOf(err error) string {
	if known, ok := errors.AsType[*goapi.Error](err); ok {
		return known.Detail
	}
	return http.StatusText(goapi.Status(err))
}

// errorText returns an error in the JSON that clients see.
func errorText(err error) []byte {
	var known *goapi.Error
	if !errors.As(err, &known) {
		known = goapi.NewError(goapi.Status(err), detailOf(err), nil)
	}
	e := *known
	e.Code = goapi.Status(err)
	text, err := json.Marshal(&e)
	if err != nil { // four plain fields: cannot fail
		return []byte("{}")
	}
	return text
}
