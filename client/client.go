// Package client calls methods of services in the RPC protocol that their
// nodes speak, and opens streams of them: bytes in, bytes out.
//
// [Micro] speaks go-micro's RPC over HTTP; sub-package grpc speaks gRPC.
// [ByProtocol] picks between callers by what the node announces. Every caller
// of one protocol passes the suites in package clienttest.
package client

import (
	"context"
	"errors"

	"github.com/goapi-dev/goapi/registry"
)

// A Request is a unary call of a method.
type Request struct {
	// Service is the name of the service, and Endpoint of its method
	// ("Greeter.Hello").
	Service, Endpoint string
	// ContentType says how Body is encoded, without parameters:
	// application/json, application/protobuf, and what else the caller knows.
	ContentType string
	// Header travels as the call's metadata. Callers drop what the protocol
	// does not carry.
	Header map[string]string
	// Body is the encoded message.
	Body []byte
	// Sent, if set, is called when bytes of the request may have left, before
	// Call returns. A call that fails without it has reached no service.
	Sent func()
}

// A Response is the answer to a Request.
type Response struct {
	// ContentType is that of Body: the request's.
	ContentType string
	Body        []byte
}

// ErrReplyTooLarge is the cause of the error for a reply that is larger than a
// Caller takes: the node is not at fault.
var ErrReplyTooLarge = errors.New("client: the reply is too large")

// A Caller makes unary calls in one protocol. It may be used concurrently.
//
// The context bounds the whole call; its deadline travels to the service. An
// error that the service answered is a *goapi.Error with the service's own id,
// code and detail; so is an answer that is not one (502) and a deadline that
// passed (504). A call that can be made to no node is one as well, without Sent
// (400, 404, 415). Any other error means that this node could not be reached, or
// with Sent that it broke off: without Sent, another node may be called.
//
// What a service replies is bounded; more is a 502, whose cause is
// ErrReplyTooLarge.
type Caller interface {
	Call(ctx context.Context, n *registry.Node, req *Request) (*Response, error)
}
