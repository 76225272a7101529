// Package jwt knows callers by JSON Web Tokens that somebody else has signed.
//
// A [Verifier] is a middleware.Authenticator for "Authorization: Bearer …". Its
// keys are given, or had from an issuer's URL and kept fresh by [Verifier.Run].
// A token that was verified is remembered until it expires or the keys change,
// so that a caller's next request costs one hash.
//
// What signs is pinned: a token says which of the allowed algorithms it is
// signed with, and a key serves only algorithms of its own kind, so that no
// public key is ever taken for a secret. The algorithm "none" does not exist.
package jwt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
)

const (
	scheme = "Bearer"
	// maxToken bounds a token.
	maxToken = 8 << 10
	// anybody, as issuer or audience, is not looked at.
	anybody = "*"
	maxSkew = 5 * time.Minute
)

// Options say which tokens are valid. Algorithms, Issuer, Audience and one of
// JWKS, Keys and Secret are needed.
type Options struct {
	// Algorithms are those that tokens may be signed with: RS256, RS384, RS512,
	// PS256, PS384, PS512, ES256, ES384, ES512, EdDSA; or, with a Secret, HS256,
	// HS384, HS512.
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
	// Scopes are the claims that may list scopes, in a string or a list; the
	// first that a token has does. Default: scope, scp, scopes.
	Scopes []string
	// Subject is the claim that names the caller: no token is valid without.
	// Default: sub.
	Subject string
	// Refresh is how often the keys of JWKS are asked for. Default: 5 min.
	Refresh time.Duration
	// Cache is how many verified tokens are remembered, about; negative is none.
	// Default: 4,096.
	Cache int
	// Realm is what the challenge names. Default: goapi.
	Realm string
	// Transport asks for the keys of JWKS. Default: one of its own, which uses
	// the proxy of the environment.
	Transport http.RoundTripper
	// Logger gets what becomes of the keys of JWKS. Default: none.
	Logger *slog.Logger
}

// A Verifier knows callers by tokens. It may be used concurrently.
type Verifier struct {
	keys            source
	parser          *jwt.Parser
	issuer, subject string
	scopes          []string
	skew            time.Duration
	cache           *cache
	challenge       string
}

var (
	_ middleware.Authenticator = (*Verifier)(nil)
	_ middleware.Cleaner       = (*Verifier)(nil)
)

// New returns a Verifier. It starts nothing: with JWKS there are no keys before
// Run.
func New(opts *Options) (*Verifier, error) {
	o, err := opts.orDefault()
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	v := &Verifier{
		issuer: o.Issuer, subject: o.Subject, scopes: o.Scopes, skew: o.Skew,
		cache: newCache(o.Cache), challenge: scheme + " realm=" + middleware.Quote(o.Realm),
	}
	rules := []jwt.ParserOption{
		jwt.WithValidMethods(o.Algorithms), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(o.Skew), jwt.WithJSONNumber(), jwt.WithStrictDecoding(),
	}
	if !slices.Contains(o.Audience, anybody) {
		rules = append(rules, jwt.WithAudience(o.Audience...))
	}
	v.parser = jwt.NewParser(rules...)
	if o.JWKS != "" {
		v.keys, err = newRemote(&o)
	} else {
		v.keys, err = newStatic(&o)
	}
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return v, nil
}

// orDefault returns o with what is left out, or why it makes no sense.
func (o *Options) orDefault() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	if err := d.check(); err != nil {
		return d, err
	}
	if d.Skew == 0 {
		d.Skew = 30 * time.Second
	}
	if len(d.Scopes) == 0 {
		d.Scopes = []string{"scope", "scp", "scopes"}
	}
	if d.Subject == "" {
		d.Subject = "sub"
	}
	if d.Refresh == 0 {
		d.Refresh = 5 * time.Minute
	}
	if d.Cache == 0 {
		d.Cache = 4096
	}
	if d.Realm == "" {
		d.Realm = "goapi"
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d, nil
}

// check returns what is missing or contradicts itself.
func (o *Options) check() error {
	given := 0
	for _, is := range []bool{o.JWKS != "", len(o.Keys) > 0, len(o.Secret) > 0} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return errors.New("want keys from one place: give the URL of a JWK set, or public keys, or a secret")
	case o.Issuer == "":
		return errors.New(`the issuer is missing: write the iss of its tokens, or "*" for any`)
	case len(o.Audience) == 0 || slices.Contains(o.Audience, ""):
		return errors.New(`the audience is missing: write the aud that tokens for these services have, or "*" for any`)
	case o.Skew < 0 || o.Skew > maxSkew:
		return fmt.Errorf("the skew is %s: write one up to %s", o.Skew, maxSkew)
	case o.Refresh != 0 && (o.Refresh < time.Second || o.Refresh > 24*time.Hour):
		return fmt.Errorf("the refresh is %s: write one from 1s to 24h", o.Refresh)
	case len(o.Algorithms) == 0:
		return errors.New("the algorithms are missing: write those that the issuer signs with, such as RS256 or ES256")
	}
	for _, a := range o.Algorithms {
		if err := checkAlgorithm(a, len(o.Secret) > 0); err != nil {
			return err
		}
	}
	return nil
}

