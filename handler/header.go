package handler

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// originFields is how many headers setOrigin adds.
const originFields = 5

const (
	// pseudonym is what Via calls the gateway.
	pseudonym = "goapi"
	// maxHops is how often a request may pass gateways of this name.
	maxHops = 16
)

// requestHeader returns the headers of r that a service may see. Its values are
// shared with r.Header: read-only.
//
// What is for one hop, what is a protocol's own (Micro-*), and names with an
// underscore, which some services cannot tell from a dash, stay behind; so does
// what Connection names, except that nobody can use it to take credentials or
// framing out of a request. Where the request came from is the gateway's own
// account, to which a peer in trusted may have contributed.
func requestHeader(r *http.Request, trusted []netip.Prefix) (http.Header, error) {
	out := make(http.Header, len(r.Header)+originFields)
	if err := sentHeader(out, r); err != nil {
		return nil, err
	}
	setOrigin(out, r, trusted)
	return out, nil
}

// sentHeader puts the headers of requestHeader into out, but for where the
// request came from.
func sentHeader(out http.Header, r *http.Request) error {
	if len(r.Header["Authorization"]) > 1 {
		return goapi.NewError(http.StatusBadRequest, "the request has more than one Authorization header", nil)
	}
	if !validHost(r.Host) {
		return goapi.NewError(http.StatusBadRequest, "the Host header is malformed", nil)
	}
	for name, values := range r.Header {
		if !reserved(name) {
			out[name] = values
		}
	}
	if named := r.Header["Connection"]; named != nil {
		if err := dropNamed(out, named); err != nil {
			return err
		}
	}
	if te := r.Header["Te"]; te != nil && acceptsTrailers(te) {
		out["Te"] = []string{"trailers"}
	}
	if via := r.Header["Via"]; via != nil && strings.Count(strings.Join(via, ","), " "+pseudonym) >= maxHops {
		return goapi.NewError(http.StatusLoopDetected, "the request runs in a circle", nil)
	}
	return nil
}

// validHost says that a Host header is host or host:port. The bytes that it may
// hold are net/http's to check; this is about readers who disagree on which part
// of it is the host.
func validHost(host string) bool {
	if !strings.ContainsAny(host, "[]") {
		_, port, _ := strings.Cut(host, ":")
		return isDigits(port)
	}
	address, port, closed := strings.Cut(host, "]")
	address, ok := strings.CutPrefix(address, "[")
	ip, err := netip.ParseAddr(address)
	if !ok || !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
		return false
	}
	port, ok = strings.CutPrefix(port, ":")
	return (ok || port == "") && isDigits(port)
}

// isDigits says that s holds nothing but digits.
func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// reserved says that a request's header never travels as the client sent it.
// Names are in canonical form, as net/http reads them.
func reserved(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
		"Proxy", "X-Real-Ip", "Forwarded":
		return true
	}
	switch name[0] {
	case 'M':
		if strings.HasPrefix(name, "Micro-") {
			return true
		}
	case 'X':
		if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Micro-") {
			return true
		}
	}
	return strings.IndexByte(name, '_') >= 0
}

// dropNamed removes what a Connection header names. A name that every
// recipient must see is refused: dropping it silently would let a client
// choose what the service believes that the gateway has checked.
func dropNamed(out http.Header, connection []string) error {
	for _, list := range connection {
		for option := range strings.SplitSeq(list, ",") {
			name := textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(option))
			switch name {
			case "Authorization", "Cookie", "Host", "Expect", "X-Api-Key":
				return refuseNamed(name)
			}
			if strings.HasPrefix(name, "Content-") {
				return refuseNamed(name)
			}
			delete(out, name)
		}
	}
	return nil
}

func refuseNamed(name string) error {
	return goapi.NewError(http.StatusBadRequest,
		fmt.Sprintf("the Connection header names %s, which is not for one hop: leave it out", name), nil)
}

// acceptsTrailers says that a TE header lists "trailers".
func acceptsTrailers(te []string) bool {
	for _, list := range te {
		for coding := range strings.SplitSeq(list, ",") {
			coding, _, _ = strings.Cut(coding, ";")
			if strings.EqualFold(strings.TrimSpace(coding), "trailers") {
				return true
			}
		}
	}
	return false
}

