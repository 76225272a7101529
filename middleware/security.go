package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// year is the least HSTS that browsers take into their lists.
const year = 365 * 24 * time.Hour

// SecurityOptions say what browsers are told to be careful about. A nil
// *SecurityOptions means all defaults. "-" leaves a header out.
type SecurityOptions struct {
	// HSTS is how long a browser is to use nothing but TLS. Default: not said.
	HSTS time.Duration
	// HSTSSubdomains extends HSTS to all subdomains.
	HSTSSubdomains bool
	// HSTSPreload asks for a place in the lists that browsers bring along; HSTS
	// of at least a year and HSTSSubdomains are needed.
	HSTSPreload bool
	// ContentTypeOptions is X-Content-Type-Options. Default: nosniff.
	ContentTypeOptions string
	// FrameOptions is X-Frame-Options. Default: DENY.
	FrameOptions string
	// ReferrerPolicy is Referrer-Policy.
	// Default: strict-origin-when-cross-origin.
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

// SecurityHeaders returns a middleware that tells browsers what to be careful
// about, in every answer that does not say so itself: a service knows best what
// its pages need. HSTS is otherwise: the connections are the gateway's, and so
// its word counts. Without TLS it is never said.
func SecurityHeaders(opts *SecurityOptions) (func(http.Handler) http.Handler, error) {
	s, err := newSecurity(opts)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.editing.serve(s, next, w, r) })
	}, nil
}

// security is what browsers are told.
type security struct {
	hsts   []string // nil is not
	values []headerValue

	editing editing
}

func newSecurity(opts *SecurityOptions) (*security, error) {
	var o SecurityOptions
	if opts != nil {
		o = *opts
	}
	s := new(security)
	var err error
	if s.hsts, err = o.hsts(); err != nil {
		return nil, err
	}
	for _, h := range []struct{ name, value, fallback string }{
		{"X-Content-Type-Options", o.ContentTypeOptions, "nosniff"},
		{"X-Frame-Options", o.FrameOptions, "DENY"},
		{"Referrer-Policy", o.ReferrerPolicy, "strict-origin-when-cross-origin"},
		{"Content-Security-Policy", o.ContentSecurityPolicy, "-"},
		{"Permissions-Policy", o.PermissionsPolicy, "-"},
		{"Cross-Origin-Opener-Policy", o.OpenerPolicy, "-"},
		{"Cross-Origin-Resource-Policy", o.ResourcePolicy, "-"},
		{"Cross-Origin-Embedder-Policy", o.EmbedderPolicy, "-"},
	} {
		if h.value == "" {
			h.value = h.fallback
		}
		if h.value == "-" {
			continue
		}
		if err := checkSecurity(h.name, h.value); err != nil {
			return nil, err
		}
		s.values = append(s.values, headerValue{h.name, one(h.value)})
	}
	return s, nil
}

// hsts returns the value of Strict-Transport-Security, or nil for none.
func (o *SecurityOptions) hsts() ([]string, error) {
	switch {
	case o.HSTS < 0 || o.HSTS > 0 && o.HSTS < time.Second:
		return nil, fmt.Errorf("security headers: HSTS for %v means nothing to a browser: write at least 1s", o.HSTS)
	case o.HSTS == 0 && (o.HSTSSubdomains || o.HSTSPreload):
		return nil, errors.New("security headers: HSTS has no time: write how long browsers are to use nothing but TLS")
	case o.HSTSPreload && (o.HSTS < year || !o.HSTSSubdomains):
		return nil, fmt.Errorf("security headers: HSTS with preload needs subdomains and at least %v", year)
	case o.HSTS == 0:
		return nil, nil
	}
	value := "max-age=" + strconv.FormatInt(int64(o.HSTS/time.Second), 10)
	if o.HSTSSubdomains {
		value += "; includeSubDomains"
	}
	if o.HSTSPreload {
		value += "; preload"
	}
	return one(value), nil
}

// checkSecurity returns what is wrong with a value, where browsers would take it
// for none.
func checkSecurity(name, value string) error {
	var known []string
	switch name {
	case "X-Content-Type-Options":
		known = []string{"nosniff"}
	case "X-Frame-Options":
		known = []string{"DENY", "SAMEORIGIN"}
	case "Cross-Origin-Opener-Policy":
		known = []string{"unsafe-none", "same-origin-allow-popups", "same-origin", "noopener-allow-popups"}
	case "Cross-Origin-Resource-Policy":
		known = []string{"same-site", "same-origin", "cross-origin"}
	case "Cross-Origin-Embedder-Policy":
		known = []string{"unsafe-none", "require-corp", "credentialless"}
	}
	switch {
	case known != nil && !slices.Contains(known, value):
		return fmt.Errorf("security headers: %s: unknown value %.100q; known: %s, and - to leave it out", name, value, strings.Join(known, ", "))
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("security headers: the value of %s holds control characters: write it in one line", name)
	}
	return nil
}

// edit implements editor.
func (s *security) edit(h http.Header, r *http.Request) {
	switch {
	case r.TLS == nil:
		delete(h, "Strict-Transport-Security")
	case s.hsts != nil:
		h["Strict-Transport-Security"] = s.hsts
	}
	for _, v := range s.values {
		if _, said := h[v.name]; !said {
			h[v.name] = v.value
		}
	}
}
