package resolver

import "net/http"

// Path takes the first segment of the path as the service, and the verb as the
// method.
//
// Services that are called cannot be reached like that. So a path of exactly
// one more segment, of the form Type.Method, is read as a call first:
// /greeter/Greeter.Hello.
func Path(r *http.Request) ([]Target, error) {
	var buf [2]string
	segs, more := segments(r, buf[:0])
	if len(segs) == 0 {
		return nil, ErrNoTarget
	}
	return named(r, segs[0], segs[1:], more)
}

// VPath is [Path] for services with a version in front, which is part of the
// name: /v1/foo is the service v1.foo, and /foo is foo.
func VPath(r *http.Request) ([]Target, error) {
	var buf [3]string
	segs, more := segments(r, buf[:0])
	switch {
	case len(segs) == 0:
		return nil, ErrNoTarget
	case len(segs) > 1 && isVersion(segs[0]):
		return named(r, segs[0]+"."+segs[1], segs[2:], more)
	}
	return named(r, segs[0], segs[1:], more)
}

// named returns the readings of a path whose start names a service.
func named(r *http.Request, service string, rest []string, more bool) ([]Target, error) {
	if !isName(service) {
		return nil, ErrNoTarget
	}
	proxy := Target{Service: service, Method: r.Method, Kind: Proxy}
	if len(rest) == 1 && !more && isTypeMethod(rest[0]) {
		return []Target{{Service: service, Method: rest[0], Kind: RPC}, proxy}, nil
	}
	return []Target{proxy}, nil
}
