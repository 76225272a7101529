package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/ratelimit"
)

func TestRateKey(t *testing.T) {
	ada := &goapi.Identity{Subject: "ada", Method: "jwt", Claims: map[string]any{
		"tenant": "one", "level": 3.5, "beta": true, "groups": []any{"a", "b"}, "none": nil,
	}}
	tests := []struct {
		name, spec string
		client     string
		identity   *goapi.Identity
		header     http.Header
		want       string
	}{
		{"IPv4", "client", "198.51.100.7", nil, nil, "198.51.100.7"},
		{"IPv6", "client", "2001:db8:1:2:3:4:5:6", nil, nil, "2001:db8:1:2::"},
		{"IPv6 of the same network", "client", "2001:db8:1:2::9", nil, nil, "2001:db8:1:2::"},
		{"IPv4 as IPv6", "client", "::ffff:198.51.100.7", nil, nil, "198.51.100.7"},
		{"nobody looked", "client", "", nil, nil, "192.0.2.1"},
		{"a subject", "subject", "", ada, nil, "jwt ada"},
		{"nobody", "subject", "", nil, nil, ""},
		{"no name", "subject", "", &goapi.Identity{Method: "jwt"}, nil, ""},
		{"a claim", "claim:tenant", "", ada, nil, "one"},
		{"a number", "claim:level", "", ada, nil, "3.5"},
		{"a truth", "claim:beta", "", ada, nil, "true"},
		{"a list", "claim:groups", "", ada, nil, "[a b]"},
		{"a claim of nothing", "claim:none", "", ada, nil, ""},
		{"no claim", "claim:other", "", ada, nil, ""},
		{"a claim of nobody", "claim:tenant", "", nil, nil, ""},
		{"a header", "header:x-api-key", "", nil, http.Header{"X-Api-Key": {"k"}}, "k"},
		{"no header", "header:X-Api-Key", "", nil, nil, ""},
		{"a route", "route", "", nil, nil, "greeter Greeter.Hello"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := middleware.RateKey(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			r, ex := withExchange(httptest.NewRequest("GET", "/", nil))
			if tt.client != "" {
				ex.Client = netip.MustParseAddr(tt.client)
			}
			ex.Identity = tt.identity
			ex.Route = &goapi.Route{Service: "greeter", Endpoint: &goapi.Endpoint{Name: "Greeter.Hello"}}
			if tt.header != nil {
				r.Header = tt.header
			}
			if got := key(r); got != tt.want {
				t.Errorf("key = %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("outside of everything", func(t *testing.T) {
		for spec, want := range map[string]string{"client": "-", "subject": "", "claim:a": "", "route": ""} {
			key, err := middleware.RateKey(spec)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = "@"
			if got := key(r); got != want {
				t.Errorf("%s: key = %q, want %q", spec, got, want)
			}
		}
	})
}

// TestRateKeyHost: nobody gets around a limit by writing the host in another way.
func TestRateKeyHost(t *testing.T) {
	for _, spec := range []string{"header:Host", "header:host"} {
		key, err := middleware.RateKey(spec)
		if err != nil {
			t.Fatal(err)
		}
		for host, want := range map[string]string{
			"api.example.com": "api.example.com", "API.example.com:8080": "api.example.com", "api.example.com.:80": "api.example.com",
			"[2001:DB8::1]": "[2001:db8::1]", "[2001:db8::1]:80": "[2001:db8::1]", "": "",
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Host = host
			if got := key(r); got != want {
				t.Errorf("%s: key of %q = %q, want %q", spec, host, got, want)
			}
		}
	}
}

func TestRateKeyErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"":               `unknown key ""; known: client, subject, claim:NAME, header:NAME, route`,
		"ip":             `unknown key "ip"`,
		"client:1":       `unknown key "client:1"`,
		"claim":          `unknown key "claim"`,
		"claim:":         `unknown key "claim:"`,
		"header:":        "write header:NAME",
		"header:X A":     `"X A" is no name of a header`,
		"header: X-A":    "is no name of a header",
		"header":         `unknown key "header"`,
		"route:greeter":  "known: client",
		"subject\nroute": "unknown key",
	} {
		_, err := middleware.RateKey(spec)
		checkOneLine(t, err, want)
	}
}

// TestRateLimit: what clients are told, over a minute.
func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.NewMemory(ratelimit.Rate{Requests: 30, Per: time.Minute, Burst: 2}, nil)
		h := mustLimit(t, "client", limiter, "header:X-Key", text("served"))
		tests := []struct {
			after  time.Duration
			key    string
			status int
			left   string // RateLimit
			retry  string // Retry-After
		}{
			{0, "a", 200, `"client";r=1;t=2`, ""},
			{0, "a", 200, `"client";r=0;t=4`, ""},
			{0, "a", 429, `"client";r=0;t=2`, "2"},
			{1500 * time.Millisecond, "a", 429, `"client";r=0;t=1`, "1"},
			{0, "b", 200, `"client";r=1;t=2`, ""},
			{500 * time.Millisecond, "a", 200, `"client";r=0;t=4`, ""},
			{time.Minute, "a", 200, `"client";r=1;t=2`, ""},
			{0, "", 200, "", ""},
		}
		for i, tt := range tests {
			time.Sleep(tt.after) // the clock is fake
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Key", tt.key)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := w.Header().Get("Ratelimit"); w.Code != tt.status || got != tt.left || w.Header().Get("Retry-After") != tt.retry {
				t.Errorf("request %d: %d, RateLimit: %s, Retry-After: %s; want %d, %s, %s", i, w.Code, got, w.Header().Get("Retry-After"), tt.status, tt.left, tt.retry)
			}
			policy := `"client";q=30;w=60`
			if tt.key == "" {
				policy = ""
			}
			if got := w.Header().Get("Ratelimit-Policy"); got != policy {
				t.Errorf("request %d: RateLimit-Policy = %s, want %s", i, got, policy)
			}
			if served := w.Body.String() == "served"; served != (tt.status == 200) {
				t.Errorf("request %d: body = %s", i, w.Body)
			}
			if tt.status == 429 && !strings.Contains(w.Body.String(), "too many requests: try again in "+tt.retry+" s") {
				t.Errorf("request %d: body = %s, want what to do", i, w.Body)
			}
		}
	})
}

