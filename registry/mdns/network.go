package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// maxDatagram is more than UDP has.
	maxDatagram = 64 << 10
	// maxWaiting bounds the datagrams that wait to be read, and maxWaitingBytes
	// all of them together.
	maxWaiting      = 4096
	maxWaitingBytes = 16 << 20
)

// A datagram is what was received.
type datagram struct {
	data  []byte
	from  netip.AddrPort
	index int // of the interface, or 0
}

// A network sends and receives by multicast, over every IP version and
// interface that there is.
type network struct {
	names    []string // of interfaces; none for all
	speaking []*socket
	asking   []*socket
	received chan datagram
	waiting  atomic.Int64 // bytes
	links    atomic.Pointer[links]
	closed   chan struct{}

	mu      sync.Mutex // held while sockets join and leave
	readers sync.WaitGroup
}

// openNetwork opens the sockets for groups of both IP versions, or of one where
// the other is not there.
func openNetwork(ctx context.Context, names []string, groups ...netip.Addr) (*network, error) {
	n := &network{names: names, received: make(chan datagram, maxWaiting), closed: make(chan struct{})}
	n.links.Store(new(links))
	var failed []error
	for _, group := range groups {
		speaking, err := listenShared(ctx, group)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		asking, err := listenAlone(ctx, group)
		if err != nil {
			_ = speaking.conn.Close()
			failed = append(failed, err)
			continue
		}
		n.speaking, n.asking = append(n.speaking, speaking), append(n.asking, asking)
	}
	if len(n.speaking) == 0 {
		return nil, fmt.Errorf("%w: multicast DNS: %w", registry.ErrUnavailable, errors.Join(failed...))
	}
	return n, nil
}

// run starts reading, until close.
func (n *network) run() {
	for _, s := range n.speaking {
		n.readers.Go(func() { n.read(s) })
	}
	for _, s := range n.asking {
		n.readers.Go(func() { n.read(s) })
	}
}

// close ends reading and sending.
func (n *network) close() {
	close(n.closed)
	for _, s := range n.speaking {
		_ = s.conn.Close()
	}
	for _, s := range n.asking {
		_ = s.conn.Close()
	}
	n.readers.Wait()
}

// scan looks for interfaces. It says whether there is any, and whether one is
// new or has other addresses.
func (n *network) scan() (usable, changed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found, err := findLinks(n.names)
	if err != nil {
		found = new(links)
	}
	for _, s := range n.speaking {
		s.join(found)
	}
	changed = !found.equal(n.links.Load())
	if changed {
		n.links.Store(found)
	}
	return len(found.list) > 0, changed
}

// read takes datagrams from a socket until it is closed. What nobody has time
// for is dropped: it is said again.
func (n *network) read(s *socket) {
	buf := make([]byte, maxDatagram)
	for {
		size, from, index, err := s.read(buf)
		if err != nil && !n.again() {
			return
		}
		if err != nil || n.isOurs(from) || n.waiting.Load()+int64(size) > maxWaitingBytes {
			continue
		}
		n.waiting.Add(int64(size))
		select {
		case n.received <- datagram{append([]byte(nil), buf[:size]...), from, index}:
		default:
			n.waiting.Add(-int64(size))
		}
	}
}

// again waits before another attempt at a socket that failed. It says whether
// there is to be one.
func (n *network) again() bool {
	select {
	case <-n.closed:
		return false
	case <-time.After(10 * time.Millisecond):
		return true
	}
}

// taken says that a datagram does not wait any more.
func (n *network) taken(d datagram) { n.waiting.Add(-int64(len(d.data))) }

// isOurs says whether a datagram is one of our own questions.
func (n *network) isOurs(from netip.AddrPort) bool {
	for _, s := range n.asking {
		local, ok := s.conn.LocalAddr().(*net.UDPAddr)
		if ok && local.Port == int(from.Port()) && n.links.Load().isOwn(from.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// ask sends a question to all, which are to answer to us alone.
func (n *network) ask(data []byte) bool { return n.multicast(n.asking, data) }

// announce tells all.
func (n *network) announce(data []byte) bool { return n.multicast(n.speaking, data) }

// multicast sends data over every interface and IP version, and says whether it
// left over any.
func (n *network) multicast(sockets []*socket, data []byte) bool {
	left := false
	l := n.links.Load()
	for i := range l.list {
		for _, s := range sockets {
			// An interface may lack an IP version, or have gone a moment ago.
			left = s.multicast(data, &l.list[i]) == nil || left
		}
	}
	return left
}

// reply answers one who asked.
func (n *network) reply(data []byte, to netip.AddrPort) {
	for _, s := range n.speaking {
		if to.Addr().Unmap().Is4() == (s.v4 != nil) {
			_, _ = s.conn.WriteToUDPAddrPort(data, to) // who gets no answer asks again
		}
	}
}
