package config

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

// A layer is a policy of one place, made ready. It does not change.
type layer struct {
	policy *Policy
	from   string   // names the place, for people
	keys   []string // that the policy has

	// What the keys lay around a handler; nil is nothing.
	auth, cors, headers, security, rewrite, compress part
	early, late                                      part // rate limits: before and after it is known who asks
}

// policyKeys returns the keys of a policy in the order of the documentation.
func policyKeys() []field { return fieldsOf(reflect.TypeFor[Policy]()) }

// keysIn returns the keys that a policy has.
func keysIn(p *Policy) []string {
	v := reflect.ValueOf(p).Elem()
	var keys []string
	for _, f := range policyKeys() {
		if !v.FieldByIndex(f.index).IsNil() {
			keys = append(keys, f.name)
		}
	}
	return keys
}

// An effective is what holds for a request: the layer that each key is taken
// from.
type effective map[string]*layer

// merge lays layers over each other, the more specific later. Some may be nil.
func merge(layers ...*layer) effective {
	e := effective{}
	for _, l := range layers {
		if l == nil {
			continue
		}
		for _, key := range l.keys {
			e[key] = l
		}
	}
	return e
}

// upstream returns how nodes are tried.
func (e effective) upstream() upstream.Policy {
	var u upstream.Policy
	if l := e["timeout"]; l != nil {
		u.Timeout, u.TryTimeout = time.Duration(*l.policy.Timeout), time.Duration(*l.policy.Timeout)
	}
	if l := e["retries"]; l != nil {
		u.Tries = l.policy.Retries.Tries
		if try := time.Duration(l.policy.Retries.TryTimeout); try > 0 {
			u.TryTimeout = try
		}
	}
	if l := e["max_in_flight"]; l != nil {
		switch limit := *l.policy.MaxInFlight; limit {
		case Auto:
			u.Adaptive = true
		case AutoLimit(None):
			u.MaxInFlight = math.MaxInt32
		default:
			u.MaxInFlight = int(limit)
		}
	}
	if l := e["max_per_node"]; l != nil {
		u.MaxPerNode = int(*l.policy.MaxPerNode)
		if *l.policy.MaxPerNode == None {
			u.MaxPerNode = math.MaxInt32
		}
	}
	if l := e["hash_by"]; l != nil {
		u.HashBy = *l.policy.HashBy // none is no header and no cookie
	}
	return u
}

// data returns the policy that handlers see, nil for one that says nothing.
func (e effective) data() *goapi.Policy {
	p := goapi.Policy{Upstream: e.upstream()}
	p.Timeout = p.Upstream.Timeout
	if l := e["max_body"]; l != nil {
		p.MaxBody = int64(*l.policy.MaxBody)
	}
	if p == (goapi.Policy{}) {
		return nil
	}
	return &p
}

// wrap lays the inner ring around a handler.
func (e effective) wrap(rt *goapi.Route, h http.Handler) http.Handler {
	for _, p := range []part{
		e.part("compress", func(l *layer) part { return l.compress }),
		e.part("rewrite", func(l *layer) part { return l.rewrite }),
		e.part("headers", func(l *layer) part { return l.headers }),
		e.part("security_headers", func(l *layer) part { return l.security }),
		e.part("rate_limit", func(l *layer) part { return l.late }),
		e.auth(rt),
		e.part("rate_limit", func(l *layer) part { return l.early }),
		e.part("cors", func(l *layer) part { return l.cors }),
		e.addresses(),
	} {
		if p != nil {
			h = p(h)
		}
	}
	return h
}

// part returns what the layer of a key lays around a handler.
func (e effective) part(key string, of func(*layer) part) part {
	if l := e[key]; l != nil {
		return of(l)
	}
	return nil
}

// auth returns who may pass. A route whose endpoint wants scopes, while no
// policy says who may have some, lets nobody pass, and neither does one that
// wants scopes and names none.
func (e effective) auth(rt *goapi.Route) part {
	if l := e["auth"]; l != nil && !l.policy.Auth.None {
		return l.auth
	}
	if _, wanted := rt.Endpoint.Metadata[metaScopes]; !wanted {
		return nil
	}
	refuse, err := middleware.Auth(nil, nil)
	if err != nil {
		return forbidden
	}
	return refuse
}

// metaScopes is the metadata of an endpoint that names the scopes it needs.
const metaScopes = "scopes"

// scopes returns what an endpoint announces of the scopes it needs, for people, and
// whether it does.
func scopes(e *goapi.Endpoint) (text string, announced bool) {
	text, announced = e.Metadata[metaScopes]
	if strings.Trim(text, ", \t\r\n") == "" {
		return "it names none, so that nobody may pass", announced
	}
	return strings.TrimSpace(text), announced
}

// forbidden lets nobody pass.
func forbidden(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		goapi.WriteError(w, r, goapi.NewError(http.StatusForbidden, "nobody may do this", nil))
	})
}

// addresses returns which addresses may pass.
func (e effective) addresses() part {
	var allow, deny []Prefix
	if l := e["allow"]; l != nil {
		allow = l.policy.Allow
	}
	if l := e["deny"]; l != nil {
		deny = l.policy.Deny
	}
	if len(allow)+len(deny) == 0 {
		return nil
	}
	return middleware.Addresses(prefixes(allow), prefixes(deny))
}

