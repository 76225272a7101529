package middleware

import "net/http"

// HeadersOptions say how headers are changed.
type HeadersOptions struct {
	// Request changes what the service sees.
	Request HeaderEdit
	// Response changes what the client sees.
	Response HeaderEdit
}

// A HeaderEdit is changes of a header: first what is removed, then what is set, then what
// is added.
type HeaderEdit struct {
	Remove []string
	Set    map[string]string
	Add    map[string]string
}

// Headers returns a middleware that changes headers.
func Headers(opts *HeadersOptions) (func(http.Handler) http.Handler, error) {
	_ = opts
	return func(next http.Handler) http.Handler { return next }, nil
}
