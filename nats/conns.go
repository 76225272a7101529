package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"

	natsgo "github.com/nats-io/nats.go"
)

// Conns opens connections, one for each URL, and shares them. Its fields are
// not changed once it is used. The zero value is ready for use, and may be used
// concurrently; a Conns must not be copied.
type Conns struct {
	// Name is how servers know the connections. Default: goapi.
	Name string
	// Embedded is the server of "embedded:". Default: none.
	Embedded *Server
	// Logger gets the loss and the return of connections. Default: none.
	Logger *slog.Logger

	mu    sync.Mutex
	conns map[target]*shared
}

// A Conn is a connection that others may use at the same time: it is not to be
// drained, and Close ends only this use of it.
type Conn struct {
	*natsgo.Conn

	release func()
}

// shared is a connection and how often it is open.
type shared struct {
	conn  *natsgo.Conn // nil while the first who wants it connects
	uses  int
	ready chan struct{} // closed when conn is there, or cannot be
}

// Open returns the connection that u names, and connects if there is none yet.
// The context bounds the call, not the life of the connection; the caller
// closes it.
//
// URLs are nats://host:port, tls://host:port, which insists on TLS, and
// "embedded:". A user name alone is a token. Parameters are host (another
// server of the same cluster, repeated), token_file, or password_file for the
// user of the URL (both read at each connect), ca, cert and key (files in PEM);
// params names those that are the caller's own. No other may be there.
func (c *Conns) Open(ctx context.Context, u *url.URL, params ...string) (*Conn, error) {
	t, err := parse(u, params)
	if err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, first := c.claim(t)
		if first {
			return c.connect(ctx, t, u, s)
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if conn := c.share(t, s); conn != nil {
			return conn, nil
		}
	}
}

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection. Files that the URL names are read; params are those of Open.
func CheckURL(u *url.URL, params ...string) error {
	t, err := parse(u, params)
	if err == nil && !t.embedded {
		if _, err = t.options(u.User); err != nil {
			err = fmt.Errorf("nats: %s: %w", t.name, err)
		}
	}
	return err
}

// claim returns the connection of t, and whether it is the caller's to make.
func (c *Conns) claim(t target) (s *shared, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s = c.conns[t]; s != nil {
		return s, false
	}
	s = &shared{ready: make(chan struct{})}
	if c.conns == nil {
		c.conns = make(map[target]*shared)
	}
	c.conns[t] = s
	return s, true
}

// share returns another use of s, or nil if it could not connect or was closed.
func (c *Conns) share(t target, s *shared) *Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[t] != s {
		return nil
	}
	return c.use(t, s)
}

// use returns a Conn that counts. The caller holds c.mu.
func (c *Conns) use(t target, s *shared) *Conn {
	s.uses++
	return &Conn{Conn: s.conn, release: sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.uses--; s.uses == 0 {
			delete(c.conns, t)
			s.conn.Close()
		}
	})}
}

// connect makes s, which was claimed.
func (c *Conns) connect(ctx context.Context, t target, u *url.URL, s *shared) (*Conn, error) {
	nc, err := c.dial(ctx, t, u)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(s.ready)
	if err != nil {
		delete(c.conns, t) // whoever waits tries for himself
		return nil, err
	}
	s.conn = nc
	return c.use(t, s), nil
}

func (c *Conns) dial(ctx context.Context, t target, u *url.URL) (*natsgo.Conn, error) {
	name, log := c.Name, orDiscard(c.Logger)
	if name == "" {
		name = "goapi"
	}
	if t.embedded {
		if c.Embedded == nil {
			return nil, errors.New("nats: embedded: there is no embedded server in this process")
		}
		return c.Embedded.connect(ctx, name, log)
	}
	options, err := t.options(u.User)
	if err != nil {
		return nil, fmt.Errorf("nats: %s: %w", t.name, err)
	}
	options = append(connOptions(name, t.name, log), options...)
	nc, err := connect(ctx, t.servers, options)
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, natsgo.ErrAuthorization):
		return nil, fmt.Errorf("nats: %s: the server refuses us; give it a user or a token: %w", t.name, err)
	default:
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, t.name, err)
	}
}

// connect is natsgo.Connect with a context.
func connect(ctx context.Context, servers string, options []natsgo.Option) (*natsgo.Conn, error) {
	type result struct {
		conn *natsgo.Conn
		err  error
	}
	results := make(chan result)
	go func() { // ends within connectTimeout for each server
		nc, err := natsgo.Connect(servers, options...)
		select {
		case results <- result{nc, err}:
		case <-ctx.Done(): // nobody waits for it
			if err == nil {
				nc.Close()
			}
		}
	}()
	select {
	case r := <-results:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends this use of the connection, which is closed with the last. Closing
// twice is no error.
func (c *Conn) Close() error {
	c.release()
	return nil
}
