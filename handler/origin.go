package handler

import (
	"net/http"
	"slices"
	"strings"
)

// origins are patterns of the web pages that may do something. None at all
// means that every page may.
type origins []origin

// An origin is the scheme, host and port that a web page comes from. As a
// pattern, a host that starts with "*." stands for every host below the rest.
type origin struct{ scheme, host, port string }

// parseOrigins returns patterns. One that is malformed matches nothing.
func parseOrigins(patterns []string) origins {
	var list origins
	for _, p := range patterns {
		o, _ := parseOrigin(p)
		list = append(list, o)
	}
	return list
}

// parseOrigin takes the text of an Origin header apart. Its case has no
// meaning, and a port that the scheme implies is there.
func parseOrigin(text string) (o origin, ok bool) {
	scheme, rest, ok := strings.Cut(strings.ToLower(text), "://")
	if !ok || scheme == "" || rest == "" || strings.ContainsAny(rest, "/?#@\\ ") || !validHost(rest) {
		return origin{}, false
	}
	o = origin{scheme: scheme}
	o.host, o.port = splitPort(rest, scheme)
	return o, o.host != ""
}

// splitPort returns host and port of a valid Host header, for a scheme.
func splitPort(hostport, scheme string) (host, port string) {
	host = hostport
	if i := strings.LastIndexByte(hostport, ':'); i > strings.LastIndexByte(hostport, ']') {
		host, port = hostport[:i], hostport[i+1:]
	}
	if port == "" {
		switch scheme {
		case "http", "ws":
			port = "80"
		case "https", "wss":
			port = "443"
		}
	}
	return host, port
}

// allow says whether the page that sent a request, if one did, may. A page's
// scheme is not compared with the request's, which the gateway does not know
// when something before it ends TLS.
func (list origins) allow(r *http.Request) bool {
	from := r.Header["Origin"]
	if len(list) == 0 || len(from) == 0 {
		return true
	}
	o, ok := parseOrigin(from[0])
	if !ok || len(from) > 1 {
		return false
	}
	if host, port := splitPort(strings.ToLower(r.Host), o.scheme); host == o.host && port == o.port {
		return true
	}
	return slices.ContainsFunc(list, o.matches)
}

// matches says whether a page's origin is one that the pattern p stands for.
func (o origin) matches(p origin) bool {
	if p.scheme == "" || o.scheme != p.scheme || o.port != p.port {
		return false
	}
	if strings.HasPrefix(p.host, "*.") {
		domain := p.host[1:]
		return strings.HasSuffix(o.host, domain) && len(o.host) > len(domain)
	}
	return o.host == p.host
}
