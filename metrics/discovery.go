package metrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// discovery looks at the table, the pools and the registries when somebody asks.
type discovery struct {
	live     *router.Live
	pools    *upstream.Pools
	steadies []*registry.Steady
	each     bool // node has series of its own

	services, routes, reports                     *prometheus.Desc
	connected, away, updated                      *prometheus.Desc
	sourceUp, sourceAge, sourceSnapshot, heldBack *prometheus.Desc
	nodes, ejected, inFlight                      *prometheus.Desc
	nodeUp, nodeInFlight, nodeLatency             *prometheus.Desc

	mu      sync.Mutex
	counted *router.Table // whose routes these are
	count   int
}

func newDiscovery(live *router.Live, pools *upstream.Pools, steadies []*registry.Steady, each bool) *discovery {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	const source = "registry"
	return &discovery{
		live: live, pools: pools, steadies: steadies, each: each,
		services: desc("goapi_services", "Services that are announced."),
		routes:   desc("goapi_routes", "Routes that are announced and served."),
		reports:  desc("goapi_reports", "Things that are announced and not served, by kind.", "kind"),

		connected: desc("goapi_registry_connected", "1 while every registry is followed, 0 while any has no contact. Files, and what is in this process, are none."),
		away:      desc("goapi_registry_away_seconds", "For how long that registry has been away which has been for longest, 0 while every one is followed."),
		updated:   desc("goapi_registry_updated_timestamp_seconds", "When the routing table last took a state of the registries."),

		sourceUp:       desc("goapi_registry_source_up", "1 while this registry is followed.", source),
		sourceAge:      desc("goapi_registry_source_age_seconds", "How old the state of this registry is.", source),
		sourceSnapshot: desc("goapi_registry_source_snapshot", "1 while what is served of this registry is its snapshot.", source),
		heldBack:       desc("goapi_registry_source_held_nodes", "Nodes that are served although this registry does not have them.", source),

		nodes:    desc("goapi_upstream_nodes", "Nodes of a service, by state: up or ejected.", labelService, "state"),
		ejected:  desc("goapi_upstream_ejected_nodes", "Nodes that are ejected, by reason.", "reason"),
		inFlight: desc("goapi_upstream_in_flight", "Attempts at requests that have not ended, on all nodes of a service.", labelService),

		nodeUp:       desc("goapi_node_up", "1 for a node that is not ejected.", labelService, "node"),
		nodeInFlight: desc("goapi_node_in_flight", "Attempts at requests that have not ended.", labelService, "node"),
		nodeLatency:  desc("goapi_node_latency_seconds", "Average time to the head of an answer.", labelService, "node"),
	}
}

// Describe implements prometheus.Collector.
func (d *discovery) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		d.services, d.routes, d.reports, d.connected, d.away, d.updated, d.sourceUp, d.sourceAge, d.sourceSnapshot, d.heldBack,
		d.nodes, d.ejected, d.inFlight,
	} {
		ch <- desc
	}
	if d.each {
		ch <- d.nodeUp
		ch <- d.nodeInFlight
		ch <- d.nodeLatency
	}
}

// gauges hands gauges on.
type gauges chan<- prometheus.Metric

