package goapi

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// An Exchange is what is learnt of a request while it is served: the outer ring
// reads it when the handler has returned. It belongs to the request's
// goroutine.
type Exchange struct {
	// Began is when the outer ring, or else the Gateway, got the request.
	Began time.Time
	// Client is the address that the request comes from, as far as whoever
	// forwarded it is trusted; :: where whoever is trusted names none. It is not
	// valid where nobody looked.
	Client netip.Addr
	// Identity is who the request comes from. Nil where nobody asked.
	Identity *Identity
	// Route is nil until the router has found it.
	Route *Route
	// Node is the id of the node that was tried last; empty before any.
	Node string
	// Attempts counts the nodes that were tried.
	Attempts int
	// Upstream is the time from the first attempt to the head of the answer.
	Upstream time.Duration
	// Status is that of the answer; 0 until it has begun. Who takes the
	// connection over sets it.
	Status int
	// Written counts the bytes of the answer's body, before the server frames
	// them. Who takes the connection over counts on.
	Written int64
	// Err is what WriteError was given, cause included. Nil for an answer.
	Err error
}

// An Identity is who a request comes from, as the gateway has verified it.
// Shared: read-only.
type Identity struct {
	// Subject names the caller: the sub of a token, the owner of a key, a user,
	// the subject of a certificate.
	Subject string
	// Method says how it was verified: jwt, key, basic, mtls or external.
	Method string
	// Scopes are what the caller may do, by the words of who issued it.
	Scopes []string
	// Claims are what is known of the caller besides, by name. Values are
	// strings, numbers, bools, and lists and maps of these.
	Claims map[string]any
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
	x := &exchange{Context: r.Context(), learnt: Exchange{Began: time.Now()}}
	x.response = response{ResponseWriter: w, learnt: &x.learnt}
	return &x.response, r.WithContext(x), &x.learnt
}

// response is a ResponseWriter that knows whether the answer has begun.
type response struct {
	http.ResponseWriter

	learnt *Exchange
}

// begin notes the status of an answer that has none yet.
func (w *response) begin(status int) {
	if w.learnt.Status == 0 {
		w.learnt.Status = status
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(b)
	w.learnt.Written += int64(n)
	return n, err
}

// ReadFrom lets the writer below copy in its own way.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	w.begin(http.StatusOK)
	n, err := io.Copy(w.ResponseWriter, src)
	w.learnt.Written += n
	return n, err
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	w.begin(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush() // a Flusher has no way to tell
}

// FlushError is what a ResponseController calls.
func (w *response) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap gives a ResponseController the writer below.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
