package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goapi-dev/goapi"
)

const (
	// sweepEvery is the least time between two looks for what can be forgotten.
	sweepEvery = time.Minute
	// staleSweeps is how many there are until a route is taken for gone.
	staleSweeps = 10
	// perRoute bounds the routes that are remembered for each series: they are
	// made anew with each change of their service.
	perRoute = 4
)

// name is what a series is of.
type name struct{ service, route, handler string }

// series is the counters of a route. Those of a route that was forgotten count
// on for whoever holds them, and nobody sees it.
type series struct {
	requests *requests
	name     name
	service  *service
	duration prometheus.Observer
	rows     [numMethods]atomic.Pointer[row]
	last     atomic.Int64 // the sweep before the last request
	gone     atomic.Bool  // nobody sees it any more

	idle time.Time // since when there was no request; the table's
}

// row is the counters of a method, by code.
type row [maxCodes]atomic.Pointer[counter]

type counter struct{ prometheus.Counter }

// service is what is counted of a service.
type service struct {
	name              string
	in, out, upstream prometheus.Observer
	retries           prometheus.Counter
	cut, cutByClient  prometheus.Counter

	routes int // that have series; the table's
}

// counter returns the counter of a method and a code.
func (s *series) counter(method, code int) prometheus.Counter {
	r := s.rows[method].Load()
	if r == nil {
		s.rows[method].CompareAndSwap(nil, new(row))
		r = s.rows[method].Load()
	}
	if c := r[code].Load(); c != nil {
		return c
	}
	q := s.requests
	c := &counter{q.total.WithLabelValues(s.name.route, s.name.service, s.name.handler, q.methods[method], q.codes.names[code])}
	r[code].Store(c) // it is the same one for all
	return c
}

// forgotten takes the series away.
func (s *series) forgotten() {
	q := s.requests
	q.duration.DeleteLabelValues(s.name.route, s.name.service, s.name.handler)
	for method := range s.rows {
		r := s.rows[method].Load()
		if r == nil {
			continue
		}
		for code := range r {
			if r[code].Load() != nil {
				q.total.DeleteLabelValues(s.name.route, s.name.service, s.name.handler, q.methods[method], q.codes.names[code])
			}
		}
	}
}

// seriesTable finds the series of a route. Requests take no lock, but for the
// first of a route.
type seriesTable struct {
	requests *requests
	most     int // of named
	forget   time.Duration

	// cache has the series of routes, by what stays the same as long as they
	// do: see keyOf.
	cache  sync.Map // of any to *cached
	size   atomic.Int64
	sweeps atomic.Int64 // that there were

	mu       sync.Mutex
	swept    time.Time
	named    map[name]*series
	services map[string]*service
}

// cached is the series of a route, and when they were last looked up.
type cached struct {
	series *series
	last   atomic.Int64 // the sweep before
}

func newSeriesTable(limit int, forget time.Duration, q *requests) *seriesTable {
	return &seriesTable{
		requests: q, most: limit, forget: forget,
		named: make(map[name]*series), services: make(map[string]*service),
	}
}

// isAnnounced says that the service has announced the route's endpoint, so that
// a route is not made for each request.
func isAnnounced(rt *goapi.Route) bool {
	return rt.Pattern != "" || rt.Endpoint.IsAnnounced()
}

// keyOf returns what the series of a route are remembered by: the route, or if
// that is made for each request, its nodes.
func keyOf(rt *goapi.Route) any {
	if rt != nil && rt.Upstream != nil && !isAnnounced(rt) {
		return rt.Upstream
	}
	return rt
}

// nameOf returns what the series of a route are of.
func nameOf(rt *goapi.Route) name {
	if rt == nil {
		return name{route: routeNone}
	}
	n := name{service: text(rt.Service), route: routeResolved, handler: text(rt.Endpoint.Handler)}
	switch {
	case rt.Pattern != "":
		n.route = text(rt.Pattern)
	case isAnnounced(rt):
		n.route = text(rt.Endpoint.Name)
	}
	return n
}

