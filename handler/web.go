package handler

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/goapi-dev/goapi"
)

const defaultMaxConnections = 8192

// WebOptions adjust a Web handler. A nil *WebOptions means all defaults.
type WebOptions struct {
	// HTTP is how requests are forwarded, those that ask for an upgrade
	// included. An upgraded connection ends when neither side has sent anything
	// for HTTP.Idle.
	HTTP HTTPOptions
	// MaxConnections bounds the upgraded connections that are open, or being
	// opened: further ones are refused (503 with Retry-After). Each takes two
	// file descriptors. Default: 8192.
	MaxConnections int
	// Origins are the web pages whose scripts may ask for an upgrade, each as
	// [CheckOrigin] has it. Pages of the requested host itself always may, any
	// other is refused (403), as is one without an origin of its own ("null").
	// A request without an Origin header is none of a browser's, and passes.
	// Default: any; services look at Origin themselves.
	Origins []string
}

// Web returns a handler that does all that [HTTP] does, and upgrades: where
// client and service agree to go on in another protocol (WebSocket, or any
// other), it carries the bytes between them, untouched and in both directions,
// until both have ended.
//
// A request that asks for an upgrade goes to a node as any other does: with the
// same headers beside Connection and Upgrade, on a node that Set.Do picks, and
// again on another as long as nothing was answered and the method is
// idempotent. The policy's timeouts bound it until the service answers; an
// answer other than 101 is passed on as such. A 101 for a protocol that the
// client did not ask for is a 502, a request with a body a 400. Only HTTP/1.1
// has upgrades: a request in HTTP/2 (RFC 8441 included), for an upgrade to
// HTTP, in which requests would pass the gateway by, or to TLS, is served as if
// it did not ask.
//
// What one side sends, the other gets at once, and as fast as it reads. When
// one side ends its direction, so does the gateway on the other side, and the
// other direction goes on; when one side resets the connection, so does the
// gateway.
//
// An open connection depends on its client and its node alone: it outlasts its
// route, and the announcement of its node, which is to end its connections
// itself when it goes away. Until then it counts among what the node has in
// flight.
func Web(opts *WebOptions) http.Handler {
	var o WebOptions
	if opts != nil {
		o = *opts
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = defaultMaxConnections
	}
	p := newProxy(&o.HTTP)
	p.upgrades = &upgrades{max: int64(o.MaxConnections), origins: parseOrigins(o.Origins)}
	return p
}

// upgrades is who may upgrade a connection.
type upgrades struct {
	max     int64
	open    atomic.Int64
	origins origins
	buffers tunnelBuffers
}

// admit returns the protocols that a request asks to upgrade to; none if it is
// to be served as any other. Whoever gets some calls leave in the end.
func (u *upgrades) admit(r *http.Request) (protocols []string, err error) {
	if u == nil {
		return nil, nil
	}
	protocols, err = askedProtocols(r)
	if err != nil || len(protocols) == 0 {
		return nil, err
	}
	if r.ContentLength != 0 {
		return nil, badRequest("a request for an upgrade has no body")
	}
	if !u.origins.allow(r) {
		return nil, goapi.NewError(http.StatusForbidden,
			fmt.Sprintf("pages of the origin %.100q may not ask for an upgrade", r.Header.Get("Origin")), nil)
	}
	if u.open.Add(1) > u.max {
		u.leave()
		return nil, unavailable("the gateway has as many upgraded connections as it takes", nil)
	}
	return protocols, nil
}

// leave ends the use of a connection.
func (u *upgrades) leave() { u.open.Add(-1) }
