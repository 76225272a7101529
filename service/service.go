package service

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

const (
	defaultAddress    = "127.0.0.1:0"
	defaultVersion    = "latest"
	defaultMaxRequest = 4 << 20
	defaultLinger     = 250 * time.Millisecond
	defaultDrain      = 10 * time.Second

	readBodyTimeout = 30 * time.Second
	idleTimeout     = 5 * time.Minute // longer than callers keep connections: they close first
	maxHeaderBytes  = 256 << 10
)

// Options adjust a service. A nil *Options means all defaults.
type Options struct {
	// Registry is where the service is announced. Default: nowhere.
	Registry registry.Writer
	// Version tells versions of the service apart. Default: "latest".
	Version string
	// Address is where it listens, host:port. Default: "127.0.0.1:0", a free
	// port of the loopback.
	Address string
	// Listener, if set, takes the place of Address. Run closes it.
	Listener net.Listener
	// Advertise is the address to be announced, host or host:port, where it is
	// not the one that is listened on. Default: that one; if it is every address
	// of the machine, the first that others can reach.
	Advertise string
	// TLS, if set, is how the service is served, and it is announced as secure.
	TLS *tls.Config
	// TTL is how long the service is known after its last announcement.
	// Default: 30 s.
	TTL time.Duration
	// Metadata is announced with the node. Default: none.
	Metadata map[string]string
	// MaxRequest bounds the message of a call, in bytes. Default: 4 MiB.
	MaxRequest int64
	// Linger is how long it serves on after it was withdrawn, for those who have
	// not heard yet. Default: 250 ms.
	Linger time.Duration
	// Drain is how long calls and streams may take to end after that. Default:
	// 10 s.
	Drain time.Duration
	// Logger gets what callers are not told: panics, and announcements that
	// fail. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Version == "" {
		d.Version = defaultVersion
	}
	if d.Address == "" {
		d.Address = defaultAddress
	}
	if d.MaxRequest <= 0 {
		d.MaxRequest = defaultMaxRequest
	}
	if d.Linger <= 0 {
		d.Linger = defaultLinger
	}
	if d.Drain <= 0 {
		d.Drain = defaultDrain
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// A Service is a program's own: what it serves, and how it is announced. Handle
// and HandleHTTP come before Run or the first request; after that it may be
// used concurrently.
type Service struct {
	name      string
	opts      Options
	methods   map[string]Func // by name: "Greeter.Hello"
	plain     http.Handler    // nil if only methods are served
	endpoints []*registry.Endpoint
	streams   lines // that are open
	err       error // what was wrong with what was handed in; Run returns it
}

var _ http.Handler = (*Service)(nil)

// New returns a service that serves nothing yet.
func New(name string, opts *Options) *Service {
	return &Service{name: name, opts: opts.orDefault(), methods: make(map[string]Func)}
}

// Handle serves a method under a name of the form Type.Method. The endpoint
// says how it appears over HTTP; what it leaves out of name, handler, request
// and response is filled in. Nil is a method without a route of its own. A
// name that is taken or has another form is an error of Run.
func (s *Service) Handle(name string, f Func, e *goapi.Endpoint) {
	typ, method, ok := strings.Cut(name, ".")
	switch {
	case !ok || typ == "" || method == "" || strings.Contains(method, "."):
		s.failf("method %q: a method is named Type.Method", name)
		return
	case f.call == nil && f.stream == nil:
		s.failf("method %s: there is no function; make one with service.Method or service.StreamMethod", name)
		return
	}
	if _, ok := s.methods[name]; ok {
		s.failf("method %s: it is there already", name)
		return
	}
	s.methods[name] = f
	endpoint := new(goapi.Endpoint)
	if e != nil {
		*endpoint = *e
	}
	endpoint.Name = name
	endpoint.Stream = f.stream != nil
	if e != nil && endpoint.Handler == "" {
		endpoint.Handler = "rpc"
	}
	if endpoint.Request == nil {
		endpoint.Request = valueOf(f.request)
	}
	if endpoint.Response == nil {
		endpoint.Response = valueOf(f.response)
	}
	s.announceEndpoint(endpoint, e != nil)
}

// HandleHTTP serves plain HTTP: every request that is no call. The endpoints
// are what is announced of it; their handler is http unless they say more.
func (s *Service) HandleHTTP(h http.Handler, endpoints ...*goapi.Endpoint) {
	if s.plain != nil {
		s.failf("HandleHTTP: there is a handler already; join them in a mux")
		return
	}
	s.plain = h
	for _, e := range endpoints {
		endpoint := *e
		if endpoint.Handler == "" {
			endpoint.Handler = "http"
		}
		s.announceEndpoint(&endpoint, true)
	}
}

// announceEndpoint adds to what is announced; without a route it is only the
// name, the types, and whether it is a stream.
func (s *Service) announceEndpoint(e *goapi.Endpoint, routed bool) {
	announced := e.Encode()
	if !routed {
		announced.Metadata = map[string]string{}
		if e.Stream {
			announced.Metadata["stream"] = "true"
		}
	}
	s.endpoints = append(s.endpoints, announced)
}

func (s *Service) failf(format string, args ...any) {
	s.err = errors.Join(s.err, fmt.Errorf("service %s: %w", s.name, fmt.Errorf(format, args...)))
}

// Run serves and announces until ctx is done; then it withdraws the service,
// lets calls end, tells streams to, and returns nil. It returns an error if it
// cannot listen, if no registry takes the announcement, and if calls outlast
// the drain.
func (s *Service) Run(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	ln, err := s.listen(ctx)
	if err != nil {
		return fmt.Errorf("service %s: %w", s.name, err)
	}
	server := s.server()
	served := make(chan error, 1)
	go func() { served <- s.serve(server, ln) }() // ends with shutdown

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	announced := make(chan error, 1)
	go func() { announced <- s.announce(ctx, ln.Addr()) }() // ends with ctx

	select {
	case err = <-served:
		cancel()
		return errors.Join(fmt.Errorf("service %s: %w", s.name, err), <-announced, s.shutdown(server))
	case err = <-announced: // withdrawn, or refused
	}
	err = errors.Join(err, s.shutdown(server))
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// listen returns the listener of the service.
func (s *Service) listen(ctx context.Context) (net.Listener, error) {
	if s.opts.Listener != nil {
		return s.opts.Listener, nil
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", s.opts.Address)
}

// server returns the server with every limit set. It is HTTP/1.1, which is all
// that go-micro's clients speak.
func (s *Service) server() *http.Server {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Server{
		Handler:           s,
		Protocols:         &http1,
		TLSConfig:         s.opts.TLS,
		ReadHeaderTimeout: idleTimeout, // which runs from the start of a connection that is kept before its first call
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
	}
}

func (s *Service) serve(server *http.Server, ln net.Listener) error {
	if s.opts.TLS != nil {
		return server.ServeTLS(ln, "", "")
	}
	return server.Serve(ln)
}

// announce announces the service until ctx is done, and withdraws it.
func (s *Service) announce(ctx context.Context, listening net.Addr) error {
	if s.opts.Registry == nil {
		<-ctx.Done()
		return nil
	}
	address, err := advertised(s.opts.Advertise, listening)
	if err != nil {
		return fmt.Errorf("service %s: %w", s.name, err)
	}
	return Announce(ctx, s.opts.Registry, s.announcement(address), &AnnounceOptions{TTL: s.opts.TTL, Logger: s.opts.Logger})
}

// announcement is what the registry gets.
func (s *Service) announcement(address string) *registry.Service {
	metadata := make(map[string]string, len(s.opts.Metadata)+3)
	if len(s.methods) > 0 {
		metadata["protocol"], metadata["transport"], metadata["server"] = "mucp", "http", "mucp"
	}
	if s.opts.TLS != nil {
		metadata["secure"] = "true"
	}
	maps.Copy(metadata, s.opts.Metadata)
	return &registry.Service{
		Name: s.name, Version: s.opts.Version, Endpoints: slices.Clone(s.endpoints),
		Nodes: []*registry.Node{{
			ID: s.name + "-" + strings.ToLower(rand.Text()), Address: address, Metadata: metadata,
		}},
	}
}

// shutdown serves on for a moment, then ends when the calls have.
func (s *Service) shutdown(server *http.Server) error {
	if s.opts.Registry != nil {
		time.Sleep(s.opts.Linger) // bounded; whoever heard of the service late is still served
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Drain)
	defer cancel()
	s.streams.stop()
	err := server.Shutdown(ctx)
	if err != nil {
		_ = server.Close() // says nothing that err does not
	}
	if err = errors.Join(err, s.streams.wait(ctx)); err != nil {
		return fmt.Errorf("service %s: calls were cut off that took longer than %v to end", s.name, s.opts.Drain)
	}
	return nil
}

// A Func is a method made ready to be served; Method and StreamMethod make it.
type Func struct {
	request, response reflect.Type
	call              func(ctx context.Context, c codec, message []byte) ([]byte, error)
	stream            func(ctx context.Context, c codec, l *line) error // instead of call
}
