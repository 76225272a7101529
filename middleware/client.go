package middleware

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// Client returns a middleware that finds out the address that a request comes
// from, as Exchange.Client: that of the peer or, while it is one of the trusted
// proxies, the one that it names in X-Forwarded-For, from right to left, with or
// without a port. Handlers with the same trusted proxies see the same client.
//
// Where a trusted proxy names what is no address, such as "unknown", nobody
// knows the client: it is never taken for the proxy, which may be more than its
// clients may, but is "::", the unspecified address. Addresses refuses it, and
// limits count all such requests as those of one client.
func Client(trusted []netip.Prefix) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ex := goapi.ExchangeFrom(r.Context())
			if ex == nil {
				w, r, ex = goapi.NewExchange(w, r)
			}
			ex.Client = origin(r, trusted)
			next.ServeHTTP(w, r)
		})
	}
}

// origin returns the address that a request comes from, without zone and
// not as IPv6 if it is IPv4. It is not valid if the peer has none, and
// unspecified if a trusted proxy does not tell it.
func origin(r *http.Request, trusted []netip.Prefix) netip.Addr {
	address := peerAddress(r.RemoteAddr)
	for _, list := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for rest, more := list, true; more; {
			if !isTrusted(address, trusted) {
				return plain(address)
			}
			var hop string
			rest, hop, more = cutLast(rest)
			if address = hopAddress(strings.TrimSpace(hop)); address.IsUnspecified() {
				return address
			}
		}
	}
	return plain(address)
}

// hopAddress returns the address that an element of X-Forwarded-For names, IP,
// IP:PORT or [IP]:PORT, or the unspecified one if it names none.
func hopAddress(hop string) netip.Addr {
	a, err := netip.ParseAddr(hop)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(hop)
		a = withPort.Addr()
	}
	if err != nil || plain(a).IsUnspecified() {
		return netip.IPv6Unspecified()
	}
	return a
}

// cutLast returns the last element of a list, and those before.
func cutLast(list string) (before, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

// peerAddress returns the address of a RemoteAddr, if it has one.
func peerAddress(remote string) netip.Addr {
	end := strings.LastIndexByte(remote, ':')
	if end < 0 {
		return netip.Addr{}
	}
	ip := remote[:end]
	if len(ip) > 1 && ip[0] == '[' {
		ip, _, _ = strings.Cut(ip[1:len(ip)-1], "%")
	}
	a, _ := netip.ParseAddr(ip) // not valid, if it is none
	return a
}

// plain returns the one form of an address.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	a = a.Unmap()
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
