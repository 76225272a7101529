package middleware

import (
	"net/http"
	"net/netip"

	"github.com/goapi-dev/goapi"
)

// Addresses returns a middleware that lets requests in by the address that they
// come from: Exchange.Client, or the peer where nobody looked. Whoever is in
// deny is refused with 403, and so is whoever is not in allow, unless that is
// empty. A request without an address, or from one that is unspecified since
// nobody knows it, is refused.
func Addresses(allow, deny []netip.Prefix) func(http.Handler) http.Handler {
	allow, deny = plainPrefixes(allow), plainPrefixes(deny)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ip := clientAddress(r)
			if !ip.IsValid() || ip.IsUnspecified() || contains(deny, ip) || len(allow) > 0 && !contains(allow, ip) {
				goapi.WriteError(w, r, goapi.NewError(http.StatusForbidden, "this is not served to the address that the request comes from", nil))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// clientAddress returns where a request comes from, comparable with what
// plainPrefixes returns, or an address that is not valid.
func clientAddress(r *http.Request) netip.Addr {
	if ex := goapi.ExchangeFrom(r.Context()); ex != nil && ex.Client.IsValid() {
		return ex.Client.Unmap().WithZone("")
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("") // no prefix contains an address with a zone
}

// plainPrefixes returns prefixes in which IPv4 is written as such.
func plainPrefixes(prefixes []netip.Prefix) []netip.Prefix {
	plain := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		plain[i] = p
	}
	return plain
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
