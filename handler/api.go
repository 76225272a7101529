package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/proto"
)

// APIOptions adjust an API handler. A nil *APIOptions means all defaults.
type APIOptions struct {
	// Protobuf says that the two messages travel as protobuf. Services of
	// go-micro v2.0 to v3.5 then leave a call unanswered that fails. Default:
	// JSON, which all services take.
	Protobuf bool
	// TrustedProxies are peers whose account of where a request came from is
	// believed. Default: none.
	TrustedProxies []netip.Prefix
	// Bodies is as in [RPCOptions]. Default: as there.
	Bodies *Bodies
}

// API returns a handler that serves a request by a unary call of the route's
// endpoint, through c, whose message is the whole request, a go.api.Request:
// see package proto. What the service replies, a go.api.Response, is the whole
// answer.
//
// Of the request, the message has
//
//   - the method, any but CONNECT; the path, unescaped; path and query as they
//     came, as url;
//   - the headers that a service may see, with Host and the gateway's account of
//     where the request came from;
//   - the query, as get;
//   - the body: as post if its content type is that of a form, else as body. A
//     body whose content type is missing or malformed is a form if it can be
//     nothing else: name=value, joined by &, with escapes for all that a form
//     escapes. A body with a Content-Encoding is never taken for a form.
//
// The headers are the call's metadata as well. All of the message is UTF-8:
// another body or header is 415, another path or query 400; none is replaced,
// for two that differ would be the same. A form or query that cannot be read is
// 400.
//
// Of the answer, a status of 0 is 200. The headers are set as they are given,
// but for Content-Length and those of the connection; the content type is
// application/json where the service does not say. An answer whose status is
// below 200 or above 999, or whose headers HTTP does not allow, is 502, and so
// is a reply that is no go.api.Response. Fields that it does not have are
// ignored. The answers to HEAD, and 204 and 304, have no body.
//
// Requests that may be sent again (GET, HEAD, PUT, DELETE, OPTIONS, TRACE, and any
// with one Idempotency-Key) are, on another node.
func API(c client.Caller, opts *APIOptions) http.Handler {
	h := &api{caller: c, contentType: mucp.JSON}
	if opts != nil {
		h.trusted, h.bodies = opts.TrustedProxies, opts.Bodies
		if opts.Protobuf {
			h.contentType = mucp.Protobuf
		}
	}
	h.bodies = h.bodies.orDefault()
	return goapi.HandlerFunc(h.serve)
}

type api struct {
	caller      client.Caller
	contentType string // of the messages
	trusted     []netip.Prefix
	bodies      *Bodies
}

func (h *api) serve(w http.ResponseWriter, r *http.Request) error {
	rt := goapi.RouteFrom(r.Context())
	switch {
	case rt == nil:
		return goapi.ErrNoRoute
	case r.Method == http.MethodConnect:
		err := goapi.NewError(http.StatusMethodNotAllowed, "CONNECT is not served", nil)
		err.Header = http.Header{"Connection": {"close"}} // what follows may be meant for the tunnel
		return err
	case rt.Endpoint.Stream:
		return goapi.NewError(http.StatusNotImplemented,
			fmt.Sprintf("%s of service %s is a stream, which the api handler does not serve", rt.Endpoint.Name, rt.Service), nil)
	}
	header, err := requestHeader(r, h.trusted)
	if err != nil {
		return err
	}
	pol := rt.Policy.OrDefault()
	md := callMetadata(header)
	body := wholeBody{room: h.bodies}
	defer body.release()
	msg, err := h.message(w, r, header, &body, pol.MaxBody)
	if err != nil {
		return err
	}
	reply, err := callFor(r, h.caller, rt, &pol, &client.Request{
		Service:     rt.Service,
		Endpoint:    rt.Endpoint.Name,
		ContentType: h.contentType,
		Header:      md,
		Body:        msg,
	})
	if err != nil {
		return err
	}
	res, err := h.response(rt.Service, reply)
	if err != nil {
		return err
	}
	return writeResponse(w, r, rt.Service, res)
}

