package router

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const maxHost = 255 // bytes

var errHost = errors.New("router: not a host")

// host is a host in lower case, as a name or an address, with and without its
// port.
type host struct {
	name string // without a port: "example.com", "[::1]"
	full string // with it, if there is one
}

// requestHost reads the Host of a request. HTTP/1.0 may have none.
func requestHost(s string) (host, error) {
	if s == "" {
		return host{}, nil
	}
	name, port, err := splitHost(s)
	if err != nil {
		return host{}, err
	}
	h := host{name: strings.ToLower(strings.TrimSuffix(name, "."))}
	h.full = h.name
	if port == "" {
		return h, nil
	}
	if len(h.name) == len(name) && h.name == name {
		h.full = s // as nearly always: no copy
	} else {
		h.full = h.name + ":" + port
	}
	return h, nil
}

// announcedHost reads a host that an endpoint is for. It is "" for any, and
// ".example.com" for the wildcard "*.example.com".
func announcedHost(s string) (string, error) {
	if s == "*" {
		return "", nil
	}
	rest, wildcard := strings.CutPrefix(s, "*.")
	h, err := requestHost(rest)
	if err != nil || h.full == "" {
		return "", fmt.Errorf(`the host %q is not a name, "*.name" or "*"`, clip(s, 80))
	}
	if wildcard {
		return "." + h.full, nil
	}
	return h.full, nil
}

// splitHost splits a host and its port, which may be missing.
func splitHost(s string) (name, port string, err error) {
	if len(s) > maxHost {
		return "", "", errHost
	}
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", "", errHost
		}
		if a, err := netip.ParseAddr(s[1:i]); err != nil || !a.Is6() || a.Zone() != "" {
			return "", "", errHost
		}
		name, port = s[:i+1], s[i+1:]
		if port != "" && port[0] != ':' {
			return "", "", errHost
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		name, port, _ = strings.Cut(s, ":")
		if !isHostname(name) {
			return "", "", errHost
		}
	}
	if !isPort(port) {
		return "", "", errHost
	}
	return name, port, nil
}

// isHostname says whether s may be a name or an IPv4 address.
func isHostname(s string) bool {
	if s == "" || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// isPort says whether s is digits, or nothing.
func isPort(s string) bool {
	if len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
