package resolver

import (
	"net/http"
	"net/url"
	"strings"
)

// maxName bounds names, in bytes.
const maxName = 255

// segments appends the first segments of the request's path to buf, decoded,
// as many as it has room for; more says that the path goes on. There are none
// when the path does not start with a slash.
func segments(r *http.Request, buf []string) (segs []string, more bool) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/")
	rest = strings.TrimSuffix(rest, "/")
	if !ok || rest == "" {
		return nil, false
	}
	more = true
	for more && len(buf) < cap(buf) {
		var s string
		s, rest, more = strings.Cut(rest, "/")
		if strings.IndexByte(s, '%') >= 0 {
			var err error
			if s, err = url.PathUnescape(s); err != nil {
				s = "" // no name
			}
		}
		buf = append(buf, s)
	}
	return buf, more
}

// isName says whether s may be the name of a service or a method.
func isName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '-' && c != '_' && (c != '.' || s[i-1] == '.') {
			return false
		}
	}
	return true
}

// isAlias says whether s is words of letters and digits, joined by "-".
func isAlias(s string) bool {
	if len(s) > maxName {
		return false
	}
	word := false
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && (c != '-' || !word) {
			return false
		}
		word = c != '-'
	}
	return word
}

// isVersion says whether s is v1, v2, and so on.
func isVersion(s string) bool {
	if len(s) < 2 || s[0] != 'v' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isTypeMethod says whether s is two exported Go names joined by a dot.
func isTypeMethod(s string) bool {
	typ, method, ok := strings.Cut(s, ".")
	return ok && len(s) <= maxName && isExported(typ) && isExported(method)
}

// isExported says whether s is an exported Go name, of ASCII only.
func isExported(s string) bool {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
