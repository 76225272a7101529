package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	defaultMaxAge = 10 * time.Minute
	// maxAsked is the length of the longest list of headers that a preflight
	// may ask for.
	maxAsked = 4 << 10
)

// CORSOptions say which pages of other origins may use a route.
type CORSOptions struct {
	// Origins are those whose pages may: "https://app.example.com", one label
	// of any name as in "https://*.example.com", or "*" for all, which does not
	// go with Credentials. At least one is needed.
	Origins []string
	// Methods are those that may be used; "*" is any. Default: any, since the
	// router routes a preflight only by a method that is served.
	Methods []string
	// Headers are those that a page may set; "*" is any.
	// Default: Content-Type.
	Headers []string
	// Expose are the headers of an answer that a page may read, beside those
	// that it always may; "*", which does not go with Credentials, is any.
	// Default: none.
	Expose []string
	// Credentials allows requests with cookies and other credentials that the
	// browser adds. Default: false.
	Credentials bool
	// MaxAge is how long a browser may remember what is allowed; less than a
	// second is not at all. Default: 10 min.
	MaxAge time.Duration
	// PrivateNetwork allows pages of the public network to reach a gateway in a
	// private one. Default: false.
	PrivateNetwork bool
}

// CORS returns a middleware that tells browsers which pages of other origins
// may use a route. It is the only one to do so: what the service says of that
// (Access-Control-*) is replaced.
//
// A preflight is answered here, with 204, and never reaches the service; to an
// origin that is not allowed it says nothing. An origin is repeated only if it
// is allowed. Every answer says in Vary that it depends on the origin, so that
// no cache hands the answer for one origin to another.
//
// This protects users of browsers from other pages, and nothing else: a request
// of an origin that is not allowed is served, and its page cannot read the answer.
func CORS(opts *CORSOptions) (func(http.Handler) http.Handler, error) {
	c, err := newCORS(opts)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions && r.Header["Access-Control-Request-Method"] != nil && r.Header["Origin"] != nil {
				c.preflight(w, r)
				return
			}
			c.editing.serve(c, next, w, r)
		})
	}, nil
}

// cors is what a CORS allows, in the form in which it says so.
type cors struct {
	exact       map[string]bool
	wild        []wildOrigin
	anyOrigin   bool
	methods     map[string]bool // nil is any
	headers     map[string]bool // nil is any
	headerNames []string
	expose      []string
	credentials bool
	maxAge      []string
	private     bool

	anyone, yes, vary []string // values that answers share

	editing editing
}

// wildOrigin is an origin with one label of any name between before and after.
type wildOrigin struct{ before, after string }

func newCORS(opts *CORSOptions) (*cors, error) {
	if opts == nil || len(opts.Origins) == 0 {
		return nil, errors.New(`cors: no origins: write those whose pages may use the route, such as "https://app.example.com"`)
	}
	c := &cors{
		exact: map[string]bool{}, credentials: opts.Credentials, private: opts.PrivateNetwork,
		anyone: one("*"), yes: one("true"), vary: one("Origin"),
	}
	for _, o := range opts.Origins {
		if err := c.allowOrigin(o); err != nil {
			return nil, err
		}
	}
	var err error
	if c.methods, err = corsNames("method", opts.Methods, strings.Clone); err != nil {
		return nil, err
	}
	wanted := opts.Headers
	if wanted == nil {
		wanted = []string{"Content-Type"}
	}
	if c.headers, err = corsNames("header", wanted, strings.ToLower); err != nil {
		return nil, err
	}
	if len(c.headers) > 0 {
		c.headerNames = one(strings.Join(wanted, ", "))
	}
	if err := c.exposeHeaders(opts.Expose); err != nil {
		return nil, err
	}
	age := opts.MaxAge
	if age == 0 {
		age = defaultMaxAge
	}
	if age < 0 {
		return nil, fmt.Errorf("cors: a max age of %v has passed: write how long a browser may remember", opts.MaxAge)
	}
	c.maxAge = one(strconv.FormatInt(int64(age/time.Second), 10))
	return c, nil
}

// allowOrigin adds an origin to those that are allowed.
func (c *cors) allowOrigin(origin string) error {
	if origin == "*" {
		if c.credentials {
			return errors.New(`cors: origin "*" does not go with credentials: name the origins`)
		}
		c.anyOrigin = true
		return nil
	}
	bad := func(why string) error { return fmt.Errorf("cors: origin %.100q %s", origin, why) }
	scheme, host, ok := strings.Cut(origin, "://")
	switch {
	case origin == "null":
		return bad("is that of any page in a sandbox: it cannot be allowed")
	case !ok || scheme == "" || host == "":
		return bad("is none: write scheme://host, such as https://app.example.com")
	case strings.ToLower(origin) != origin:
		return bad("is never sent: write it in lower case")
	}
	before, after, wild := strings.Cut(host, "*")
	u, err := url.Parse(strings.Replace(origin, "*", "any", 1))
	switch {
	case err != nil || strings.Contains(after, "*"):
		return bad("is none: write scheme://host, such as https://app.example.com")
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Host == "" || strings.HasSuffix(origin, "?") || strings.HasSuffix(origin, "#"):
		return bad("is more than an origin: write scheme://host without anything after it")
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return bad("is never sent: leave the port out")
	case strings.IndexFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0:
		return bad("is never sent: write the host in ASCII (xn--…)")
	case wild && (before != "" || !strings.HasPrefix(after, ".") || strings.Count(after, ".") < 2):
		return bad("has * in the wrong place: it may be the first label only, before a domain, as in https://*.example.com")
	case wild:
		c.wild = append(c.wild, wildOrigin{scheme + "://", after})
	default:
		c.exact[origin] = true
	}
	return nil
}

