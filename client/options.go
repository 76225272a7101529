package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// Options adjust a caller. A nil *Options means all defaults.
type Options struct {
	// TLS is for nodes that are called over TLS; see Secure. A private
	// authority is its RootCAs. Default: verified with the system's.
	TLS *tls.Config
	// DialContext connects to a node. A guard that checks the address belongs
	// here. Default: a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// ConnectTimeout bounds connecting to a node. Default: 2 s.
	ConnectTimeout time.Duration
	// Timeout bounds calls whose context has no deadline, and how long a stream
	// may take to open. Default: 30 s.
	Timeout time.Duration
	// MaxReply bounds a service's reply, and each message of a stream, in bytes.
	// Default: 32 MiB.
	MaxReply int
	// StreamIdle bounds how long a service may be silent on a stream after
	// CloseSend, in protocols where it need not say that it has ended. Default:
	// 30 s.
	StreamIdle time.Duration
}

const (
	defaultConnectTimeout = 2 * time.Second
	defaultTimeout        = 30 * time.Second
	defaultMaxReply       = 32 << 20
	defaultStreamIdle     = 30 * time.Second
)

// OrDefault returns o with every field that is not set, or not positive, at its
// default; o may be nil.
// The TLS configuration is a copy.
func (o *Options) OrDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.TLS == nil {
		d.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	d.TLS = d.TLS.Clone()
	if d.DialContext == nil {
		d.DialContext = new(net.Dialer).DialContext
	}
	if d.ConnectTimeout <= 0 {
		d.ConnectTimeout = defaultConnectTimeout
	}
	if d.Timeout <= 0 {
		d.Timeout = defaultTimeout
	}
	if d.MaxReply <= 0 {
		d.MaxReply = defaultMaxReply
	}
	if d.StreamIdle <= 0 {
		d.StreamIdle = defaultStreamIdle
	}
	return d
}

// Dial connects to a node within ConnectTimeout.
func (o *Options) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	conn, err := o.DialContext(ctx, network, address)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		// Not wrapped: that a node is silent is not the deadline of the call.
		return nil, fmt.Errorf("client: no connection to %s within %v: %v", address, o.ConnectTimeout, err) //nolint:errorlint // see above
	}
	return conn, err
}

// Deadline returns ctx with a deadline: its own, or after Timeout.
func (o *Options) Deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, o.Timeout)
}

// Secure says that a node is called over TLS: its metadata has secure=true or
// scheme=https. The certificate is verified for the host of its address.
func Secure(n *registry.Node) bool {
	return n.Metadata["secure"] == "true" || n.Metadata["scheme"] == "https"
}
