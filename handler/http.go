package handler

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/wire"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	defaultMaxHeader = 256 << 10
	defaultIdle      = 5 * time.Minute
	defaultPatience  = 30 * time.Second // as upstream.Policy has it
	// maxRelayed interim answers reach the client; a service that sends more
	// than maxInterim is broken.
	maxRelayed = 5
	maxInterim = 100
)

// HTTPOptions adjust an HTTP handler. A nil *HTTPOptions means all defaults.
type HTTPOptions struct {
	// DialContext connects to a node, within 2 s. Default: a net.Dialer behind
	// an upstream.Guard that knows no listeners.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for nodes that announce secure=true or scheme=https. They are
	// verified by the host of their address. Default: the system's roots.
	TLS *tls.Config
	// TrustedProxies are peers whose account of where a request came from is
	// believed. Default: none.
	TrustedProxies []netip.Prefix
	// MaxHeader bounds the header of an answer, in bytes. Default: 256 KiB.
	MaxHeader int64
	// Idle bounds the time in which a connection, on either side, makes no
	// progress; it may be an eighth longer. Default: 5 min.
	Idle time.Duration
}

func (o *HTTPOptions) orDefault() HTTPOptions {
	var d HTTPOptions
	if o != nil {
		d = *o
	}
	if d.MaxHeader <= 0 {
		d.MaxHeader = defaultMaxHeader
	}
	if d.Idle <= 0 {
		d.Idle = defaultIdle
	}
	return d
}

// HTTP returns a handler that forwards a request, as it is, to a service that
// speaks plain HTTP/1.1, and the service's answer to the client.
//
// Path and query are forwarded as they were received, byte for byte, less the
// endpoint's strip prefix; so is Host. Bodies stream in both directions, at the
// same time if they want to, and are never held whole; trailers follow them.
// The answer goes out as it comes in. An interim answer (103, say) is relayed,
// and the client of an "Expect: 100-continue" is told to go on when the
// service wants the body. CONNECT is not served, nor are upgrades: a request
// that asks for one is forwarded without its Upgrade header, and so the service
// answers as if it had not asked. [Web] is for them.
//
// What is tried again on another node is what [upstream.Set.Do] allows; a body
// of an idempotent request is kept for that up to 64 KiB. When a service breaks
// off its answer, so does the gateway.
//
// The handler is an io.Closer; Close closes the connections that are idle.
func HTTP(opts *HTTPOptions) http.Handler { return newProxy(opts) }

// proxy is the HTTP handler, and the Web handler.
type proxy struct {
	trusted   []netip.Prefix
	idle      time.Duration
	buffers   copyBuffers
	transport *http.Transport
	upgrades  *upgrades // nil for none
	serve     goapi.HandlerFunc
}

func newProxy(opts *HTTPOptions) *proxy {
	o := opts.orDefault()
	p := &proxy{trusted: o.TrustedProxies, idle: o.Idle}
	p.transport = newTransport(&o, &p.buffers)
	p.serve = p.forward
	return p
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve.ServeHTTP(w, r) }

// Close closes the connections that are idle.
func (p *proxy) Close() error {
	p.transport.CloseIdleConnections()
	return nil
}

// forward serves a request.
func (p *proxy) forward(w http.ResponseWriter, r *http.Request) error {
	ex := goapi.ExchangeFrom(r.Context())
	if ex == nil || ex.Route == nil {
		return goapi.ErrNoRoute
	}
	if r.Method == http.MethodConnect {
		e := goapi.NewError(http.StatusMethodNotAllowed, "CONNECT is not served", nil)
		e.Header = http.Header{"Connection": {"close"}} // what follows may be meant for the tunnel
		return e
	}
	header, err := requestHeader(r, p.trusted)
	if err != nil {
		return err
	}
	protocols, err := p.upgrades.admit(r)
	if err != nil {
		return err
	}
	if protocols != nil {
		defer p.upgrades.leave()
	}
	rt := ex.Route
	call := upstream.Call{Idempotent: idempotent(r), Header: r.Header}
	if rt.Policy != nil {
		call.Policy = &rt.Policy.Upstream
	}
	f := &forwarding{
		proxy: p, w: w, r: r, ex: ex, header: header, start: time.Now(),
		target: forwardTarget(r.URL, rt.Endpoint.Strip), rc: *http.NewResponseController(w), once: !call.Idempotent,
	}
	f.trace.GotConn = f.trip.GotConn
	f.trace.Got1xxResponse = f.relay
	if protocols != nil {
		f.askUpgrade(protocols)
	}
	if err := f.takeBody(call.Idempotent); err != nil {
		return err
	}
	defer f.body.release(w)
	f.suitTransport(call.Idempotent)
	err = rt.Upstream.Do(r.Context(), call, f.attempt)
	if err == nil {
		return nil
	}
	if f.fault != nil {
		return f.fault
	}
	return upstreamError(rt.Service, err)
}

// idempotent says whether doing a request twice is the same as doing it once:
// by its method, or because the client gave it a key, by which the service
// knows it again.
func idempotent(r *http.Request) bool {
	key := r.Header["Idempotency-Key"]
	return repeatable(r.Method) || len(key) == 1 && key[0] != ""
}

