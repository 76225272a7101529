package server

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
)

// Why a connection is closed as soon as it is there.
var (
	errTooManyConns    = errors.New("server: there are too many connections")
	errTooManyOfClient = errors.New("server: its client has too many connections")
)

// listener accepts connections, and bounds what their clients may do with them.
type listener struct {
	net.Listener

	opts      Options
	log       *slog.Logger
	clients   clients
	offenders offenders
	open      atomic.Int64
	refused   atomic.Int64
	floods    atomic.Int64
}

// Accept implements net.Listener. It closes connections that are too many.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, listener: l, timeout: l.opts.WriteTimeout}
		peer := addressOf(nc.RemoteAddr())
		if contains(l.opts.Proxies, peer) {
			c.proxied = &proxied{timeout: l.opts.HeaderTimeout, optional: l.opts.OptionalProxy}
		}
		open := l.open.Add(1)
		switch {
		case l.opts.MaxConns > 0 && open > int64(l.opts.MaxConns):
			l.refuse(c, errTooManyConns)
		case c.proxied == nil && !l.clients.add(c, peer):
			l.refuse(c, errTooManyOfClient)
		default:
			return l.wrap(c), nil
		}
	}
}

// refuse closes a connection that is one too many.
func (l *listener) refuse(c *conn, why error) {
	l.refused.Add(1)
	l.log.Debug("connection refused", slog.String("remote", c.Conn.RemoteAddr().String()), slog.Any("error", why))
	_ = c.Close() // nobody reads from it
}

// leave forgets a connection that is closed.
func (l *listener) leave(c *conn) {
	l.open.Add(-1)
	l.clients.remove(c)
}

// wrap returns what net/http is to serve.
func (l *listener) wrap(c *conn) net.Conn {
	w := watch{conn: c}
	if l.opts.TLS == nil {
		return &plain{conn: c, watch: w}
	}
	t := tls.Server(c, l.opts.TLS)
	return &secure{Conn: t, tls: t, raw: c, watch: w}
}
