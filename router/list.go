package router

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// A Listing is an announced endpoint as a table routes it: one path on one
// host, with the methods that the endpoint has there.
type Listing struct {
	Service  string `json:"service"`
	Endpoint string `json:"endpoint"`
	Handler  string `json:"handler"`
	// Host is empty for any.
	Host string `json:"host,omitempty"`
	// Methods are in order. None is any.
	Methods []string `json:"methods,omitempty"`
	// Path is as announced.
	Path string `json:"path"`
	// Nodes are the ids of the nodes that serve it now, in order.
	Nodes []string `json:"nodes"`
}

// Routes returns the announced routes that the table serves, ordered by
// service, endpoint, host and path. Those that wait for another service are in
// Reports.
func (t *Table) Routes() []Listing {
	list := []Listing{}
	for l := range t.Served() {
		list = append(list, l)
	}
	slices.SortFunc(list, func(l, m Listing) int { return cmp.Or(l.compare(m), slices.Compare(l.Methods, m.Methods)) })
	merged := list[:0]
	for _, l := range list {
		if last := len(merged) - 1; last >= 0 && merged[last].compare(l) == 0 {
			merged[last].Methods = append(merged[last].Methods, l.Methods...)
		} else {
			merged = append(merged, l)
		}
	}
	return merged
}

// Served returns the announced routes that the table serves, one for each method,
// in no order.
func (t *Table) Served() iter.Seq2[Listing, *goapi.Route] {
	return func(yield func(Listing, *goapi.Route) bool) {
		for _, s := range t.services.all() {
			for _, c := range s.claims {
				has, waits := t.trie(c.host).find(t.hasher, &c.pattern, c.method)
				if has == c && !waits && !yield(c.listing(), c.route) {
					return
				}
			}
		}
	}
}

// A Resolvable is what a resolver reaches of a service.
type Resolvable struct {
	Service string `json:"service"`
	// Methods are those that can be called, by name.
	Methods []string `json:"methods,omitempty"`
	// Any says that other methods can be called, too: none is announced.
	Any bool `json:"any_method,omitempty"`
	// Proxied says that requests reach it as they are.
	Proxied bool `json:"proxied,omitempty"`
}

// Resolvable returns what requests without a route can reach, by service.
func (t *Table) Resolvable() []Resolvable {
	list := []Resolvable{}
	for _, s := range t.services.all() {
		if own := t.opts.Operator; own != nil && own(s.name) {
			continue // it is there for its routes alone
		}
		r := Resolvable{Service: s.name, Proxied: s.proxy != nil}
		for _, c := range []*calls{s.calls, s.relays} {
			if c == nil {
				continue
			}
			for _, m := range c.methods {
				r.Methods = append(r.Methods, m.Endpoint.Name)
			}
			r.Any = r.Any || !c.closed && (len(c.methods) == 0 || !isKnown(t.opts.Handler))
		}
		if slices.Sort(r.Methods); r.Proxied || r.Any || len(r.Methods) > 0 {
			r.Methods = slices.Compact(r.Methods)
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Resolvable) int { return strings.Compare(a.Service, b.Service) })
	return list
}

// Holders returns the service that has it, for each thing that several services
// claim, by a key that means something to [Before] alone.
func (t *Table) Holders() map[string]string {
	holders := make(map[string]string)
	for key, c := range t.contests.all() {
		if c.holder != nil {
			holders[key] = c.holder.route.Service
		}
	}
	return holders
}

// Services returns what the table was made of: every version of every service, in
// the order of the registry, with the nodes that they have now. It is shared:
// read-only.
func (t *Table) Services() []*registry.Service { return *t.latest.Load() }

// Reports returns what the table does not serve of the announcements, in order.
func (t *Table) Reports() []Report {
	list := []Report{}
	for _, s := range t.services.all() {
		list = append(list, s.reports...)
		for _, c := range s.claims {
			if t.waits(c) {
				list = append(list, c.crowdedOut())
			}
		}
	}
	for _, c := range t.contests.all() {
		list = append(list, c.reports()...)
	}
	slices.SortFunc(list, Report.compare)
	return list
}

// waits says whether a claim waits for room among other expressions.
func (t *Table) waits(c *claim) bool {
	if c == nil || c.pattern.expr == nil {
		return false
	}
	has, waits := t.trie(c.host).find(t.hasher, &c.pattern, c.method)
	return waits && has == c
}

// listing returns the claim as lists show it.
func (c *claim) listing() Listing {
	l := Listing{
		Service: c.route.Service, Endpoint: c.route.Endpoint.Name, Handler: c.route.Endpoint.Handler,
		Host: c.host, Path: c.pattern.text, Nodes: []string{},
	}
	if strings.HasPrefix(c.host, ".") {
		l.Host = "*" + c.host
	}
	if c.method != "" {
		l.Methods = []string{c.method}
	}
	for _, n := range c.route.Upstream.Nodes() {
		l.Nodes = append(l.Nodes, n.Node.ID)
	}
	slices.Sort(l.Nodes)
	return l
}

// compare orders listings; the methods do not matter.
func (l Listing) compare(m Listing) int {
	return cmp.Or(
		strings.Compare(l.Service, m.Service),
		strings.Compare(l.Endpoint, m.Endpoint),
		strings.Compare(l.Host, m.Host),
		strings.Compare(l.Path, m.Path),
		strings.Compare(l.Handler, m.Handler),
		slices.Compare(l.Nodes, m.Nodes),
	)
}
