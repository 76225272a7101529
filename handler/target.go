package handler

import (
	"net/url"
	"strings"
)

// forwardTarget returns path and query of u as they were received, less the
// prefix strip, as a URL that lacks scheme and host.
func forwardTarget(u *url.URL, strip string) url.URL {
	path := stripPath(receivedPath(u), strip)
	if strings.IndexByte(path, '#') >= 0 {
		path = strings.ReplaceAll(path, "#", "%23") // data here, but not to whoever parses it as a URL
	}
	t := url.URL{RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	if !strings.HasPrefix(path, "//") {
		t.Opaque = path // written as it is
		return t
	}
	// As an opaque part this would be a host.
	t.RawPath = escapeOdd(path)
	t.Path, _ = url.PathUnescape(t.RawPath) // was parsed before
	return t
}

// receivedPath returns the path of u in the form in which it was received, or
// was given by whoever rewrote it.
func receivedPath(u *url.URL) string {
	path := u.RawPath
	if path != "" {
		if p, err := url.PathUnescape(path); err != nil || p != u.Path {
			path = ""
		}
	}
	if path == "" {
		path = u.EscapedPath()
	}
	if path == "" {
		path = "/"
	}
	return path
}

// stripPath removes prefix from an escaped path. They are compared segment by
// segment, as a router does. A path that does not start with it stays as it is.
func stripPath(path, prefix string) string {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return path
	}
	rest := path
	for want := range strings.SplitSeq(prefix, "/") {
		segment, ok := strings.CutPrefix(rest, "/")
		if !ok {
			return path
		}
		end := strings.IndexByte(segment, '/')
		if end < 0 {
			end = len(segment)
		}
		if got := segment[:end]; got != want {
			if plain, err := url.PathUnescape(got); err != nil || plain != want {
				return path
			}
		}
		rest = segment[end:]
	}
	if rest == "" {
		return "/"
	}
	return rest
}

// escapeOdd escapes the bytes that a path cannot hold.
func escapeOdd(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("-._~!$&'()*+,;=:@/%[]", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
