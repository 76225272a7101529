package middleware

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
)

const (
	// maxExternalHeader bounds the head of an external answer, and maxExternalBody
	// how much of its body is read to keep the connection.
	maxExternalHeader = 64 << 10
	maxExternalBody   = 16 << 10
	// maxExternalValue bounds a header of the answer that is copied.
	maxExternalValue = 8 << 10
)

// ExternalOptions adjust External. A nil *ExternalOptions means all defaults.
type ExternalOptions struct {
	// Headers are those of the request that are sent along. Default:
	// Authorization, Cookie and X-API-Key.
	Headers []string
	// Copy are headers of the answer that become claims, under their canonical
	// names, and that the service gets to see; what a client sends under such a
	// name is always removed. Default: none.
	Copy []string
	// Subject is the header of the answer that names the caller. Default:
	// Remote-User.
	Subject string
	// Scopes is the header of the answer that lists the caller's scopes,
	// separated by space or commas. Default: none.
	Scopes string
	// Timeout bounds a question, answer included. Default: 3 s.
	Timeout time.Duration
	// InFlight bounds how many questions are asked at a time; requests beyond
	// are 503 at once. Default: 256.
	InFlight int
	// Transport asks. Default: one of its own, which uses no proxy.
	Transport http.RoundTripper
}

// External asks over HTTP who a request comes from, and whether it may pass.
// It sends a GET with the chosen headers of the request and X-Forwarded-Method,
// -Proto, -Host, -Uri and -For. A status of 2xx is yes; 401 and 403 are passed
// on with their challenge; everything else, redirects included, is 503.
//
// It has an opinion on every request, one without credentials included: what
// stands after it is never asked.
type External struct {
	url             string
	headers, copied []string
	subject, scopes string
	client          *http.Client
	asking          chan struct{}
}

var (
	_ Authenticator = (*External)(nil)
	_ Cleaner       = (*External)(nil)
)

// NewExternal returns an External that asks at a URL of http or https.
func NewExternal(address string, opts *ExternalOptions) (*External, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("middleware: external: the URL is none: write one such as http://auth.internal:9000/verify")
	}
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("middleware: external: the URL has a password or a fragment: leave it out")
	}
	o := opts.orDefault()
	for _, name := range slices.Concat(o.Headers, o.Copy, []string{o.Subject}) {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("middleware: external: %q is no name of a header: write one such as Remote-User", name)
		}
	}
	for _, name := range canonical(o.Headers) {
		switch name {
		case "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Host":
			return nil, fmt.Errorf("middleware: external: header %s is for one hop only: leave it out", name)
		}
	}
	for _, name := range o.Copy {
		if err := checkIdentityHeader(name); err != nil {
			return nil, err
		}
	}
	if o.Timeout < 0 || o.InFlight < 0 {
		return nil, errors.New("middleware: external: a timeout or a number in flight is negative: leave it out for the default")
	}
	return &External{
		url:     u.String(),
		headers: canonical(o.Headers),
		copied:  canonical(o.Copy),
		subject: o.Subject,
		scopes:  o.Scopes,
		client: &http.Client{
			Transport:     o.Transport,
			Timeout:       o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		asking: make(chan struct{}, o.InFlight),
	}, nil
}

func (o *ExternalOptions) orDefault() ExternalOptions {
	var d ExternalOptions
	if o != nil {
		d = *o
	}
	if d.Headers == nil {
		d.Headers = []string{"Authorization", "Cookie", "X-Api-Key"}
	}
	if d.Subject == "" {
		d.Subject = "Remote-User"
	}
	if d.Timeout == 0 {
		d.Timeout = 3 * time.Second
	}
	if d.InFlight == 0 {
		d.InFlight = 256
	}
	if d.Transport == nil {
		d.Transport = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			TLSHandshakeTimeout:    2 * time.Second,
			MaxResponseHeaderBytes: maxExternalHeader,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        30 * time.Second,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		}
	}
	return d
}

func canonical(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = textproto.CanonicalMIMEHeaderKey(name)
	}
	return out
}

// Close closes connections that are not used. Who still asks opens others.
func (e *External) Close() error {
	e.client.CloseIdleConnections()
	return nil
}

// Challenge implements Authenticator: the answer has its own.
func (e *External) Challenge() string { return "" }

