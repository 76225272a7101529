package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
	"unicode"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// maxErrorText bounds the text of an error, which travels in a header.
const maxErrorText = 8 << 10

type headerKey struct{}

// Header returns the header of the call that ctx belongs to: what the caller
// sent as metadata, and what its protocol adds. Shared: read-only. It is nil
// outside of a call.
func Header(ctx context.Context) http.Header {
	h, _ := ctx.Value(headerKey{}).(http.Header)
	return h
}

// ServeHTTP serves a call, or plain HTTP.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	named := mucp.Get(r.Header, mucp.HeaderEndpoint) != "" || mucp.Get(r.Header, mucp.HeaderMethod) != ""
	if s.plain != nil && !named {
		s.plain.ServeHTTP(w, r)
		return
	}
	contentType := contentTypeOf(r.Header)
	c := &call{service: s, contentType: contentType, header: w.Header()}
	switch mucp.MediaType(contentType) {
	case mucp.JSON, mucp.Protobuf, mucp.JSONRPC, mucp.ProtoRPC:
	default:
		c.header.Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "unsupported Content-Type: "+contentType) // the caller is gone
		return
	}
	c.contentType = mucp.MediaType(contentType)
	c.endpoint = cmp.Or(mucp.Get(r.Header, mucp.HeaderEndpoint), mucp.Get(r.Header, mucp.HeaderMethod))
	if f := s.methods[c.endpoint]; f.stream != nil && mucp.Get(r.Header, mucp.HeaderStream) != "" {
		c.serveStream(w, r, f)
		return
	}
	message, err := c.answer(w, r)
	c.reply(w, r, message, err)
}

// contentTypeOf returns the content type of a call: protobuf if it says none.
func contentTypeOf(h http.Header) string {
	return cmp.Or(h.Get("Content-Type"), mucp.Protobuf)
}

// call is one call of a method.
type call struct {
	service     *Service
	contentType string // of the frame
	header      http.Header
	frame       mucp.Frame
	endpoint    string
}

// reply answers a call.
func (c *call) reply(w http.ResponseWriter, r *http.Request, message []byte, err error) {
	answer := mucp.Frame{ID: c.frame.ID, Method: c.endpoint, Message: message, Error: c.errorText(err)}
	c.echo(r.Header)
	if answer.Error != "" {
		mucp.Set(c.header, mucp.HeaderError, answer.Error)
	}
	body, err := mucp.EncodeResponse(c.contentType, answer)
	if err != nil { // both come from here: the frame is known, the message encoded
		c.service.opts.Logger.Error("an answer cannot be written", slog.String("method", c.endpoint), slog.Any("error", err))
	}
	_, _ = w.Write(body) // the caller is gone; nobody to tell
}

// echo sets what the header of an answer has of the call's.
func (c *call) echo(h http.Header) {
	for _, name := range []string{mucp.HeaderService, mucp.HeaderEndpoint, mucp.HeaderMethod, mucp.HeaderStream} {
		if v := mucp.Get(h, name); v != "" {
			c.header.Set(name, v)
		}
	}
	if id := cmp.Or(mucp.Get(h, mucp.HeaderID), c.frame.ID); id != "" {
		mucp.Set(c.header, mucp.HeaderID, id)
	}
	c.header.Set("Content-Type", mucp.MediaType(contentTypeOf(h)))
}

// framed returns what a content type means in a call that no header names.
func framed(contentType string) string {
	switch contentType {
	case mucp.JSON:
		return mucp.JSONRPC
	case mucp.Protobuf:
		return mucp.ProtoRPC
	}
	return contentType
}

// answer returns the encoded answer of the method.
func (c *call) answer(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Header.Get(mucp.HeaderTopic) != "" {
		return nil, &goapi.Error{Code: http.StatusNotImplemented, Detail: c.service.name + " takes no events"}
	}
	if c.endpoint == "" && mucp.Get(r.Header, mucp.HeaderService) == "" {
		c.contentType = framed(c.contentType)
	}
	body, err := c.service.read(w, r)
	if err != nil {
		return nil, err
	}
	if c.frame, err = mucp.DecodeRequest(c.contentType, body); err != nil {
		return nil, &goapi.Error{Code: http.StatusBadRequest, Detail: "the body is not " + c.contentType, Cause: err}
	}
	c.endpoint = cmp.Or(c.endpoint, c.frame.Method)
	f, err := c.service.find(c.endpoint)
	switch {
	case err != nil:
		return nil, err
	case f.stream != nil:
		return nil, &goapi.Error{Code: http.StatusNotImplemented, Detail: c.endpoint + " is a stream; open it as one"}
	case mucp.Get(r.Header, mucp.HeaderStream) != "":
		return nil, &goapi.Error{Code: http.StatusNotImplemented, Detail: c.endpoint + " is no stream; call it"}
	}
	ctx, cancel := contextOf(r)
	defer cancel()
	var message []byte
	err = c.guard(func() error {
		var err error
		message, err = f.call(ctx, codec{mucp.FamilyOf(c.contentType)}, c.frame.Message)
		return err
	})
	return message, err
}

// contextOf returns the context of a method: with the call's header, and its
// deadline if it has one.
func contextOf(r *http.Request) (context.Context, context.CancelFunc) {
	ctx := context.WithValue(r.Context(), headerKey{}, r.Header)
	if timeout, ok := mucp.ParseTimeout(r.Header.Get(mucp.HeaderTimeout)); ok {
		return context.WithTimeout(ctx, timeout)
	}
	return ctx, func() {}
}

// read returns the body of a call, within its bounds of size and time.
func (s *Service) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readBodyTimeout)) // a writer without deadlines is a test's
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.opts.MaxRequest))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, &goapi.Error{
			Code: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the message is larger than %d bytes", tooLong.Limit),
		}
	case err != nil:
		return nil, &goapi.Error{Code: http.StatusBadRequest, Detail: "the body ended early", Cause: err}
	}
	_ = rc.SetReadDeadline(time.Time{}) // as above
	return body, nil
}

// find returns a method, or what go-micro says of one that is not there.
func (s *Service) find(endpoint string) (Func, error) {
	if f, ok := s.methods[endpoint]; ok {
		return f, nil
	}
	typ, method, ok := strings.Cut(endpoint, ".")
	if !ok || strings.Contains(method, ".") {
		return Func{}, fmt.Errorf("rpc: service/endpoint request ill-formed: %s", endpoint)
	}
	for name := range s.methods {
		if strings.HasPrefix(name, typ+".") {
			return Func{}, fmt.Errorf("rpc: can't find method %s", method)
		}
	}
	return Func{}, fmt.Errorf("rpc: can't find service %s", typ)
}

// guard runs a method. One that panics has failed, and no other with it.
func (c *call) guard(method func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.service.opts.Logger.Error("a method panicked", slog.String("method", c.endpoint),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = &goapi.Error{Code: http.StatusInternalServerError, Detail: "the method failed"}
		}
	}()
	return method()
}

// errorText returns an error as it travels: go-micro's JSON for what has a
// code, else plain text.
func (c *call) errorText(err error) string {
	var known *goapi.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &known):
		id := known.ID
		if id == "" || id == goapi.OwnID { // the gateway's is none for the error of a service
			id = c.service.name
		}
		e := mucp.Error{ID: id, Code: known.Code, Detail: bounded(known.Detail)}
		return printable(e.Text())
	}
	return cmp.Or(printable(bounded(err.Error())), "unknown error")
}

// printable returns a text that may stand in a header.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
}

// bounded cuts a text that is too long for a header.
func bounded(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	return strings.ToValidUTF8(text[:maxErrorText], "") + " …"
}
