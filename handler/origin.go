package handler

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// origins are patterns of the web pages that may do something. None at all
// means that every page may.
type origins []origin

// An origin is the scheme, host and port that a web page comes from. As a
// pattern, a host that starts with "*." stands for every host below the rest.
type origin struct{ scheme, host, port string }

// anyPage is the pattern of every page, those without an origin of their own
// included.
func anyPage() origin { return origin{host: "*"} }

// sameOrigin returns patterns of no page, which leaves those of the requested
// host itself.
func sameOrigin() origins { return origins{{}} }

// CheckOrigin returns an error, which says what to write, for text that stands
// for no web page in the Origins of an option:
//
//   - scheme://host or scheme://host:port is the pages that come from there, in
//     the form that browsers send: "https://app.example.com";
//   - with "*." in front of the host, those of any host below it;
//   - "*" is any page.
func CheckOrigin(pattern string) error {
	if pattern == "*" {
		return nil
	}
	why := "it needs a scheme and a host, and nothing behind them"
	if o, ok := parseOrigin(pattern); ok {
		why = o.wrong()
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("handler: %.100q is no origin of web pages (%s): write it as https://app.example.com, https://*.example.com, or * for any page", pattern, why)
}

// wrong says why no browser sends an origin that the pattern o stands for;
// nothing if one may.
func (o origin) wrong() string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	host := strings.TrimPrefix(o.host, "*.")
	port, err := strconv.ParseUint(o.port, 10, 16)
	switch {
	case strings.Trim(o.scheme, letters+"0123456789+-.") != "" || !strings.Contains(letters, o.scheme[:1]):
		return "its scheme is malformed"
	case strings.Contains(host, "*"):
		return "a * stands only for the first part of a host"
	case host == "" || strings.HasPrefix(host, ".") || strings.Contains(host, ".."):
		return "its host is malformed"
	case strings.ContainsFunc(host, func(c rune) bool { return c > '~' }):
		return "browsers send such a host as xn--"
	case o.port != "" && (err != nil || port == 0):
		return "its port is malformed"
	}
	return ""
}

// parseOrigins returns patterns. One that is malformed matches nothing.
func parseOrigins(patterns []string) origins {
	var list origins
	for _, p := range patterns {
		o, _ := parseOrigin(p)
		if p == "*" {
			o = anyPage()
		}
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
	if len(list) == 0 || len(from) == 0 || slices.Contains(list, anyPage()) {
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
