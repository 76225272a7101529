//nolint:tagalign // tags are documentation: each is read on its own
package config

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/ratelimit"
)

// A Policy is what an operator lays on routes. What is nil is not said. Of
// several layers the most specific that has a key gives all of its value.
type Policy struct {
	Timeout         *Duration        `yaml:"timeout" min:"1ms" max:"24h" doc:"Time that a service gets to answer; a gRPC method that is not announced, to begin, and 5m unless this is set." default:"30s" example:"5s"`
	MaxBody         *Size            `yaml:"max_body" min:"1" max:"1GiB" doc:"Bound of a body that must be held up: calls and events." default:"4MiB" example:"1MiB"`
	Retries         *Retries         `yaml:"retries" doc:"How often nodes are tried." example:"{tries: 3}"`
	MaxInFlight     *AutoLimit       `yaml:"max_in_flight" doc:"Requests that a service gets at a time; more are answered with 503. auto follows what the service can take; none lifts the limit." default:"none" example:"auto"`
	MaxPerNode      *Limit           `yaml:"max_per_node" doc:"Requests that a node gets at a time; none lifts the limit." default:"none" example:"100"`
	HashBy          *string          `yaml:"hash_by" format:"hash by" doc:"What keeps like requests on one node: header:NAME or cookie:NAME." default:"none" example:"\"header:X-User\""`
	HealthCheck     *string          `yaml:"health_check" format:"health check" doc:"How nodes are probed: tcp, grpc or http:/PATH. Of policy and services only." default:"none: requests tell" example:"\"http:/healthz\""`
	Auth            *Auth            `yaml:"auth" doc:"Who may pass; {none: true} is anybody." example:"{any: [jwt/main]}"`
	Allow           []Prefix         `yaml:"allow" items:"1" doc:"Addresses of clients that may pass; all others may not. [0.0.0.0/0, \"::/0\"] is anybody." default:"all" example:"[10.0.0.0/8]"`
	Deny            []Prefix         `yaml:"deny" doc:"Addresses of clients that may not pass." default:"none" example:"[192.0.2.0/24]"`
	CORS            *CORS            `yaml:"cors" doc:"Pages of other origins that may use the route; {} is none." example:"{origins: [\"https://app.example.com\"]}"`
	RateLimit       []RateLimit      `yaml:"rate_limit" doc:"How often requests may come; all of the list hold, [] is none." example:"[{requests: 100, per: 1s}]"`
	Headers         *Headers         `yaml:"headers" doc:"Changes of headers; {} is none."`
	SecurityHeaders *SecurityHeaders `yaml:"security_headers" doc:"Headers that make browsers careful; {} is the defaults of its keys." example:"{}"`
	Rewrite         *Rewrite         `yaml:"rewrite" doc:"Changes of the path that the service gets to see; {} is none."`
	Compress        *Compress        `yaml:"compress" doc:"Compression of answers; {} is the defaults of its keys." example:"{}"`
}

// Retries say how nodes are tried.
type Retries struct {
	Tries      int      `yaml:"tries" min:"1" max:"10" doc:"Attempts that a request gets at most, the first included." default:"3" example:"2"`
	TryTimeout Duration `yaml:"try_timeout" min:"1ms" max:"24h" doc:"Time that one attempt gets." default:"the timeout" example:"2s"`
}

// Auth says who may pass.
type Auth struct {
	Any             []string          `yaml:"any" items:"1" format:"authenticator" doc:"Authenticators of identity, KIND/NAME; the first that finds credentials of its kind decides." example:"[jwt/main]"`
	Scopes          []string          `yaml:"scopes" format:"text" doc:"Scopes that are needed, all of them, besides those that the endpoint announces." default:"none" example:"[\"orders:read\"]"`
	Headers         map[string]string `yaml:"headers" keys:"header" format:"claim" doc:"What the service is told of the caller: from the name of a header to subject, method, scopes or claim:NAME." default:"none" example:"{X-User: subject}"`
	Optional        bool              `yaml:"optional" doc:"Requests without credentials pass, as nobody." default:"false" example:"true"`
	KeepCredentials bool              `yaml:"keep_credentials" doc:"The service gets to see the credentials." default:"false" example:"true"`
	None            bool              `yaml:"none" doc:"Anybody may pass, whatever a less specific policy says, where the endpoint announces no scopes." default:"false" example:"true"`
}

