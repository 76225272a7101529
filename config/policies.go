package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/ratelimit"
	"github.com/goapi-dev/goapi/upstream"
)

// Limiter is a ratelimit.Limiter.
type Limiter = ratelimit.Limiter

// Plugins are what policies are made of that this package does not know itself.
// A nil *Plugins means all defaults.
type Plugins struct {
	// Authenticators are those that auth may name: "jwt/main". Default: none.
	Authenticators map[string]middleware.Authenticator
	// Compress returns what compresses answers. Default: none; a policy with
	// compress is then an error.
	Compress func(*Compress) (func(http.Handler) http.Handler, error)
	// Limiter returns the limiter of a place in the file, whose name is the same
	// in every gateway with the file. Default: ratelimit.NewMemory; a shared limit
	// is then an error.
	Limiter func(name string, rate ratelimit.Rate, shared bool) (Limiter, error)
	// Over are layers over those of the file, such as flags say. Default: none.
	Over []Layer
	// Old are the policies that these take the place of: limiters whose place and
	// definition are the same are kept, with what they have counted. Default:
	// none.
	Old *Policies
	// Logger gets what is wrong with policies that services announce. Default:
	// none.
	Logger *slog.Logger
}

// A Layer is a policy over those of the file. Of several, one for an endpoint is
// over one for its service, and that over one for all.
type Layer struct {
	// Service is what it is for; "" is all.
	Service string
	// Endpoint is the one of the service that it is for; "" is all.
	Endpoint string
	// Policy is what it says.
	Policy Policy
	// From names where it comes from: "--timeout".
	From string
}

