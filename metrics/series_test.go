package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/upstream"
)

// Nothing is lost when many requests begin at once, also on routes that nobody
// has seen, and while somebody asks.
func TestRequestsAtATime(t *testing.T) {
	const workers, each = 8, 500
	m := metrics.New(nil)
	routes := make([]*goapi.Route, 20)
	for i := range routes {
		routes[i] = route("s"+strconv.Itoa(i%5), "/"+strconv.Itoa(i))
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				get(m, routes[(w+i)%len(routes)])
			}
		})
	}
	for range 5 {
		scrape(t, m)
	}
	all.Wait()
	got := scrape(t, m)
	if n := sum(got, "goapi_requests_total"); n != workers*each {
		t.Errorf("requests = %v, want %d", n, workers*each)
	}
	if n := got["goapi_requests_in_flight"]; n != 0 {
		t.Errorf("in flight = %v, want 0", n)
	}
}

// A route that was forgotten while a request was under way counts on.
func TestForgetWhileARequestRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New(&metrics.Options{Forget: time.Minute})
		rt := route("a", "/a")
		get(m, rt)
		h := m.Middleware(serve(func(_ http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) {
			ex.Route = rt
			for range 20 {
				time.Sleep(time.Minute)
				scrape(t, m)
			}
		}))
		h.ServeHTTP(httptest.NewRecorder(), get1("/"))
		got := scrape(t, m)
		if n := got[`goapi_requests_total{code="200",handler="rpc",method="GET",route="/a",service="a"}`]; n != 1 {
			t.Errorf("requests = %v, want the one that ended since", n)
		}
		if n := got[`goapi_request_duration_seconds_sum{handler="rpc",route="/a",service="a"}`]; n != 1200 {
			t.Errorf("durations = %v s, want 20 min", n)
		}
	})
}

// Whatever services announce and clients send, what is exposed can be read, and
// its labels are bounded.
func FuzzLabels(f *testing.F) {
	f.Add("greeter", "/hello/{name}", "Greeter.Hello", "rpc", "GET", 200, true)
	f.Add("\xff", "", "\n\"\\", "\x00", "\xff", -1, false)
	f.Add(strings.Repeat("é", 300), "^/a{1,3}$", "", "", "BREW", 999, false)
	nodes := upstream.Static("127.0.0.1:1")
	f.Fuzz(func(t *testing.T, service, pattern, endpoint, handler, method string, status int, announced bool) {
		m := metrics.New(nil)
		e := &goapi.Endpoint{Name: endpoint, Handler: handler}
		if announced {
			e.Metadata = map[string]string{}
		}
		rt := &goapi.Route{Service: service, Pattern: pattern, Endpoint: e, Upstream: nodes}
		for range 2 {
			h := m.Middleware(serve(func(_ http.ResponseWriter, _ *http.Request, ex *goapi.Exchange) {
				ex.Route, ex.Status, ex.Attempts = rt, status, 2
				ex.Err = goapi.NewError(status, "", nil)
			}))
			r := get1("/")
			r.Method = method
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		m.Ejected(service, upstream.Slow)
		got := scrape(t, m)
		if n := sum(got, "goapi_requests_total"); n != 2 {
			t.Errorf("requests = %v, want 2: %v", n, only(got, "goapi_requests_total"))
		}
		for series := range only(got, "goapi_requests_total") {
			if len(series) > 4000 {
				t.Errorf("a series has a name of %d bytes", len(series))
			}
		}
	})
}
