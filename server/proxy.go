package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyBuffer holds what is read of a connection with the header of its proxy.
// What it does not hold of a header is read in steps.
const proxyBuffer = 512

// proxied is what the proxy in front of a connection says of it. Its header is
// read by whoever first needs the address of the client or what the client
// sends: not by who accepts connections, which would wait for it.
type proxied struct {
	timeout  time.Duration
	optional bool // the header may be missing

	once   sync.Once
	client net.Addr
	err    error
	rest   []byte       // was read with the header
	more   atomic.Int32 // the length of rest
}

// read gives what was read with the header, and then what follows.
func (p *proxied) read(c *conn, b []byte) (int, error) {
	p.once.Do(func() { p.begin(c) })
	if p.err != nil {
		return 0, p.err
	}
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		p.more.Store(int32(len(p.rest))) //nolint:gosec // it is at most proxyBuffer
		return n, nil
	}
	p.rest = nil
	return c.Conn.Read(b)
}

// holds says whether some of what the client sent is here.
func (p *proxied) holds() bool { return p.more.Load() > 0 }

// remote returns the address of the client, or of the proxy where that speaks for
// itself.
func (p *proxied) remote(c *conn) net.Addr {
	p.once.Do(func() { p.begin(c) })
	return p.client
}

// begin reads the header, and counts the connection as one of its client's.
func (p *proxied) begin(c *conn) {
	p.client = c.Conn.RemoteAddr()
	if err := c.Conn.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
		p.err = err
		return
	}
	p.err = p.header(c.Conn)
	switch {
	case p.err != nil:
		c.listener.log.Debug("connection without what its proxy has to say closed",
			slog.String("remote", c.Conn.RemoteAddr().String()), slog.Any("error", p.err))
		_ = c.Close() // who reads is told why
		return
	case !c.listener.clients.add(c, addressOf(p.client)):
		p.err = errTooManyOfClient
		c.listener.refuse(c, p.err)
		return
	}
	_ = c.Conn.SetReadDeadline(time.Time{}) // a connection that is closed tells the one who reads
}

func (p *proxied) header(c net.Conn) error {
	r := bufio.NewReaderSize(c, proxyBuffer)
	h, err := proxyproto.Read(r)
	if errors.Is(err, proxyproto.ErrNoProxyProtocol) && p.optional {
		h, err = nil, nil
	}
	if err != nil {
		return fmt.Errorf("server: header of the PROXY protocol: %w", err)
	}
	if h != nil && !h.Command.IsLocal() && h.TransportProtocol.IsStream() && addressOf(h.SourceAddr).IsValid() {
		p.client = h.SourceAddr
	}
	rest, err := r.Peek(r.Buffered())
	p.rest = bytes.Clone(rest)
	p.more.Store(int32(len(rest))) //nolint:gosec // it is at most proxyBuffer
	return err
}
