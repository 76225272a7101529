package router

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// builder makes a service of what is announced under its name, and of what it
// was before.
type builder struct {
	*lineage

	name    string
	old     service // the zero service if there was none
	pool    *upstream.Pool
	members []*registry.Service // less the nodes that cannot be used
	reports []Report
}

// build returns the service of what is announced under a name: old, which may
// be nil, if nothing but its nodes changed. It brings the service's pool up to
// date.
func (l *lineage) build(name string, announced []*registry.Service, old *service) *service {
	b := &builder{lineage: l, name: name}
	if old != nil {
		b.old = *old
	}
	s := &service{name: name, versions: len(announced)}
	b.findMembers(announced)
	b.read()
	b.pool = l.pools.Update(name, b.members)
	s.absent = b.pool == nil
	if b.pool != nil {
		s.claims = b.claims()
		b.addResolved(s)
	}
	s.reports = bounded(name, b.reports)
	l.announcements = nil
	if old != nil && s.equal(old) {
		return old
	}
	return s
}

// findMembers takes what is announced, less the nodes that cannot be used, and
// less those services that then are nothing.
func (b *builder) findMembers(announced []*registry.Service) {
	if len(announced) > 0 && (b.name == "" || b.name != printable(b.name, maxName)) {
		b.report(Report{Reason: "its name is empty, too long or not printable"})
		return
	}
	seen := make(map[string]bool)
	for _, s := range announced {
		nodes := make([]*registry.Node, 0, len(s.Nodes))
		brokers := 0
		if size := metadataSize(s.Metadata); size > maxMetadata {
			b.report(Report{Reason: fmt.Sprintf("its metadata, which is not used, has %d bytes, more than %d", size, maxMetadata)})
			c := *s
			c.Metadata = nil
			s = &c
		}
		for _, n := range s.Nodes {
			if n == nil {
				continue
			}
			if isBroker(n) {
				brokers++
				continue
			}
			if reason := badNode(n, seen); reason != "" {
				b.report(Report{Node: printable(n.ID, 100), Reason: reason})
				continue
			}
			seen[n.ID] = true
			nodes = append(nodes, n)
		}
		switch {
		case brokers > 0 && len(nodes) == 0:
			continue // no more than a subscription
		case len(nodes) < len(s.Nodes):
			c := *s
			c.Nodes = nodes
			s = &c
		}
		b.members = append(b.members, s)
	}
}

// read reads the announcements. Patterns that were parsed before are not parsed
// again.
func (b *builder) read() {
	r := b.reader(b.old.claims)
	b.announcements = make(map[*registry.Service]*announcement, len(b.members))
	for _, s := range b.members {
		a := r.read(s)
		b.announcements[s] = a
		b.reports = append(b.reports, a.reports...)
	}
}

// claims returns one claim for each slot that the members want. One that the
// service had before goes first, then the earlier one. A claim that is as it
// was is the same pointer.
func (b *builder) claims() []*claim {
	before := make(map[string]*claim, len(b.old.claims))
	for _, c := range b.old.claims {
		before[c.key] = c
	}
	var claims, waiting []*claim
	var room quota
	seen := make(map[string]bool) // by key
	index := make(map[string]int) // by slot
	for _, s := range b.members {
		for _, c := range b.announcements[s].claims {
			if seen[c.key] {
				continue
			}
			seen[c.key] = true
			slot := c.slot()
			i, taken := index[slot]
			switch {
			case taken && before[c.key] != nil:
				claims[i], c = c, claims[i]
				waiting = append(waiting, c)
			case taken:
				waiting = append(waiting, c)
			case len(claims) == maxEndpoints:
				b.report(Report{Reason: fmt.Sprintf("more than %d patterns in all its versions", maxEndpoints)})
			default:
				if err := room.admit(c); err != nil {
					b.report(Report{Endpoint: c.route.Endpoint.Name, Pattern: printable(c.pattern.text, 200), Reason: err.Error()})
					continue
				}
				index[slot] = len(claims)
				claims = append(claims, c)
			}
		}
	}
	for _, c := range waiting {
		b.report(c.waitsFor(claims[index[c.slot()]]))
	}
	for i, c := range claims {
		claims[i] = b.granted(c, before[c.key])
	}
	return claims
}

// granted gives a claim its nodes and its policy. It returns the claim of the
// same key that was before, if that is the same.
func (b *builder) granted(c, before *claim) *claim {
	set := b.pool.Set(c.key, b.holds(c.key))
	rt := c.route
	if before != nil && before.route.Upstream == set && sameEndpoint(before.route.Endpoint, rt.Endpoint) {
		return before
	}
	rt.Service, rt.Upstream, rt.Policy = b.name, set, b.policy(rt.Endpoint)
	return c
}