// repeatable says so of a method, as RFC 9110, section 9.2.2 has it. Methods
// that are not known are not.
func repeatable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// suitTransport keeps the transport from doing more than it is asked to.
func (f *forwarding) suitTransport(idempotent bool) {
	if _, ok := f.header["User-Agent"]; !ok {
		f.header["User-Agent"] = nil // it would add its own
	}
	if idempotent {
		return
	}
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := f.header[name]; ok { // it would try again by itself; names have no case to others
			delete(f.header, name)
			f.header[strings.ToLower(name)] = v
		}
	}
}

// forwarding is one request on its way.
type forwarding struct {
	*proxy

	w      http.ResponseWriter
	rc     http.ResponseController
	r      *http.Request
	ex     *goapi.Exchange
	start  time.Time
	target url.URL // without scheme and host
	header http.Header
	body   *body // nil for none
	once   bool  // it must not be sent twice
	expect bool  // the client waits for a 100
	trace  httptrace.ClientTrace
	last   error // of the attempt before
	fault  error // the client's, where that is what the attempt failed for

	trip wire.Trip // of the attempt that is under way

	asked []string // the protocols that the client asks to upgrade to
	node  net.Conn // of the attempt, kept for an upgrade only

	interim sync.Mutex // guards what follows, and w until the answer is here
	relayed int
	came    int  // interim answers
	final   bool // no more are relayed
}

// takeBody prepares the body of the request.
func (f *forwarding) takeBody(keep bool) error {
	expect := f.header["Expect"]
	for name := range f.r.Trailer {
		if !httpguts.ValidHeaderFieldName(name) {
			return goapi.NewError(http.StatusBadRequest, fmt.Sprintf("the request announces a trailer %.40q, which is no name of a field", name), nil)
		}
	}
	if f.body = newBody(f.r, &f.rc, f.patience(), keep); f.body == nil {
		delete(f.header, "Expect") // for a body that never comes
		return nil
	}
	if len(expect) > 0 && f.r.ProtoAtLeast(1, 1) {
		if len(expect) > 1 || !strings.EqualFold(expect[0], "100-continue") {
			return goapi.NewError(http.StatusExpectationFailed, "the only expectation that can be met is 100-continue", nil)
		}
		f.expect = true
	}
	return nil
}

// patience is how long the client may be silent before the service answers: the
// transport does not give up a request while it reads the body, so that this is
// what ends an attempt then.
func (f *forwarding) patience() time.Duration {
	limit := defaultPatience
	if p := f.ex.Route.Policy; p != nil && p.Upstream.TryTimeout > 0 {
		limit = p.Upstream.TryTimeout
	}
	return min(limit, f.idle)
}

// attempt forwards the request to one node.
func (f *forwarding) attempt(ctx context.Context, try *upstream.Try) error {
	if f.last != nil && f.body != nil && f.body.lost.Load() {
		try.Blameless() // the one before failed, and the request cannot be sent again
		return goapi.NewError(http.StatusBadGateway, "service "+f.ex.Route.Service+" broke off before it answered", f.last)
	}
	f.ex.Node, f.ex.Attempts = try.Node.ID, try.N
	out := f.request(ctx, try.Node)
	resp, err := f.roundTrip(out, try)
	f.interim.Lock()
	f.final = true
	f.interim.Unlock()
	if err == nil {
		defer resp.Body.Close()
		err = f.answer(ctx, try, resp)
	} else {
		if f.fault = f.body.failure(); f.fault != nil {
			try.Blameless()
		}
	}
	if f.body != nil {
		_ = out.Body.Close() // of a bodyReader: cannot fail
	}
	f.last = err
	return err
}

// request returns the request as it goes to a node, but for its body.
func (f *forwarding) request(ctx context.Context, n *registry.Node) *http.Request {
	u := f.target
	u.Scheme, u.Host = "http", n.Address
	if client.Secure(n) {
		u.Scheme = "https"
	}
	out := f.r.WithContext(httptrace.WithClientTrace(ctx, &f.trace))
	out.URL, out.Header = &u, f.header
	out.Body, out.Trailer, out.TransferEncoding = nil, nil, nil
	// Where the service answers instead of asking for the body, the transport
	// keeps the body back only if the connection ends with the answer. And the
	// answer to HEAD is whole when the service may go on with what it would
	// stream: whoever took the connection then would wait for that to end.
	out.Close = f.expect || f.r.Method == http.MethodHead
	return out
}

// roundTrip sends the request and returns the head of the answer. A connection
// that turns out to have been closed by the node while it was idle, before
// anything was written, says nothing of the node: it takes another.
func (f *forwarding) roundTrip(out *http.Request, try *upstream.Try) (*http.Response, error) {
	f.interim.Lock()
	f.final = false
	f.interim.Unlock()
	f.trip = wire.Trip{Once: f.once}
	for {
		if f.body != nil {
			f.body.open(out, try)
		}
		resp, err := f.transport.RoundTrip(out)
		if err == nil {
			return resp, nil
		}
		if f.trip.Sent() {
			try.Sent()
		}
		if !f.trip.Again(out.Context()) {
			return nil, err
		}
	}
}