// of returns the series of a route; nil is none.
func (t *seriesTable) of(rt *goapi.Route) *series {
	now := t.sweeps.Load()
	key := keyOf(rt)
	if v, ok := t.cache.Load(key); ok {
		c, _ := v.(*cached) // there is nothing else
		// Nodes may be behind several handlers, one after the other.
		if s := c.series; !s.gone.Load() && (rt == nil || s.name.handler == rt.Endpoint.Handler || s.name.route == routeOther) {
			touch(&c.last, now)
			touch(&s.last, now)
			return s
		}
	}
	s := t.find(nameOf(rt))
	touch(&s.last, now)
	if rt == nil || rt.Upstream != nil || isAnnounced(rt) {
		c := &cached{series: s}
		c.last.Store(now)
		if _, had := t.cache.Swap(key, c); !had && t.size.Add(1) > int64(perRoute*t.most) {
			t.cache.Clear() // nobody asks for metrics, and so nobody sweeps
			t.size.Store(0)
		}
	}
	return s
}

// touch writes only what is new, for others read it.
func touch(last *atomic.Int64, now int64) {
	if last.Load() != now {
		last.Store(now)
	}
}

// find returns the series of a name: those of others, if there is no room.
func (t *seriesTable) find(n name) *series {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.named[n]; s != nil {
		return s
	}
	if other := (name{route: routeOther}); len(t.named) >= t.most && n != other && n.route != routeNone {
		n = other
		if s := t.named[n]; s != nil {
			return s
		}
	}
	svc := t.services[n.service]
	if svc == nil {
		svc = t.requests.services.of(n.service)
		t.services[n.service] = svc
	}
	svc.routes++
	s := &series{requests: t.requests, name: n, service: svc, duration: t.requests.duration.WithLabelValues(n.route, n.service, n.handler)}
	t.named[n] = s
	return s
}

// of returns the counters of a service.
func (v *serviceVecs) of(name string) *service {
	return &service{
		name: name,
		in:   v.in.WithLabelValues(name), out: v.out.WithLabelValues(name), upstream: v.upstream.WithLabelValues(name),
		retries: v.retries.WithLabelValues(name), cut: v.cut.WithLabelValues(name, cutBySelf), cutByClient: v.cut.WithLabelValues(name, cutByClient),
	}
}

// forgotten takes the counters of a service away.
func (v *serviceVecs) forgotten(name string) {
	for _, h := range []*prometheus.HistogramVec{v.in, v.out, v.upstream} {
		h.DeleteLabelValues(name)
	}
	v.retries.DeleteLabelValues(name)
	v.cut.DeleteLabelValues(name, cutBySelf)
	v.cut.DeleteLabelValues(name, cutByClient)
}

// sweep forgets routes that are not there any more, and the series of those that
// nobody announces and nobody asks for.
func (t *seriesTable) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.swept) < sweepEvery {
		return
	}
	t.swept = now
	before := t.sweeps.Add(1) - 1
	t.cache.Range(func(key, v any) bool {
		if c, _ := v.(*cached); c.last.Load() < before-staleSweeps {
			t.cache.Delete(key)
			t.size.Add(-1)
		}
		return true
	})
	for n, s := range t.named {
		switch known := t.requests.known; {
		case n.service == "": // of no service
		case s.last.Load() >= before || s.idle.IsZero():
			s.idle = now
		case now.Sub(s.idle) >= t.forget && (known == nil || !known(n.service, n.route)):
			t.remove(n, s)
		}
	}
}

// remove takes series away, and if they are the last of a service, all that is
// counted of it.
func (t *seriesTable) remove(n name, s *series) {
	delete(t.named, n)
	s.gone.Store(true)
	s.forgotten()
	if s.service.routes--; s.service.routes > 0 {
		return
	}
	q := t.requests
	delete(t.services, n.service)
	q.services.forgotten(n.service)
	for _, why := range q.reasons {
		q.errors.DeleteLabelValues(n.service, why)
	}
	if q.forget != nil {
		q.forget(n.service)
	}
}