// CORS says which pages of other origins may use a route.
type CORS struct {
	Origins        []string `yaml:"origins" format:"origin" doc:"Origins of the pages; * in place of the first label is any, and * alone all." default:"none" example:"[\"https://app.example.com\"]"`
	Methods        []string `yaml:"methods" format:"method" doc:"Methods that they may use." default:"those of the route" example:"[GET, POST]"`
	Headers        []string `yaml:"headers" format:"header" doc:"Headers that they may send; * is any." default:"Content-Type" example:"[Content-Type, X-Trace]"`
	Expose         []string `yaml:"expose" format:"header" doc:"Headers of the answer that they may read; * is any." default:"none" example:"[X-Total]"`
	Credentials    bool     `yaml:"credentials" doc:"Requests may come with cookies." default:"false" example:"true"`
	MaxAge         Duration `yaml:"max_age" min:"1s" max:"24h" doc:"How long browsers may remember it." default:"10m" example:"1h"`
	PrivateNetwork bool     `yaml:"private_network" doc:"Pages of the public network may reach a gateway in a private one." default:"false" example:"true"`
}

// A RateLimit is how often requests may come.
type RateLimit struct {
	Key      string   `yaml:"key" format:"rate key" doc:"What requests are counted by: client, subject, route, claim:NAME or header:NAME." default:"client" example:"subject"`
	Requests int      `yaml:"requests" min:"1" max:"1000000000" required:"true" doc:"Requests that may come in the time of per." example:"100"`
	Per      Duration `yaml:"per" min:"1ms" max:"24h" doc:"The time." default:"1s" example:"1m"`
	Burst    int      `yaml:"burst" min:"1" max:"1000000000" doc:"Requests that may come at once." default:"as requests" example:"20"`
	Shared   bool     `yaml:"shared" doc:"Gateways of one bus count together." default:"false" example:"true"`
}

// Headers say how headers are changed.
type Headers struct {
	Request  HeaderEdit `yaml:"request" doc:"Of what the service gets to see."`
	Response HeaderEdit `yaml:"response" doc:"Of what the client gets to see."`
}

// A HeaderEdit is changes of a header: what is removed, then set, then added.
type HeaderEdit struct {
	Remove []string          `yaml:"remove" format:"header" doc:"Headers to take off." default:"none" example:"[Server]"`
	Set    map[string]Secret `yaml:"set" keys:"header" format:"value" doc:"Headers to have with this value alone." default:"none" example:"{X-Gateway: edge}"`
	Add    map[string]Secret `yaml:"add" keys:"header" format:"value" doc:"Headers to have with this value, too." default:"none" example:"{Via: edge}"`
}

