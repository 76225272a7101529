// Package grpc calls methods of services in gRPC, unary and as streams: bytes
// in, bytes out.
//
// Services of go-micro and native gRPC servers are called alike. A method is
// named in one of three ways:
//
//	Greeter.Hello          /<service>.Greeter/Hello, as go-micro's clients call it
//	greet.v1.Greeter.Hello /greet.v1.Greeter/Hello
//	greet.v1.Greeter/Hello /greet.v1.Greeter/Hello
//
// Services of go-micro look at no more than Greeter/Hello. A native server needs
// its real package, from the first of these that there is:
//
//   - the endpoint's name, as in the last two forms;
//   - the key "package" in the metadata of its nodes, as "package": "greet.v1";
//   - the service's name, if that is the package, greet.v1, or the full name of
//     the type, greet.v1.Greeter.
//
// JSON goes to services that have a codec for it, as those of go-micro do. One
// that has not, as most native servers, is to be called in protobuf; JSON is 415
// then.
//
// A service's error keeps its id, code and detail if it is one of go-micro's;
// else the gRPC code becomes the HTTP status that means the same.
package grpc

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/internal/mucp"
	"github.com/goapi-dev/goapi/registry"
)

// Options adjust a caller. A nil *Options means all defaults.
type Options struct {
	// Options are those of every caller.
	client.Options

	// MaxConns bounds the connections that are kept: for each node one for calls
	// and one for streams. The one that was unused for longest makes room.
	// Default: 1024.
	MaxConns int
}

const defaultMaxConns = 1024

// Caller makes calls in gRPC, and opens streams.
type Caller struct {
	opts client.Options
	pool pool
}

var _ client.Caller = (*Caller)(nil)

// New returns a caller that keeps connections to nodes until Close.
func New(opts *Options) *Caller {
	if opts == nil {
		opts = new(Options)
	}
	c := &Caller{opts: opts.Options.OrDefault()}
	c.pool = pool{max: opts.MaxConns, dial: c.dial}
	if c.pool.max <= 0 {
		c.pool.max = defaultMaxConns
	}
	return c
}

// Close closes all connections; calls that are under way fail. It may be used
// again.
func (c *Caller) Close() error { return c.pool.Close() }

// Call implements client.Caller. The content types of JSON and of protobuf are
// understood, whatever frame they name: gRPC has its own.
func (c *Caller) Call(ctx context.Context, n *registry.Node, req *client.Request) (*client.Response, error) {
	ctx, cancel := c.opts.Deadline(ctx)
	defer cancel()
	if err := client.Check(ctx, req); err != nil {
		return nil, err
	}
	path, codec, err := target(n, req)
	if err != nil {
		return nil, err
	}
	conn, err := c.pool.acquire(key{address: n.Address, secure: client.Secure(n)})
	if err != nil {
		return nil, client.CallError(ctx, req, err)
	}
	defer conn.release()

	cl := &call{sent: req.Sent, maxReply: c.opts.MaxReply}
	ctx = context.WithValue(metadata.NewOutgoingContext(ctx, outgoing(ctx, req)), callKey{}, cl)
	var body []byte
	err = conn.Invoke(ctx, path, req.Body, &body, grpc.ForceCodecV2(codec), grpc.MaxCallRecvMsgSize(c.opts.MaxReply))
	if err != nil {
		return nil, cl.failure(ctx, req, err)
	}
	return &client.Response{ContentType: req.ContentType, Body: body}, nil
}

// target returns the path of a call and the codec of its messages.
func target(n *registry.Node, req *client.Request) (string, codec, error) {
	path, err := methodPath(n, req)
	if err != nil {
		return "", "", err
	}
	c, err := codecFor(req)
	return path, c, err
}

// methodPath returns the path of a call; see the package's comment.
func methodPath(n *registry.Node, req *client.Request) (string, error) {
	typ, method, ok := strings.Cut(strings.TrimPrefix(req.Endpoint, "/"), "/")
	if !ok {
		dot := max(strings.LastIndexByte(req.Endpoint, '.'), 0)
		typ, method = req.Endpoint[:dot], strings.TrimPrefix(req.Endpoint[dot:], ".")
		if !strings.Contains(typ, ".") {
			typ = fullName(n, req, typ)
		}
	}
	if strings.HasSuffix(typ, ".") || typ == "" || method == "" || strings.ContainsFunc(typ+method, notInPath) {
		return "", goapi.NewError(http.StatusNotFound,
			fmt.Sprintf("%q is no method of service %s; a method is named Type.Method", req.Endpoint, req.Service), nil)
	}
	return "/" + typ + "/" + method, nil
}

// notInPath says that a character is none of a method's path. One that HTTP/2
// refuses would end the connection, and the calls of others with it.
func notInPath(r rune) bool { return r <= ' ' || r > '~' || r == '/' }

// fullName returns the name of a type with its package.
func fullName(n *registry.Node, req *client.Request, typ string) string {
	pkg := n.Metadata["package"]
	switch {
	case pkg != "":
		return pkg + "." + typ
	case typ != "" && (req.Service == typ || strings.HasSuffix(req.Service, "."+typ)):
		return req.Service
	}
	return req.Service + "." + typ
}

// outgoing returns the metadata of a call. Reserved and invalid names are left
// out, for gRPC would fail the call; binary values are base64, as in HTTP. Old
// servers of go-micro know the type of messages from x-content-type alone, and
// take JSON for protobuf without it.
func outgoing(ctx context.Context, req *client.Request) metadata.MD {
	md := make(metadata.MD, len(req.Header)+2)
	for name, value := range req.Header {
		lower := strings.ToLower(name)
		if mucp.Reserved(http.CanonicalHeaderKey(name)) || lower == "" || strings.ContainsFunc(lower, notInKey) {
			continue
		}
		if strings.HasSuffix(lower, "-bin") {
			b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				continue
			}
			value = string(b)
		} else if strings.ContainsFunc(value, notInValue) {
			continue
		}
		md[lower] = []string{value}
	}
	md["x-content-type"] = []string{req.ContentType}
	if deadline, ok := ctx.Deadline(); ok {
		md["timeout"] = []string{mucp.FormatTimeout(max(time.Until(deadline), 1))}
	}
	return md
}

func notInKey(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

func notInValue(r rune) bool { return r < ' ' || r > '~' }

// call follows one call through the stats of its connection.
type call struct {
	sent     func()
	maxReply int
	headers  atomic.Bool // of the request: handed to the connection
	begun    atomic.Bool // the answer: its header is here
	answered atomic.Bool // with a status of the service's own
}

type callKey struct{}
