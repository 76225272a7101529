package goapi

import (
	"context"
	"io"
	"net/http"
	"time"
)

// An Exchange is what is learnt of a request while it is served: the outer ring
// reads it when the handler has returned. It belongs to the request's
// goroutine.
type Exchange struct {
	// Route is nil until the router has found it.
	Route *Route
	// Node is the id of the node that was tried last; empty before any.
	Node string
	// Attempts counts the nodes that were tried.
	Attempts int
	// Upstream is the time from the first attempt to the head of the answer.
	Upstream time.Duration
	// Err is what WriteError was given, cause included. Nil for an answer.
	Err error
}

type exchangeKey struct{}

// exchange is an Exchange, the context that carries it, and the writer that
// knows whether the answer has begun: one allocation for a request.
type exchange struct {
	context.Context

	learnt   Exchange
	response response
}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if _, ok := key.(exchangeKey); ok {
		return &x.learnt
	}
	return x.Context.Value(key)
}

// ExchangeFrom returns the Exchange of the request that ctx belongs to, or nil.
func ExchangeFrom(ctx context.Context) *Exchange {
	ex, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return ex
}

// RouteFrom returns the route of the request that ctx belongs to, or nil.
func RouteFrom(ctx context.Context) *Route {
	if ex := ExchangeFrom(ctx); ex != nil {
		return ex.Route
	}
	return nil
}

// NewExchange returns r and w with an Exchange for what follows. The outer
// ring calls it to learn of the request; a Gateway does it by itself.
func NewExchange(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, *Exchange) {
	x := &exchange{Context: r.Context(), response: response{ResponseWriter: w}}
	return &x.response, r.WithContext(x), &x.learnt
}

// response is a ResponseWriter that knows whether the answer has begun.
type response struct {
	http.ResponseWriter

	status int // 0 until the answer has begun
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets the writer below copy in its own way.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return io.Copy(w.ResponseWriter, src)
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a Flusher has no way to tell
}

// FlushError is what a ResponseController calls.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap gives a ResponseController the writer below.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
