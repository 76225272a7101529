package resolver

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Host takes the host that the request is for, in lower case and without a
// port, as the service, and the verb as the method.
func Host(r *http.Request) ([]Target, error) {
	name := hostname(r)
	if !isName(name) {
		return nil, ErrNoTarget
	}
	return []Target{{Service: name, Method: r.Method, Kind: Proxy}}, nil
}

// Subdomain takes what the host has in front of a domain that one can register
// (of the public suffix list) as the service, and the verb as the method. The
// labels are reversed and joined by "-": foo.staging.example.com is the service
// staging-foo. Such a domain itself, its "api", and addresses name nothing.
func Subdomain(r *http.Request) ([]Target, error) {
	host := hostname(r)
	if !isName(host) {
		return nil, ErrNoTarget
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil, ErrNoTarget
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return nil, ErrNoTarget
	}
	sub, ok := strings.CutSuffix(host, "."+domain)
	if !ok || sub == "api" {
		return nil, ErrNoTarget
	}
	if strings.Contains(sub, ".") {
		labels := strings.Split(sub, ".")
		slices.Reverse(labels)
		sub = strings.Join(labels, "-")
	}
	return []Target{{Service: sub, Method: r.Method, Kind: Proxy}}, nil
}

// hostname returns the request's host in lower case, without a port and
// without the dot that a full domain name may end in.
func hostname(r *http.Request) string {
	host := r.Host
	if strings.Contains(host, ":") {
		h, _, err := net.SplitHostPort(host)
		if err != nil {
			return ""
		}
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
