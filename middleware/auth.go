package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// AuthOptions adjust Auth. A nil *AuthOptions means all defaults.
type AuthOptions struct {
	// Scopes are needed, all of them, to be let in. Those of the metadata
	// "scopes" of the endpoint (separated by commas or space) are needed in
	// addition; where that is there and names none, nobody is let in. Default:
	// none.
	Scopes []string
	// Headers says what the service is told of the identity: from the name of
	// a request header to "subject", "method", "scopes" or "claim:NAME". What a
	// client sends under such a name is always removed. Default: none.
	Headers map[string]string
	// Optional lets requests without credentials pass, as nobody. Those with
	// credentials that are not valid never do. Default: false.
	Optional bool
	// KeepCredentials leaves the credentials that were verified on the
	// request. Those that were not are taken off. Default: false.
	KeepCredentials bool
}

// Auth returns a middleware that lets in who it knows. The first of the
// Authenticators that finds credentials of its kind decides; what it learns is
// the Identity of the request's Exchange. Without credentials a request is
// refused with 401, or with 403 where no Authenticator has a challenge; with
// too few scopes it is 403. With no Authenticator at all, requests pass as
// nobody, unless scopes are needed: then all are refused.
//
// It is an error if a scope is none, or if Headers name what no service gets to
// see, or a source that does not exist.
func Auth(authenticators []Authenticator, opts *AuthOptions) (func(http.Handler) http.Handler, error) {
	var o AuthOptions
	if opts != nil {
		o = *opts
	}
	for _, s := range o.Scopes {
		if s == "" || strings.ContainsFunc(s, isBetweenScopes) {
			return nil, fmt.Errorf("middleware: %q is no scope: write each alone", s)
		}
	}
	a := &auth{any: slices.Clone(authenticators), scopes: slices.Clone(o.Scopes), optional: o.Optional, keep: o.KeepCredentials}
	if err := a.addHeaders(o.Headers); err != nil {
		return nil, err
	}
	for _, au := range a.any {
		if from, ok := au.(interface{ identityHeaders() map[string]string }); ok {
			if err := a.addHeaders(from.identityHeaders()); err != nil {
				return nil, err
			}
		}
		if c := au.Challenge(); c != "" && !slices.Contains(a.challenges, c) {
			a.challenges = append(a.challenges, c)
		}
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, next) })
	}, nil
}

// auth is what an Auth knows.
type auth struct {
	any            []Authenticator
	scopes         []string
	headers        []identityHeader
	challenges     []string
	optional, keep bool
}

func (a *auth) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ex := goapi.ExchangeFrom(r.Context())
	if ex == nil {
		w, r, ex = goapi.NewExchange(w, r)
	}
	out, err := a.admit(r, ex)
	if err != nil {
		goapi.WriteError(w, r, err)
		return
	}
	next.ServeHTTP(w, out)
}

// admit returns the request as the service may see it, or why it is refused.
func (a *auth) admit(r *http.Request, ex *goapi.Exchange) (*http.Request, error) {
	if err := a.checkConnection(r); err != nil {
		return nil, err
	}
	id, by, err := a.identify(r)
	if err != nil {
		return nil, err
	}
	ex.Identity = id
	if err := a.permit(ex, by); err != nil {
		return nil, err
	}
	return a.forService(r, id, by)
}

// identify returns who r comes from and the index of who found it out, or nil
// for nobody.
func (a *auth) identify(r *http.Request) (*goapi.Identity, int, error) {
	var foreign error
	for i, au := range a.any {
		id, err := au.Authenticate(r)
		switch {
		case err == nil && id != nil:
			return id, i, nil
		case err == nil:
			return nil, 0, fmt.Errorf("middleware: %T verified a request and does not say whose it is", au)
		case errors.Is(err, ErrNoCredentials):
		case errors.Is(err, ErrForeign):
			foreign = err
		default:
			return nil, 0, a.refuse(err)
		}
	}
	if foreign != nil {
		return nil, 0, a.refuse(foreign)
	}
	if a.optional || len(a.any) == 0 {
		return nil, 0, nil
	}
	return nil, 0, a.needCredentials()
}

// refuse returns what answers credentials that are not valid.
func (a *auth) refuse(err error) error {
	var e *goapi.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		e = goapi.NewError(http.StatusUnauthorized, "the credentials are not valid", err)
	}
	if e.Code != http.StatusUnauthorized || len(e.Header["Www-Authenticate"]) > 0 {
		return e
	}
	with := *e
	with.Header = maps.Clone(e.Header)
	if with.Header == nil {
		with.Header = http.Header{}
	}
	with.Header["Www-Authenticate"] = a.challenges
	return &with
}

