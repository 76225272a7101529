package middleware

import (
	"net/http"
	"time"
)

// CORSOptions say which pages of other origins may use a route.
type CORSOptions struct {
	// Origins are those whose pages may: "https://app.example.com", one label
	// of any name as in "https://*.example.com", or "*" for all, which does
	// not go with Credentials. At least one is needed.
	Origins []string
	// Methods are those that may be used. Default: those that the route serves.
	Methods []string
	// Headers are those that a page may set; "*" is any. Default: Content-Type.
	Headers []string
	// Expose are the headers of an answer that a page may read, beside those
	// that it always may; "*", which does not go with Credentials, is any.
	// Default: none.
	Expose []string
	// Credentials allows requests with cookies and other credentials that the
	// browser adds.
	Credentials bool
	// MaxAge is how long a browser may remember what is allowed. Default: 10 min.
	MaxAge time.Duration
	// PrivateNetwork allows pages of the public network to reach a gateway in
	// a private one.
	PrivateNetwork bool
}

// CORS returns a middleware that tells browsers which pages of other origins may use the route.
func CORS(opts *CORSOptions) (func(http.Handler) http.Handler, error) {
	_ = opts
	return func(next http.Handler) http.Handler { return next }, nil
}