// message returns the encoded message that a request is, of whose headers the
// service may see header.
func (h *api) message(w http.ResponseWriter, r *http.Request, header http.Header, whole *wholeBody, maxBody int64) ([]byte, error) {
	req, err := apiRequest(r, header)
	if err != nil {
		return nil, err
	}
	body, err := whole.read(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	if err := addBody(req, r.Header, body); err != nil {
		return nil, err
	}
	if h.contentType == mucp.Protobuf {
		return protobuf.Marshal(req)
	}
	// Not protojson, whose spaces are random: as JSON, these messages are the
	// same in both.
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(req); err != nil {
		return nil, fmt.Errorf("handler: message: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// apiRequest returns the message that a request is, but for its body. It takes
// header over.
func apiRequest(r *http.Request, header http.Header) (*proto.Request, error) {
	target := r.URL.RequestURI()
	if notUTF8(r.URL.Path) || notUTF8(target) {
		return nil, badRequest("the path or the query is not UTF-8")
	}
	header["Host"] = []string{r.Host}
	delete(header, "Te") // a message has no trailers
	req := &proto.Request{
		Method: r.Method, Path: r.URL.Path, Url: target,
		Header: make(map[string]*proto.Pair, len(header)),
	}
	for name, values := range header {
		if !slices.ContainsFunc(values, notUTF8) {
			req.Header[name] = &proto.Pair{Key: name, Values: values}
			continue
		}
		return nil, untransportable("header " + name)
	}
	query, err := parsePairs(r.URL.RawQuery, "query")
	if err != nil {
		return nil, err
	}
	for _, p := range query {
		if notUTF8(p.name) || notUTF8(p.text) {
			return nil, badRequest(quote(p.name) + " in the query, or its value, is not UTF-8")
		}
	}
	req.Get = pairMap(query)
	return req, nil
}

// addBody puts a body where it belongs.
func addBody(req *proto.Request, header http.Header, body []byte) error {
	if !utf8.Valid(body) {
		return untransportable("body")
	}
	text := string(body)
	if !isForm(header, text) {
		req.Body = text
		return nil
	}
	form, err := parsePairs(text, "form")
	if err != nil {
		return err
	}
	for _, p := range form {
		if notUTF8(p.name) || notUTF8(p.text) {
			return untransportable("form")
		}
	}
	req.Post = pairMap(form)
	return nil
}

// isForm says whether a body is a form.
func isForm(header http.Header, body string) bool {
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return readsAsForm(body)
	}
	return mediaType == typeForm
}

// readsAsForm says whether a body of no known type can be nothing but a form.
func readsAsForm(body string) bool {
	const kept = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-._+%=&"
	if body == "" || strings.Trim(body, kept) != "" {
		return false
	}
	for part := range strings.SplitSeq(body, "&") {
		if strings.IndexByte(part, '=') < 1 {
			return false
		}
	}
	_, err := parsePairs(body, "form")
	return err == nil
}

// pairMap returns pairs by their names, each with its values in order.
func pairMap(pairs []pair) map[string]*proto.Pair {
	if len(pairs) == 0 {
		return nil
	}
	m := make(map[string]*proto.Pair, len(pairs))
	for _, p := range pairs {
		if m[p.name] == nil {
			m[p.name] = &proto.Pair{Key: p.name}
		}
		m[p.name].Values = append(m[p.name].Values, p.text)
	}
	return m
}

func notUTF8(s string) bool { return !utf8.ValidString(s) }

// untransportable is the error for a part of a request that no text can hold.
func untransportable(what string) error {
	return goapi.NewError(http.StatusUnsupportedMediaType,
		"the "+what+" is not UTF-8, which a go.api.Request cannot hold; an endpoint with handler=http takes any bytes", nil)
}

// response reads what a service replied.
func (h *api) response(service string, reply []byte) (*proto.Response, error) {
	res := new(proto.Response)
	var err error
	switch {
	case h.contentType == mucp.Protobuf:
		err = protobuf.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(reply, res)
	case !utf8.Valid(reply):
		err = errNotJSON
	default:
		err = json.Unmarshal(reply, res)
	}
	if err != nil {
		return nil, goapi.NewError(http.StatusBadGateway,
			"service "+service+" did not reply with a go.api.Response in "+h.contentType+", as endpoints with handler=api do", err)
	}
	return res, nil
}

// writeResponse answers the request with what the service replied.
func writeResponse(w http.ResponseWriter, r *http.Request, service string, res *proto.Response) error {
	status := int(res.GetStatusCode())
	switch {
	case status == 0:
		status = http.StatusOK
	case status < http.StatusOK || status > 999:
		return badResponse(service, fmt.Sprintf("its status is %d", status))
	}
	header, err := responseHeader(service, res.GetHeader())
	if err != nil {
		return err
	}
	body := res.GetBody()
	h := w.Header()
	_ = copyAnswerHeader(h, header) // no name is malformed
	switch {
	case status == http.StatusNoContent || status == http.StatusNotModified:
		body = ""
	case h.Get("Content-Type") == "":
		h.Set("Content-Type", mucp.JSON)
	}
	if body != "" {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	if body != "" && r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) //nolint:gosec // its content type is the service's to choose; an error is a client that is gone
	}
	return nil
}

// responseHeader returns the headers of a reply, if HTTP allows them.
func responseHeader(service string, pairs map[string]*proto.Pair) (http.Header, error) {
	header := make(http.Header, len(pairs)+1)
	for _, key := range slices.Sorted(maps.Keys(pairs)) { // some may be the same in canonical form
		p := pairs[key]
		name := p.GetKey()
		if name == "" {
			name = key
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, badResponse(service, fmt.Sprintf("%.40q is no name of a header", name))
		}
		name = http.CanonicalHeaderKey(name)
		for _, value := range p.GetValues() {
			if !httpguts.ValidHeaderFieldValue(value) {
				return nil, badResponse(service, fmt.Sprintf("header %.40s is malformed", name))
			}
			header[name] = append(header[name], value)
		}
	}
	delete(header, "Content-Length") // it is of what the service meant to write
	return header, nil
}

func badResponse(service, why string) error {
	return goapi.NewError(http.StatusBadGateway, "service "+service+" gave no valid answer: "+why, nil)
}
