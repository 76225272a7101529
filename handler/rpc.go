package handler

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// RPCOptions adjust an RPC handler. A nil *RPCOptions means all defaults.
type RPCOptions struct {
	// TrustedProxies are peers whose account of where a request came from is
	// believed. Default: none.
	TrustedProxies []netip.Prefix
	// GRPC serves requests whose content type is that of gRPC or gRPC-Web: see
	// the GRPC handler. Default: none, they are 415.
	GRPC http.Handler
	// Streams bounds and guards streams. Default: its zero value.
	Streams StreamOptions
	// Bodies is room for the bodies of calls that are larger than 64 KiB.
	// Default: 24 MiB of its own.
	Bodies *Bodies
}

// rpcMethods are the HTTP methods that are calls.
const rpcMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"

// RPC returns a handler that serves a request by a call of the route's endpoint,
// through c: a unary one, or a stream where the endpoint has stream=true.
//
// # Calls
//
// The message is the body, as its content type says:
//
//   - application/json, application/json-rpc (its params), any other +json,
//     and a form: a JSON message is put together, and the answer is JSON;
//   - application/protobuf, application/x-protobuf, application/proto,
//     application/octet-stream, application/proto-rpc (its message): it passes
//     through untouched, without what path and query say, and so does the answer.
//
// A body without a content type is JSON. GET and HEAD have no body: theirs is
// not read. The answer has the content type of the request; what was framed as
// json-rpc or proto-rpc is framed again.
//
// A JSON message has the variables of the path, over these the names of the
// query, and over these the body, object by object. Names that contain
// another (a.b, a[b]) lead to a field of a field; a name that is repeated or
// ends in [] is a list. Where the service announced the type of its request,
// texts become what their field takes, snake_case and camelCase are the same,
// and a name in the query that is no field is 400. Where it did not, texts stay
// texts. If the endpoint names a field for the body, the body is that field.
//
// The request's headers are the call's metadata, but for those of the
// connection and the protocol. A client that sends Grpc-Timeout ("1500m", "20S")
// gives the call less time than the route's policy does. Requests that may be
// sent again (GET, HEAD, PUT, DELETE, and any with one Idempotency-Key) are, on
// another node. A reply that is not JSON, though JSON was asked for, is 502. An
// empty reply is 204 if it is JSON, since it says nothing, and 200 if it is
// protobuf, where it is a message. How large a reply may be, c says.
//
// # Streams
//
// A stream is served if c is a [client.Streamer], and in one of three ways that
// the client asks for, or it is 406:
//
//   - over WebSocket, a message a frame in both directions: JSON is text, and
//     protobuf binary. The first subprotocol of the client's that is "json",
//     "protobuf", "proto" or "binary" says which, else the Content-Type of the
//     handshake, else it is JSON. With JSON, what path and query say is the first
//     message. An empty text frame says that the client sends no more;
//   - with "Accept: text/event-stream" as server-sent events, each of one
//     message. The last event is named "end", or "error" and holds the error;
//   - with "Accept: application/x-ndjson" (or application/jsonl) as lines of
//     JSON. The last line is {"error":…} if the stream failed; a message of the
//     service's that has a field error looks the same, which is what the names
//     of events are for.
//
// In the last two ways the request is the only message of the client, as it is
// of a call in JSON. The answer begins with the first message, or after a
// second: an error until then is answered as that of a call. Each message is sent
// on at once. Nothing is held but one message on its way and one behind it, in
// each direction: who does not read holds up who sends.
//
// Until it is open, a stream is tried on other nodes as a call is, and a
// WebSocket is refused as HTTP refuses. After that it belongs to its node: it
// ends when the service ends it, when the client leaves, which ends the call at
// once, and at the limits of [StreamOptions]. Policies' timeouts bound opening
// alone.
//
// A WebSocket whose stream fails gets the error as a last message, which is text
// also where messages are binary, and is closed with
//
//   - 1000 when the stream has ended well,
//   - 1001 when the gateway is going away,
//   - 1008 for a status of 4xx, and for a message after the end of messages,
//   - 1013 for 503, and 1011 for any other 5xx,
//   - 1002 for frames that are not as RFC 6455 has them, 1003 for text in place
//     of binary or the reverse, 1007 for text that is not UTF-8 or not JSON, and
//     1009 for a message that is too large. No message goes before these.
func RPC(c client.Caller, opts *RPCOptions) http.Handler {
	h := &rpc{caller: c}
	if opts != nil {
		h.opts = *opts
	}
	h.opts.Streams = h.opts.Streams.orDefault()
	h.pages = h.opts.Streams.pages()
	h.held = newBudget(h.opts.Streams.MaxHeld)
	h.opts.Bodies = h.opts.Bodies.orDefault()
	return goapi.HandlerFunc(h.serve)
}

