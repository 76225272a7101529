package resolver

import (
	"net/http"
	"strings"
)

// maxSegments bounds the segments that make up the name of a service and its
// method. A longer path has no reading as a call.
const maxSegments = 16

// Micro is go-micro's first resolver, and the default. It gives two readings
// of a path, which may differ in the service.
//
// The first is a call. The last two segments are the method, and those before
// them are the service; a short path uses a segment for both:
//
//	/foo               foo      Foo
//	/foo/bar           foo      Foo.Bar
//	/foo/bar/baz       foo      Bar.Baz
//	/foo/bar/baz/cat   foo.bar  Baz.Cat
//	/v1/foo/bar        v1.foo   Foo.Bar
//	/foo/bar-baz       foo      Foo.BarBaz
//	/foo/Bar.Baz       foo      Bar.Baz
//
// The second is the request as it is, to the service that the first segment
// names; a version (v1, v2, …) in front is part of the name:
//
//	/foo/bar/baz/cat   foo
//	/v1/foo/bar        v1.foo
func Micro(r *http.Request) ([]Target, error) {
	var buf [maxSegments]string
	segs, more := segments(r, buf[:0])
	targets := make([]Target, 0, 2)
	if t, ok := microCall(segs); ok && !more {
		targets = append(targets, t)
	}
	if name, ok := microProxy(segs); ok {
		targets = append(targets, Target{Service: name, Method: r.Method, Kind: Proxy})
	}
	if len(targets) == 0 {
		return nil, ErrNoTarget
	}
	return targets, nil
}

// microCall reads segments as a call.
func microCall(segs []string) (Target, bool) {
	n := len(segs)
	var service, method []string
	switch {
	case n == 0:
		return Target{}, false
	case n > 1 && isTypeMethod(segs[n-1]):
		service, method = segs[:n-1], segs[n-1:]
	case n <= 2:
		service, method = segs[:1], segs
	case n == 3 && isVersion(segs[0]):
		service, method = segs[:2], segs[1:]
	default:
		service, method = segs[:n-2], segs[n-2:]
	}
	t := Target{Service: strings.Join(service, "."), Method: methodName(method), Kind: RPC}
	// No service knows a method by two dots.
	return t, isName(t.Service) && isName(t.Method) && strings.Count(t.Method, ".") <= 1
}

// microProxy returns the service that the first segments name.
func microProxy(segs []string) (string, bool) {
	switch {
	case len(segs) == 0:
		return "", false
	case len(segs) > 1 && isVersion(segs[0]):
		name := segs[0] + "." + segs[1]
		return name, isAlias(segs[1]) && len(name) <= maxName
	}
	return segs[0], isAlias(segs[0])
}

// methodName returns the parts in camel case, joined by dots.
func methodName(parts []string) string {
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteByte('.')
		}
		b.Grow(len(part))
		upper := true
		for j := range len(part) {
			c := part[j]
			switch {
			case c == '-':
				upper = true
				continue
			case upper && 'a' <= c && c <= 'z':
				c -= 'a' - 'A'
			}
			b.WriteByte(c)
			upper = c == '.'
		}
	}
	return b.String()
}
