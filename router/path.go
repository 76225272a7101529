package router

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/goapi-dev/goapi"
)

// requestPath returns the path of a request as it was received. It refuses one
// that two programs may read differently.
func requestPath(u *url.URL) (string, error) {
	path := receivedPath(u)
	switch {
	case path == "" && u.Opaque == "":
		return "/", nil // as of RFC 9110, section 4.2.3
	case !strings.HasPrefix(path, "/"):
		return "", goapi.NewError(http.StatusBadRequest, "the request's target is not a path", nil)
	case u.RawPath == "" && strings.IndexByte(path, '%') < 0 && !strings.Contains(path, "/."):
		return path, nil
	}
	for raw := range strings.SplitSeq(path[1:], "/") {
		segment, err := unescape(raw)
		if err != nil {
			return "", goapi.NewError(http.StatusBadRequest, "the path is not well escaped", err)
		}
		if reason := ambiguous(segment); reason != "" {
			return "", goapi.NewError(http.StatusBadRequest, "the path is refused: "+reason, nil)
		}
	}
	return path, nil
}

// receivedPath returns the path of u in the form in which it was received, and
// is forwarded, or which was given by whoever rewrote it. EscapedPath is
// another one where that has bytes that it does not expect: it escapes anew,
// and makes separators of escaped slashes.
func receivedPath(u *url.URL) string {
	raw := u.RawPath
	if raw == "" {
		return u.EscapedPath()
	}
	if path, err := url.PathUnescape(raw); err != nil || path != u.Path {
		return u.EscapedPath()
	}
	if strings.IndexByte(raw, '#') >= 0 {
		return strings.ReplaceAll(raw, "#", "%23") // as it is forwarded
	}
	return raw
}

// ambiguous says why a decoded segment is refused, if it is. An escaped slash,
// or a backslash, separates segments for some programs.
func ambiguous(segment string) (reason string) {
	separated := false
	for i := range len(segment) {
		switch c := segment[i]; {
		case c < ' ', c == 0x7f:
			return "it has a control character"
		case c == '/', c == '\\':
			separated = true
		}
	}
	const dots = `it has a segment "." or ".."`
	if segment == "." || segment == ".." {
		return dots
	}
	if separated {
		for part := range strings.FieldsFuncSeq(segment, func(r rune) bool { return r == '/' || r == '\\' }) {
			if part == "." || part == ".." {
				return dots
			}
		}
	}
	return ""
}

// unescape decodes a segment.
func unescape(raw string) (string, error) {
	if strings.IndexByte(raw, '%') < 0 {
		return raw, nil
	}
	return url.PathUnescape(raw)
}
