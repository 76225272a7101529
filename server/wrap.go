package server

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"
)

// linger is how long a client that was refused gets to read why.
const linger = 500 * time.Millisecond

// tooManyFields is what a client reads of errFields.
const tooManyFields = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n" +
	"Connection: close\r\n\r\n431 Request Header Fields Too Large"

// notTLS is what a client reads that speaks HTTP where TLS is spoken.
const notTLS = "HTTP/1.0 400 Bad Request\r\n\r\nThis port speaks TLS: use https.\n"

// plain is a connection in clear text, as net/http has it.
type plain struct {
	*conn

	watch watch
}

// Read implements net.Conn.
func (c *plain) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	if bad := c.watch.read(p[:n]); bad != nil {
		return 0, c.end(c, bad)
	}
	return n, err
}

// Write implements net.Conn.
func (c *plain) Write(p []byte) (int, error) {
	c.watch.wrote(p)
	return c.conn.Write(p)
}

// secure is a connection over TLS, as net/http has it. To net/http it is in clear
// text, for which it must not have the methods of a *tls.Conn: that would be read
// past the watch.
type secure struct {
	net.Conn // is tls

	tls   *tls.Conn
	raw   *conn
	watch watch
}

// Read implements net.Conn. The first shakes hands, so that it happens within the
// time for a header.
func (c *secure) Read(p []byte) (int, error) {
	if c.raw.tls.Load() == nil {
		if err := c.handshake(); err != nil {
			return 0, err
		}
	}
	n, err := c.tls.Read(p)
	if bad := c.watch.read(p[:n]); bad != nil {
		return 0, c.raw.end(c, bad)
	}
	return n, err
}

// Write implements net.Conn.
func (c *secure) Write(p []byte) (int, error) {
	c.watch.wrote(p)
	return c.tls.Write(p)
}

// CloseWrite lets the client know that nothing follows.
func (c *secure) CloseWrite() error { return c.tls.CloseWrite() }

// NetConn returns the connection beneath, for who wants to break it.
func (c *secure) NetConn() net.Conn { return c.raw }

func (c *secure) handshake() error {
	if err := c.tls.Handshake(); err != nil { //nolint:noctx // the deadline for a header bounds it
		c.raw.listener.log.Debug("TLS handshake", slog.String("remote", c.raw.RemoteAddr().String()), slog.Any("error", err))
		if re, ok := errors.AsType[tls.RecordHeaderError](err); ok && re.Conn != nil && looksLikeHTTP(re.RecordHeader) {
			c.raw.answer(c.raw, notTLS)
		}
		return io.EOF // net/http has nothing to add
	}
	state := c.tls.ConnectionState()
	switch state.NegotiatedProtocol {
	case protoHTTP2:
		if state.Version == tls.VersionTLS12 && !slices.Contains(cipherSuites(), state.CipherSuite) {
			return c.raw.end(c, errALPN) // RFC 9113, section 9.2.2
		}
		c.watch.alpn = alpnHTTP2
	case protoHTTP1, "":
		c.watch.alpn = alpnHTTP1
	default:
		return c.raw.end(c, nil) // the handshake was all that its client wanted
	}
	c.raw.tls.Store(&state)
	return nil
}

// looksLikeHTTP says whether what came in place of a TLS record is a request.
func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO", "PRI *":
		return true
	}
	return false
}

// end closes a connection for what its client sent, and returns what net/http is
// to be told.
func (c *conn) end(outer net.Conn, why error) error {
	l, remote := c.listener, slog.String("remote", c.RemoteAddr().String())
	switch {
	case why == nil: // it has what it wanted
	case errors.Is(why, errFields):
		c.answer(outer, tooManyFields)
	case errors.Is(why, errFlood):
		l.floods.Add(1)
		if a := addressOf(c.RemoteAddr()); !contains(l.opts.Exempt, a) {
			l.offenders.add(a, time.Now())
		}
		l.log.Info("connection closed", remote, slog.Any("error", why))
	default:
		l.log.Debug("connection closed", remote, slog.Any("error", why))
	}
	_ = outer.Close() // nobody is left who could do more about it
	return io.EOF
}

// answer writes what a client is to read before the connection is closed.
func (c *conn) answer(outer net.Conn, text string) {
	if _, err := io.WriteString(outer, text); err != nil {
		return
	}
	if half, ok := outer.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it is closed in any case
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(linger))
	_, _ = io.CopyN(io.Discard, c.Conn, 1<<20) // what is unread when it is closed would make it break
}

// watching is what net/http serves.
type watching interface{ watched() (*conn, *watch) }

var (
	_ watching = (*plain)(nil)
	_ watching = (*secure)(nil)
)

func (c *plain) watched() (*conn, *watch)  { return c.conn, &c.watch }
func (c *secure) watched() (*conn, *watch) { return c.raw, &c.watch }

// follow knows which connections there are, and when their next request begins.
func (s *Server) follow(nc net.Conn, state http.ConnState) {
	w, ok := nc.(watching)
	if !ok {
		return
	}
	switch c, watch := w.watched(); state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed:
		s.conns.Add(-1)
	case http.StateHijacked:
		s.conns.Add(-1)
		s.hijacked.add(c)
	case http.StateIdle:
		watch.next()
	case http.StateActive: // it has begun
	}
}