// Run keeps the keys of JWKS fresh until ctx ends. One Run at a time.
func (v *Verifier) Run(ctx context.Context) error { return v.keys.run(ctx) }

// Inherit takes over the keys that old has, if they are from the same URL, so
// that a change of configuration does not depend on the issuer. It is called
// before Run and before the first request; old may be in use.
func (v *Verifier) Inherit(old *Verifier) {
	mine, ok := v.keys.(*remote)
	before, was := old.keys.(*remote)
	if ok && was && mine.url == before.url {
		mine.keys.Store(before.keys.Load())
	}
}

// Challenge implements middleware.Authenticator.
func (v *Verifier) Challenge() string { return v.challenge }

// Clean implements middleware.Cleaner.
func (v *Verifier) Clean(r *http.Request) { middleware.RemoveCredentials(r, scheme) }

// Authenticate implements middleware.Authenticator. A token of another issuer
// is middleware.ErrForeign, so that Verifiers of several issuers may stand
// beside each other.
func (v *Verifier) Authenticate(r *http.Request) (*goapi.Identity, error) {
	token, err := middleware.Credentials(r, scheme)
	if err != nil {
		return nil, err
	}
	if len(token) > maxToken {
		return nil, v.invalid(fmt.Sprintf("the token has more than %d bytes", maxToken), nil)
	}
	var text [2 << 10]byte // most tokens are not longer, and so need no copy on the heap
	sum := sha256.Sum256(append(text[:0], token...))
	if id := v.cache.get(&sum, v.keys.current(), time.Now()); id != nil {
		return id, nil
	}
	e, err := v.verify(r.Context(), token)
	if err != nil {
		return nil, v.refusal(err)
	}
	e.sum = sum
	v.cache.put(e, time.Now())
	return e.identity, nil
}

// refusal returns what the client is told of a token that is not valid. Why a
// signature is not stays in the log.
func (v *Verifier) refusal(err error) error {
	var e *goapi.Error
	switch {
	case errors.As(err, &e), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, errCritical):
		return v.invalid("the token is malformed", err)
	case errors.Is(err, middleware.ErrForeign):
		return v.invalid("the token is of an issuer that is not known", err)
	case errors.Is(err, jwt.ErrTokenExpired):
		return v.invalid("the token has expired", err)
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return v.invalid("the token is not valid yet", err)
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return v.invalid("the token is for another audience", err)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing), errors.Is(err, errNoSubject):
		return v.invalid("the token lacks a claim that is needed: exp, aud and "+v.subject, err)
	}
	return v.invalid("the token is not valid", err)
}

// invalid answers a token as RFC 6750 has it.
func (v *Verifier) invalid(detail string, cause error) error {
	e := goapi.NewError(http.StatusUnauthorized, detail, cause)
	e.Header = http.Header{"Www-Authenticate": {
		v.challenge + `, error="invalid_token", error_description=` + middleware.Quote(detail),
	}}
	return e
}

var (
	errUnknownKey = errors.New("no key that is known fits the token")
	errNoKeyID    = errors.New("the token names no key, and there are many")
	errCritical   = errors.New("the token has a critical header, and none is understood")
	errNoSubject  = errors.New("the token names no subject")
)

// verify returns what a valid token says, as it is remembered.
func (v *Verifier) verify(ctx context.Context, token string) (*entry, error) {
	keys, err := v.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	e, err := v.verifyWith(keys, token)
	if !errors.Is(err, errUnknownKey) {
		return e, err
	}
	fresh, fetchErr := v.keys.refreshed(ctx, keys)
	if fetchErr != nil {
		return nil, fetchErr
	}
	if fresh == keys {
		return nil, err
	}
	return v.verifyWith(fresh, token)
}

// verifyWith verifies a token with the keys that there are.
func (v *Verifier) verifyWith(keys *keySet, token string) (*entry, error) {
	claims := jwt.MapClaims{}
	_, err := v.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok {
			return nil, errCritical
		}
		if v.issuer != anybody && claims["iss"] != v.issuer {
			return nil, middleware.ErrForeign
		}
		id, ok := t.Header["kid"].(string)
		if _, named := t.Header["kid"]; named && !ok {
			return nil, jwt.ErrTokenMalformed
		}
		return keys.candidates(id, t.Method.Alg())
	})
	if err != nil {
		return nil, err
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return nil, err
	}
	subject, _ := claims[v.subject].(string)
	if subject == "" || strings.ContainsFunc(subject, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, errNoSubject
	}
	return &entry{
		keys:     keys,
		until:    expires.Add(v.skew),
		identity: &goapi.Identity{Subject: subject, Method: "jwt", Scopes: v.scopesOf(claims), Claims: claims},
	}, nil
}

// scopesOf returns the scopes of the first claim that lists any. What is no
// scope, such as one with a space in it, is left out.
func (v *Verifier) scopesOf(claims jwt.MapClaims) []string {
	for _, name := range v.scopes {
		switch list := claims[name].(type) {
		case nil:
			continue
		case string:
			return strings.Fields(list)
		case []any:
			var scopes []string
			for _, e := range list {
				if s, ok := e.(string); ok && s != "" && !strings.ContainsAny(s, " \t\r\n") {
					scopes = append(scopes, s)
				}
			}
			return scopes
		}
		return nil
	}
	return nil
}