// SecurityHeaders are headers that make browsers careful.
type SecurityHeaders struct {
	Off                 bool     `yaml:"off" doc:"Add none, whatever a less specific policy says." default:"false" example:"true"`
	HSTS                Duration `yaml:"hsts" min:"1s" max:"43800h" doc:"How long browsers are to use TLS only." default:"not said" example:"8760h"`
	HSTSSubdomains      bool     `yaml:"hsts_subdomains" doc:"It holds for all subdomains." default:"false" example:"true"`
	HSTSPreload         bool     `yaml:"hsts_preload" doc:"Ask for a place in the lists of browsers." default:"false" example:"true"`
	ContentType         string   `yaml:"content_type" format:"value" doc:"X-Content-Type-Options; - leaves it out." default:"nosniff" example:"\"-\""`
	Frame               string   `yaml:"frame" format:"value" doc:"X-Frame-Options; - leaves it out." default:"DENY" example:"SAMEORIGIN"`
	Referrer            string   `yaml:"referrer" format:"value" doc:"Referrer-Policy; - leaves it out." default:"strict-origin-when-cross-origin" example:"no-referrer"`
	ContentSecurity     string   `yaml:"content_security" format:"value" doc:"Content-Security-Policy." default:"not said" example:"\"default-src 'self'\""`
	Permissions         string   `yaml:"permissions" format:"value" doc:"Permissions-Policy." default:"not said" example:"\"camera=()\""`
	CrossOriginOpener   string   `yaml:"cross_origin_opener" format:"value" doc:"Cross-Origin-Opener-Policy." default:"not said" example:"same-origin"`
	CrossOriginResource string   `yaml:"cross_origin_resource" format:"value" doc:"Cross-Origin-Resource-Policy." default:"not said" example:"same-site"`
	CrossOriginEmbedder string   `yaml:"cross_origin_embedder" format:"value" doc:"Cross-Origin-Embedder-Policy." default:"not said" example:"require-corp"`
}

// Rewrite says how the path is changed: a prefix is stripped, then an expression
// replaced, then a prefix added.
type Rewrite struct {
	StripPrefix string `yaml:"strip_prefix" format:"prefix" doc:"Start of the path that is taken off." default:"none" example:"/api"`
	Regexp      string `yaml:"regexp" format:"expression" doc:"Expression (RE2) whose first match in the escaped path is replaced." default:"none" example:"\"^/v1/\""`
	Replacement string `yaml:"replacement" format:"value" doc:"What it is replaced by; $1 is the first group." default:"nothing" example:"/v2/"`
	AddPrefix   string `yaml:"add_prefix" format:"prefix" doc:"What is put before the path." default:"none" example:"/internal"`
}

// Compress says how answers are compressed.
type Compress struct {
	Off         bool     `yaml:"off" doc:"Compress nothing, whatever a less specific policy says." default:"false" example:"true"`
	MinSize     Size     `yaml:"min_size" min:"1" max:"16MiB" doc:"Least size of a body that is compressed." default:"1KiB" example:"4KiB"`
	Types       []string `yaml:"types" format:"media type" doc:"Media types that are compressed." default:"text, JSON, XML and the like" example:"[application/json, text/*]"`
	Gzip        int      `yaml:"gzip" min:"-1" max:"9" doc:"Level of gzip, from 1, fast, to 9; -1 is not to use it." default:"5" example:"6"`
	Zstd        int      `yaml:"zstd" min:"-1" max:"4" doc:"Level of zstd, from 1, fast, to 4; -1 is not to use it." default:"1" example:"2"`
	Encoders    int      `yaml:"encoders" min:"1" max:"100000" doc:"Answers that are compressed at a time." default:"128" example:"256"`
	Credentials bool     `yaml:"credentials" doc:"Compress answers to requests with cookies, too: what they hold must not be secret where a page of others can have its own text in it." default:"false" example:"true"`
}

// A Pattern is a policy for requests by their host and path.
type Pattern struct {
	Policy `yaml:",inline"`

	Match string `yaml:"match" format:"match" required:"true" doc:"PATH or HOST/PATH, as endpoints announce them." example:"/admin/**"`
}

// A Service is the policy of a service.
type Service struct {
	Policy `yaml:",inline"`

	Endpoints map[string]*Policy `yaml:"endpoints" keys:"service" doc:"Policies by the name of the endpoint."`
}

