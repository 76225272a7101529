package server

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// clients counts the connections of each address.
type clients struct {
	most   int // of one; 0 for any number
	exempt []netip.Prefix

	mu   sync.Mutex
	open map[netip.Addr]int
}

// add counts a connection, unless it is closed or none to be counted. It reports
// whether the client may have another.
func (c *clients) add(nc *conn, a netip.Addr) bool {
	if c.most <= 0 || !a.IsValid() || contains(c.exempt, a) {
		return true
	}
	key := subscriber(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[key] >= c.most {
		return false
	}
	if nc.closed.Load() {
		return true // remove was here before
	}
	if c.open == nil {
		c.open = make(map[netip.Addr]int)
	}
	c.open[key]++
	nc.client = key
	return true
}

// remove forgets a connection that is closed.
func (c *clients) remove(nc *conn) {
	if c.most <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !nc.client.IsValid() {
		return
	}
	if c.open[nc.client]--; c.open[nc.client] <= 0 {
		delete(c.open, nc.client)
	}
}

// subscriber returns what stands for all addresses of a client: one who has IPv6
// has 64 bits of them.
func subscriber(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// addressOf returns the IP address of one end of a connection; the zero Addr for
// what is none.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