// Clean implements Cleaner: it takes off Authorization, if that was sent along.
// Cookies stay, as they hold more than credentials.
func (e *External) Clean(r *http.Request) {
	if slices.Contains(e.headers, "Authorization") {
		delete(r.Header, "Authorization")
	}
}

// identityHeaders returns what the service gets to see, as AuthOptions.Headers
// have it.
func (e *External) identityHeaders() map[string]string {
	headers := make(map[string]string, len(e.copied))
	for _, name := range e.copied {
		headers[name] = "claim:" + name
	}
	return headers
}

// Authenticate implements Authenticator.
func (e *External) Authenticate(r *http.Request) (*goapi.Identity, error) {
	if len(r.Header["Authorization"]) > 1 {
		return nil, errTwoAuthorizations()
	}
	select {
	case e.asking <- struct{}{}:
		defer func() { <-e.asking }()
	default:
		return nil, errExternal(errors.New("too many questions at a time"))
	}
	question, err := e.question(r)
	if err != nil {
		return nil, errExternal(err)
	}
	answer, err := e.client.Do(question) //nolint:gosec // the operator says where to ask
	if err != nil {
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
		return nil, errExternal(withoutURL(err))
	}
	defer answer.Body.Close()
	// What is left of a longer body costs the connection, nothing else.
	_, _ = io.CopyN(io.Discard, answer.Body, maxExternalBody)
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode <= 299:
		return e.identity(answer.Header)
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return nil, refusal(answer)
	}
	return nil, errExternal(fmt.Errorf("it answered %d", answer.StatusCode))
}

// withoutURL returns why a question failed. The URL may hold a secret.
func withoutURL(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}

// errExternal answers a request that nobody could be asked about.
func errExternal(cause error) error {
	e := goapi.NewError(http.StatusServiceUnavailable, "who the request comes from could not be verified: try again", fmt.Errorf("external: %w", cause))
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}

// question returns what is asked about r.
func (e *External) question(r *http.Request) (*http.Request, error) {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, e.url, http.NoBody) //nolint:gosec // see above
	if err != nil {
		return nil, err
	}
	for _, name := range e.headers {
		if values := r.Header[name]; len(values) > 0 {
			q.Header[name] = values
		}
	}
	for _, name := range e.copied { // it would take them for its own
		delete(q.Header, name)
	}
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	uri := r.URL.RequestURI()
	q.Header["X-Forwarded-Method"] = []string{r.Method}
	q.Header["X-Forwarded-Proto"] = []string{proto}
	q.Header["X-Forwarded-Host"] = []string{r.Host}
	q.Header["X-Forwarded-Uri"] = []string{uri}
	switch ip := clientAddress(r); {
	case ip.IsUnspecified():
		q.Header["X-Forwarded-For"] = []string{"unknown"} // with none, it would be us
	case ip.IsValid():
		q.Header["X-Forwarded-For"] = []string{ip.String()}
	}
	return q, nil
}

// identity returns what an answer says of the caller.
func (e *External) identity(h http.Header) (*goapi.Identity, error) {
	id := &goapi.Identity{Subject: h.Get(e.subject), Method: "external"}
	if e.scopes != "" {
		id.Scopes = strings.FieldsFunc(strings.Join(h.Values(e.scopes), " "), isBetweenScopes)
	}
	for _, name := range e.copied {
		values := h[name]
		if len(values) == 0 {
			continue
		}
		value := strings.Join(values, ", ")
		if len(value) > maxExternalValue {
			return nil, errExternal(fmt.Errorf("its header %s has %d bytes, at most %d are taken", name, len(value), maxExternalValue))
		}
		if id.Claims == nil {
			id.Claims = make(map[string]any, len(e.copied))
		}
		id.Claims[name] = value
	}
	return id, nil
}

// refusal returns what the client is told of an answer that refuses it.
func refusal(answer *http.Response) error {
	detail := "the request is not let in"
	if answer.StatusCode == http.StatusForbidden {
		detail = "the caller may not do this"
	}
	e := goapi.NewError(answer.StatusCode, detail, fmt.Errorf("external: it answered %d", answer.StatusCode))
	size := 0
	for _, challenge := range answer.Header["Www-Authenticate"] {
		if size += len(challenge); size > maxExternalValue || !httpguts.ValidHeaderFieldValue(challenge) {
			break
		}
		if e.Header == nil {
			e.Header = http.Header{}
		}
		e.Header["Www-Authenticate"] = append(e.Header["Www-Authenticate"], challenge)
	}
	return e
}