// addResolved adds the routes for requests that a resolver reads.
func (b *builder) addResolved(s *service) {
	exposed := slices.DeleteFunc(slices.Clone(b.members), func(s *registry.Service) bool { return isHidden(s) || onlyTakes(s) })
	s.absent = len(exposed) == 0
	if b.opts.Resolver == nil || s.absent {
		return
	}
	called := slices.ContainsFunc(exposed, func(s *registry.Service) bool { return slices.ContainsFunc(s.Nodes, isCalled) })
	h := b.opts.Handler
	switch {
	case h == handlerAuto && called:
		h = handlerRPC
	case h == handlerAuto:
		h = handlerHTTP
	}
	if isProxy(h) {
		s.proxy = b.route(b.old.proxy, &goapi.Endpoint{Name: b.name, Handler: h, Metadata: b.scopes()})
	} else {
		s.calls = b.calls(b.old.calls, s.claims, h)
	}
	switch {
	case h == handlerRPC:
		s.relays = s.calls
	case called:
		s.relays = b.calls(b.old.relays, s.claims, handlerRPC)
	}
}

// scopes returns metadata with all the scopes that endpoints of the service want,
// nil if none does: who names the service reaches all of them. Where one wants some
// and names none, nobody can have them, and the same is said of all.
func (b *builder) scopes() map[string]string {
	var all []string
	for _, s := range b.members {
		for _, e := range s.Endpoints {
			scopes, announced := e.Metadata[metaScopes]
			scopes = strings.Trim(scopes, ", \t\r\n")
			switch {
			case announced && scopes == "":
				return map[string]string{metaScopes: ""}
			case announced && !slices.Contains(all, scopes):
				all = append(all, scopes)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return map[string]string{metaScopes: strings.Join(all, " ")}
}

// metaScopes is the metadata of an endpoint that names the scopes it needs.
const metaScopes = "scopes"

// route returns a route to all nodes that are exposed: old, which may be nil, if
// it is one.
func (b *builder) route(old *goapi.Route, e *goapi.Endpoint) *goapi.Route {
	set := b.pool.All()
	if slices.ContainsFunc(b.members, isHidden) {
		set = b.pool.Set(exposedKey, func(s *registry.Service) bool { return !isHidden(s) })
	}
	if old != nil && old.Upstream == set && sameEndpoint(old.Endpoint, e) {
		return old
	}
	return &goapi.Route{Service: b.name, Endpoint: e, Upstream: set, Policy: b.policy(e)}
}

// calls returns the routes of the methods for a handler. It shares what it can
// with old, which may be nil, and with the routes of claims for the methods.
func (b *builder) calls(old *calls, claims []*claim, handler string) *calls {
	var other *goapi.Route
	if old != nil {
		other = old.other
	}
	return &calls{
		methods: b.methods(old, claims, handler),
		other:   b.route(other, &goapi.Endpoint{Handler: handler}),
		closed:  slices.ContainsFunc(b.members, func(s *registry.Service) bool { return b.announcements[s].hides }),
	}
}

// methods returns a route for each announced method, by name.
func (b *builder) methods(old *calls, claims []*claim, handler string) []*goapi.Route {
	claimed := make(map[string]*claim) // by name of the method
	for _, c := range claims {
		if e := c.route.Endpoint; e.Handler == handler && claimed[e.Name] == nil {
			claimed[e.Name] = c
		}
	}
	var methods []*goapi.Route
	seen := make(map[string]bool)
	for _, s := range b.members {
		for _, e := range b.announcements[s].methods {
			if !seen[e.Name] {
				seen[e.Name] = true
				methods = append(methods, b.method(old.method(e.Name), e, claimed[e.Name], handler))
			}
		}
	}
	slices.SortFunc(methods, func(x, y *goapi.Route) int { return strings.Compare(x.Endpoint.Name, y.Endpoint.Name) })
	return slices.Clip(methods)
}

// method returns the route of a method: old, if it is one. There may be a claim
// for the method.
func (b *builder) method(old *goapi.Route, e *goapi.Endpoint, c *claim, handler string) *goapi.Route {
	key := methodKey(e.Name)
	var set *upstream.Set
	if c != nil && b.count(key) == b.count(c.key) {
		set = c.route.Upstream
	} else {
		set = b.pool.Set(key, b.holds(key))
	}
	switch {
	case c != nil:
		e = c.route.Endpoint
	case e.Handler != handler:
		announced := *e
		announced.Handler = handler
		e = &announced
	}
	if old != nil && old.Upstream == set && sameEndpoint(old.Endpoint, e) {
		return old
	}
	if c == nil {
		return &goapi.Route{Service: b.name, Endpoint: e, Upstream: set, Policy: b.policy(e)}
	}
	rt := c.route.Like(e)
	rt.Pattern, rt.Upstream = "", set
	return rt
}

// count returns how many members announce what has the key.
func (b *builder) count(key string) int {
	n := 0
	for _, s := range b.members {
		if b.announces(s, key) {
			n++
		}
	}
	return n
}

// holds returns the condition of the Set of a key.
func (l *lineage) holds(key string) func(*registry.Service) bool {
	return func(s *registry.Service) bool { return l.announces(s, key) }
}

// announces says whether a service announces what has the key.
func (l *lineage) announces(s *registry.Service, key string) bool {
	a := l.announcements[s]
	if a == nil { // asked out of turn: right, though slow
		a = l.reader(nil).read(s)
	}
	_, ok := a.keys[key]
	return ok
}

func (b *builder) policy(e *goapi.Endpoint) *goapi.Policy {
	if b.opts.Policy == nil {
		return nil
	}
	return b.opts.Policy(b.name, e)
}

func (b *builder) report(r Report) {
	if r.Kind == "" {
		r.Kind = LeftOut
	}
	b.reports = append(b.reports, r)
}
