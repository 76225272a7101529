package nats

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

const (
	// startTimeout bounds the time that a server takes to read its store.
	startTimeout = 30 * time.Second
	// maxPending bounds what a client has to read, in bytes; one that has more is
	// cut off. Clients in this process read later than the server writes.
	maxPending = 256 << 20
	// lockFile keeps a second server from the store.
	lockFile = "nats.lock"
)

// ServerOptions adjust a server. A nil *ServerOptions means all defaults.
type ServerOptions struct {
	// Address is the host:port to listen at; port 0 is any that is free.
	// Default: none; the server is there for this process only.
	Address string
	// Token is what every client must present, those in this process too.
	// Default: none.
	Token string
	// MaxPayload bounds a message, in bytes. Default: 1 MiB.
	MaxPayload int32
	// MaxMemory bounds what streams keep in memory, in bytes. Default: 64 MiB.
	MaxMemory int64
	// MaxStore bounds what streams keep on disk, in bytes. Default: 4 GiB.
	MaxStore int64
	// Logger gets the server's log. Default: none.
	Logger *slog.Logger
}

func (o *ServerOptions) orDefault() ServerOptions {
	var d ServerOptions
	if o != nil {
		d = *o
	}
	if d.MaxPayload == 0 {
		d.MaxPayload = 1 << 20
	}
	if d.MaxMemory == 0 {
		d.MaxMemory = 64 << 20
	}
	if d.MaxStore == 0 {
		d.MaxStore = 4 << 30
	}
	d.Logger = orDiscard(d.Logger)
	return d
}

// A Server is a NATS server with JetStream inside this process. It leaves the
// signals of the process alone. It may be used concurrently.
type Server struct {
	server *server.Server
	token  string
	addr   string
	log    *slog.Logger
	lock   *os.File
	close  func() error
}

// Start starts a server that keeps its streams in dir, which is made where it
// is absent and which no other server may use at the same time. The context
// bounds the start, not the life of the server; the caller closes it.
func Start(ctx context.Context, dir string, opts *ServerOptions) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o := opts.orDefault()
	host, port, err := listenAt(ctx, o.Address)
	if err != nil {
		return nil, err
	}
	lock, err := lockStore(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{token: o.Token, log: o.Logger, lock: lock}
	s.close = sync.OnceValue(s.shutdown)
	s.server, err = server.NewServer(&server.Options{
		ServerName:             "goapi",
		Host:                   host,
		Port:                   port,
		DontListen:             o.Address == "",
		NoLog:                  true,
		NoSigs:                 true,
		Authorization:          o.Token,
		MaxPayload:             o.MaxPayload,
		MaxPending:             maxPending,
		JetStreamLimits:        server.JSLimitOpts{DefaultMaxConsumers: -1},
		JetStream:              true,
		JetStreamMaxMemory:     o.MaxMemory,
		JetStreamMaxStore:      o.MaxStore,
		DisableJetStreamBanner: true,
		StoreDir:               dir,
	})
	if err != nil {
		_ = lock.Close() // only read by the lock
		return nil, fmt.Errorf("nats: server in %s: %w", dir, err)
	}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("nats: server in %s: %w", dir, err)
	}
	return s, nil
}

// start waits until clients can connect. When it fails, nothing is left; but a
// server that is abandoned while it reads its store first comes to the end of
// that.
func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	log := newServerLog(s.log)
	s.server.SetLoggerV2(log, log.debug, false, false)
	started := make(chan struct{})
	go func() { // ends when the store is read
		defer close(started)
		s.server.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		go func() {
			<-started
			_ = s.Close() // nobody is left to tell
		}()
		return fmt.Errorf("it was not ready in time: %w", ctx.Err())
	}
	if err := log.fatal(); err != nil {
		_ = s.Close() // the error above says more
		return err
	}
	if addr := s.server.Addr(); addr != nil {
		s.addr = addr.String()
	}
	return nil
}

// Addr returns the address that the server listens at, as host:port; empty if
// it is there for this process only.
func (s *Server) Addr() string { return s.addr }

// Connect opens a connection within this process. The caller closes it, before
// the server.
func (s *Server) Connect(ctx context.Context) (*natsgo.Conn, error) {
	return s.connect(ctx, "goapi", s.log)
}

func (s *Server) connect(ctx context.Context, name string, log *slog.Logger) (*natsgo.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	options := append(connOptions(name, embedded+":", log), natsgo.InProcessServer(s.server))
	if s.token != "" {
		options = append(options, natsgo.Token(s.token))
	}
	nc, err := natsgo.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("%w: the embedded server: %w", ErrUnavailable, err)
	}
	return nc, nil
}

// Close ends all connections, stops the server and waits until it has let go
// of its store. Closing twice is no error.
func (s *Server) Close() error { return s.close() }

func (s *Server) shutdown() error {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return s.lock.Close()
}

// listenAt returns the server's host and port for an address, and an error if
// nobody could listen there. The server itself would only log that.
func listenAt(ctx context.Context, address string) (host string, port int, err error) {
	if address == "" {
		return "", 0, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return "", 0, fmt.Errorf("nats: %w", err)
	}
	if err := l.Close(); err != nil {
		return "", 0, fmt.Errorf("nats: %w", err)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("nats: %w", err)
	}
	port, err = strconv.Atoi(service)
	if err != nil {
		return "", 0, fmt.Errorf("nats: listen %s: the port is not a number", address)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// lockStore makes dir and takes it for this process, until the file is closed.
func lockStore(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats: store: %w", err)
	}
	f, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("nats: store %s is in use by another server or cannot be locked: %w", dir, err)
	}
	return f, nil
}