// TestRateLimitPolicy: a policy is in whole seconds, whatever the rate.
func TestRateLimitPolicy(t *testing.T) {
	for want, rate := range map[string]ratelimit.Rate{
		`"l";q=5;w=1`:     {Requests: 5},
		`"l";q=100;w=60`:  {Requests: 100, Per: time.Minute, Burst: 10},
		`"l";q=50;w=1`:    {Requests: 5, Per: 100 * time.Millisecond},
		`"l";q=4;w=2`:     {Requests: 3, Per: 1500 * time.Millisecond},
		`"l";q=1;w=2`:     {Requests: 1, Per: 1999 * time.Millisecond},
		`"l";q=1;w=86400`: {Requests: 1, Per: 24 * time.Hour},
	} {
		w := httptest.NewRecorder()
		mustLimit(t, "l", ratelimit.NewMemory(rate, nil), "client", text("")).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Get("Ratelimit-Policy"); got != want {
			t.Errorf("%+v: RateLimit-Policy = %s, want %s", rate, got, want)
		}
	}
}

// TestRateLimitsAddUp: each limit of a route is told, and a service's own.
func TestRateLimitsAddUp(t *testing.T) {
	service := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Ratelimit", `"service";r=1;t=1`)
	})
	second := ratelimit.NewMemory(ratelimit.Rate{Requests: 5, Per: time.Hour}, nil)
	minute := ratelimit.NewMemory(ratelimit.Rate{Requests: 3, Per: time.Minute}, nil)
	h := mustLimit(t, "hour", second, "client", mustLimit(t, "minute", minute, "client", service))
	var w *httptest.ResponseRecorder
	for _, want := range []string{
		`200 "hour";r=4;t=720|"minute";r=2;t=20|"service";r=1;t=1`,
		`200 "hour";r=3;t=1440|"minute";r=1;t=40|"service";r=1;t=1`,
		`200 "hour";r=2;t=2160|"minute";r=0;t=60|"service";r=1;t=1`,
		`429 "hour";r=1;t=2880|"minute";r=0;t=20`,
	} {
		w = httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := fmt.Sprint(w.Code, " ", strings.Join(w.Header()["Ratelimit"], "|")); got != want {
			t.Errorf("answer = %s, want %s", got, want)
		}
	}
	if got, want := strings.Join(w.Header()["Ratelimit-Policy"], "|"), `"hour";q=5;w=3600|"minute";q=3;w=60`; got != want {
		t.Errorf("RateLimit-Policy = %s, want %s", got, want)
	}
}

