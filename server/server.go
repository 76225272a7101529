// Package server listens for HTTP with every limit set, and ends without
// cutting off what is being served.
//
// A client speaks HTTP/1.1 or HTTP/2 as it likes: over TLS by ALPN, and in
// clear text by prior knowledge, as clients of gRPC do. The limits hold for both,
// for each stream of an HTTP/2 connection alone.
//
// Frames of HTTP/2 that ask for nothing are bounded, and so are requests that are
// reset before they are answered. A client may send a thousand such frames a second,
// so many at once when its connection is new, four times as many when it is some
// seconds old, and more as it is answered; beyond that its connection is closed. For
// a minute, new ones from its address begin with a tenth of that.
//
// [Certificates] are files that are read again when they change. ACME is in
// package acme.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// What HTTP/2 allows a client.
const (
	// readFrame bounds a frame, for which a connection keeps memory.
	readFrame = 64 << 10
	// streamWindow and connWindow bound what a client may send before a handler
	// has read it, on a stream and in all.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
)

// Options adjust a Server. A nil *Options means all defaults.
type Options struct {
	// TLS makes the server speak TLS, and HTTP by ALPN unless it names what it
	// speaks; see [Certificates.Config]. It is not changed. Default: clear text.
	TLS *tls.Config
	// Proxies are those whose connections begin with a header of the PROXY protocol,
	// version 1 or 2, which says who the client is. One that does not is closed.
	// The header of anybody else is not read. Default: none.
	Proxies []netip.Prefix
	// OptionalProxy takes connections of Proxies without a header for their own.
	OptionalProxy bool
	// HeaderTimeout bounds the time a client takes to send the header of a
	// request. A client of HTTP/2 from which no whole frame, or header, came for so
	// long is asked whether it is there, and has as long again to say so: within a
	// header it cannot. Default: 10 s.
	HeaderTimeout time.Duration
	// BodyTimeout bounds the time a client takes to send the body of a request,
	// unless the handler sets another deadline for it. Default: 30 s.
	BodyTimeout time.Duration
	// IdleTimeout bounds the time a connection waits for its next request.
	// Default: 2 min.
	IdleTimeout time.Duration
	// WriteTimeout bounds the time in which a client takes nothing of what is
	// written to it. Default: 5 min.
	WriteTimeout time.Duration
	// MaxHeader bounds the header block of a request, in bytes. Default: 64 KiB.
	MaxHeader int
	// MaxFields bounds the lines of a header of HTTP/1.1 that are read at all, so that
	// they are not kept in memory to be counted. Default: 1000.
	MaxFields int
	// MaxConns bounds the connections; one more is closed. Default: any number.
	MaxConns int
	// MaxPerClient bounds the connections of an address (64 bits of IPv6); one more
	// is closed. Behind an address there may be many clients. Default: any number.
	MaxPerClient int
	// Exempt are those whose connections MaxPerClient does not count, and that are
	// not to blame for what one of them sent: proxies that speak for others.
	// Default: none.
	Exempt []netip.Prefix
	// MaxStreams bounds the requests at a time on a connection of HTTP/2, and how
	// many of them a second its client may reset before they are answered: as many
	// at once are no harm, nor four times as many once it is some seconds old, and
	// beyond that the connection is closed. Default: 250.
	MaxStreams int
	// Drain bounds the time that requests in flight, and connections that were
	// hijacked (WebSockets), get when Run ends. Default: 30 s.
	Drain time.Duration
	// Logger gets what goes wrong on connections, and how Run ends. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.HeaderTimeout <= 0 {
		d.HeaderTimeout = 10 * time.Second
	}
	if d.BodyTimeout <= 0 {
		d.BodyTimeout = 30 * time.Second
	}
	if d.IdleTimeout <= 0 {
		d.IdleTimeout = 2 * time.Minute
	}
	if d.WriteTimeout <= 0 {
		d.WriteTimeout = 5 * time.Minute
	}
	if d.MaxHeader <= 0 {
		d.MaxHeader = 64 << 10
	}
	if d.MaxFields <= 0 {
		d.MaxFields = 1000
	}
	if d.MaxStreams <= 0 {
		d.MaxStreams = 250
	}
	if d.Drain <= 0 {
		d.Drain = 30 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// A Server is an open address, and serves a handler there.
type Server struct {
	opts     Options
	listener *listener
	hijacked hijacked
	http     *http.Server
	requests atomic.Int64 // that a handler has
	conns    atomic.Int64 // open, less those that were hijacked
}

// Listen opens the address, host:port. One that is taken is syscall.EADDRINUSE.
// Close, or the end of Run, gives it back.
func Listen(ctx context.Context, address string, opts *Options) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("server: listen on %s: %w", address, err)
	}
	o := opts.orDefault()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // TLS is the listener's
	o.TLS = speakHTTP(o.TLS)
	s := &Server{opts: o, listener: &listener{
		Listener: l,
		opts:     o,
		log:      o.Logger,
		clients:  clients{most: o.MaxPerClient, exempt: o.Exempt},
	}}
	s.http = &http.Server{
		Protocols:         &protocols,
		ReadHeaderTimeout: o.HeaderTimeout,
		IdleTimeout:       o.IdleTimeout,
		MaxHeaderBytes:    o.MaxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          o.MaxStreams,
			MaxReadFrameSize:              readFrame,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: connWindow,
			SendPingTimeout:               o.HeaderTimeout,
			PingTimeout:                   o.HeaderTimeout,
		},
		ConnContext: withConn,
		ConnState:   s.follow,
		ErrorLog:    log.New(complaints{o.Logger}, "", 0),
	}
	return s, nil
}

