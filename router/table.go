package router

import (
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/upstream"
)

// Options adjust a router. A nil *Options means all defaults.
type Options struct {
	// Resolver names services for requests that no route claims. Default:
	// none; such requests are not found.
	Resolver resolver.Resolver
	// Handler serves the requests that the resolver finds a service for.
	// "auto" is "rpc" for calls to services of which a node has the protocol
	// mucp or grpc, and "http" for requests to any other service. "rpc" and
	// "api" are for calls to any service, "http" and "web" for requests to any
	// service, and another name for both. What came as gRPC is for "rpc" always,
	// if a node of the service has such a protocol. Default: auto.
	Handler string
	// Handlers are the names that endpoints may use. Endpoints that name
	// others are left out. Default: rpc, http, api and web.
	Handlers []string
	// Operator says whether a service is the operator's own: no other service can
	// take what it claims, nor keep it. Default: none is.
	Operator func(service string) bool
	// Before is what was known before the program was started: who had a route
	// then has it again, whoever comes first now. Default: nothing.
	Before Before
	// Policy returns what the operator laid on an endpoint of a service; nil
	// is all defaults. It is asked once for each route. Default: none.
	Policy func(service string, e *goapi.Endpoint) *goapi.Policy
	// Updated is told how long it took a Live to make a table of a state of its
	// registry, when the table is served. Default: nobody is told.
	Updated func(time.Duration)
	// Logger gets the reports of a Live, each once, and losses of contact with
	// its registry. Default: none.
	Logger *slog.Logger
}

// Before is what a table remembers of the tables of an earlier process.
type Before interface {
	// Holder returns the service that had what several services claim, by the
	// keys of [Table.Holders]; "" if that is not known.
	Holder(key string) string
	// Known says whether there was a service of that name.
	Known(service string) bool
}

// Handlers that the router knows something about.
const (
	handlerAuto = "auto"
	handlerRPC  = "rpc"
	handlerHTTP = "http"
	handlerAPI  = "api"
	handlerWeb  = "web"
)

// isProxy says whether a handler passes requests on as they are.
func isProxy(handler string) bool { return handler == handlerHTTP || handler == handlerWeb }

// isKnown says whether the router knows what a handler is for.
func isKnown(handler string) bool {
	return handler == handlerAuto || handler == handlerRPC || handler == handlerAPI || isProxy(handler)
}

// orDefault returns o with every zero field at its default; o may be nil.
func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Handler == "" {
		d.Handler = handlerAuto
	}
	if d.Handlers == nil {
		d.Handlers = []string{handlerRPC, handlerHTTP, handlerAPI, handlerWeb}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// A Table holds the routes of services. It does not change, except that the
// Sets of its routes follow the nodes of the services; it may be used
// concurrently.
type Table struct {
	*lineage

	anyHost  *node
	hosts    dict[*node] // by host; ".example.com" is a wildcard
	services dict[*service]
	contests dict[*contest] // by slot; only of slots that several services claim

	latest *atomic.Pointer[[]*registry.Service] // what it is of; of tables that are not the latest, what it was
}

var _ goapi.Router = (*Table)(nil)

// lineage is what the tables have in common that grew out of one. What is not
// read-only belongs to the goroutine that calls Next, unless it is atomic.
type lineage struct {
	opts   Options
	hasher hasher // of no era
	era    uint32 // of the latest step; the last one stays
	pools  *upstream.Pools
	// announcements are those of the service that is being built.
	announcements map[*registry.Service]*announcement
}

// NewTable returns a table without services. What it grows into takes its nodes
// from pools, and keeps the pools up to date.
func NewTable(pools *upstream.Pools, opts *Options) *Table {
	t := &Table{
		lineage: &lineage{opts: opts.orDefault(), hasher: newHasher(), pools: pools},
		latest:  new(atomic.Pointer[[]*registry.Service]),
	}
	t.latest.Store(new([]*registry.Service))
	return t
}

// Next returns the table of the services, which are all there are, and the
// reports that t does not have. It is t itself when nothing but nodes changed.
//
// What Next costs is in proportion to the services that are not the same
// pointers as before. It is called with the latest table only, by one
// goroutine at a time; the slice is read-only from then on.
func (t *Table) Next(services []*registry.Service) (*Table, []Report) {
	return t.next(services, t.changes(services))
}

// next is Next of services that have these changes.
func (t *Table) next(services []*registry.Service, changes []registry.Change) (*Table, []Report) {
	s := &step{table: *t, hasher: t.newEra(), services: services, slots: make(map[string]*claimed)}
	for _, c := range changes {
		s.change(c.Name, c.New)
	}
	s.settle()
	reports := newReports(s.before, s.now)
	if !s.changed {
		t.latest.Store(&services)
		return t, reports
	}
	next := s.table // alone: the step is not to be kept alive
	next.latest = new(atomic.Pointer[[]*registry.Service])
	next.latest.Store(&services)
	return &next, reports
}

// newEra returns the hasher of a step. When all eras are used up, after years,
// it is one of none: steps then cost somewhat more.
func (l *lineage) newEra() hasher {
	h := l.hasher
	if l.era < math.MaxUint32 {
		l.era++
		h.era = l.era
	}
	return h
}

// changes returns what changed since the last call of Next.
func (t *Table) changes(now []*registry.Service) []registry.Change {
	old := *t.latest.Load()
	from := 0
	for from < min(len(old), len(now)) && old[from] == now[from] {
		from++
	}
	same := 0
	for same < min(len(old), len(now))-from && old[len(old)-1-same] == now[len(now)-1-same] {
		same++
	}
	// Lists are ordered by name, mostly: take in what is beside a change and
	// has the same name.
	for from > 0 && (sameName(old, from-1, from) || sameName(now, from-1, from)) {
		from--
	}
	for same > 0 && (sameName(old, len(old)-same-1, len(old)-same) || sameName(now, len(now)-same-1, len(now)-same)) {
		same--
	}
	changes := registry.Diff(old[from:len(old)-same], now[from:len(now)-same])
	for _, c := range changes {
		if s := t.services.get(t.hasher, c.Name); s != nil && len(c.Old) != s.versions {
			return registry.Diff(old, now) // the name is elsewhere in the list, too
		}
	}
	return changes
}

// sameName says whether two services of a list have one name.
func sameName(list []*registry.Service, i, j int) bool {
	return i >= 0 && j < len(list) && list[i].Name == list[j].Name
}