// A Route leads to what no registry knows.
type Route struct {
	Policy `yaml:",inline"`

	Match    string   `yaml:"match" format:"match" required:"true" doc:"PATH or HOST/PATH, as endpoints announce them." example:"/legacy/**"`
	Methods  []string `yaml:"methods" format:"method" doc:"HTTP methods of the route." default:"any" example:"[GET, HEAD]"`
	To       []string `yaml:"to" items:"1" format:"node" required:"true" doc:"Where requests go." example:"[\"10.0.0.5:9000\"]"`
	TLS      bool     `yaml:"tls" doc:"The nodes speak TLS." default:"false" example:"true"`
	Strip    string   `yaml:"strip" format:"prefix" doc:"Start of the path that is not forwarded." default:"none" example:"/legacy"`
	Handler  string   `yaml:"handler" enum:"http|web|rpc" doc:"What serves the route." default:"http" example:"rpc"`
	Endpoint string   `yaml:"endpoint" format:"service" doc:"Method that is called; of the handler rpc." example:"Greeter.Hello"`
	Protocol string   `yaml:"protocol" enum:"mucp|grpc" doc:"What the nodes speak; of the handler rpc." default:"mucp" example:"grpc"`
}

// plain returns what an error of package middleware or ratelimit says.
func plain(err error) string {
	s := err.Error()
	for _, prefix := range []string{"middleware: ", "ratelimit: ", "auth: ", "cors: ", "headers: ", "security headers: ", "rewrite: ", "rate limit: ", "keys: ", "basic: ", "external: "} {
		s = strings.TrimPrefix(s, prefix) // the key says it
	}
	return s
}

// check implements checker.
func (p *Policy) check(d *decoder, key string) {
	if p.Retries != nil && p.Timeout != nil && p.Retries.TryTimeout > *p.Timeout {
		d.wrongf(join(key, "retries.try_timeout"), "%s is more than the timeout, %s; write less", p.Retries.TryTimeout, *p.Timeout)
	}
	seen := map[RateLimit]bool{}
	for i, l := range p.RateLimit {
		if seen[l] {
			d.wrongf(index(join(key, "rate_limit"), i), "the same limit is there twice; remove one")
		}
		seen[l] = true
	}
}

// check implements checker.
func (a *Auth) check(d *decoder, key string) {
	switch {
	case a.None && (len(a.Any) > 0 || len(a.Scopes) > 0 || len(a.Headers) > 0 || a.Optional || a.KeepCredentials):
		d.wrongf(join(key, "none"), "it goes with nothing else; write none: true alone, or remove it")
		return
	case !a.None && a.Any == nil:
		d.wrongf(key, "nobody could pass; write any: [KIND/NAME], or none: true to let anybody in")
		return
	}
	if a.Optional && len(a.Scopes) > 0 {
		d.wrongf(join(key, "optional"), "who has no credentials has no scopes either; write optional or scopes")
	}
	if _, err := middleware.Auth(nil, a.options()); err != nil {
		d.wrongf(join(key, "headers"), "%s", plain(err))
	}
}

func (a *Auth) options() *middleware.AuthOptions {
	return &middleware.AuthOptions{Scopes: a.Scopes, Headers: a.Headers, Optional: a.Optional, KeepCredentials: a.KeepCredentials}
}

// A part is what a key of a policy lays around a handler; nil is nothing.
type part = func(http.Handler) http.Handler

// check implements checker.
func (c *CORS) check(d *decoder, key string) {
	if _, err := c.part(); err != nil {
		d.wrongf(key, "%s", plain(err))
	}
}

func (c *CORS) part() (part, error) {
	if len(c.Origins) == 0 {
		if len(c.Methods)+len(c.Headers)+len(c.Expose) > 0 || c.Credentials || c.MaxAge != 0 || c.PrivateNetwork {
			return nil, errors.New("it names no pages; write origins: [https://app.example.com]")
		}
		return nil, nil //nolint:nilnil // nothing is laid around
	}
	return middleware.CORS(&middleware.CORSOptions{
		Origins: c.Origins, Methods: c.Methods, Headers: c.Headers, Expose: c.Expose,
		Credentials: c.Credentials, MaxAge: time.Duration(c.MaxAge), PrivateNetwork: c.PrivateNetwork,
	})
}