// An Applied is one thing that is laid on a route, and by what.
type Applied struct {
	// Policy is the key: "timeout".
	Policy string
	// Value is what holds, in YAML and without secrets.
	Value string
	// From names the place: "services.greeter (goapi.yaml:12)".
	From string
}

// applied lists what holds, in the order of the documentation.
func (e effective) applied() []Applied {
	var list []Applied
	for _, f := range policyKeys() {
		if l := e[f.name]; l != nil {
			value := reflect.ValueOf(l.policy).Elem().FieldByIndex(f.index)
			text := flow(value)
			if isText(f.kind) {
				text = textOf(value.Elem())
			}
			list = append(list, Applied{Policy: f.name, Value: text, From: l.from})
		}
	}
	return list
}

// A maker makes layers ready.
type maker struct {
	plugins Plugins
	told    map[string]struct{}  // headers in which services are told of identities
	limits  map[string]heldLimit // that are shared by all routes, by place
	before  map[string]heldLimit // those of the policies before these
}

// A heldLimit is a limiter, and what it was made for.
type heldLimit struct {
	def     RateLimit
	limiter Limiter
}

// layer makes a policy ready. The place is equal for the same place of another
// version of the file; from names it for people. An error begins with the key.
func (m *maker) layer(p *Policy, place, from string) (*layer, error) {
	l := &layer{policy: p, from: from, keys: keysIn(p)}
	steps := []struct {
		key string
		do  func() error
	}{
		{"hash_by", func() error { return checkHashBy(*p.HashBy) }},
		{"auth", func() error { return m.auth(l) }},
		{"cors", func() (err error) { l.cors, err = p.CORS.part(); return err }},
		{"headers", func() (err error) { l.headers, err = p.Headers.part(); return err }},
		{"security_headers", func() (err error) { l.security, err = p.SecurityHeaders.part(); return err }},
		{"rewrite", func() (err error) { l.rewrite, err = p.Rewrite.part(); return err }},
		{"compress", func() error { return m.compress(l) }},
		{"rate_limit", func() error { return m.rates(l, place) }},
	}
	for _, s := range steps {
		if !slices.Contains(l.keys, s.key) {
			continue
		}
		if err := s.do(); err != nil {
			return nil, fmt.Errorf("%s: %s", s.key, plain(err))
		}
	}
	return l, nil
}

// checkHashBy refuses what would keep no request on a node: the host is not among
// the headers by which nodes are found.
func checkHashBy(by string) error {
	if strings.EqualFold(by, "header:Host") {
		return errors.New("nodes are not found by the host; write another header, or cookie:NAME")
	}
	return nil
}

func (m *maker) auth(l *layer) error {
	a := l.policy.Auth
	if a.None {
		return nil
	}
	list := make([]middleware.Authenticator, len(a.Any))
	for i, name := range a.Any {
		if list[i] = m.plugins.Authenticators[name]; list[i] == nil {
			return fmt.Errorf("there is no authenticator %q; %s", name, instead(name, keysOf(m.plugins.Authenticators)))
		}
	}
	for _, name := range middleware.IdentityHeaders(list, a.options()) {
		m.told[name] = struct{}{}
	}
	var err error
	l.auth, err = middleware.Auth(list, a.options())
	return err
}

func (m *maker) compress(l *layer) error {
	if l.policy.Compress.Off {
		return nil
	}
	if m.plugins.Compress == nil {
		return fmt.Errorf("this gateway cannot compress; remove it")
	}
	var err error
	l.compress, err = m.plugins.Compress(l.policy.Compress)
	return err
}

// rates makes the rate limits of a layer.
func (m *maker) rates(l *layer, place string) error {
	var early, late []part
	names := map[string]int{}
	for i := range l.policy.RateLimit {
		def := l.policy.RateLimit[i]
		key, err := middleware.RateKey(def.by())
		if err != nil {
			return err
		}
		limiter, err := m.limiter(fmt.Sprintf("%s.rate_limit[%d]", place, i), def)
		if err != nil {
			return err
		}
		name := def.by()
		if names[name]++; names[name] > 1 {
			name += "-" + itoa(names[name])
		}
		limit, err := middleware.RateLimit(name, limiter, key)
		if err != nil {
			return err
		}
		if def.late() {
			late = append(late, limit)
		} else {
			early = append(early, limit)
		}
	}
	l.early, l.late = chain(early), chain(late)
	return nil
}

// limiter returns the limiter of a place: that of the policies before, if it is
// still what is wanted there.
func (m *maker) limiter(place string, def RateLimit) (Limiter, error) {
	if held, ok := m.before[place]; ok && held.def == def {
		m.limits[place] = held
		return held.limiter, nil
	}
	limiter, err := m.plugins.Limiter(place, def.rate(), def.Shared)
	if err == nil && m.limits != nil {
		m.limits[place] = heldLimit{def, limiter}
	}
	return limiter, err
}

// chain returns parts as one, the first outermost; nil for none.
func chain(parts []part) part {
	if len(parts) == 0 {
		return nil
	}
	return func(h http.Handler) http.Handler {
		for _, p := range slices.Backward(parts) {
			h = p(h)
		}
		return h
	}
}