// TestRateLimitOfRealClients: two clients behind a trusted proxy are two.
func TestRateLimitOfRealClients(t *testing.T) {
	limiter := ratelimit.NewMemory(ratelimit.Rate{Requests: 1, Per: time.Hour}, nil)
	h := middleware.Client(prefixes("127.0.0.0/8"))(mustLimit(t, "client", limiter, "client", text("served")))
	s := httptest.NewServer(h)
	defer s.Close()
	for _, tt := range []struct {
		client string
		want   int
	}{{"198.51.100.7", 200}, {"198.51.100.8", 200}, {"198.51.100.7", 429}, {"198.51.100.8, 127.0.0.5", 429}, {"2001:db8::1", 200}, {"2001:db8::2", 429}} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", tt.client)
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s: status = %d, want %d", tt.client, resp.StatusCode, tt.want)
		}
		if resp.StatusCode == 429 && (resp.Header.Get("Retry-After") == "" || resp.Header.Get("Ratelimit") == "") {
			t.Errorf("header = %v, want Retry-After and RateLimit", resp.Header)
		}
	}
}

func TestRateLimitErrors(t *testing.T) {
	good, err := middleware.RateKey("client")
	if err != nil {
		t.Fatal(err)
	}
	limiter := ratelimit.NewMemory(ratelimit.Rate{Requests: 1}, nil)
	tests := []struct {
		name    string
		policy  string
		limiter ratelimit.Limiter
		key     func(*http.Request) string
		want    string
	}{
		{"good", "per client", limiter, good, ""},
		{"no name", "", limiter, good, "write 1 to 64 letters"},
		{"a quote", `a"b`, limiter, good, "cannot be told to clients"},
		{"two lines", "a\nb", limiter, good, "cannot be told to clients"},
		{"others' letters", "für", limiter, good, "cannot be told to clients"},
		{"a long name", strings.Repeat("n", 65), limiter, good, "cannot be told to clients"},
		{"no limiter", "a", nil, good, "needs a limiter and a key"},
		{"no key", "a", limiter, nil, "needs a limiter and a key"},
		{"no rate", "a", ratelimit.NewMemory(ratelimit.Rate{}, nil), good, "a: ratelimit: 0 requests are no rate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.RateLimit(tt.policy, tt.limiter, tt.key)
			checkOneLine(t, err, tt.want)
		})
	}
}

func ExampleRateLimit() {
	key, err := middleware.RateKey("client")
	if err != nil {
		fmt.Println(err)
		return
	}
	limit, err := middleware.RateLimit("client", ratelimit.NewMemory(ratelimit.Rate{Requests: 1, Per: time.Minute}, nil), key)
	if err != nil {
		fmt.Println(err)
		return
	}
	h := limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		fmt.Println(w.Code, w.Header().Get("Ratelimit"))
	}
	// Output:
	// 200 "client";r=0;t=60
	// 429 "client";r=0;t=60
}

func BenchmarkRateLimit(b *testing.B) {
	for _, bb := range []struct {
		name, spec string
		rate       ratelimit.Rate
	}{
		{"client", "client", ratelimit.Rate{Requests: 1e9, Burst: 100}},
		{"header", "header:X-Key", ratelimit.Rate{Requests: 1e9, Burst: 100}},
		{"what is left is always new", "header:X-Key", ratelimit.Rate{Requests: 1e9, Per: time.Hour}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Key", "0123456789abcdef")
			serveMany(b, mustLimit(b, "l", ratelimit.NewMemory(bb.rate, nil), bb.spec, nothing()), r)
		})
	}
	b.Run("refused", func(b *testing.B) {
		serveMany(b, mustLimit(b, "l", ratelimit.NewMemory(ratelimit.Rate{Requests: 1, Per: time.Hour}, nil), "client", nothing()), httptest.NewRequest("GET", "/", nil))
	})
}

func mustLimit(t testing.TB, name string, l ratelimit.Limiter, spec string, next http.Handler) http.Handler {
	t.Helper()
	key, err := middleware.RateKey(spec)
	if err != nil {
		t.Fatal(err)
	}
	limit, err := middleware.RateLimit(name, l, key)
	if err != nil {
		t.Fatal(err)
	}
	return limit(next)
}
