package middleware

import (
	"errors"
	"net/http"

	"github.com/goapi-dev/goapi"
)

// MTLSOptions adjust MTLS. A nil *MTLSOptions means all defaults.
type MTLSOptions struct {
	// Subject says which names of a certificate the caller goes by, the first
	// that there is: "uri", "dns", "email" (alternative names) or "cn" (the
	// subject's common name). Default: uri, dns, cn.
	Subject []string
}

// MTLS knows callers by the certificates of their TLS connections.
type MTLS struct{ subject []string }

var _ Authenticator = (*MTLS)(nil)

// NewMTLS returns an Authenticator for certificates that the listener has
// verified.
func NewMTLS(opts *MTLSOptions) (*MTLS, error) { return &MTLS{}, nil }

// Challenge implements Authenticator: a certificate has none.
func (m *MTLS) Challenge() string { return "" }

// Authenticate implements Authenticator.
func (m *MTLS) Authenticate(r *http.Request) (*goapi.Identity, error) {
	return nil, errors.New("middleware: mtls: not yet")
}
