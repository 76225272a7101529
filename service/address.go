package service

import (
	"fmt"
	"net"
	"strings"
)

// advertised returns the address to be announced: the one that was asked for,
// with the port that is listened on if it has none, or the one listened on.
func advertised(advertise string, listening net.Addr) (string, error) {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return "", fmt.Errorf("address %s has no port to be announced; set Advertise", listening)
	}
	switch {
	case advertise == "":
	case hasPort(advertise):
		return advertise, nil
	default:
		return net.JoinHostPort(strings.Trim(advertise, "[]"), port), nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return net.JoinHostPort(host, port), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("no address of the machine to be announced; set Advertise: %w", err)
	}
	return net.JoinHostPort(reachable(addresses), port), nil
}

func hasPort(address string) bool {
	_, _, err := net.SplitHostPort(address)
	return err == nil
}

// reachable returns the first address that others can reach, an IPv4 one if
// there is any, else the loopback.
func reachable(addresses []net.Addr) string {
	var ipv6 string
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case ipv6 == "":
			ipv6 = n.IP.String()
		}
	}
	if ipv6 != "" {
		return ipv6
	}
	return "127.0.0.1"
}
