package middleware

import (
	"errors"
	"net/http"
	"time"

	"github.com/goapi-dev/goapi"
)

// ExternalOptions adjust External. A nil *ExternalOptions means all defaults.
type ExternalOptions struct {
	// Headers are those of the request that are sent along. Default:
	// Authorization, Cookie, X-API-Key.
	Headers []string
	// Copy are headers of the answer that become claims, under their canonical
	// names, and that the service gets to see. Default: none.
	Copy []string
	// Subject is the header of the answer that names the caller. Default:
	// Remote-User.
	Subject string
	// Scopes is the header of the answer that lists scopes, separated by space
	// or commas. Default: none.
	Scopes string
	// Timeout bounds a question. Default: 3 s.
	Timeout time.Duration
	// InFlight bounds how many questions are asked at a time. Default: 256.
	InFlight int
	// Transport asks. Default: one of its own, which uses no proxy.
	Transport http.RoundTripper
}

// External knows callers by asking over HTTP.
type External struct{ opts ExternalOptions }

var _ Authenticator = (*External)(nil)

// NewExternal returns an Authenticator that asks at a URL.
func NewExternal(url string, opts *ExternalOptions) (*External, error) { return &External{}, nil }

// Challenge implements Authenticator: the answer has its own.
func (e *External) Challenge() string { return "" }

// Authenticate implements Authenticator.
func (e *External) Authenticate(r *http.Request) (*goapi.Identity, error) {
	return nil, errors.New("middleware: external: not yet")
}