// setOrigin says who sent the request, to which host, and how.
func setOrigin(out http.Header, r *http.Request, trusted []netip.Prefix) {
	peer := peerIP(r.RemoteAddr)
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	values := [originFields]string{peer, peer, r.Host, proto, via(r)}
	set := func(name string, i int) {
		if values[i] != "" {
			out[name] = values[i : i+1 : i+1]
		}
	}
	if len(trusted) > 0 && isTrusted(peer, trusted) {
		keepOrigin(out, r, values[:])
	}
	set("X-Forwarded-For", 0)
	set("X-Real-Ip", 1)
	set("X-Forwarded-Host", 2)
	set("X-Forwarded-Proto", 3)
	set("Via", 4)
}

// via returns the protocols and gateways that the request came through.
func via(r *http.Request) string {
	hop := "1.1 " + pseudonym
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 {
		hop = fmt.Sprintf("%d.%d %s", r.ProtoMajor, r.ProtoMinor, pseudonym)
	}
	if before := r.Header["Via"]; len(before) > 0 {
		return strings.Join(before, ", ") + ", " + hop
	}
	return hop
}

// keepOrigin adds to values what a trusted peer said, and passes on what the
// gateway has no account of.
func keepOrigin(out http.Header, r *http.Request, values []string) {
	peer, host, proto := values[0], values[2], values[3]
	if list := r.Header["X-Forwarded-For"]; len(list) > 0 {
		values[0] = strings.Join(append(slices.Clip(list), peer), ", ")
	}
	for i, name := range []string{1: "X-Real-Ip", 2: "X-Forwarded-Host", 3: "X-Forwarded-Proto"} {
		if v := r.Header[name]; i > 0 && len(v) > 0 {
			values[i] = v[0]
		}
	}
	if list := r.Header["Forwarded"]; len(list) > 0 {
		hop := fmt.Sprintf("for=%s;host=%q;proto=%s", forwardedNode(peer), host, proto)
		out["Forwarded"] = []string{strings.Join(append(slices.Clip(list), hop), ", ")}
	}
	for name, v := range r.Header {
		if strings.HasPrefix(name, "X-Forwarded-") && strings.IndexByte(name, '_') < 0 {
			out[name] = v
		}
	}
}

// forwardedNode writes an address as RFC 7239 wants it.
func forwardedNode(ip string) string {
	if strings.Contains(ip, ":") {
		return `"[` + ip + `]"`
	}
	return ip
}

// peerIP returns the address of a RemoteAddr without port and zone; empty for a
// peer that has none, as on a Unix socket.
func peerIP(remote string) string {
	end := strings.LastIndexByte(remote, ':')
	if end < 0 {
		return ""
	}
	ip := remote[:end]
	if len(ip) > 1 && ip[0] == '[' {
		ip, _, _ = strings.Cut(ip[1:len(ip)-1], "%")
	}
	return ip
}

func isTrusted(peer string, trusted []netip.Prefix) bool {
	ip, err := netip.ParseAddr(peer)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	for _, p := range trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// copyAnswerHeader adds the headers of a service's answer that the client may
// see to dst. It returns the name of one that cannot be passed on, or nothing.
// Values hold no control characters: net/http has seen to it.
//
// A Connection header that names others beside "close" is not obeyed: the
// transport takes it away.
func copyAnswerHeader(dst, src http.Header) (bad string) {
	for name, values := range src {
		if forOneHop(name) {
			continue
		}
		if strings.IndexByte(name, ' ') >= 0 { // net/http lets it pass; others take it for the name without
			return name
		}
		if have := dst[name]; have != nil {
			values = append(slices.Clip(have), values...)
		}
		dst[name] = values
	}
	for _, list := range src["Connection"] {
		for option := range strings.SplitSeq(list, ",") {
			delete(dst, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(option)))
		}
	}
	return ""
}

// forOneHop says that an answer's header is for the gateway alone.
func forOneHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// forbiddenTrailer says that a field means something before the body only, or
// is for one hop: it is not passed on behind a body.
func forbiddenTrailer(name string) bool {
	switch name {
	case "Authorization", "Cookie", "Set-Cookie", "Host", "Expect", "Te", "Trailer", "Location", "Www-Authenticate":
		return true
	}
	return strings.HasPrefix(name, "Content-") || forOneHop(name) || reserved(name)
}