// check implements checker.
func (l *RateLimit) check(d *decoder, key string) {
	if err := l.rate().Check(); err != nil {
		d.wrongf(key, "%s", plain(err))
	}
}

func (l *RateLimit) rate() ratelimit.Rate {
	return ratelimit.Rate{Requests: l.Requests, Per: time.Duration(l.Per), Burst: l.Burst}.OrDefault()
}

// key returns what requests are counted by.
func (l *RateLimit) by() string {
	if l.Key == "" {
		return "client"
	}
	return l.Key
}

// late says whether a limit can only be looked at once it is known who a request
// comes from.
func (l *RateLimit) late() bool {
	return l.Key == "subject" || strings.HasPrefix(l.Key, "claim:")
}

// check implements checker.
func (h *Headers) check(d *decoder, key string) {
	if _, err := h.part(); err != nil {
		d.wrongf(key, "%s", plain(err))
	}
}

func (h *Headers) part() (part, error) {
	return middleware.Headers(&middleware.HeadersOptions{Request: h.Request.edit(), Response: h.Response.edit()})
}

func (e *HeaderEdit) edit() middleware.HeaderEdit {
	return middleware.HeaderEdit{Remove: e.Remove, Set: reveal(e.Set), Add: reveal(e.Add)}
}

// reveal returns texts that are shown nowhere, for whoever needs them.
func reveal(secrets map[string]Secret) map[string]string {
	if len(secrets) == 0 {
		return nil
	}
	m := make(map[string]string, len(secrets))
	for name, s := range secrets {
		m[name] = string(s)
	}
	return m
}

// check implements checker.
func (s *SecurityHeaders) check(d *decoder, key string) {
	if _, err := s.part(); err != nil {
		d.wrongf(key, "%s", plain(err))
	}
}

func (s *SecurityHeaders) part() (part, error) {
	if s.Off {
		if *s != (SecurityHeaders{Off: true}) {
			return nil, errors.New("off goes with nothing else; write off: true alone, or remove it")
		}
		return nil, nil //nolint:nilnil // nothing is laid around
	}
	return middleware.SecurityHeaders(&middleware.SecurityOptions{
		HSTS: time.Duration(s.HSTS), HSTSSubdomains: s.HSTSSubdomains, HSTSPreload: s.HSTSPreload,
		ContentTypeOptions: s.ContentType, FrameOptions: s.Frame, ReferrerPolicy: s.Referrer,
		ContentSecurityPolicy: s.ContentSecurity, PermissionsPolicy: s.Permissions,
		OpenerPolicy: s.CrossOriginOpener, ResourcePolicy: s.CrossOriginResource, EmbedderPolicy: s.CrossOriginEmbedder,
	})
}

// check implements checker.
func (r *Rewrite) check(d *decoder, key string) {
	if _, err := r.part(); err != nil {
		d.wrongf(key, "%s", plain(err))
	}
}

func (r *Rewrite) part() (part, error) {
	switch {
	case *r == Rewrite{}:
		return nil, nil //nolint:nilnil // nothing is laid around
	case r.Regexp == "" && r.Replacement != "":
		return nil, errors.New("replacement replaces nothing; write regexp, too, or remove it")
	}
	return middleware.Rewrite(&middleware.RewriteOptions{
		StripPrefix: r.StripPrefix, Regexp: r.Regexp, Replacement: r.Replacement, AddPrefix: r.AddPrefix,
	})
}

// check implements checker.
func (c *Compress) check(d *decoder, key string) {
	switch {
	case c.Off && (c.MinSize != 0 || c.Types != nil || c.Gzip != 0 || c.Zstd != 0 || c.Encoders != 0 || c.Credentials):
		d.wrongf(join(key, "off"), "it goes with nothing else; write off: true alone, or remove it")
	case c.Gzip == -1 && c.Zstd == -1:
		d.wrongf(join(key, "zstd"), "nothing is left to compress with; write off: true")
	}
}
