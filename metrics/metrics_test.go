package metrics_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestRequests(t *testing.T) {
	m := metrics.New(nil)
	rt := route("greeter", "/hello/{name}")
	h := m.Middleware(serve(func(w http.ResponseWriter, r *http.Request, ex *goapi.Exchange) {
		ex.Route, ex.Node, ex.Attempts, ex.Upstream = rt, "greeter-1", 3, 20*time.Millisecond
		if got := scrape(t, m)["goapi_requests_in_flight"]; got != 1 {
			t.Errorf("in flight = %v, want 1", got)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Method = "REWRITTEN"
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/hello/you", strings.NewReader("hello")))
	chunked := httptest.NewRequest(http.MethodPost, "/hello/you", io.MultiReader(strings.NewReader("of no length")))
	h.ServeHTTP(httptest.NewRecorder(), chunked)

	const labels = `{handler="rpc",route="/hello/{name}",service="greeter"`
	got := scrape(t, m)
	for series, want := range map[string]float64{
		`goapi_requests_total{code="201",handler="rpc",method="POST",route="/hello/{name}",service="greeter"}`: 2,
		`goapi_request_duration_seconds_count` + labels + `}`:                                                  2,
		`goapi_request_body_bytes_sum{service="greeter"}`:                                                      5 + 12,
		`goapi_response_body_bytes_sum{service="greeter"}`:                                                     2000,
		`goapi_response_body_bytes_bucket{service="greeter",le="256"}`:                                         0,
		`goapi_upstream_duration_seconds_sum{service="greeter"}`:                                               0.04,
		`goapi_upstream_retries_total{service="greeter"}`:                                                      4,
		`goapi_requests_cut_total{by="server",service="greeter"}`:                                              0,
		`goapi_requests_in_flight`:                                                                             0,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
}

func TestRouteLabels(t *testing.T) {
	nodes := upstream.Static("127.0.0.1:1")
	tests := []struct {
		name  string
		route *goapi.Route
		want  string
	}{
		{"none", nil, `handler="",route="(none)",service=""`},
		{"announced", route("a", "/x/{id}"), `handler="rpc",route="/x/{id}",service="a"`},
		{"a method that is announced", &goapi.Route{Service: "a", Endpoint: &goapi.Endpoint{Name: "A.B", Handler: "rpc", Metadata: map[string]string{}}}, `handler="rpc",route="A.B",service="a"`},
		{"a method that is not", &goapi.Route{Service: "a", Endpoint: &goapi.Endpoint{Name: "A.C", Handler: "rpc"}, Upstream: nodes}, `handler="rpc",route="(resolved)",service="a"`},
		{"by another handler", &goapi.Route{Service: "a", Endpoint: &goapi.Endpoint{Name: "A.C", Handler: "api"}, Upstream: nodes}, `handler="api",route="(resolved)",service="a"`},
		{"not UTF-8", route("a", "/\xff"), `handler="rpc",route="/?",service="a"`},
		{"long", route("a", "/"+strings.Repeat("x", 300)), `handler="rpc",route="/` + strings.Repeat("x", 199) + `…",service="a"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := metrics.New(nil)
			h := m.Middleware(serve(func(_ http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) { ex.Route = tt.route }))
			for range 3 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}
			got := scrape(t, m)
			if n := got[`goapi_request_duration_seconds_count{`+tt.want+`}`]; n != 3 {
				t.Errorf("series = %v, want 3 of %s", only(got, "goapi_request_duration_seconds_count"), tt.want)
			}
		})
	}
}

// One set of nodes may be behind two handlers.
func TestResolvedRoutesOfTwoHandlers(t *testing.T) {
	m := metrics.New(nil)
	nodes := upstream.Static("127.0.0.1:1")
	for _, handler := range []string{"rpc", "api", "rpc"} {
		get(m, &goapi.Route{Service: "a", Endpoint: &goapi.Endpoint{Name: "A.B", Handler: handler}, Upstream: nodes})
	}
	got := scrape(t, m)
	if rpc, api := got[`goapi_request_duration_seconds_count{handler="rpc",route="(resolved)",service="a"}`],
		got[`goapi_request_duration_seconds_count{handler="api",route="(resolved)",service="a"}`]; rpc != 2 || api != 1 {
		t.Errorf("rpc %v, api %v; want 2 and 1", rpc, api)
	}
}

func TestErrors(t *testing.T) {
	routed := route("a", "/a")
	retry := goapi.NewError(503, "", nil)
	retry.Header = http.Header{"Retry-After": {"1"}}
	often := goapi.NewError(429, "", nil)
	often.Header = retry.Header
	tests := []struct {
		reason string
		route  *goapi.Route
		err    error
	}{
		{"no_route", nil, goapi.ErrNoRoute},
		{"no_route", nil, goapi.NewError(405, "", nil)},
		{"service", routed, &goapi.Error{ID: "go.micro.greeter", Code: 500}},
		{"service_overloaded", routed, goapi.NewError(503, "", upstream.ErrOverloaded)},
		{"no_nodes", routed, goapi.NewError(503, "", upstream.ErrNoNodes)},
		{"shed", nil, retry},
		{"unavailable", routed, retry},
		{"unavailable", nil, goapi.NewError(503, "", nil)},
		{"unavailable", nil, registry.ErrUnavailable},
		{"unauthorized", routed, goapi.NewError(401, "", nil)},
		{"forbidden", routed, goapi.NewError(403, "", nil)},
		{"slow_client", routed, goapi.NewError(408, "", nil)},
		{"too_large", nil, goapi.NewError(413, "", nil)},
		{"too_large", nil, goapi.NewError(414, "", nil)},
		{"too_large", nil, goapi.NewError(431, "", nil)},
		{"rate_limited", routed, goapi.NewError(429, "", nil)},
		{"rate_limited", nil, often},
		{"client_gone", routed, goapi.NewError(499, "", nil)},
		{"bad_gateway", routed, &upstream.NodeError{Service: "a", Err: io.EOF}},
		{"timeout", routed, &upstream.NodeError{Service: "a", Timeout: true, Err: io.EOF}},
		{"failed", routed, errors.New("a defect")},
		{"bad_request", routed, goapi.NewError(400, "", nil)},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			m := metrics.New(nil)
			h := m.Middleware(serve(func(w http.ResponseWriter, r *http.Request, ex *goapi.Exchange) {
				ex.Route = tt.route
				goapi.WriteError(w, r, tt.err)
			}))
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			got := only(scrape(t, m), "goapi_errors_total")
			service := ""
			if tt.route != nil {
				service = tt.route.Service
			}
			if len(got) != 1 || got[fmt.Sprintf(`goapi_errors_total{reason=%q,service=%q}`, tt.reason, service)] != 1 {
				t.Errorf("errors of %v = %v, want one: %s", tt.err, got, tt.reason)
			}
		})
	}
}

// A request that is cut is counted, and the panic goes on.
func TestCut(t *testing.T) {
	m := metrics.New(nil)
	for _, err := range []error{nil, goapi.NewError(502, "broke off", nil), goapi.NewError(499, "", nil)} {
		h := m.Middleware(serve(func(w http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) {
			ex.Route, ex.Err = route("a", "/a"), err
			if err != nil {
				w.WriteHeader(http.StatusOK)
			}
			panic(http.ErrAbortHandler)
		}))
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // it is passed on as it is
					t.Errorf("panic = %v, want that of the handler", got)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		}()
	}
	got := scrape(t, m)
	for series, want := range map[string]float64{
		`goapi_requests_total{code="none",handler="rpc",method="GET",route="/a",service="a"}`: 1,
		`goapi_requests_total{code="200",handler="rpc",method="GET",route="/a",service="a"}`:  2,
		`goapi_requests_cut_total{by="server",service="a"}`:                                   2,
		`goapi_requests_cut_total{by="client",service="a"}`:                                   1,
		`goapi_requests_in_flight`: 0,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
}

// What ends when somebody likes has no duration.
func TestStreams(t *testing.T) {
	tests := []struct {
		name  string
		serve func(http.ResponseWriter, *goapi.Route)
		want  float64
	}{
		{"a request", func(http.ResponseWriter, *goapi.Route) {}, 1},
		{"a WebSocket", func(w http.ResponseWriter, _ *goapi.Route) { w.WriteHeader(http.StatusSwitchingProtocols) }, 0},
		{"events", func(w http.ResponseWriter, _ *goapi.Route) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		}, 0},
		{"a stream", func(_ http.ResponseWriter, rt *goapi.Route) { rt.Endpoint.Stream = true }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := metrics.New(nil)
			rt := route("a", "/a")
			h := m.Middleware(serve(func(w http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) {
				ex.Route = rt
				tt.serve(w, rt)
			}))
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			got := scrape(t, m)
			if n := got[`goapi_request_duration_seconds_count{handler="rpc",route="/a",service="a"}`]; n != tt.want {
				t.Errorf("durations = %v, want %v", n, tt.want)
			}
			if n := sum(got, "goapi_requests_total"); n != 1 {
				t.Errorf("requests = %v, want 1", n)
			}
		})
	}
}

// The number of series is the same whatever clients send, and services answer.
func TestSeriesAreBounded(t *testing.T) {
	m := metrics.New(nil)
	announced := route("a", "/a/{path=**}")
	nodes := upstream.Static("127.0.0.1:1")
	status := 0
	var rt *goapi.Route
	h := m.Middleware(serve(func(w http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) {
		ex.Route = rt
		w.WriteHeader(status)
	}))
	request := func(i int) {
		r := httptest.NewRequest(http.MethodGet, "/a/"+strconv.Itoa(i), nil)
		r.Host = strconv.Itoa(i) + ".example.com"
		r.Method = []string{"GET", "POST", "M" + strconv.Itoa(i)}[i%3]
		r.Header.Set("X-"+strconv.Itoa(i), "1")
		status = 200 + i%800
		switch i % 4 {
		case 0:
			rt = nil
		case 1:
			rt = announced
		case 2: // a resolver's, of a method that the path names
			rt = &goapi.Route{Service: "b", Endpoint: &goapi.Endpoint{Name: "B." + strconv.Itoa(i), Handler: "rpc"}, Upstream: nodes}
		case 3:
			rt = announced.Under(nil)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for i := range 10_000 {
		request(i)
	}
	before := len(scrape(t, m))
	for i := range 10_000 {
		request(100_000 + i)
	}
	if after := len(scrape(t, m)); after != before {
		t.Errorf("%d series after 20,000 paths, hosts, methods and statuses, %d after 10,000", after, before)
	}
	if before > 1000 {
		t.Errorf("%d series of three routes", before)
	}
}

func TestMaxRoutes(t *testing.T) {
	m := metrics.New(&metrics.Options{MaxRoutes: 3})
	for i := range 10 {
		get(m, route("a", "/"+strconv.Itoa(i)))
	}
	get(m, nil)
	got := only(scrape(t, m), "goapi_request_duration_seconds_count")
	if len(got) != 5 || got[`goapi_request_duration_seconds_count{handler="",route="(other)",service=""}`] != 7 {
		t.Errorf("series = %v, want those of three routes, of none, and 7 of others", got)
	}
}

// Routes are made anew with each change; what is remembered of them is bounded,
// and nothing is lost by it.
func TestRoutesThatChange(t *testing.T) {
	m := metrics.New(&metrics.Options{MaxRoutes: 10})
	for range 1000 {
		get(m, route("a", "/a"))
	}
	if n := sum(scrape(t, m), "goapi_requests_total"); n != 1000 {
		t.Errorf("requests = %v, want 1000", n)
	}
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(&metrics.Options{Forget: 10 * time.Minute})
		gone, kept := route("gone", "/a"), route("kept", "/b")
		get(m, gone)
		m.Ejected("gone", upstream.Failing)
		for range 30 {
			get(m, kept)
			get(m, nil)
			scrape(t, m)
			time.Sleep(time.Minute)
		}
		got := scrape(t, m)
		for series := range got {
			if strings.Contains(series, `service="gone"`) {
				t.Errorf("%s is still there", series)
			}
		}
		if n := got[`goapi_requests_total{code="200",handler="rpc",method="GET",route="/b",service="kept"}`]; n != 30 {
			t.Errorf("requests of another service = %v, want 30", n)
		}
		get(m, gone) // is back
		if n := scrape(t, m)[`goapi_requests_total{code="200",handler="rpc",method="GET",route="/a",service="gone"}`]; n != 1 {
			t.Errorf("requests of a service that is back = %v, want 1", n)
		}
	})
}

func TestExemplars(t *testing.T) {
	tests := []struct {
		name, header string
		want         bool
	}{
		{"recorded", trace, true},
		{"not recorded", strings.TrimSuffix(trace, "1") + "0", false},
		{"malformed", strings.Replace(trace, "af", "ZZ", 1), false},
		{"none", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := metrics.New(nil)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tt.header != "" {
				r.Header.Set("Traceparent", tt.header)
			}
			m.Middleware(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
			ask := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			ask.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
			w := httptest.NewRecorder()
			m.Handler().ServeHTTP(w, ask)
			if got := strings.Contains(w.Body.String(), `trace_id="0af7651916cd43dd8448eb211c80319c"`); got != tt.want {
				t.Errorf("the trace is told: %t, want %t", got, tt.want)
			}
		})
	}
}

func TestLosses(t *testing.T) {
	m := metrics.New(&metrics.Options{
		Spans:   func() (sent, lost uint64) { return 7, 3 },
		LogLost: func() uint64 { return 5 },
		Version: "v1.2.3",

		Connections: func() (open, refused, floods int64) { return 9, 2, 1 },
	})
	got := scrape(t, m)
	if got[`goapi_trace_spans_total{outcome="sent"}`] != 7 || got[`goapi_trace_spans_total{outcome="lost"}`] != 3 || got["goapi_access_log_lost_total"] != 5 {
		t.Errorf("losses = %v and %v", only(got, "goapi_trace"), only(got, "goapi_access"))
	}
	if got["goapi_connections"] != 9 || got[`goapi_connections_closed_total{reason="limit"}`] != 2 || got[`goapi_connections_closed_total{reason="flood"}`] != 1 {
		t.Errorf("connections = %v, want 9 open, 2 refused, and 1 that flooded", only(got, "goapi_connections"))
	}
	if builds := only(got, "goapi_build_info"); len(builds) != 1 || !strings.Contains(fmt.Sprint(builds), `version="v1.2.3"`) {
		t.Errorf("build = %v, want v1.2.3", builds)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if got[name] == 0 {
			t.Errorf("%s = 0", name)
		}
	}
}

func TestNative(t *testing.T) {
	m := metrics.New(&metrics.Options{Native: true})
	get(m, nil)
	ask := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	ask.Header.Set("Accept", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, ask)
	if !strings.Contains(w.Body.String(), "positive_span") {
		t.Error("a server that asks for native histograms gets none")
	}
}

func BenchmarkMiddleware(b *testing.B) {
	routes := map[string]*goapi.Route{
		"announced": route("greeter", "/hello/{name}"),
		"resolved":  {Service: "greeter", Endpoint: &goapi.Endpoint{Name: "A.B", Handler: "rpc"}, Upstream: upstream.Static("127.0.0.1:1")},
	}
	for name, rt := range routes {
		b.Run(name, func(b *testing.B) {
			m := metrics.New(nil)
			h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
			w, r, ex := goapi.NewExchange(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/hello/you", nil))
			ex.Route, ex.Attempts, ex.Upstream = rt, 1, time.Millisecond
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

// route returns an announced route.
func route(service, pattern string) *goapi.Route {
	return &goapi.Route{Service: service, Pattern: pattern, Endpoint: &goapi.Endpoint{Name: "A.B", Handler: "rpc"}}
}

// serve returns a handler that knows the exchange.
func serve(f func(http.ResponseWriter, *http.Request, *goapi.Exchange)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, goapi.ExchangeFrom(r.Context())) })
}

// get lets a request for a route pass.
func get(m *metrics.Metrics, rt *goapi.Route) {
	h := m.Middleware(serve(func(_ http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) { ex.Route = rt }))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

// scrape returns every series, as the text format names it, and its value.
func scrape(t *testing.T, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("metrics answer %d: %s", w.Code, w.Body)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[line[:cut]] = v
	}
	return all
}

// only returns the series of a metric.
func only(all map[string]float64, name string) map[string]float64 {
	some := make(map[string]float64)
	for series, v := range all {
		if strings.HasPrefix(series, name+"{") || series == name || strings.HasPrefix(series, name+"_") {
			some[series] = v
		}
	}
	return some
}

// sum returns the sum of the series of a metric.
func sum(all map[string]float64, name string) float64 {
	n := 0.0
	for _, v := range only(all, name) {
		n += v
	}
	return n
}

// get1 returns a request.
func get1(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }

// discard is a ResponseWriter for an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return len(p), nil }
