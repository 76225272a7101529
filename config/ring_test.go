package config_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/ratelimit"
)

// TestRateLimits: what is counted belongs to the place in the file, and outlives a
// reload that leaves it as it is.
func TestRateLimits(t *testing.T) {
	const text = "services: {a: {rate_limit: [{key: client, requests: 2, per: 1h}]}, b: {rate_limit: [{requests: 2, per: 1h}]}}\n"
	p := policies(t, text, nil)
	send := func(p *config.Policies, service, endpoint string) int {
		w, _ := through(p, route(service, endpoint, nil), request(t, "/"))
		return w.Code
	}
	codes := []int{send(p, "a", "A.X"), send(p, "a", "A.Y"), send(p, "a", "A.Z"), send(p, "b", "B.X"), send(p, "c", "C.X")}
	if got := fmt.Sprint(codes); got != "[200 200 429 200 200]" {
		t.Errorf("statuses = %s, want two for all routes of the service a", got)
	}
	same := policies(t, "patterns: [{match: /zzz, timeout: 1s}]\n"+text, &config.Plugins{Old: p})
	if got := send(same, "a", "A.X"); got != 429 {
		t.Errorf("status after a reload = %d, want 429: what was counted is kept", got)
	}
	other := policies(t, strings.ReplaceAll(text, "requests: 2", "requests: 3"), &config.Plugins{Old: same})
	if got := send(other, "a", "A.X"); got != 200 {
		t.Errorf("status under another limit = %d, want 200", got)
	}
	if got := fmt.Sprint(len(p.Limiters()), len(same.Limiters()), len(other.Limiters())); got != "2 2 2" {
		t.Errorf("limiters = %s", got)
	}
	for place, l := range p.Limiters() {
		if same.Limiters()[place] != l || other.Limiters()[place] == l {
			t.Errorf("limiter of %s is not kept, or kept for another limit", place)
		}
	}
}

// TestLimiterOfPattern: a limit of a pattern is the same when others come before it.
func TestLimiterOfPattern(t *testing.T) {
	p := policies(t, "patterns: [{match: /a, rate_limit: [{requests: 1}]}]", nil)
	q := policies(t, "patterns: [{match: /b/**, rate_limit: [{requests: 1}]}, {match: /a/, rate_limit: [{requests: 1}]}]", &config.Plugins{Old: p})
	for place, l := range p.Limiters() {
		if q.Limiters()[place] != l {
			t.Errorf("limiter of %s is not kept", place)
		}
	}
}

// caller is an authenticator that knows one name.
type caller string

func (c caller) Authenticate(r *http.Request) (*goapi.Identity, error) {
	name, _, ok := r.BasicAuth()
	switch {
	case !ok:
		return nil, middleware.ErrNoCredentials
	case name != string(c):
		return nil, errors.New("somebody else")
	}
	return &goapi.Identity{Subject: name, Method: "basic"}, nil
}

func (caller) Challenge() string { return "Basic" }

// TestRing: the parts of the inner ring stand in their order.
func TestRing(t *testing.T) {
	dir := t.TempDir()
	inputs(t, dir)
	f, err := config.Parse(dir+"/goapi.yaml", []byte(`identity: {basic: {ops: {file: users.htpasswd}}}
policy:
  auth: {any: basic/ops, headers: {X-User: subject}}
  deny: [203.0.113.0/24]
  cors: {origins: "https://app.example.com"}
  rate_limit: [{key: client, requests: 4, per: 1h}, {key: subject, requests: 2, per: 1h}]
  headers: {request: {set: {X-Gateway: edge}}, response: {set: {X-Answer: "1"}}}
  security_headers: {}
  rewrite: {strip_prefix: /api}
  compress: {}
`), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	compress := func(*config.Compress) (func(http.Handler) http.Handler, error) {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Compressed-Path", r.URL.Path)
				next.ServeHTTP(w, r)
			})
		}, nil
	}
	p, err := config.New(f, &config.Plugins{Compress: compress, Authenticators: map[string]middleware.Authenticator{"basic/ops": caller("ann")}})
	if err != nil {
		t.Fatal(err)
	}
	var served *http.Request
	rt := route("a", "b", nil)
	h := p.Wrap(rt, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served = r; w.WriteHeader(200) }))
	send := func(change func(*http.Request)) *httptest.ResponseRecorder {
		served = nil
		r := request(t, "/api/x")
		r.SetBasicAuth("ann", "")
		change(r)
		w, r, ex := goapi.NewExchange(httptest.NewRecorder(), r)
		ex.Client, ex.Route = netip.MustParseAddr(strings.Split(r.RemoteAddr, ":")[0]), rt
		h.ServeHTTP(w, r)
		return w.(interface{ Unwrap() http.ResponseWriter }).Unwrap().(*httptest.ResponseRecorder)
	}
	w := send(func(*http.Request) {})
	if w.Code != 200 || served == nil || served.URL.Path != "/x" || served.Header.Get("X-User") != "ann" || served.Header.Get("X-Gateway") != "edge" {
		t.Fatalf("answer %d, request %v; want the request changed", w.Code, served)
	}
	for _, name := range []string{"X-Answer", "X-Frame-Options", "Ratelimit", "X-Compressed-Path"} {
		if w.Header().Get(name) == "" {
			t.Errorf("the answer has no %s: %v", name, w.Header())
		}
	}
	steps := []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"an address that is denied is not counted", func(r *http.Request) { r.RemoteAddr = "203.0.113.1:1" }, 403},
		{"a preflight needs no credentials", func(r *http.Request) {
			r.Method = http.MethodOptions
			r.Header = http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {"GET"}}
		}, 204},
		{"no credentials count for the client", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		{"second of the subject", func(*http.Request) {}, 200},
		{"third of the subject", func(*http.Request) {}, 429},
		{"fifth of the client", func(r *http.Request) { r.Header.Del("Authorization") }, 429},
	}
	for _, s := range steps {
		if w := send(s.change); w.Code != s.want {
			t.Errorf("%s: status = %d, want %d", s.name, w.Code, s.want)
		}
	}
}