type rpc struct {
	caller  client.Caller
	opts    RPCOptions
	pages   origins      // that may open a WebSocket
	streams atomic.Int64 // that are open
	held    *budget      // for their messages
}

func (h *rpc) serve(w http.ResponseWriter, r *http.Request) error {
	rt := goapi.RouteFrom(r.Context())
	if rt == nil {
		return goapi.ErrNoRoute
	}
	switch {
	case isGRPC(r) && h.opts.GRPC != nil:
		h.opts.GRPC.ServeHTTP(w, r)
		return nil
	case rt.Endpoint.Stream:
		return h.stream(w, r, rt)
	}
	if err := callable(r); err != nil {
		return err
	}
	header, err := requestHeader(r, h.opts.TrustedProxies)
	if err != nil {
		return err
	}
	pol := rt.Policy.OrDefault()
	body := wholeBody{room: h.opts.Bodies}
	defer body.release()
	enc, msg, err := readMessage(w, r, rt, &body, pol.MaxBody)
	if err != nil {
		return err
	}
	reply, err := callFor(r, h.caller, rt, &pol, &client.Request{
		Service:     rt.Service,
		Endpoint:    rt.Endpoint.Name,
		ContentType: enc.message,
		Header:      callMetadata(header),
		Body:        msg,
	})
	if err == nil {
		reply, err = enc.replyOf(rt.Service, reply)
	}
	if err != nil {
		return err
	}
	writeReply(w, r, enc, reply)
	return nil
}

// callable returns an error for a request that is no unary call.
func callable(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		err := goapi.NewError(http.StatusMethodNotAllowed, quote(r.Method)+" is no call; use one of "+rpcMethods, nil)
		err.Header = http.Header{"Allow": {rpcMethods}}
		return err
	}
	return nil
}

// readMessage returns the message that a request is, and how it is encoded.
func readMessage(w http.ResponseWriter, r *http.Request, rt *goapi.Route, whole *wholeBody, maxBody int64) (encoding, []byte, error) {
	var body []byte
	enc := jsonEncoding()
	switch {
	case !hasBody(r.Method) && r.ContentLength != 0:
		forgetBody(w)
	case hasBody(r.Method):
		var err error
		if enc, err = encodingOf(r.Header); err != nil {
			return enc, nil, err
		}
		if body, err = whole.read(w, r, maxBody); err != nil {
			return enc, nil, err
		}
		if body, err = enc.unwrap(body); err != nil {
			return enc, nil, err
		}
	}
	if enc.message != mucp.JSON {
		return enc, body, nil
	}
	msg, err := jsonMessage(&parts{
		value: rt.Endpoint.Request,
		field: rt.Endpoint.Body,
		vars:  pathVariables(rt, r),
		query: r.URL.RawQuery,
		form:  enc.form,
		body:  body,
	})
	return enc, msg, err
}

