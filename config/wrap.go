package config

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"github.com/goapi-dev/goapi"
)

// maxRings bounds the rings of an endpoint that are kept: one for each set of
// patterns that requests match. What is beyond is made for each request.
const maxRings = 256

// Wrap lays the inner ring of a route around its handler. What it returns gives
// the Exchange a route with the policy that holds for the request.
func (p *Policies) Wrap(rt *goapi.Route, h http.Handler) http.Handler {
	own := &rings{policies: p, route: rt, endpoint: rt.Endpoint.Name, inner: h, announced: p.announced(rt)}
	named := map[string]*rings{}
	for _, name := range p.named(rt.Service) {
		if name != own.endpoint {
			named[name] = &rings{policies: p, route: rt, endpoint: name, inner: h}
		}
	}
	if plain := own.of(matched{}); len(p.patterns) == 0 && len(named) == 0 && plain.route == rt {
		return plain.handler // nothing depends on the request
	}
	return &wrapped{policies: p, route: rt, own: own, named: named}
}

// wrapped is the handler of a route within rings that depend on the request.
type wrapped struct {
	policies *Policies
	route    *goapi.Route
	own      *rings
	// named has the rings of endpoints that the route is for though it is not
	// theirs: a service that announces none of them is called by their names.
	named map[string]*rings
}

// ServeHTTP implements http.Handler.
func (h *wrapped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ex := goapi.ExchangeFrom(r.Context())
	if ex == nil {
		w, r, ex = goapi.NewExchange(w, r)
	}
	if ex.Route == nil {
		ex.Route = h.route
	}
	set, err := h.policies.matcher.match(r)
	if err != nil {
		goapi.WriteError(w, r, err)
		return
	}
	rings := h.own
	if ex.Route != h.route && len(h.named) > 0 {
		if other := h.named[ex.Route.Endpoint.Name]; other != nil {
			rings = other
		}
	}
	ring := rings.of(set)
	switch {
	case ring.route == h.route:
	case ex.Route == h.route:
		ex.Route = ring.route
	default: // another endpoint's, which shares the ring
		ex.Route = ex.Route.Under(ring.route.Policy)
	}
	ring.handler.ServeHTTP(w, r)
}

// rings are the inner rings of an endpoint, made when they are first needed.
type rings struct {
	policies  *Policies
	route     *goapi.Route
	endpoint  string
	inner     http.Handler
	announced *layer

	mu    sync.Mutex           // for who makes one
	plain atomic.Pointer[ring] // that under no patterns
	made  atomic.Pointer[map[matched]*ring]
}

// A ring is a handler within the policies of a set of patterns.
type ring struct {
	route   *goapi.Route // as it is under them
	handler http.Handler
}

// of returns the ring under a set of patterns.
func (s *rings) of(set matched) *ring {
	if set == (matched{}) {
		if r := s.plain.Load(); r != nil {
			return r
		}
	}
	if made := s.made.Load(); made != nil {
		if r := (*made)[set]; r != nil {
			return r
		}
	}
	return s.add(set)
}

func (s *rings) add(set matched) *ring {
	s.mu.Lock()
	defer s.mu.Unlock()
	var made map[matched]*ring
	if now := s.made.Load(); now != nil {
		if r := (*now)[set]; r != nil {
			return r // another request has made it
		}
		made = maps.Clone(*now)
	}
	e := s.policies.of(s.route.Service, s.endpoint, s.announced, set)
	r := &ring{route: s.route, handler: e.wrap(s.route, s.inner)}
	if unclaimed := s.policies.unclaimed; unclaimed != nil {
		r.handler = unclaimed(r.handler)
	}
	if data := e.data(); data != nil || s.route.Policy != nil {
		r.route = s.route.Under(data)
	}
	if set == (matched{}) {
		s.plain.Store(r)
	}
	if made == nil {
		made = map[matched]*ring{}
	}
	if len(made) < maxRings {
		made[set] = r
		s.made.Store(&made)
	}
	return r
}

// announcedBy names a service that sets a policy by metadata.
func announcedBy(rt *goapi.Route) string {
	return fmt.Sprintf("metadata of %s/%s", rt.Service, rt.Endpoint.Name)
}

// maxAnnounced bounds what an endpoint announces for one key, in bytes.
const maxAnnounced = 4 << 10

// announced returns the layer that the metadata of a route's endpoint makes, nil
// for none. What is wrong is left out and logged: it is the service's mistake.
func (p *Policies) announced(rt *goapi.Route) *layer {
	var found *Policy
	for _, key := range p.metadata {
		text, ok := rt.Endpoint.Metadata[key]
		if !ok || text == "" {
			continue
		}
		if found == nil {
			found = new(Policy)
		}
		if err := announce(found, key, text); err != nil {
			p.log.Warn("policy that a service announces is left out", slog.String("service", rt.Service),
				slog.String("endpoint", rt.Endpoint.Name), slog.String("key", key), slog.Any("reason", err))
		}
	}
	if found == nil || len(keysIn(found)) == 0 {
		return nil
	}
	m := maker{plugins: p.maker.plugins} // whose limits are the route's alone
	l, err := m.layer(found, "", announcedBy(rt))
	if err != nil {
		p.log.Warn("policies that a service announces are left out", slog.String("service", rt.Service),
			slog.String("endpoint", rt.Endpoint.Name), slog.Any("reason", err))
		return nil
	}
	return l
}

// announce reads the value of a key of a policy, in YAML. When it is wrong, the
// policy stays as it was.
func announce(p *Policy, key, text string) error {
	if len(text) > maxAnnounced {
		return fmt.Errorf("it has more than %s", Size(maxAnnounced))
	}
	root, mistake := tree([]byte(text))
	if mistake != nil {
		return &Error{[]Mistake{*mistake}}
	}
	if root == nil {
		root = &yaml.Node{Kind: yaml.ScalarNode, Line: 1, Column: 1}
	}
	d := newDecoder("metadata", "", func(string) (string, bool) { return "", false }) // nobody else sees the environment
	d.left = 1000
	for _, f := range policyKeys() {
		if f.name != key {
			continue
		}
		v := reflect.ValueOf(p).Elem().FieldByIndex(f.index)
		d.value(root, v, key, &f)
		p.check(d, "")
		for i, l := range p.RateLimit {
			if l.Shared {
				d.wrongf(index("rate_limit", i), "only the operator shares limits; remove shared")
			}
		}
		if err := errorOf(d.mistakes); err != nil {
			v.SetZero()
			return err
		}
	}
	return nil
}
