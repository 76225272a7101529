package middleware

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"

	"github.com/goapi-dev/goapi"
)

// MTLSOptions adjust MTLS. A nil *MTLSOptions means all defaults.
type MTLSOptions struct {
	// Subject says which name of a certificate the caller goes by, the first
	// kind that it has: "uri", "dns", "email" (alternative names) or "cn" (the
	// subject's common name). Default: uri, dns, cn.
	Subject []string
}

// MTLS knows callers by the certificates of their TLS connections, once the
// listener has verified them. The claims of an identity are cn, organization,
// dns, uri, email, serial, issuer and fingerprint (SHA-256 of the certificate).
type MTLS struct{ subject []string }

var _ Authenticator = (*MTLS)(nil)

// NewMTLS returns an MTLS. It is an error if a name in Subject is not known.
func NewMTLS(opts *MTLSOptions) (*MTLS, error) {
	m := &MTLS{subject: []string{"uri", "dns", "cn"}}
	if opts == nil || len(opts.Subject) == 0 {
		return m, nil
	}
	for _, kind := range opts.Subject {
		if !slices.Contains([]string{"uri", "dns", "email", "cn"}, kind) {
			return nil, fmt.Errorf("middleware: mtls: a certificate has no name of the kind %q: write uri, dns, email or cn", kind)
		}
	}
	m.subject = slices.Clone(opts.Subject)
	return m, nil
}

// Challenge implements Authenticator: there is none for a certificate.
func (m *MTLS) Challenge() string { return "" }

// Authenticate implements Authenticator.
func (m *MTLS) Authenticate(r *http.Request) (*goapi.Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, ErrNoCredentials
	}
	if len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil, goapi.NewError(http.StatusForbidden, "the client certificate is not verified", nil)
	}
	leaf := r.TLS.VerifiedChains[0][0]
	subject := m.name(leaf)
	if subject == "" {
		return nil, goapi.NewError(http.StatusForbidden, "the client certificate does not name its holder", nil)
	}
	return &goapi.Identity{Subject: subject, Method: "mtls", Claims: certificateClaims(leaf)}, nil
}

// name returns what the holder of a certificate goes by, or nothing. Of several
// URIs none is the holder's name: SPIFFE has it so.
func (m *MTLS) name(leaf *x509.Certificate) string {
	for _, kind := range m.subject {
		name := ""
		switch {
		case kind == "uri" && len(leaf.URIs) > 1:
			return ""
		case kind == "uri" && len(leaf.URIs) == 1:
			name = leaf.URIs[0].String()
		case kind == "dns" && len(leaf.DNSNames) > 0:
			name = leaf.DNSNames[0]
		case kind == "email" && len(leaf.EmailAddresses) > 0:
			name = leaf.EmailAddresses[0]
		case kind == "cn":
			name = leaf.Subject.CommonName
		}
		if name != "" {
			return name
		}
	}
	return ""
}

func certificateClaims(leaf *x509.Certificate) map[string]any {
	sum := sha256.Sum256(leaf.Raw)
	claims := map[string]any{
		"serial":      leaf.SerialNumber.Text(16),
		"issuer":      leaf.Issuer.String(),
		"fingerprint": hex.EncodeToString(sum[:]),
	}
	if leaf.Subject.CommonName != "" {
		claims["cn"] = leaf.Subject.CommonName
	}
	uris := make([]string, len(leaf.URIs))
	for i, u := range leaf.URIs {
		uris[i] = u.String()
	}
	for name, list := range map[string][]string{
		"organization": leaf.Subject.Organization, "dns": leaf.DNSNames, "uri": uris, "email": leaf.EmailAddresses,
	} {
		if len(list) == 0 {
			continue
		}
		values := make([]any, len(list))
		for i, v := range list {
			values[i] = v
		}
		claims[name] = values
	}
	return claims
}