// left returns what the log says of what is there still.
func (s *Server) left() []any {
	return []any{
		slog.String("address", s.Addr().String()),
		slog.Int64("requests", s.requests.Load()),
		slog.Int64("connections", s.conns.Load()+int64(s.hijacked.len())),
	}
}

// bound sets the deadline for the body of each request, and bounds what the
// client takes of an answer. Net/http takes the first back at the end of the
// body; where nobody reads the body, it waits for the rest before it goes on
// with the connection.
func (s *Server) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		defer s.requests.Add(-1)
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			r.TLS = c.tls.Load()
		}
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.opts.BodyTimeout)) // a connection that is closed tells the one who reads
		}
		if r.ProtoMajor == 1 {
			next.ServeHTTP(w, r) // its connection bounds it
			return
		}
		sw := newStreamWriter(w, s.opts.WriteTimeout)
		defer sw.end()
		next.ServeHTTP(sw, r)
	})
}

// connKey is the key of the *conn in the context of its requests.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if w, ok := c.(watching); ok {
		c, _ := w.watched()
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// complaints logs what net/http has to say: a handler that panics is an error,
// and all else is about clients.
type complaints struct{ log *slog.Logger }

// Write implements io.Writer.
func (c complaints) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if strings.HasPrefix(text, "http: panic") {
		c.log.Error(text)
	} else {
		c.log.Debug(text)
	}
	return len(p), nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Stats is what a server has to count.
type Stats struct {
	Conns    int64 // connections that are open, those that were hijacked among them
	Requests int64 // requests that a handler has
	Refused  int64 // connections that were closed since there were too many
	Floods   int64 // connections that were closed for what their clients sent
}

// Stats returns the counts of this moment.
func (s *Server) Stats() Stats {
	return Stats{
		Conns:    s.listener.open.Load(),
		Requests: s.requests.Load(),
		Refused:  s.listener.refused.Load(),
		Floods:   s.listener.floods.Load(),
	}
}

// Close gives up the address of a server that was never run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves h until ctx is done. Then it stops accepting, tells clients of
// HTTP/2 to go elsewhere, lets the requests in flight and the connections that
// were hijacked end within Options.Drain, cuts off the rest, and returns nil.
// The log says how many there are when that begins, and how it ends. It is called
// once.
func (s *Server) Run(ctx context.Context, h http.Handler) error {
	s.http.Handler = s.bound(h)
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.http.BaseContext = func(net.Listener) context.Context { return base }

	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("server: %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	if !s.drain(base) {
		// First the connections: a handler that returns because its context
		// ends must not look as if it had answered.
		if err := s.http.Close(); err != nil {
			s.opts.Logger.Debug("close", slog.Any("error", err))
		}
		s.hijacked.close()
		cut()
		s.awaitHandlers()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("server: %s: %w", s.Addr(), err)
	}
	return nil
}

// awaitHandlers gives handlers whose connection was cut the time to say so, to logs
// for example.
func (s *Server) awaitHandlers() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Second); s.requests.Load() > 0; {
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

// drain stops accepting, waits for what is in flight, and reports whether all of
// it has ended in time.
func (s *Server) drain(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Drain)
	defer cancel()
	log, began := s.opts.Logger, time.Now()
	log.Info("draining", append(s.left(), slog.Duration("drain", s.opts.Drain))...)
	err := s.http.Shutdown(ctx)
	if err == nil {
		err = s.hijacked.wait(ctx)
	}
	if err != nil {
		log.Warn("requests cut off: they outlasted the drain time", append(s.left(), slog.Duration("drain", s.opts.Drain))...)
		return false
	}
	log.Info("drained", slog.String("address", s.Addr().String()), slog.Duration("after", time.Since(began)))
	return true
}
