// Package metrics tells Prometheus what a gateway does: of requests, of the nodes
// behind it, of the registries that it follows, and of its broker.
//
// A [Metrics] has a registry of its own. [Metrics.Middleware] counts requests,
// [Metrics.Broker] messages; [Metrics.Follow] names what is looked at when
// somebody asks; [Metrics.Handler] answers. The names of all metrics begin with
// goapi_, but for those of Go's runtime and of the process.
//
// # Labels
//
// Nothing that a client says is the value of a label. The route is the path as
// the service announced it. Where a resolver has found the route it is the name
// of the method if that is announced, else (resolved); where there is no route
// it is (none), and service and handler are empty. Methods are those that HTTP
// knows, and statuses those that have a name, or their class. So the number of
// series depends on what services announce, and is bounded even so: beyond
// [Options.MaxRoutes] the route is (other).
//
// A route that is not announced any more loses its series, and a service with
// it, when no request has come for [Options.Forget].
//
// # What is measured
//
// The duration of a request ends with its answer. Those that end when somebody
// likes are counted, and not measured: WebSockets, server-sent events, and
// methods that are announced as streams. A request that was cut before there was
// a status has the code none.
//
// goapi_errors_total counts answers that the gateway made itself, by reason, and
// as service those errors that are a service's own.
package metrics

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// Options adjust Metrics. A nil *Options means all defaults.
type Options struct {
	// Version is that of the program. Default: unknown.
	Version string
	// Buckets are the upper bounds of the histograms of durations, in seconds.
	// Default: 1 ms to 30 s in 13 steps.
	Buckets []float64
	// Native adds native histograms, to the tenth, for servers that ask for
	// them. Default: none.
	Native bool
	// Nodes adds series for each node, of which there may be very many. Default:
	// none.
	Nodes bool
	// MaxRoutes bounds the routes that have series of their own. Default: 10,000.
	MaxRoutes int
	// Forget is how long the series of a route that is not announced stay when
	// no request comes. Default: 15 min.
	Forget time.Duration
	// Spans returns how many spans of traces were sent and how many were lost.
	// Default: none is told.
	Spans func() (sent, lost uint64)
	// DeadLetters is the topic of dead letters. Default: push.DefaultDeadLetters.
	DeadLetters string
	// Certificates returns when the certificates of the server end, by their names.
	// Default: none is told.
	Certificates func() map[string]time.Time
	// Connections returns how many connections the server has, and how many it has
	// closed since there were too many, and for what their clients sent. Default:
	// none is told.
	Connections func() (open, refused, floods int64)
	// LogLost returns how many lines of the access log were lost. Default: none
	// is told.
	LogLost func() uint64
	// Logger gets what could not be told. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	d.Version = cmp.Or(d.Version, "unknown")
	if len(d.Buckets) == 0 {
		d.Buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30}
	}
	d.MaxRoutes = cmp.Or(max(d.MaxRoutes, 0), 10_000)
	d.Forget = cmp.Or(max(d.Forget, 0), 15*time.Minute)
	d.DeadLetters = cmp.Or(d.DeadLetters, push.DefaultDeadLetters)
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// Metrics is what is known of a gateway in numbers. It may be used concurrently.
type Metrics struct {
	opts     Options
	registry *prometheus.Registry
	requests *requests
	broker   *brokerMetrics
	reloads  *reloads

	ejections *prometheus.CounterVec
	tables    prometheus.Histogram
}

// New returns Metrics of a gateway that has done nothing.
func New(opts *Options) *Metrics {
	m := &Metrics{opts: opts.orDefault(), registry: prometheus.NewRegistry()}
	m.requests = newRequests(&m.opts)
	m.broker = newBrokerMetrics(&m.opts)
	m.reloads = newReloads()
	m.ejections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "goapi_upstream_ejections_total", Help: "Ejections of nodes, by service and reason.",
	}, []string{labelService, "reason"})
	m.tables = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "goapi_table_update_seconds", Help: "Time from a state of the registry to the routing table that serves it.",
		Buckets: []float64{.0001, .001, .01, .1, 1, 10},
	})
	m.requests.forget = func(service string) {
		for _, why := range reasons() {
			m.ejections.DeleteLabelValues(service, string(why))
		}
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "goapi_build_info", Help: "1, with the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": text(m.opts.Version), "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.ejections, m.tables, m.reloads.ok, m.reloads.at,
	)
	m.registry.MustRegister(m.broker.all()...)
	m.countLosses()
	if m.opts.Certificates != nil {
		m.registry.MustRegister(newCertificates(m.opts.Certificates))
	}
	return m
}

// TableUpdated notes how long it took to make a routing table of a state of the
// registry.
func (m *Metrics) TableUpdated(took time.Duration) { m.tables.Observe(took.Seconds()) }

// countLosses adds what other rooms count.
func (m *Metrics) countLosses() {
	if spans := m.opts.Spans; spans != nil {
		counter := func(outcome string, n func() uint64) prometheus.Collector {
			return prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "goapi_trace_spans_total", Help: "Spans of traces that were sent to the collector, and that were lost.",
				ConstLabels: prometheus.Labels{"outcome": outcome},
			}, func() float64 { return float64(n()) })
		}
		m.registry.MustRegister(
			counter("sent", func() uint64 { sent, _ := spans(); return sent }),
			counter("lost", func() uint64 { _, lost := spans(); return lost }),
		)
	}
	if conns := m.opts.Connections; conns != nil {
		closed := func(reason string, n func() int64) prometheus.Collector {
			return prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "goapi_connections_closed_total", Help: "Connections of clients that were closed by reason: limit, since there were too many, or flood, for what they sent.",
				ConstLabels: prometheus.Labels{"reason": reason},
			}, func() float64 { return float64(n()) })
		}
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "goapi_connections", Help: "Connections of clients that are open.",
			}, func() float64 { open, _, _ := conns(); return float64(open) }),
			closed("limit", func() int64 { _, refused, _ := conns(); return refused }),
			closed("flood", func() int64 { _, _, floods := conns(); return floods }),
		)
	}
	if lost := m.opts.LogLost; lost != nil {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "goapi_access_log_lost_total", Help: "Lines of the access log that were lost.",
		}, func() float64 { return float64(lost()) }))
	}
}

// Follow adds what is looked at when somebody asks: the table and how it gets on
// with the registry, the nodes of the services, and each of the registries. It
// is called at most once, before the gateway serves.
func (m *Metrics) Follow(live *router.Live, pools *upstream.Pools, steadies ...*registry.Steady) {
	m.requests.known = (&announced{live: live}).has
	m.registry.MustRegister(newDiscovery(live, pools, steadies, m.opts.Nodes))
}

// Ejected counts an ejection of a node.
func (m *Metrics) Ejected(service string, why upstream.Reason) {
	m.ejections.WithLabelValues(text(service), string(why)).Inc()
}

// reasons returns those for which nodes are ejected.
func reasons() []upstream.Reason {
	return []upstream.Reason{upstream.Unreachable, upstream.Failing, upstream.Slow, upstream.Unhealthy}
}

// Handler returns the handler that Prometheus asks, for operators. It answers
// four at a time. What cannot be told is logged, and left out.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{m.opts.Logger},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		EnableOpenMetrics:   true, // which has traces beside durations
	})
}

// errorLog is a Logger of promhttp.
type errorLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) {
	l.log.Warn("metrics are not complete", slog.String("error", text(fmt.Sprint(v...))))
}