func (p *Plugins) orDefault() Plugins {
	var d Plugins
	if p != nil {
		d = *p
	}
	if d.Limiter == nil {
		d.Limiter = func(_ string, rate ratelimit.Rate, shared bool) (Limiter, error) {
			if shared {
				return nil, errors.New("this gateway shares no limits with others; remove shared")
			}
			return ratelimit.NewMemory(rate, nil), nil
		}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// Policies are what a file lays on routes. They may be used concurrently.
//
// What holds for a request is laid together of these layers, key by key, where a
// later one wins:
//
//	policy                     all requests
//	patterns                   host and path; of several that match all hold, the more specific later
//	services.NAME, routes      the service
//	services.NAME.endpoints    the endpoint
//	metadata of the endpoint   the keys that the file lets services set
//	Plugins.Over               flags
type Policies struct {
	maker    *maker
	all      *layer
	matcher  *matcher
	patterns []*layer // in the order of the matcher
	matches  []string // what they are for, in the same order
	services map[string]*serviceLayers
	over     overLayers
	metadata []string // keys that services may set
	// unclaimed takes identity headers off what clients send, wherever an identity
	// is told; nil where none is.
	unclaimed part
	log       *slog.Logger
}

// serviceLayers are the layers of a service. Each may be nil.
type serviceLayers struct {
	own       *layer
	endpoints map[string]*layer
}

// overLayers are the layers over those of the file.
type overLayers struct {
	all      []*layer
	services map[string][]*layer
	methods  map[string]map[string][]*layer // by service and endpoint
}

// New makes the policies of a file, which Load has read. The error names the
// place.
func New(f *File, plugins *Plugins) (*Policies, error) {
	m := &maker{plugins: plugins.orDefault(), told: map[string]struct{}{}, limits: map[string]heldLimit{}}
	if old := m.plugins.Old; old != nil {
		m.before = old.maker.limits
		m.plugins.Old = nil // what is replaced is not to be kept alive
	}
	p := &Policies{maker: m, metadata: f.Metadata, services: map[string]*serviceLayers{}, log: m.plugins.Logger}
	build := func(policy *Policy, key, place string) (*layer, error) {
		l, err := m.layer(policy, place, f.from(key))
		if err != nil {
			return nil, fmt.Errorf("%s: %s.%w", f.Position(key), key, err)
		}
		return l, nil
	}
	var err error
	if f.Policy != nil {
		if p.all, err = build(f.Policy, "policy", "policy"); err != nil {
			return nil, err
		}
	}
	if err := p.addPatterns(f, build); err != nil {
		return nil, err
	}
	if err := p.addServices(f, build); err != nil {
		return nil, err
	}
	if err := p.addOver(m); err != nil {
		return nil, err
	}
	m.before = nil
	if p.unclaimed, err = middleware.Unclaimed(keysOf(m.told)); err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return p, nil
}

// A build makes the policy of a key ready.
type build func(p *Policy, key, place string) (*layer, error)

func (p *Policies) addPatterns(f *File, build build) error {
	m, order, err := newMatcher(f.Patterns)
	if err != nil {
		return fmt.Errorf("%s: patterns: %w", f.name, err)
	}
	p.matcher = m
	for i, at := range order {
		l, err := build(&f.Patterns[at].Policy, index("patterns", at), "patterns "+m.patterns[i].shape())
		if err != nil {
			return err
		}
		p.patterns, p.matches = append(p.patterns, l), append(p.matches, f.Patterns[at].Match)
	}
	return nil
}

func (p *Policies) addServices(f *File, build build) error {
	for _, name := range keysOf(f.Service) {
		s, key := f.Service[name], join("services", name)
		own, err := build(&s.Policy, key, key)
		if err != nil {
			return err
		}
		layers := &serviceLayers{own: own, endpoints: map[string]*layer{}}
		for _, endpoint := range keysOf(s.Endpoints) {
			key := join(key+".endpoints", endpoint)
			if layers.endpoints[endpoint], err = build(s.Endpoints[endpoint], key, key); err != nil {
				return err
			}
		}
		p.services[name] = layers
	}
	for i := range f.Routes {
		name := f.Routes[i].name()
		own, err := build(&f.Routes[i].Policy, index("routes", i), name)
		if err != nil {
			return err
		}
		p.services[name] = &serviceLayers{own: own}
	}
	return nil
}

func (p *Policies) addOver(m *maker) error {
	p.over = overLayers{services: map[string][]*layer{}, methods: map[string]map[string][]*layer{}}
	for i := range m.plugins.Over {
		o := &m.plugins.Over[i]
		l, err := m.layer(&o.Policy, "over "+itoa(i), o.From)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", o.From, err)
		case o.Service == "":
			p.over.all = append(p.over.all, l)
		case o.Endpoint == "":
			p.over.services[o.Service] = append(p.over.services[o.Service], l)
		default:
			methods := p.over.methods[o.Service]
			if methods == nil {
				methods = map[string][]*layer{}
				p.over.methods[o.Service] = methods
			}
			methods[o.Endpoint] = append(methods[o.Endpoint], l)
		}
	}
	return nil
}

// Limiters returns the limiters that the file's rate limits are kept by, by their
// places. Who has made them runs and ends them.
func (p *Policies) Limiters() map[string]Limiter {
	all := make(map[string]Limiter, len(p.maker.limits))
	for place, held := range p.maker.limits {
		all[place] = held.limiter
	}
	return all
}

// Upstream returns how the nodes of a service are tried where no route says: what
// is for all and for the service. Routes that Wrap was called for say all of it
// themselves, so that nothing is left of this after another Policies has taken
// over.
func (p *Policies) Upstream(service string) *upstream.Policy {
	u := p.ofService(service).upstream()
	return &u
}

// HealthCheck returns how the nodes of a service are probed: tcp, grpc, http:/PATH,
// or "" for not at all.
func (p *Policies) HealthCheck(service string) string {
	l := p.ofService(service)["health_check"]
	if l == nil || *l.policy.HealthCheck == "none" {
		return ""
	}
	return *l.policy.HealthCheck
}

// ofService returns what holds for a service, whatever the request.
func (p *Policies) ofService(service string) effective {
	layers := []*layer{p.all}
	if s := p.services[unversioned(service)]; s != nil {
		layers = append(layers, s.own)
	}
	layers = append(layers, p.over.all...)
	return merge(append(layers, p.over.services[service]...)...)
}

// of returns what holds for an endpoint of a service, under patterns and with
// what the endpoint announces, which may be nil.
func (p *Policies) of(service, endpoint string, announced *layer, set matched) effective {
	layers := []*layer{p.all}
	for i, l := range p.patterns {
		if set.has(i) {
			layers = append(layers, l)
		}
	}
	if s := p.services[unversioned(service)]; s != nil {
		layers = append(layers, s.own, s.endpoints[endpoint])
	}
	layers = append(layers, announced)
	layers = append(layers, p.over.all...)
	layers = append(layers, p.over.services[service]...)
	return merge(append(layers, p.over.methods[service][endpoint]...)...)
}

// named returns the endpoints of a service that layers are for.
func (p *Policies) named(service string) []string {
	set := map[string]struct{}{}
	if s := p.services[service]; s != nil {
		for name := range s.endpoints {
			set[name] = struct{}{}
		}
	}
	for name := range p.over.methods[service] {
		set[name] = struct{}{}
	}
	return keysOf(set)
}

// A PatternPolicies is what a pattern of the file lays on requests.
type PatternPolicies struct {
	Match   string
	Applied []Applied
}

// Patterns returns what the patterns of the file lay on requests, the less specific
// first.
func (p *Policies) Patterns() []PatternPolicies {
	list := make([]PatternPolicies, len(p.patterns))
	for i, l := range p.patterns {
		list[i] = PatternPolicies{Match: p.matches[i], Applied: merge(l).applied()}
	}
	return list
}

// Explain returns what is laid on a request to a route, and by what; on all of
// its requests where r is nil.
func (p *Policies) Explain(rt *goapi.Route, r *http.Request) []Applied {
	var set matched
	if r != nil {
		var err error
		if set, err = p.matcher.match(r); err != nil {
			return []Applied{{Policy: "patterns", Value: err.Error(), From: "the path"}}
		}
	}
	e := p.of(rt.Service, rt.Endpoint.Name, p.announced(rt), set)
	list := e.applied()
	if text, ok := scopes(rt.Endpoint); ok {
		list = append(list, Applied{Policy: metaScopes, Value: text, From: announcedBy(rt)})
	}
	return list
}
