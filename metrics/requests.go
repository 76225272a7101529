package metrics

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/goapi-dev/goapi"
)

// requests counts requests.
type requests struct {
	codes   *codes
	methods []string
	reasons []string
	series  *seriesTable
	forget  func(service string)             // what others have of a service
	known   func(service, route string) bool // nil if nobody knows

	inFlight prometheus.Gauge
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	services serviceVecs
}

// serviceVecs are what is counted by service.
type serviceVecs struct {
	in, out, upstream *prometheus.HistogramVec
	retries, cut      *prometheus.CounterVec
}

func newRequests(o *Options) *requests {
	factor := 0.0
	if o.Native {
		factor = 1.1
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: factor,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	sizes := []float64{256, 4 << 10, 64 << 10, 1 << 20, 16 << 20}
	q := &requests{
		codes:    newCodes(),
		methods:  methods(),
		reasons:  errorReasons(),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "goapi_requests_in_flight", Help: "Requests that have not ended."}),
		total:    counter("goapi_requests_total", "Requests that have ended.", labelRoute, labelService, labelHandler, labelMethod, labelCode),
		duration: histogram("goapi_request_duration_seconds", "Time from a request to the end of its answer; streams are left out.", o.Buckets, labelRoute, labelService, labelHandler),
		errors:   counter("goapi_errors_total", "Requests that failed, by reason: service for what the service itself answered, all others by the gateway.", labelService, "reason"),
		services: serviceVecs{
			in:       histogram("goapi_request_body_bytes", "Sizes of the bodies of requests.", sizes, labelService),
			out:      histogram("goapi_response_body_bytes", "Sizes of the bodies of answers.", sizes, labelService),
			upstream: histogram("goapi_upstream_duration_seconds", "Time from the first attempt to the head of the service's answer.", o.Buckets, labelService),
			retries:  counter("goapi_upstream_retries_total", "Further attempts at requests.", labelService),
			cut:      counter("goapi_requests_cut_total", "Requests whose answer broke off: by the client, who went away, or by the service or the gateway.", labelService, "by"),
		},
	}
	q.series = newSeriesTable(o.MaxRoutes, o.Forget, q)
	return q
}

// vecs returns what q is made of.
func (q *requests) vecs() []prometheus.Collector {
	return []prometheus.Collector{
		q.inFlight, q.total, q.duration, q.errors,
		q.services.in, q.services.out, q.services.upstream, q.services.retries, q.services.cut,
	}
}

// Describe implements prometheus.Collector.
func (q *requests) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range q.vecs() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector. It forgets what nobody announces, for
// there is no better time.
func (q *requests) Collect(ch chan<- prometheus.Metric) {
	q.series.sweep(time.Now())
	for _, c := range q.vecs() {
		c.Collect(ch)
	}
}

// Middleware returns next, with its requests counted.
func (m *Metrics) Middleware(next http.Handler) http.Handler {
	q := m.requests
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := goapi.ExchangeFrom(r.Context())
		if ex == nil {
			w, r, ex = goapi.NewExchange(w, r)
		}
		method := r.Method // what is below may rewrite it
		var body *countedBody
		if r.ContentLength < 0 && r.Body != nil {
			body = &countedBody{ReadCloser: r.Body}
			r.Body = body
		}
		q.inFlight.Inc()
		cut := true
		defer func() {
			q.inFlight.Dec()
			q.end(ex, w.Header(), r, &ended{method: method, body: body, cut: cut})
		}()
		next.ServeHTTP(w, r)
		cut = false
	})
}

// ended is what a request was.
type ended struct {
	method string
	body   *countedBody // nil if its length is known
	cut    bool
}

// end counts a request that has ended.
func (q *requests) end(ex *goapi.Exchange, answer http.Header, r *http.Request, e *ended) {
	status := ex.Status
	if status == 0 && !e.cut {
		status = http.StatusOK // which net/http answers for a handler that wrote nothing
	}
	s := q.series.of(ex.Route)
	s.counter(methodIndex(e.method), q.codes.of(status)).Inc()
	if !isStream(ex, answer, status) {
		observe(s.duration, time.Since(ex.Began).Seconds(), r.Header)
	}
	in := r.ContentLength
	if e.body != nil {
		in = e.body.n.Load()
	}
	svc := s.service
	svc.in.Observe(float64(in))
	svc.out.Observe(float64(ex.Written))
	if ex.Upstream > 0 {
		observe(svc.upstream, ex.Upstream.Seconds(), r.Header)
	}
	if ex.Attempts > 1 {
		svc.retries.Add(float64(ex.Attempts - 1))
	}
	why := ""
	if ex.Err != nil {
		why = reason(ex)
		q.errors.WithLabelValues(svc.name, why).Inc()
	}
	switch {
	case e.cut && (why == reasonGone || r.Context().Err() != nil):
		svc.cutByClient.Inc()
	case e.cut:
		svc.cut.Inc()
	}
}

// isStream says that the answer ends when somebody likes.
func isStream(ex *goapi.Exchange, answer http.Header, status int) bool {
	if status == http.StatusSwitchingProtocols || ex.Route != nil && ex.Route.Endpoint.Stream {
		return true
	}
	kind := answer["Content-Type"]
	return len(kind) > 0 && strings.HasPrefix(kind[0], "text/event-stream")
}

// observe observes a duration, with the trace of a request that is recorded.
func observe(o prometheus.Observer, seconds float64, h http.Header) {
	trace := h["Traceparent"]
	if len(trace) != 1 || len(trace[0]) != 55 || trace[0][54]&1 == 0 {
		o.Observe(seconds)
		return
	}
	id := trace[0][3:35]
	with, ok := o.(prometheus.ExemplarObserver)
	if !ok || strings.Trim(id, "0123456789abcdef") != "" {
		o.Observe(seconds)
		return
	}
	with.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": id})
}

// countedBody counts what is read of a body, also by those who read on when the
// request has ended.
type countedBody struct {
	io.ReadCloser

	n atomic.Int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
