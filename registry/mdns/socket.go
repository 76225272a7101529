package mdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	mdnsPort = 5353
	// receiveBuffer is what the system is asked to hold of datagrams.
	receiveBuffer = 4 << 20
	// hops says to those who look that a datagram has not been forwarded.
	hops = 255
)

// A socket sends and receives datagrams of one IP version.
type socket struct {
	conn   *net.UDPConn
	v4     *ipv4.PacketConn // one of these is nil
	v6     *ipv6.PacketConn
	group  netip.Addr
	joined map[int]bool // the indexes of interfaces
}

func groupV4() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 251}) }
func groupV6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0xfb}) }

// listenShared opens a socket that shares the port of multicast DNS with other
// programs: for an address of a group, package net asks the system for that, and
// binds no address.
func listenShared(ctx context.Context, group netip.Addr) (*socket, error) {
	return listen(ctx, group, netip.AddrPortFrom(group, mdnsPort))
}

// listenAlone opens a socket with a port of its own. Of what is sent to the
// shared port by unicast, only one of those who share it gets anything.
func listenAlone(ctx context.Context, group netip.Addr) (*socket, error) {
	if group.Is4() {
		return listen(ctx, group, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	}
	return listen(ctx, group, netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
}

func listen(ctx context.Context, group netip.Addr, address netip.AddrPort) (*socket, error) {
	network := "udp4"
	if group.Is6() {
		network = "udp6"
	}
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, network, address.String())
	if err != nil {
		return nil, err
	}
	conn, ok := packets.(*net.UDPConn)
	if !ok { // package net says that it is
		_ = packets.Close()
		return nil, errors.ErrUnsupported
	}
	s := &socket{conn: conn, group: group, joined: make(map[int]bool)}
	_ = conn.SetReadBuffer(receiveBuffer) // the system gives what it likes
	if group.Is4() {
		s.v4 = ipv4.NewPacketConn(conn)
		_ = s.v4.SetControlMessage(ipv4.FlagInterface, true) // Windows has none
		err = errors.Join(s.v4.SetMulticastLoopback(true), s.v4.SetMulticastTTL(hops))
	} else {
		s.v6 = ipv6.NewPacketConn(conn)
		_ = s.v6.SetControlMessage(ipv6.FlagInterface, true)
		err = errors.Join(s.v6.SetMulticastLoopback(true), s.v6.SetMulticastHopLimit(hops))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// join has the socket get what is sent to the group on an interface, and on no
// other than those.
func (s *socket) join(l *links) {
	for index := range s.joined {
		if !l.has(index) {
			_ = s.membership(&net.Interface{Index: index}, false) // it is gone, mostly
			delete(s.joined, index)
		}
	}
	for i := range l.list {
		in := &l.list[i].Interface
		// An interface may lack an IP version, and so be left out for now.
		if !s.joined[in.Index] && s.membership(in, true) == nil {
			s.joined[in.Index] = true
		}
	}
}

func (s *socket) membership(in *net.Interface, join bool) error {
	group := net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.group, 0))
	switch {
	case s.v4 != nil && join:
		return s.v4.JoinGroup(in, group)
	case s.v4 != nil:
		return s.v4.LeaveGroup(in, group)
	case join:
		return s.v6.JoinGroup(in, group)
	}
	return s.v6.LeaveGroup(in, group)
}

// multicast sends data to the group on one interface.
func (s *socket) multicast(data []byte, over *link) error {
	to := &net.UDPAddr{IP: s.group.AsSlice(), Port: mdnsPort}
	if s.v4 != nil {
		cm := &ipv4.ControlMessage{IfIndex: over.Index}
		if over.Flags&net.FlagLoopback != 0 { // for which Linux chooses no source
			cm.Src = over.firstV4()
		}
		_, err := s.v4.WriteTo(data, cm, to)
		return err
	}
	to.Zone = strconv.Itoa(over.Index)
	_, err := s.v6.WriteTo(data, &ipv6.ControlMessage{IfIndex: over.Index}, to)
	return err
}

// read waits for a datagram. It returns the index of the interface that it came
// over, or 0 where the system does not tell.
func (s *socket) read(buf []byte) (n int, from netip.AddrPort, index int, err error) {
	var addr net.Addr
	if s.v4 != nil {
		var cm *ipv4.ControlMessage
		n, cm, addr, err = s.v4.ReadFrom(buf)
		if cm != nil {
			index = cm.IfIndex
		}
	} else {
		var cm *ipv6.ControlMessage
		n, cm, addr, err = s.v6.ReadFrom(buf)
		if cm != nil {
			index = cm.IfIndex
		}
	}
	if udp, ok := addr.(*net.UDPAddr); ok {
		from = netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port())
	}
	return n, from, index, err
}