// TestScopesFailClosed: scopes that an endpoint announces are not let slip because
// no policy says who may have some.
func TestScopesFailClosed(t *testing.T) {
	scoped := map[string]string{"scopes": "orders:read"}
	tests := []struct {
		name, text string
		metadata   map[string]string
		want       int
	}{
		{"no policy", "", scoped, 403},
		{"a policy about something else", "policy: {timeout: 1s}", scoped, 403},
		{"scopes that name none", "", map[string]string{"scopes": ","}, 403},
		{"scopes of space", "policy: {auth: {none: true}}", map[string]string{"scopes": " "}, 403},
		{"empty scopes", "", map[string]string{"scopes": ""}, 403},
		{"no scopes", "", nil, 200},
		{"a policy that lets anybody in", "policy: {auth: {none: true}}", scoped, 403},
		{"no scopes, and a policy that lets anybody in", "policy: {auth: {none: true}}", nil, 200},
	}
	for _, tt := range tests {
		if w, _ := through(policies(t, tt.text, nil), route("a", "b", tt.metadata), request(t, "/")); w.Code != tt.want {
			t.Errorf("%s: status = %d, want %d", tt.name, w.Code, tt.want)
		}
	}
}

func TestNewErrors(t *testing.T) {
	dir := t.TempDir()
	inputs(t, dir)
	broken := func(*config.Compress) (func(http.Handler) http.Handler, error) {
		return nil, errors.New("it is broken")
	}
	noLimiter := func(string, ratelimit.Rate, bool) (config.Limiter, error) { return nil, errors.New("the bus is away") }
	tests := []struct {
		name, text string
		plugins    *config.Plugins
		want       string
	}{
		{"authenticator", "identity: {basic: {ops: {file: users.htpasswd}}}\nservices: {a: {auth: {any: basic/ops}}}", nil,
			`goapi.yaml:2:15: services.a.auth: there is no authenticator "basic/ops"; there is none to choose from`},
		{"compress", "policy: {compress: {}}", nil, "goapi.yaml:1:9: policy.compress: this gateway cannot compress; remove it"},
		{"broken compress", "patterns: [{match: /x, compress: {}}]", &config.Plugins{Compress: broken}, "goapi.yaml:1:12: patterns[0].compress: it is broken"},
		{"shared", "policy: {rate_limit: [{requests: 1, shared: true}]}", nil, "goapi.yaml:1:9: policy.rate_limit: this gateway shares no limits with others; remove shared"},
		{"limiter", "routes: [{match: /x, to: 'a:1', rate_limit: [{requests: 1}]}]", &config.Plugins{Limiter: noLimiter}, "goapi.yaml:1:10: routes[0].rate_limit: the bus is away"},
		{"endpoint", "services: {a: {endpoints: {B: {compress: {}}}}}", nil, "goapi.yaml:1:31: services.a.endpoints.B.compress: this gateway cannot compress; remove it"},
		{"over", "", &config.Plugins{Over: []config.Layer{{From: "--cors", Policy: config.Policy{CORS: &config.CORS{Origins: []string{"x"}}}}}}, "--cors: cors: origin "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := config.Parse(dir+"/goapi.yaml", []byte(tt.text), noEnv)
			if err != nil {
				t.Fatal(err)
			}
			p, err := config.New(f, tt.plugins)
			if p != nil || err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), dir+"/", ""), tt.want) {
				t.Errorf("New = %v, %v, want the error %s", p, err, tt.want)
			}
		})
	}
}
