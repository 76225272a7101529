package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// A Guard keeps a dialler away from addresses that no node may have, whatever
// the registry says: link-local and multicast ones, where clouds keep their
// secrets, and the gateway's own listeners. It looks at the IP that a name was
// resolved to. A nil Guard knows no listeners. Its fields are not changed once
// it serves; it may be used concurrently.
//
//	dialer := &net.Dialer{ControlContext: guard.Control}
type Guard struct {
	// Listeners are the addresses that the gateway itself listens on. One
	// without a particular IP (0.0.0.0, ::) stands for every address of this
	// machine. Default: none.
	Listeners []netip.AddrPort
}

// Control is for the field ControlContext of a net.Dialer.
func (g *Guard) Control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForbiddenAddress, err)
	}
	return g.Check(ap)
}

// Check returns an error that is ErrForbiddenAddress if no node may have the
// address.
func (g *Guard) Check(ap netip.AddrPort) error {
	ip := ap.Addr().Unmap().WithZone("")
	switch {
	case !ip.IsValid():
		return fmt.Errorf("%w: no IP", ErrForbiddenAddress)
	case ip.IsLinkLocalUnicast():
		return fmt.Errorf("%w: %s is link-local", ErrForbiddenAddress, ip)
	case ip.IsMulticast():
		return fmt.Errorf("%w: %s is multicast", ErrForbiddenAddress, ip)
	}
	if g == nil {
		return nil
	}
	for _, l := range g.Listeners {
		if l.Port() == ap.Port() && reaches(ip, l.Addr().Unmap().WithZone("")) {
			return fmt.Errorf("%w: the gateway itself listens on %s", ErrForbiddenAddress, l)
		}
	}
	return nil
}

// reaches says whether a connection to ip arrives at a listener on host.
func reaches(ip, host netip.Addr) bool {
	if ip.IsUnspecified() { // the system takes it for loopback
		return host.IsUnspecified() || host.IsLoopback()
	}
	switch host {
	case ip:
		return true
	case netip.IPv4Unspecified():
		return ip.Is4() && isLocal(ip)
	case netip.IPv6Unspecified(): // takes IPv4 as well
		return isLocal(ip)
	}
	return false
}

// isLocal says whether ip is an address of this machine. When that cannot be
// found out it is taken for one.
func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if local, ok := netip.AddrFromSlice(n.IP); ok && local.Unmap() == ip {
				return true
			}
		}
	}
	return false
}