// needCredentials returns what answers a request that carries none.
func (a *auth) needCredentials() error {
	if len(a.challenges) == 0 { // a 401 has to say what is wanted
		return goapi.NewError(http.StatusForbidden, "the request does not say who it comes from", ErrNoCredentials)
	}
	e := goapi.NewError(http.StatusUnauthorized, "the request carries no credentials: WWW-Authenticate says which are taken", ErrNoCredentials)
	e.Header = http.Header{"Www-Authenticate": slices.Clip(a.challenges)}
	return e
}

// permit returns why an identity may not do what the route needs, or nil.
func (a *auth) permit(ex *goapi.Exchange, by int) error {
	announced, announces := "", false
	if ex.Route != nil {
		announced, announces = ex.Route.Endpoint.Metadata["scopes"]
	}
	switch {
	case announces && strings.TrimFunc(announced, isBetweenScopes) == "":
		return goapi.NewError(http.StatusForbidden, "the endpoint needs scopes and names none, so that nobody may call it", nil)
	case len(a.scopes) == 0 && !announces:
		return nil
	}
	var have []string
	if ex.Identity != nil {
		have = ex.Identity.Scopes
	}
	missing := ""
	for _, s := range a.scopes {
		if !slices.Contains(have, s) {
			missing = s
		}
	}
	for s := range strings.FieldsFuncSeq(announced, isBetweenScopes) {
		if !slices.Contains(have, s) {
			missing = s
		}
	}
	switch {
	case missing == "":
		return nil
	case ex.Identity == nil && len(a.any) > 0:
		return a.needCredentials()
	}
	if ex.Identity == nil {
		return goapi.NewError(http.StatusForbidden, fmt.Sprintf("the scope %q is needed, and nobody can have it here", missing), nil)
	}
	return a.tooFew(missing, announced, a.any[by].Challenge())
}

// isBetweenScopes says that c separates the scopes of an endpoint's metadata.
func isBetweenScopes(c rune) bool {
	return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
}

// tooFew returns what answers a request whose identity lacks a scope. Only
// bearer tokens have a way to say so in a header.
func (a *auth) tooFew(missing, announced, challenge string) error {
	e := goapi.NewError(http.StatusForbidden, fmt.Sprintf("the scope %q is needed", missing), nil)
	if scheme(challenge) != "Bearer" {
		return e
	}
	wanted := slices.Clone(a.scopes)
	for s := range strings.FieldsFuncSeq(announced, isBetweenScopes) {
		if !slices.Contains(wanted, s) {
			wanted = append(wanted, s)
		}
	}
	separator := ", "
	if challenge == "Bearer" {
		separator = " "
	}
	e.Header = http.Header{"Www-Authenticate": {
		challenge + separator + `error="insufficient_scope", scope=` + Quote(strings.Join(wanted, " ")),
	}}
	return e
}

// scheme returns the scheme of a challenge.
func scheme(challenge string) string {
	name, _, _ := strings.Cut(challenge, " ")
	return name
}

// forService returns r as the service may see it: without credentials, with
// what it is to know of the identity, and without what only looks like that.
func (a *auth) forService(r *http.Request, id *goapi.Identity, by int) (*http.Request, error) {
	if id == nil && !a.isForged(r) {
		return r, nil
	}
	out := r.WithContext(r.Context())
	out.Header = maps.Clone(r.Header)
	if id != nil {
		a.removeCredentials(out, by)
	}
	a.removeHeaders(out.Header)
	a.cleanTrailer(out)
	if id == nil {
		return out, nil
	}
	for _, h := range a.headers {
		value, err := h.value(id)
		if err != nil {
			return nil, err
		}
		if value != "" {
			out.Header[h.name] = []string{value}
		}
	}
	return out, nil
}

// removeCredentials takes all credentials off r but, if they are to be kept,
// those that were verified: others of their scheme are the same.
func (a *auth) removeCredentials(r *http.Request, by int) {
	verified := scheme(a.any[by].Challenge())
	for i, au := range a.any {
		c, ok := au.(Cleaner)
		if !ok || a.keep && (i == by || verified != "" && verified == scheme(au.Challenge())) {
			continue
		}
		c.Clean(r)
	}
}

// cleanTrailer keeps identity headers out of the trailer, now and when the body
// has been read: until then nobody knows what it holds. A request that did not
// say that it has a trailer is handed on without one.
func (a *auth) cleanTrailer(r *http.Request) {
	if len(r.Trailer) == 0 || len(a.headers) == 0 {
		return
	}
	a.removeHeaders(r.Trailer)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &trailerCleaner{ReadCloser: r.Body, auth: a, trailer: r.Trailer}
	}
}

// trailerCleaner is a body that cleans the trailer when it has arrived.
type trailerCleaner struct {
	io.ReadCloser

	auth    *auth
	trailer http.Header
}

// Read implements io.Reader.
func (b *trailerCleaner) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.auth.removeHeaders(b.trailer)
	}
	return n, err
}
