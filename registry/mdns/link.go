package mdns

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// maxInterfaces bounds the interfaces in use; each costs a copy of all that is
// sent. Linux lets a socket join a group on 20.
const maxInterfaces = 16

// A link is an interface, and the addresses that can be reached over it.
type link struct {
	net.Interface

	prefixes []netip.Prefix
}

// links are the interfaces in use, and all addresses of this machine. They are
// shared: read-only.
type links struct {
	list []link
	own  map[netip.Addr]bool
}

// firstV4 returns an IPv4 address of the interface, or nil.
func (l *link) firstV4() net.IP {
	for _, p := range l.prefixes {
		if p.Addr().Is4() {
			return p.Addr().AsSlice()
		}
	}
	return nil
}

// findLinks returns the interfaces of the given names, or all that can be used
// if there are none.
func findLinks(names []string) (*links, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	found := &links{own: make(map[netip.Addr]bool)}
	for _, i := range interfaces {
		prefixes := prefixesOf(i)
		for _, p := range prefixes {
			found.own[p.Addr()] = true
		}
		if wanted(i, prefixes, names) {
			found.list = append(found.list, link{i, prefixes})
		}
	}
	slices.SortFunc(found.list, func(a, b link) int { return cmp.Compare(a.Index, b.Index) })
	found.list = found.list[:min(len(found.list), maxInterfaces)]
	return found, nil
}

// wanted says whether an interface can be used, and is to be.
func wanted(i net.Interface, prefixes []netip.Prefix, names []string) bool {
	if i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagMulticast|net.FlagLoopback) == 0 {
		return false
	}
	if len(names) > 0 {
		return slices.Contains(names, i.Name)
	}
	// A node cannot have a link-local address: where there is no other, as on
	// the interfaces that lead to containers, there is nothing to be found.
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() })
}

// prefixesOf returns the addresses of an interface with their prefixes.
func prefixesOf(i net.Interface) []netip.Prefix {
	addrs, err := i.Addrs()
	if err != nil {
		return nil // it is gone
	}
	var list []netip.Prefix
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		ones, _ := n.Mask.Size()
		if ok {
			list = append(list, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return list
}

// equal says whether two sets of interfaces and addresses are the same.
func (l *links) equal(other *links) bool {
	return len(l.own) == len(other.own) && slices.EqualFunc(l.list, other.list, func(a, b link) bool {
		return a.Index == b.Index && a.Name == b.Name && slices.Equal(a.prefixes, b.prefixes)
	})
}

// holds says whether addr is on the link of the interface of an index. Where
// the system does not tell the index, it is 0, and any interface will do.
func (l *links) holds(addr netip.Addr, index int) bool {
	return slices.ContainsFunc(l.list, func(i link) bool {
		if index != 0 && index != i.Index {
			return false
		}
		return addr.Is6() && addr.IsLinkLocalUnicast() ||
			slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	})
}

// isOwn says whether addr is one of this machine.
func (l *links) isOwn(addr netip.Addr) bool { return addr.IsLoopback() || l.own[addr] }

// A sender is where a datagram comes from.
type sender struct {
	addr  netip.Addr // without a zone
	index int        // of the interface
	own   bool       // it is this machine
	links *links
}

// sender returns the sender of a datagram; false for one that is not on the
// link.
func (l *links) sender(addr netip.Addr, index int) (sender, bool) {
	addr = addr.Unmap().WithZone("")
	s := sender{addr: addr, index: index, own: l.isOwn(addr), links: l}
	return s, s.own && len(l.list) > 0 || l.holds(addr, index)
}

// same says whether two senders are one machine, as far as can be told.
func (s sender) same(other sender) bool { return s.addr == other.addr || s.own && other.own }

// takes returns why a node at addr is not taken from the sender, or "". Who
// could send elsewhere could make a gateway open what only it can reach.
func (s sender) takes(addr netip.Addr) string {
	own := s.links.isOwn(addr)
	switch {
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast():
		return "it cannot be reached at " + addr.String()
	case addr == s.addr, s.own && own:
		return ""
	case own:
		return addr.String() + " is an address of this machine, and " + s.addr.String() + " is not"
	case s.links.holds(addr, s.index):
		return ""
	}
	return addr.String() + " is neither " + s.addr.String() + ", which says so, nor on its link"
}

// has says whether the interface of an index is in use.
func (l *links) has(index int) bool {
	return slices.ContainsFunc(l.list, func(i link) bool { return i.Index == index })
}
