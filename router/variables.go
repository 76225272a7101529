package router

import (
	"net/http"
	"strings"
)

// setVariables gives a request the variables of the pattern that matches its
// path.
func (p *pattern) setVariables(r *http.Request, path string) {
	if p.expr != nil {
		p.expr.setGroups(r, path)
		return
	}
	if p.verb != "" {
		path, _, _ = cutVerb(path)
	}
	at, i := 0, 0 // the slash before segment i
	for _, v := range p.variables {
		at = skip(path, at, v.start-i)
		i = v.end
		end := len(path)
		if !v.toEnd {
			end = skip(path, at, i-v.start)
		}
		r.SetPathValue(v.name, decodeOrKeep(strings.TrimPrefix(path[at:end], "/")))
		at = end
	}
}

// skip returns where the slash is that n segments after the slash at i follows,
// or the end of the path.
func skip(path string, i, n int) int {
	for ; n > 0 && i < len(path); n-- {
		next := strings.IndexByte(path[i+1:], '/')
		if next < 0 {
			return len(path)
		}
		i += 1 + next
	}
	return i
}

// setGroups gives a request the named groups of the expression.
func (e *expression) setGroups(r *http.Request, path string) {
	if !e.named {
		return
	}
	found := e.re.FindStringSubmatch(path)
	for i, name := range e.re.SubexpNames() {
		if name != "" && i < len(found) {
			r.SetPathValue(name, decodeOrKeep(found[i]))
		}
	}
}

// decodeOrKeep decodes segments, with the slashes between them. What a regular
// expression cut out of an escape stays as it is.
func decodeOrKeep(raw string) string {
	if s, err := unescape(raw); err == nil {
		return s
	}
	return raw
}
