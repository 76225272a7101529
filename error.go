package goapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// ErrNoRoute is returned by a Router for a request that nothing claims.
var ErrNoRoute = errors.New("goapi: no route")

// lateBody is how long the rest of a body that nobody wants is waited for.
const lateBody = 500 * time.Millisecond

// OwnID is the ID of errors that the gateway itself makes.
const OwnID = "goapi"

// An Error is an error whose HTTP status is known. Clients see its code, id,
// detail and header; the cause is for logs.
type Error struct {
	// Code is an HTTP status from 400 to 599.
	Code int
	// ID says where the error comes from: a service's own id, or OwnID.
	ID string
	// Detail is one line for the client: what happened, to what, what to do.
	Detail string
	// Header is added to the answer. Nil is none.
	Header http.Header
	// Cause is for logs only. Nil is none.
	Cause error
}

// NewError returns an error of the gateway itself.
func NewError(code int, detail string, cause error) *Error {
	return &Error{Code: code, ID: OwnID, Detail: detail, Cause: cause}
}

// Error implements error. It includes the cause: it is for logs.
func (e *Error) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("%s: %d %s", e.ID, e.Code, e.Detail)
	}
	return fmt.Sprintf("%s: %d %s: %v", e.ID, e.Code, e.Detail, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// errorBody is the JSON form of an error, which is go-micro's.
type errorBody struct {
	ID     string `json:"id"`
	Code   int    `json:"code"`
	Detail string `json:"detail"`
	Status string `json:"status"`
}

// MarshalJSON returns what clients see: id, code, detail and status.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(errorBody{ID: e.ID, Code: e.Code, Detail: e.Detail, Status: http.StatusText(e.Code)})
}

// Status returns the HTTP status that answers err.
func Status(err error) int { return asError(err).Code }

// asError returns err as clients may see it. An error that says nothing of its
// status is 500: it is a defect of the gateway.
func asError(err error) *Error {
	var (
		e       *Error
		node    *upstream.NodeError
		tooLong *http.MaxBytesError
	)
	switch {
	case errors.As(err, &e):
		if e.Code >= 400 && e.Code <= 599 {
			return e
		}
		return &Error{Code: http.StatusInternalServerError, ID: e.ID, Detail: e.Detail, Header: e.Header, Cause: e.Cause}
	case errors.Is(err, ErrNoRoute):
		return NewError(http.StatusNotFound, "no route for this request", err)
	case errors.Is(err, upstream.ErrNoNodes):
		return NewError(http.StatusServiceUnavailable, "no node of the service can serve", err)
	case errors.Is(err, upstream.ErrOverloaded):
		return unavailable("the service has as many requests as it can serve", err)
	case errors.As(err, &tooLong):
		return NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLong.Limit), err)
	case errors.Is(err, context.DeadlineExceeded):
		return NewError(http.StatusGatewayTimeout, "the service did not answer in time", err)
	case errors.Is(err, context.Canceled):
		return NewError(StatusClientClosedRequest, "the client went away", err)
	}
	if errors.As(err, &node) {
		what := " could not be reached"
		if node.Sent {
			what = " broke off before it answered"
		}
		return NewError(http.StatusBadGateway, "service "+node.Service+what, err)
	}
	if e := ofRegistry(err); e != nil {
		return e
	}
	return NewError(http.StatusInternalServerError, "the gateway failed; its log says why", err)
}

// ofRegistry returns an error of package registry as clients may see it, or nil.
func ofRegistry(err error) *Error {
	var field *registry.FieldError
	switch {
	case errors.As(err, &field):
		return NewError(http.StatusBadRequest, field.Field+": "+field.Reason, err)
	case errors.Is(err, registry.ErrNotFound):
		return NewError(http.StatusNotFound, "no such service", err)
	case errors.Is(err, registry.ErrTooLarge):
		return NewError(http.StatusRequestEntityTooLarge,
			"the registry cannot hold a record this large: announce less metadata or fewer endpoints", err)
	case errors.Is(err, registry.ErrUnavailable), errors.Is(err, registry.ErrClosed):
		return unavailable("the registry cannot be reached", err)
	}
	return nil
}

// unavailable is a 503 after which another attempt may help.
func unavailable(detail string, cause error) *Error {
	e := NewError(http.StatusServiceUnavailable, detail, cause)
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}

// StatusClientClosedRequest is the status in logs of a request whose client
// went away before the answer (as nginx has it).
const StatusClientClosedRequest = 499

// WriteError answers a request with err: its status and header, and a JSON
// body with id, code, detail and status. A request of gRPC or gRPC-Web gets the
// status of [GRPCStatus] instead. When the answer has begun, it aborts the
// connection, so that a broken answer never looks whole. A client of HTTP
// that is there is never told that it went away: that is 502.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	ex := ExchangeFrom(r.Context())
	if ex != nil {
		ex.Err = err
	}
	rw, ok := w.(*response)
	if ok && rw.learnt.Status != 0 || ex != nil && ex.Status != 0 {
		panic(http.ErrAbortHandler)
	}
	if r.ContentLength != 0 {
		// The server reads on before it answers, to keep the connection. A
		// client that stalls must not hold it for that; a writer without
		// deadlines has no such client.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lateBody))
	}
	e := asError(err)
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Cache-Control", "Trailer"} {
		delete(h, name) // of the answer that did not come
	}
	maps.Copy(h, e.Header)
	if writeGRPC(w, r, e) {
		return
	}
	if e.Code == StatusClientClosedRequest && e.ID == OwnID && r.Context().Err() == nil {
		e = NewError(http.StatusBadGateway, "the request was given up", err) // and not by the client, who is there
	}
	body, err := json.Marshal(e)
	if err != nil { // four plain fields: cannot fail
		body = []byte("{}")
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(e.Code)
	_, _ = w.Write(append(body, '\n')) // the client is gone; nobody to tell
}

// A HandlerFunc is an http.Handler that may fail. What it returns is answered
// by WriteError.
type HandlerFunc func(http.ResponseWriter, *http.Request) error

// ServeHTTP implements http.Handler.
func (f HandlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw, ok := w.(*response)
	if !ok {
		rw = &response{ResponseWriter: w, learnt: new(Exchange)}
	}
	if err := f(rw, r); err != nil {
		WriteError(rw, r, err)
	}
}