func (g gauges) set(d *prometheus.Desc, v float64, labels ...string) {
	g <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// Collect implements prometheus.Collector.
func (d *discovery) Collect(ch chan<- prometheus.Metric) {
	g := gauges(ch)
	d.collectTable(g)
	d.collectSources(g)
	d.collectPools(g)
}

func (d *discovery) collectTable(g gauges) {
	table, status := d.live.Table(), d.live.Status()
	g.set(d.routes, float64(d.countRoutes(table)))
	reports := map[router.ReportKind]int{router.LeftOut: 0, router.Conflict: 0}
	for _, r := range table.Reports() {
		reports[r.Kind]++
	}
	for kind, n := range reports {
		g.set(d.reports, float64(n), string(kind))
	}
	contact, away := d.contact()
	g.set(d.connected, one(contact && !status.Updated.IsZero() && status.Lost.IsZero()))
	g.set(d.away, max(away, d.live.Age()).Seconds())
	g.set(d.updated, seconds(status.Updated))
}

// contact says whether there is contact with every registry, and for how long
// there has been none with the one that has been away for longest. The table
// cannot tell: it does not lose contact while one of its registries is left, and
// one that is always there may be among them.
func (d *discovery) contact() (all bool, away time.Duration) {
	all = true
	for _, s := range d.steadies {
		status := s.Status()
		all = all && status.Contact
		if !status.Lost.IsZero() {
			away = max(away, time.Since(status.Lost))
		}
	}
	return all, away
}

// countRoutes returns how many routes a table has. It is the same for as long as
// nothing but nodes changes.
func (d *discovery) countRoutes(table *router.Table) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counted != table {
		d.counted, d.count = table, len(table.Routes())
	}
	return d.count
}

func (d *discovery) collectSources(g gauges) {
	seen := make(map[string]int)
	for _, s := range d.steadies {
		name := text(s.Name())
		if seen[name]++; seen[name] > 1 { // two series cannot have one name
			name += " " + strconv.Itoa(seen[name])
		}
		status := s.Status()
		held := 0
		for _, h := range status.Held {
			held += len(h.Nodes)
		}
		g.set(d.sourceUp, one(status.Contact), name)
		g.set(d.sourceSnapshot, one(status.Snapshot), name)
		g.set(d.heldBack, float64(held), name)
		if !status.Heard.IsZero() {
			g.set(d.sourceAge, max(time.Since(status.Heard).Seconds(), 0), name)
		}
	}
}

func (d *discovery) collectPools(g gauges) {
	seen := make(map[string]bool)
	ejected := make(map[upstream.Reason]int)
	for _, why := range reasons() {
		ejected[why] = 0
	}
	for _, s := range d.live.Table().Services() {
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		if pool := d.pools.Pool(s.Name); pool != nil {
			d.collectPool(g, text(s.Name), pool, ejected)
		}
	}
	g.set(d.services, float64(len(seen)))
	for why, n := range ejected {
		g.set(d.ejected, float64(n), string(why))
	}
}

// collectPool tells of the nodes of a service, and counts those that are
// ejected.
func (d *discovery) collectPool(g gauges, service string, pool *upstream.Pool, ejected map[upstream.Reason]int) {
	up, down, inFlight := 0, 0, 0
	for _, st := range pool.All().Nodes() {
		inFlight += st.InFlight
		if st.Ejected == "" {
			up++
		} else {
			down++
			ejected[st.Ejected]++
		}
		if d.each {
			node := text(st.Node.ID)
			g.set(d.nodeUp, one(st.Ejected == ""), service, node)
			g.set(d.nodeInFlight, float64(st.InFlight), service, node)
			g.set(d.nodeLatency, st.Latency.Seconds(), service, node)
		}
	}
	g.set(d.nodes, float64(up), service, "up")
	g.set(d.nodes, float64(down), service, "ejected")
	g.set(d.inFlight, float64(inFlight), service)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// seconds returns a time as Prometheus has it; 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// announced is the routes that there are, as the labels have them.
type announced struct {
	live *router.Live

	read  *router.Table
	names map[[2]string]struct{} // service and route
}

// has says whether a service has a route. It is called by one goroutine at a
// time.
func (a *announced) has(service, route string) bool {
	if table := a.live.Table(); a.read != table {
		a.read, a.names = table, make(map[[2]string]struct{})
		for _, l := range table.Routes() {
			a.names[[2]string{text(l.Service), text(l.Path)}] = struct{}{}
		}
		for _, s := range table.Services() {
			a.names[[2]string{text(s.Name), routeResolved}] = struct{}{}
			for _, e := range s.Endpoints {
				a.names[[2]string{text(s.Name), text(goapi.DecodeEndpoint(e).Name)}] = struct{}{}
			}
		}
	}
	_, ok := a.names[[2]string{service, route}]
	return ok
}