// exposeHeaders takes over what may be read.
func (c *cors) exposeHeaders(names []string) error {
	for _, name := range names {
		switch {
		case name == "*" && c.credentials:
			return errors.New(`cors: to expose "*" does not go with credentials: name the headers`)
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("cors: %.100q is no name of a header that could be exposed", name)
		}
	}
	if len(names) > 0 {
		c.expose = one(strings.Join(names, ", "))
	}
	return nil
}

// corsNames returns a set of names, or nil for any.
func corsNames(what string, names []string, form func(string) string) (map[string]bool, error) {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		if name == "*" {
			return nil, nil //nolint:nilnil // any
		}
		if !httpguts.ValidHeaderFieldName(name) { // a method is a token as well
			return nil, fmt.Errorf("cors: %.100q is no name of a %s", name, what)
		}
		set[form(name)] = true
	}
	if len(set) == 0 && what == "method" {
		return nil, nil //nolint:nilnil // any
	}
	return set, nil
}

// one returns a list of one value that others may share: an append copies it.
func one(value string) []string { return []string{value}[:1:1] }

// origin returns the value of Access-Control-Allow-Origin, or nil.
func (c *cors) origin(r *http.Request) []string {
	origins := r.Header["Origin"]
	if len(origins) != 1 {
		return nil
	}
	switch o := origins[0]; {
	case c.anyOrigin:
		return c.anyone
	case c.exact[o], c.isWild(o):
		return origins[:1:1]
	}
	return nil
}

// isWild says that an origin is one of those with a label of any name.
func (c *cors) isWild(origin string) bool {
	for _, w := range c.wild {
		if rest, ok := strings.CutPrefix(origin, w.before); ok {
			if label, ok := strings.CutSuffix(rest, w.after); ok && isLabel(label) {
				return true
			}
		}
	}
	return false
}

// isLabel says that s is one label of a host as browsers write it.
func isLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

// edit implements editor.
func (c *cors) edit(h http.Header, r *http.Request) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	if h["Vary"] == nil {
		h["Vary"] = c.vary
	} else {
		addVary(h, "Origin")
	}
	origin := c.origin(r)
	if origin == nil {
		return
	}
	h["Access-Control-Allow-Origin"] = origin
	if c.credentials {
		h["Access-Control-Allow-Credentials"] = c.yes
	}
	if c.expose != nil {
		h["Access-Control-Expose-Headers"] = c.expose
	}
}

// preflight answers what a browser asks before it sends a request.
func (c *cors) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	addVary(h, "Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers", "Access-Control-Request-Private-Network")
	defer w.WriteHeader(http.StatusNoContent)
	origin := c.origin(r)
	method, ok := c.method(r)
	if origin == nil || !ok {
		return
	}
	if asked := r.Header["Access-Control-Request-Private-Network"]; asked != nil {
		if !c.private {
			return
		}
		h["Access-Control-Allow-Private-Network"] = c.yes
	}
	h["Access-Control-Allow-Origin"] = origin
	h["Access-Control-Allow-Methods"] = method
	if names := c.allowedHeaders(r); names != nil {
		h["Access-Control-Allow-Headers"] = names
	}
	if c.credentials {
		h["Access-Control-Allow-Credentials"] = c.yes
	}
	h["Access-Control-Max-Age"] = c.maxAge
}

// method returns the value of Access-Control-Allow-Methods: the method that was
// asked for, if it is allowed.
func (c *cors) method(r *http.Request) (names []string, ok bool) {
	asked := r.Header["Access-Control-Request-Method"]
	if len(asked) != 1 || !httpguts.ValidHeaderFieldName(asked[0]) {
		return nil, false
	}
	return asked[:1:1], c.methods == nil || c.methods[asked[0]]
}

// allowedHeaders returns the value of Access-Control-Allow-Headers. Where any
// is allowed these are the ones that were asked for, since "*" would leave out
// Authorization.
func (c *cors) allowedHeaders(r *http.Request) []string {
	if c.headers != nil {
		return c.headerNames
	}
	asked := r.Header["Access-Control-Request-Headers"]
	if len(asked) != 1 || len(asked[0]) > maxAsked {
		return nil
	}
	for name := range strings.SplitSeq(asked[0], ",") {
		if !httpguts.ValidHeaderFieldName(textproto.TrimString(name)) {
			return nil
		}
	}
	return asked[:1:1]
}
