package middleware

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// HeadersOptions say how headers are changed.
type HeadersOptions struct {
	// Request changes what the service sees.
	Request HeaderEdit
	// Response changes what the client sees.
	Response HeaderEdit
}

// A HeaderEdit says how a header is changed: first Remove, then Set, then Add.
// Framing, hop-by-hop headers, Host, and Micro-* are the gateway's own and
// cannot be changed; nor can the names, in a request, in which it says where that
// comes from (Forwarded, X-Forwarded-*, X-Real-Ip).
type HeaderEdit struct {
	// Remove names the headers that are taken out.
	Remove []string
	// Set holds the headers that have this one value.
	Set map[string]string
	// Add holds values that are added to those that are there.
	Add map[string]string
}

// Headers returns a middleware that changes headers of requests and of answers.
// It changes an answer when that begins, whether it is the service's or an
// error.
func Headers(opts *HeadersOptions) (func(http.Handler) http.Handler, error) {
	if opts == nil {
		opts = new(HeadersOptions)
	}
	request, err := newHeaderEdit("request", &opts.Request)
	if err != nil {
		return nil, err
	}
	response, err := newHeaderEdit("response", &opts.Response)
	if err != nil {
		return nil, err
	}
	var editing editing
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !request.isEmpty() {
				out := *r
				out.Header = maps.Clone(r.Header)
				request.edit(out.Header, r)
				r = &out
			}
			if response.isEmpty() {
				next.ServeHTTP(w, r)
				return
			}
			editing.serve(response, next, w, r)
		})
	}, nil
}

// headerEdit is a HeaderEdit with canonical names.
type headerEdit struct {
	remove   []string
	set, add []headerValue
}

// headerValue is a header, and its value in a list that others share.
type headerValue struct {
	name  string
	value []string
}

var _ editor = (*headerEdit)(nil)

func newHeaderEdit(of string, opts *HeaderEdit) (*headerEdit, error) {
	e := new(headerEdit)
	for _, name := range opts.Remove {
		name, err := editable(of, name)
		if err != nil {
			return nil, err
		}
		e.remove = append(e.remove, name)
	}
	var err error
	if e.set, err = headerValues(of, opts.Set); err != nil {
		return nil, err
	}
	e.add, err = headerValues(of, opts.Add)
	return e, err
}

// headerValues returns the headers of a map, in the order of their names.
func headerValues(of string, values map[string]string) ([]headerValue, error) {
	var list []headerValue
	seen := make(map[string]bool, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, err := editable(of, key)
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, fmt.Errorf("headers: %s is there twice, in different case: write it once", name)
		}
		if !httpguts.ValidHeaderFieldValue(values[key]) {
			return nil, fmt.Errorf("headers: the value of %s holds control characters: write it in one line", name)
		}
		seen[name] = true
		list = append(list, headerValue{name, one(textproto.TrimString(values[key]))})
	}
	return list, nil
}

// editable returns the canonical form of a name that may be changed.
func editable(of, name string) (string, error) {
	if !httpguts.ValidHeaderFieldName(name) {
		return "", fmt.Errorf("headers: %.100q is no name of a header", name)
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Http2-Settings", "Host", "Content-Length":
		return "", fmt.Errorf("headers: %s is for one connection or the framing, which are the gateway's: leave it out", name)
	}
	if strings.HasPrefix(name, "Micro-") || strings.HasPrefix(name, "X-Micro-") {
		return "", fmt.Errorf("headers: %s is the protocol's own: leave it out", name)
	}
	if of == "request" {
		switch {
		case name == "Proxy", strings.IndexByte(name, '_') >= 0:
			return "", fmt.Errorf("headers: %s never reaches a service: leave it out", name)
		case name == "X-Real-Ip", name == "Forwarded", strings.HasPrefix(name, "X-Forwarded-"):
			return "", fmt.Errorf("headers: %s is the gateway's account of where a request comes from: leave it out", name)
		}
	}
	return name, nil
}

func (e *headerEdit) isEmpty() bool { return len(e.remove)+len(e.set)+len(e.add) == 0 }

// edit implements editor.
func (e *headerEdit) edit(h http.Header, _ *http.Request) {
	for _, name := range e.remove {
		delete(h, name)
	}
	for _, v := range e.set {
		h[v.name] = v.value
	}
	for _, v := range e.add {
		if have := h[v.name]; len(have) > 0 {
			h[v.name] = append(slices.Clip(have), v.value...)
			continue
		}
		h[v.name] = v.value
	}
}
