package router

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	// missed is for how long a service is known that is not announced any more.
	missed = 15 * time.Minute
	// maxMissed bounds how many are; those that went first are forgotten first.
	maxMissed = 256
)

// departed is the services that are not announced any more. What was theirs, and is
// nobody's now, is not unknown, but without nodes: 503 and not 404. Routes may be
// asked for concurrently.
type departed struct {
	operator func(service string) bool
	left     []departure // the first to go is first
	table    *Table      // of what left has
	state    atomic.Pointer[departures]
}

// departure is a service that went.
type departure struct {
	name     string
	services []*registry.Service
	until    time.Time // when it is forgotten
}

// departures are the services that have gone, and until when each is known.
type departures struct {
	table *Table
	until map[string]time.Time
}

func newDeparted(opts *Options) *departed {
	o := opts.orDefault()
	d := &departed{operator: o.Operator}
	d.table = NewTable(upstream.NewPools(nil), &Options{
		Resolver: o.Resolver, Handler: o.Handler, Handlers: o.Handlers, Logger: slog.New(slog.DiscardHandler),
	})
	return d
}

// note takes what has changed. What the operator took away himself, he does not
// miss.
func (d *departed) note(changes []registry.Change, now time.Time) {
	before := len(d.left)
	d.left = slices.DeleteFunc(d.left, func(l departure) bool { return !l.until.After(now) })
	changed := len(d.left) != before
	for _, c := range changes {
		if i := slices.IndexFunc(d.left, func(l departure) bool { return l.name == c.Name }); i >= 0 {
			d.left, changed = slices.Delete(d.left, i, i+1), true
		}
		if len(c.New) == 0 && (d.operator == nil || !d.operator(c.Name)) {
			d.left, changed = append(d.left, departure{c.Name, c.Old, now.Add(missed)}), true
		}
	}
	if !changed {
		return
	}
	d.left = slices.Delete(d.left, 0, max(0, len(d.left)-maxMissed))
	state := &departures{until: make(map[string]time.Time, len(d.left))}
	var services []*registry.Service
	for _, l := range d.left {
		services = append(services, l.services...)
		state.until[l.name] = l.until
	}
	slices.SortStableFunc(services, func(a, b *registry.Service) int { return strings.Compare(a.Name, b.Name) })
	d.table, _ = d.table.Next(services)
	state.table = d.table
	d.state.Store(state)
}

// route returns the error for a request that nobody claims, if a service that has
// gone did, or nil.
func (d *departed) route(r *http.Request) error {
	state := d.state.Load()
	if state == nil {
		return nil
	}
	rt, _ := state.table.Route(r) // an error is that nobody had it either
	if rt == nil || !state.until[rt.Service].After(time.Now()) {
		return nil
	}
	e := goapi.NewError(http.StatusServiceUnavailable, "service "+rt.Service+" has no node that can serve: none is announced any more", upstream.ErrNoNodes)
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}