// callFor calls the method of a route for a request, which may ask for less time
// than the policy gives.
func callFor(r *http.Request, c client.Caller, rt *goapi.Route, pol *goapi.Policy, req *client.Request) ([]byte, error) {
	timeout, err := askedTimeout(r, pol.Timeout)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if timeout < pol.Timeout {
		// A context's, not the policy's: no node is to blame for it.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	pol.Upstream.Timeout = pol.Timeout
	return invoke(ctx, c, rt.Upstream, upstream.Call{Policy: &pol.Upstream, Idempotent: idempotent(r), Header: r.Header}, req)
}

// askedTimeout returns the time in which a client wants to be answered, if it
// says so and that is less than limit, where 0 is none; else limit.
func askedTimeout(r *http.Request, limit time.Duration) (time.Duration, error) {
	values := r.Header["Grpc-Timeout"]
	if len(values) == 0 {
		return limit, nil
	}
	asked, ok := parseTimeout(values[0])
	if !ok || asked == 0 || len(values) > 1 {
		return 0, badRequest("Grpc-Timeout is malformed: it is 1 to 8 digits and one of n, u, m, S, M, H")
	}
	if limit > 0 && limit < asked {
		return limit, nil
	}
	return asked, nil
}

// invoke calls a method on the nodes of set, until one answers or none is left
// to try, and returns the reply. The policy's timeouts bound that: each service
// is told how much time its try has, and a node that lets it pass is to blame. The
// exchange learns of it.
func invoke(ctx context.Context, c client.Caller, set *upstream.Set, call upstream.Call, req *client.Request) ([]byte, error) {
	var reply []byte
	ex := exchangeOf(ctx)
	start := time.Now()
	call.Fits = callableBy(c)
	err := set.Do(ctx, call, func(ctx context.Context, try *upstream.Try) error {
		ex.Node, ex.Attempts = try.Node.ID, try.N
		var err error
		reply, err = attempt(try.WithDeadline(ctx), c, try, *req)
		return err
	})
	ex.Upstream = time.Since(start)
	if err != nil {
		return nil, upstreamError(req.Service, noneFits(err, set, call.Fits))
	}
	return reply, nil
}

// callableBy returns which nodes c can call; nil for all.
func callableBy(c any) func(*registry.Node) bool {
	if s, ok := c.(client.Selective); ok {
		return s.Calls
	}
	return nil
}

// noneFits returns what the error of Do means for a set of whose nodes none fits.
func noneFits(err error, set *upstream.Set, fits func(*registry.Node) bool) error {
	if fits == nil || !errors.Is(err, upstream.ErrNoNodes) {
		return err
	}
	nodes := set.Nodes()
	if len(nodes) == 0 || slices.ContainsFunc(nodes, func(n upstream.NodeState) bool { return fits(n.Node) }) {
		return err
	}
	n := nodes[0].Node
	return &client.ProtocolError{Node: n.ID, Protocol: n.Metadata["protocol"]}
}

// exchangeOf returns the Exchange of a request; one that nobody reads, if it has
// none.
func exchangeOf(ctx context.Context) *goapi.Exchange {
	if ex := goapi.ExchangeFrom(ctx); ex != nil {
		return ex
	}
	return new(goapi.Exchange)
}

// attempt calls a method on one node.
func attempt(ctx context.Context, c client.Caller, try *upstream.Try, req client.Request) ([]byte, error) {
	var sent atomic.Bool
	req.Sent = func() {
		sent.Store(true)
		try.Sent()
	}
	rsp, err := c.Call(ctx, try.Node, &req)
	if err == nil {
		return rsp.Body, nil
	}
	judge(try, sent.Load(), err)
	return nil, err
}

// judge says what the error of a call is to the try that ends with it.
func judge(try *upstream.Try, sent bool, err error) {
	var known *goapi.Error
	switch {
	case !errors.As(err, &known) || errors.Is(err, context.DeadlineExceeded):
	case !sent:
		try.Blameless() // a call that cannot be made
	case errors.Is(err, client.ErrReplyTooLarge):
		try.Answered()
	case known.Code == http.StatusBadGateway, known.Code == http.StatusServiceUnavailable, known.Code == http.StatusGatewayTimeout:
		try.Failed()
	default:
		try.Answered() // with an error of the service's own
	}
}

// writeReply answers the request with what the service replied.
func writeReply(w http.ResponseWriter, r *http.Request, enc encoding, reply []byte) {
	h := w.Header()
	if len(reply) == 0 && enc.message == mucp.JSON {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Content-Type", enc.reply)
	h.Set("Content-Length", strconv.Itoa(len(reply)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(reply) //nolint:gosec // it has the content type it was asked in; an error is a client that is gone
	}
}

// callMetadata returns the headers that a service may see as the metadata of a
// call.
func callMetadata(header http.Header) map[string]string {
	md := make(map[string]string, len(header))
	for name, values := range header {
		switch {
		case len(values) == 0 || mucp.Reserved(name):
		case len(values) == 1:
			md[name] = values[0]
		case name == "Cookie":
			md[name] = strings.Join(values, "; ")
		default:
			md[name] = strings.Join(values, ", ")
		}
	}
	return md
}

// hasBody says whether the body of a request with this method means anything.
func hasBody(method string) bool { return method != http.MethodGet && method != http.MethodHead }
