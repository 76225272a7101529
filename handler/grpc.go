package handler

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// pieceSize is read of an answer at a time: as much as a frame holds.
const pieceSize = 16 << 10

// streamWindow bounds what a service may send of one stream before the client
// has taken it, in bytes.
const streamWindow = 512 << 10

// GRPCOptions adjust a GRPC handler. A nil *GRPCOptions means all defaults.
type GRPCOptions struct {
	// DialContext connects to a node, within 2 s. Default: a net.Dialer behind
	// an upstream.Guard that knows no listeners.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for nodes that announce secure=true or scheme=https. They are
	// verified by the host of their address. Default: the system's roots.
	TLS *tls.Config
	// TrustedProxies are peers whose account of where a request came from is
	// believed. Default: none.
	TrustedProxies []netip.Prefix
	// MaxHeader bounds the headers of an answer, and its trailers, in bytes.
	// Default: 256 KiB.
	MaxHeader int64
	// Idle bounds the time in which neither side of a stream sends anything.
	// Default: 5 min.
	Idle time.Duration
}

func (o *GRPCOptions) orDefault() GRPCOptions {
	var d GRPCOptions
	if o != nil {
		d = *o
	}
	if d.DialContext == nil {
		d.DialContext = (&net.Dialer{ControlContext: (*upstream.Guard)(nil).Control}).DialContext
	}
	if d.MaxHeader <= 0 {
		d.MaxHeader = defaultMaxHeader
	}
	if d.Idle <= 0 {
		d.Idle = defaultIdle
	}
	return d
}

// GRPC returns a handler that relays calls of gRPC to nodes that announce the
// protocol grpc, each as a stream of HTTP/2. What is between the headers is not
// looked at: messages pass byte for byte, in both directions at once, as slowly
// as the slower side wants it. Each side may end its half when it likes, and
// either may cancel.
//
// A request of gRPC-Web (application/grpc-web and application/grpc-web-text),
// over any version of HTTP, becomes one of gRPC, and the trailers of its answer
// become the last frame of the body.
//
// The path is forwarded as it was received, less the endpoint's strip prefix.
// The client's grpc-timeout is the deadline of the call, unless the policy's
// Timeout is earlier and the endpoint is not announced as a stream; it travels,
// less the time that has passed, and when it has passed the answer is
// DEADLINE_EXCEEDED, whatever the service does. The
// policy's TryTimeout bounds the time to the head of the answer, counted from
// the last of what the client sends; without one that is 30 s for a method that
// is announced as no stream if the client set no deadline, and Idle for all
// others, since services hold the head back until they have a message.
//
// A call is tried again while no byte of its messages has left, or if the node
// says that it did not look at it, unless more than 64 KiB were sent by then.
// Errors are statuses of gRPC; see [goapi.GRPCStatus].
//
// The handler is an io.Closer; Close closes the connections that are idle.
func GRPC(opts *GRPCOptions) http.Handler {
	o := opts.orDefault()
	g := &grpcRelay{trusted: o.TrustedProxies, idle: o.Idle, transport: grpcTransport(&o)}
	g.serve = g.relay
	return g
}

// grpcRelay is the GRPC handler.
type grpcRelay struct {
	trusted   []netip.Prefix
	idle      time.Duration
	transport *http.Transport
	buffers   buffers[[pieceSize]byte]
	serve     goapi.HandlerFunc
}

// ServeHTTP implements http.Handler.
func (g *grpcRelay) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.serve.ServeHTTP(w, r) }

// Close closes the connections that are idle.
func (g *grpcRelay) Close() error {
	g.transport.CloseIdleConnections()
	return nil
}

// grpcTransport returns a transport to services, which speaks HTTP/2 only. It
// makes another connection to a node when the ones that there are have as many
// streams as the node takes.
func grpcTransport(o *GRPCOptions) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	dial := o.DialContext
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			return dial(ctx, network, address)
		},
		Protocols: &protocols,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamWindow,
			WriteByteTimeout:          o.Idle,
			// Services take a ping more often than each 5 min for an attack.
			SendPingTimeout: max(o.Idle, defaultIdle) + connectTimeout,
		},
		TLSClientConfig:        o.TLS.Clone(),
		TLSHandshakeTimeout:    connectTimeout,
		DisableCompression:     true, // an encoding is between client and service
		IdleConnTimeout:        idleConn,
		MaxResponseHeaderBytes: o.MaxHeader,
	}
}

// relay serves a request. It answers errors itself: the client has its answer
// before the rest of its body is waited for.
func (g *grpcRelay) relay(w http.ResponseWriter, r *http.Request) error {
	ex := goapi.ExchangeFrom(r.Context())
	if ex == nil || ex.Route == nil {
		return goapi.ErrNoRoute
	}
	kind, err := dialectOf(r)
	if err != nil {
		return err
	}
	header, err := grpcHeader(r, g.trusted, kind)
	if err != nil {
		return err
	}
	s := &grpcStream{
		grpcRelay: g, w: w, rc: http.NewResponseController(w), r: r, ex: ex, dialect: kind, header: header,
		start: time.Now(), target: forwardTarget(r.URL, ex.Route.Endpoint.Strip),
	}
	ctx, cancel, err := s.withDeadline(r.Context())
	if err != nil {
		return err
	}
	defer cancel()
	// The client may be silent for as long as the service speaks.
	_ = s.rc.SetReadDeadline(time.Time{}) // a writer that has none bounds its client itself
	s.body = newGRPCBody(r, s.rc, kind, &s.progress)
	defer s.body.release()
	err = s.do(ctx)
	switch {
	case err == nil:
	case s.begun:
		ex.Err = err
		s.breakOff(err)
	default:
		s.leaveBody()
		goapi.WriteError(w, r, err)
	}
	s.hurry()
	return nil
}
