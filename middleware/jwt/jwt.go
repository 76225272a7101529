// Package jwt knows callers by JSON Web Tokens that somebody else has signed.
package jwt

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

// Options say which tokens are valid. Algorithms, Issuer, Audience and one of
// JWKS, Keys and Secret are needed.
type Options struct {
	// Algorithms are those that tokens may be signed with: RS256, RS384, RS512,
	// PS256, PS384, PS512, ES256, ES384, ES512, EdDSA; or, with a Secret, HS256,
	// HS384 and HS512.
	Algorithms []string
	// Issuer is the iss of valid tokens. "*" is any.
	Issuer string
	// Audience holds what the aud of valid tokens may be. "*" is any.
	Audience []string
	// JWKS is the URL of the issuer's keys: https, or http on this machine.
	JWKS string
	// Keys are public keys: PEM, a JWK, or a JWK set.
	Keys []byte
	// Secret is the key of HS256, HS384 and HS512, less a newline at its end.
	Secret []byte
	// Skew is by how much clocks may differ, at most 5 min. Default: 30 s.
	Skew time.Duration
	// Scopes are the claims that may list scopes; the first that is there does.
	// Default: scope, scp, scopes.
	Scopes []string
	// Subject is the claim that names the caller. Default: sub.
	Subject string
	// Refresh is how often the keys of JWKS are asked for. Default: 5 min.
	Refresh time.Duration
	// Cache is how many verified tokens are kept. Default: 4,096.
	Cache int
	// Realm is what the challenge names. Default: goapi.
	Realm string
	// Transport asks for the keys of JWKS. Default: one of its own.
	Transport http.RoundTripper
	// Logger gets what becomes of the keys. Default: none.
	Logger *slog.Logger
}

// A Verifier knows callers by tokens.
type Verifier struct{ challenge string }

var _ middleware.Authenticator = (*Verifier)(nil)

// New returns a Verifier. It starts nothing: with JWKS, there are no keys until
// Run has had them.
func New(opts *Options) (*Verifier, error) { return &Verifier{}, nil }

// Run keeps the keys of JWKS fresh until ctx ends.
func (v *Verifier) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Challenge implements middleware.Authenticator.
func (v *Verifier) Challenge() string { return v.challenge }

// Authenticate implements middleware.Authenticator.
func (v *Verifier) Authenticate(r *http.Request) (*goapi.Identity, error) {
	return nil, errors.New("jwt: not yet")
}
