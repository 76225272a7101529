package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// CallOptions adjust a Call handler. A nil *CallOptions means all defaults.
type CallOptions struct {
	// Policy is for every call. Default: that of a route which has none.
	Policy *goapi.Policy
}

// Call returns a handler for calls that name their service themselves. It is
// for operators, and belongs on a listener of theirs: it reaches every service
// and method.
//
// A call is a POST of a form or of a JSON object with
//
//   - service, the name of a service;
//   - method, or endpoint: the name of its method;
//   - request, the message: JSON, or a text that is JSON. Default: {};
//   - address, of the node to call, which must be one of the service's.
//     Default: any node.
//
// The answer is the reply, as JSON. Find returns the nodes of a service, or nil
// for one that is not announced. None of the request's headers travel on: they
// hold what the operator shows to the gateway.
func Call(find func(service string) *upstream.Set, c client.Caller, opts *CallOptions) http.Handler {
	h := &explicit{find: find, caller: c}
	if opts != nil {
		h.policy = opts.Policy
	}
	return goapi.HandlerFunc(h.serve)
}

type explicit struct {
	find   func(service string) *upstream.Set
	caller client.Caller
	policy *goapi.Policy
}

// explicitCall is what a client sends.
type explicitCall struct {
	Service  string          `json:"service"`
	Endpoint string          `json:"endpoint"`
	Method   string          `json:"method"` // the older name of Endpoint
	Address  string          `json:"address"`
	Request  json.RawMessage `json:"request"`
}

func (h *explicit) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		err := goapi.NewError(http.StatusMethodNotAllowed, "a call is a POST with service, method and request", nil)
		err.Header = http.Header{"Allow": {http.MethodPost}}
		return err
	}
	pol := h.policy.OrDefault()
	call, err := readCall(w, r, pol.MaxBody)
	if err != nil {
		return err
	}
	set := h.find(call.Service)
	if set == nil {
		return goapi.NewError(http.StatusNotFound, "no service "+quote(call.Service)+" is announced", nil)
	}
	req := &client.Request{Service: call.Service, Endpoint: call.Endpoint, ContentType: mucp.JSON, Body: call.Request}
	var reply []byte
	if call.Address == "" {
		pol.Upstream.Timeout = pol.Timeout
		reply, err = invoke(r.Context(), h.caller, set, upstream.Call{Policy: &pol.Upstream}, req)
	} else {
		ctx, cancel := context.WithTimeout(r.Context(), pol.Timeout)
		defer cancel()
		reply, err = h.callNode(ctx, set, call.Address, req)
	}
	enc := jsonEncoding()
	if err == nil {
		reply, err = enc.replyOf(call.Service, reply)
	}
	if err != nil {
		return err
	}
	writeReply(w, r, enc, reply)
	return nil
}

// callNode calls a method on the node at an address: here it is the client who
// has chosen it.
func (h *explicit) callNode(ctx context.Context, set *upstream.Set, address string, req *client.Request) ([]byte, error) {
	n := nodeAt(set, address)
	if n == nil {
		return nil, goapi.NewError(http.StatusNotFound, "service "+req.Service+" has no node at "+quote(address), nil)
	}
	if ex := goapi.ExchangeFrom(ctx); ex != nil {
		ex.Node, ex.Attempts = n.ID, 1
	}
	rsp, err := h.caller.Call(ctx, n, req)
	if err != nil {
		return nil, upstreamError(req.Service, err)
	}
	return rsp.Body, nil
}

// nodeAt returns the node at an address, or nil.
func nodeAt(set *upstream.Set, address string) *registry.Node {
	for _, state := range set.Nodes() {
		if state.Node.Address == address {
			return state.Node
		}
	}
	return nil
}

// readCall returns what the client sent, with a message that is valid JSON.
func readCall(w http.ResponseWriter, r *http.Request, maxBody int64) (*explicitCall, error) {
	enc, err := encodingOf(r.Header)
	if err != nil {
		return nil, err
	}
	if enc.reply != mucp.JSON {
		return nil, goapi.NewError(http.StatusUnsupportedMediaType, "an explicit call is "+mucp.JSON+" or "+typeForm, nil)
	}
	body, err := new(wholeBody).read(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	var call *explicitCall
	if enc.form {
		call, err = formCall(string(body))
	} else {
		call, err = jsonCall(body)
	}
	if err != nil {
		return nil, err
	}
	if call.Endpoint == "" {
		call.Endpoint = call.Method
	}
	call.Request = bytes.TrimSpace(call.Request)
	switch {
	case call.Service == "":
		return nil, badRequest("the call has no service")
	case call.Endpoint == "":
		return nil, badRequest("the call has no method")
	case len(call.Request) == 0 || string(call.Request) == "null":
		call.Request = json.RawMessage("{}")
	}
	return call, checkJSON(call.Request, "request")
}

func formCall(form string) (*explicitCall, error) {
	pairs, err := parsePairs(form, "form")
	if err != nil {
		return nil, err
	}
	call := new(explicitCall)
	for _, p := range pairs {
		switch p.name {
		case "service":
			call.Service = p.text
		case "endpoint":
			call.Endpoint = p.text
		case "method":
			call.Method = p.text
		case "address":
			call.Address = p.text
		case "request":
			call.Request = json.RawMessage(p.text)
		default:
			return nil, badCall(errors.New("unknown name " + quote(p.name)))
		}
	}
	return call, nil
}

func jsonCall(body []byte) (*explicitCall, error) {
	if err := checkJSON(body, "body"); err != nil {
		return nil, err
	}
	call := new(explicitCall)
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields() // a call that is misspelt must not reach another node, or say nothing
	if err := dec.Decode(call); err != nil {
		return nil, badCall(err)
	}
	var text string
	if err := json.Unmarshal(call.Request, &text); err == nil { // JSON in a text
		call.Request = json.RawMessage(text)
	}
	return call, nil
}

func badCall(cause error) error {
	return goapi.NewError(http.StatusBadRequest,
		"a call has the texts service, method (or endpoint) and address, a request, and nothing else", cause)
}
