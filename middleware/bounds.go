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
}

// Bounds returns a middleware that refuses requests that no handler is to see: those with more header
// fields than allowed (431), and CONNECT, which would make a tunnel of the
// gateway (405).
func Bounds(opts *BoundsOptions) func(http.Handler) http.Handler {
	most := 200
	if opts != nil && opts.HeaderFields > 0 {
		most = opts.HeaderFields
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := check(r, most); err != nil {
				w.Header().Set("Connection", "close")
				goapi.WriteError(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// check returns why a request is refused, or nil.
func check(r *http.Request, most int) error {
	if r.Method == http.MethodConnect {
		return goapi.NewError(http.StatusMethodNotAllowed, "CONNECT is not served: this is no forward proxy", nil)
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > most {
		return goapi.NewError(http.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("the request has %d header fields; at most %d are taken", fields, most), nil)
	}
	return nil
}
