package middleware

import (
	"fmt"
	"net/http"

	"github.com/goapi-dev/goapi"
)

// BoundsOptions adjust Bounds. A nil *BoundsOptions means all defaults.
type BoundsOptions struct {
	// HeaderFields is the most header lines that a request may have.
	// Default: 200.
	HeaderFields int
	// URLBytes is the most bytes that a request's target may have.
	// Default: 16 KiB.
	URLBytes int
}

// Bounds returns a middleware that refuses requests that no handler is to see:
// those whose target is longer than allowed (414), those with more header fields
// than allowed (431), and CONNECT, which would make a tunnel of the gateway
// (405).
func Bounds(opts *BoundsOptions) func(http.Handler) http.Handler {
	o := opts.orDefault()
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := o.check(r); err != nil {
				w.Header().Set("Connection", "close")
				goapi.WriteError(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (o *BoundsOptions) orDefault() BoundsOptions {
	var d BoundsOptions
	if o != nil {
		d = *o
	}
	if d.HeaderFields <= 0 {
		d.HeaderFields = 200
	}
	if d.URLBytes <= 0 {
		d.URLBytes = 16 << 10
	}
	return d
}

// check returns why a request is refused, or nil.
func (o *BoundsOptions) check(r *http.Request) error {
	if r.Method == http.MethodConnect {
		return goapi.NewError(http.StatusMethodNotAllowed, "CONNECT is not served: this is no forward proxy", nil)
	}
	if n := len(r.RequestURI); n > o.URLBytes {
		return goapi.NewError(http.StatusRequestURITooLong,
			fmt.Sprintf("the URL has %d bytes; at most %d are taken", n, o.URLBytes), nil)
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > o.HeaderFields {
		return goapi.NewError(http.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("the request has %d header fields; at most %d are taken", fields, o.HeaderFields), nil)
	}
	return nil
}
