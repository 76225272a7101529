package middleware_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/upstream"
)

func TestCORSOrigins(t *testing.T) {
	const app, label = "https://app.example.com", "https://*.example.com"
	tests := []struct {
		name    string
		allowed []string
		origin  []string
		want    string
	}{
		{"listed", []string{"https://other.example", app}, []string{app}, app},
		{"not listed", []string{app}, []string{"https://evil.example"}, ""},
		{"no origin", []string{app}, nil, ""},
		{"empty", []string{app}, []string{""}, ""},
		{"another scheme", []string{app}, []string{"http://app.example.com"}, ""},
		{"another port", []string{app}, []string{app + ":8443"}, ""},
		{"more", []string{app}, []string{app + ".evil.example"}, ""},
		{"less", []string{app}, []string{"https://pp.example.com"}, ""},
		{"in capitals", []string{app}, []string{"https://APP.example.com"}, ""},
		{"a path", []string{app}, []string{app + "/"}, ""},
		{"two", []string{app}, []string{app, app}, ""},
		{"two in one line", []string{app}, []string{app + ", " + app}, ""},
		{"null", []string{app}, []string{"null"}, ""},
		{"any", []string{"*"}, []string{"https://evil.example"}, "*"},
		{"any, for null", []string{"*"}, []string{"null"}, "*"},
		{"any, for no origin", []string{"*"}, nil, ""},
		{"a label", []string{label}, []string{app}, app},
		{"a label with a port", []string{label + ":8443"}, []string{app + ":8443"}, app + ":8443"},
		{"a port beside a label", []string{label}, []string{app + ":8443"}, ""},
		{"two labels", []string{label}, []string{"https://a.b.example.com"}, ""},
		{"no label", []string{label}, []string{"https://example.com"}, ""},
		{"an empty label", []string{label}, []string{"https://.example.com"}, ""},
		{"a label that is a host", []string{label}, []string{"https://evil.example/.example.com"}, ""},
		{"a label that is a user", []string{label}, []string{"https://evil.example:80@x.example.com"}, ""},
		{"a label with another scheme", []string{label}, []string{"http://app.example.com"}, ""},
		{"a domain with the same end", []string{label}, []string{"https://evilexample.com"}, ""},
		{"a scheme of its own", []string{"capacitor://localhost"}, []string{"capacitor://localhost"}, "capacitor://localhost"},
		{"IPv6", []string{"http://[::1]:3000"}, []string{"http://[::1]:3000"}, "http://[::1]:3000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustCORS(t, &middleware.CORSOptions{Origins: tt.allowed}, text("served"))
			for _, method := range []string{"GET", "OPTIONS"} {
				r := httptest.NewRequest(method, "/", nil)
				if r.Header["Origin"] = tt.origin; tt.origin == nil {
					delete(r.Header, "Origin")
				}
				if method == "OPTIONS" {
					r.Header.Set("Access-Control-Request-Method", "PUT")
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if got := strings.Join(w.Header()["Access-Control-Allow-Origin"], "|"); got != tt.want {
					t.Errorf("%s: Access-Control-Allow-Origin = %q, want %q", method, got, tt.want)
				}
				if !strings.Contains(strings.Join(w.Header()["Vary"], ","), "Origin") {
					t.Errorf("%s: Vary = %q, want Origin in it", method, w.Header()["Vary"])
				}
				if tt.want == "" && tt.origin != nil {
					for name := range w.Header() {
						if strings.HasPrefix(name, "Access-Control-") {
							t.Errorf("%s: %s is told to an origin that is not allowed", method, name)
						}
					}
				}
			}
		})
	}
}

func TestCORSPreflight(t *testing.T) {
	const origin = "https://app.example.com"
	type header = map[string]string
	base := middleware.CORSOptions{Origins: []string{origin}}
	with := func(change func(*middleware.CORSOptions)) *middleware.CORSOptions {
		o := base
		change(&o)
		return &o
	}
	tests := []struct {
		name  string
		opts  *middleware.CORSOptions
		asked header
		want  header // Access-Control-…
	}{
		{"by default", &base, header{"Method": "DELETE", "Headers": "content-type,x-a"}, header{
			"Allow-Origin": origin, "Allow-Methods": "DELETE", "Allow-Headers": "Content-Type", "Max-Age": "600",
		}},
		{"a method that is listed", with(func(o *middleware.CORSOptions) { o.Methods = []string{"GET", "PUT"} }), header{"Method": "PUT"}, header{
			"Allow-Origin": origin, "Allow-Methods": "PUT", "Allow-Headers": "Content-Type", "Max-Age": "600",
		}},
		{"a method that is not", with(func(o *middleware.CORSOptions) { o.Methods = []string{"GET"} }), header{"Method": "PUT"}, nil},
		{"a method in another case", with(func(o *middleware.CORSOptions) { o.Methods = []string{"GET"} }), header{"Method": "get"}, nil},
		{"no method", &base, header{"Method": ""}, nil},
		{"what is no method", &base, header{"Method": "GET, PUT"}, nil},
		{"any method", with(func(o *middleware.CORSOptions) { o.Methods = []string{"*"} }), header{"Method": "PURGE"}, header{
			"Allow-Origin": origin, "Allow-Methods": "PURGE", "Allow-Headers": "Content-Type", "Max-Age": "600",
		}},
		{"listed headers", with(func(o *middleware.CORSOptions) { o.Headers = []string{"Authorization", "X-A"} }), header{"Method": "GET", "Headers": "x-b"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Allow-Headers": "Authorization, X-A", "Max-Age": "600",
		}},
		{"no headers", with(func(o *middleware.CORSOptions) { o.Headers = []string{} }), header{"Method": "GET", "Headers": "x-b"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Max-Age": "600",
		}},
		{"any header", with(func(o *middleware.CORSOptions) { o.Headers = []string{"*"} }), header{"Method": "GET", "Headers": "authorization, x-b"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Allow-Headers": "authorization, x-b", "Max-Age": "600",
		}},
		{"any header but those that are none", with(func(o *middleware.CORSOptions) { o.Headers = []string{"*"} }), header{"Method": "GET", "Headers": "x-b, a b"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Max-Age": "600",
		}},
		{"any header but not as many", with(func(o *middleware.CORSOptions) { o.Headers = []string{"*"} }), header{"Method": "GET", "Headers": strings.Repeat("x", 5000)}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Max-Age": "600",
		}},
		{"credentials, for a minute", with(func(o *middleware.CORSOptions) { o.Credentials, o.MaxAge = true, time.Minute }), header{"Method": "GET"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Allow-Headers": "Content-Type", "Max-Age": "60", "Allow-Credentials": "true",
		}},
		{"not remembered", with(func(o *middleware.CORSOptions) { o.MaxAge = 1 }), header{"Method": "GET"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Allow-Headers": "Content-Type", "Max-Age": "0",
		}},
		{"from the public network", &base, header{"Method": "GET", "Private-Network": "true"}, nil},
		{"from the public network, where it may", with(func(o *middleware.CORSOptions) { o.PrivateNetwork = true }), header{"Method": "GET", "Private-Network": "true"}, header{
			"Allow-Origin": origin, "Allow-Methods": "GET", "Allow-Headers": "Content-Type", "Max-Age": "600", "Allow-Private-Network": "true",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := mustCORS(t, tt.opts, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("a preflight reached the service")
			}))
			r := httptest.NewRequest("OPTIONS", "/", nil)
			r.Header.Set("Origin", origin)
			for name, value := range tt.asked {
				r.Header.Set("Access-Control-Request-"+name, value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 204 || w.Body.Len() > 0 {
				t.Errorf("answer = %d %q, want 204 without a body", w.Code, w.Body)
			}
			got := map[string]string{}
			for name := range w.Header() {
				if name, ok := strings.CutPrefix(name, "Access-Control-"); ok {
					got[name] = strings.Join(w.Header()["Access-Control-"+name], "|")
				}
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("answer = %v, want %v", got, tt.want)
			}
			want := "Origin,Access-Control-Request-Method,Access-Control-Request-Headers,Access-Control-Request-Private-Network"
			if vary := strings.Join(w.Header()["Vary"], ","); vary != want {
				t.Errorf("Vary = %q, want %q", vary, want)
			}
		})
	}
}

// TestCORSNoPreflight: OPTIONS of programs other than browsers is the service's.
func TestCORSNoPreflight(t *testing.T) {
	h := mustCORS(t, &middleware.CORSOptions{Origins: []string{"*"}}, text("served"))
	for name, header := range map[string]http.Header{
		"plain":          {},
		"with an origin": {"Origin": {"https://app.example.com"}},
		"with a method":  {"Access-Control-Request-Method": {"GET"}},
	} {
		r := httptest.NewRequest("OPTIONS", "/", nil)
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.String() != "served" {
			t.Errorf("%s: answer = %d %q, want the service's", name, w.Code, w.Body)
		}
	}
}

func TestCORSErrors(t *testing.T) {
	tests := []struct {
		name string
		opts *middleware.CORSOptions
		want string
	}{
		{"nil", nil, "no origins"},
		{"no origins", &middleware.CORSOptions{}, "no origins: write those"},
		{"any with credentials", &middleware.CORSOptions{Origins: []string{"*"}, Credentials: true}, "does not go with credentials: name the origins"},
		{"null", origins("null"), "a sandbox"},
		{"a host", origins("app.example.com"), "write scheme://host"},
		{"a scheme", origins("https://"), "write scheme://host"},
		{"a path", origins("https://app.example.com/"), "without anything after it"},
		{"a query", origins("https://app.example.com?"), "without anything after it"},
		{"a user", origins("https://me@app.example.com"), "without anything after it"},
		{"capitals", origins("https://App.example.com"), "write it in lower case"},
		{"a port that is the default", origins("https://app.example.com:443"), "leave the port out"},
		{"a port that is the default of http", origins("http://app.example.com:80"), "leave the port out"},
		{"a port that is none", origins("https://app.example.com:"), "leave the port out"},
		{"letters of others", origins("https://müller.example"), "write the host in ASCII"},
		{"a star in a label", origins("https://app*.example.com"), "* in the wrong place"},
		{"a star at the end", origins("https://example.*"), "* in the wrong place"},
		{"a star for a domain", origins("https://*.com"), "* in the wrong place"},
		{"a star for a host", origins("https://*"), "* in the wrong place"},
		{"two stars", origins("https://*.*.example.com"), "write scheme://host"},
		{"no URL", origins("https://a b"), "write scheme://host"},
		{"a method", &middleware.CORSOptions{Origins: []string{"*"}, Methods: []string{"GET,PUT"}}, `"GET,PUT" is no name of a method`},
		{"a header", &middleware.CORSOptions{Origins: []string{"*"}, Headers: []string{"X A"}}, `"X A" is no name of a header`},
		{"an exposed header", &middleware.CORSOptions{Origins: []string{"*"}, Expose: []string{"X-A\r\nX-B: c"}}, "is no name of a header"},
		{"all exposed with credentials", &middleware.CORSOptions{Origins: []string{"https://a.example"}, Expose: []string{"*"}, Credentials: true}, "name the headers"},
		{"a time that has passed", &middleware.CORSOptions{Origins: []string{"*"}, MaxAge: -time.Second}, "has passed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.CORS(tt.opts)
			checkOneLine(t, err, tt.want)
		})
	}
}

// TestCORSOfAService: what a real service says of other origins is replaced, and
// an error of the gateway is for the page to read.
func TestCORSOfAService(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "Set-Cookie")
		h.Set("Vary", "Accept")
		switch r.URL.Path {
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
		case "/flush":
			http.NewResponseController(w).Flush()
		}
		if r.Method == http.MethodOptions {
			t.Error("the preflight reached the service")
		}
		io.WriteString(w, "hello")
	}))
	defer service.Close()
	proxy := handler.HTTP(nil)
	defer proxy.(io.Closer).Close()
	cors := mustCORS(t, &middleware.CORSOptions{Origins: []string{"https://app.example.com"}, Expose: []string{"X-Total"}}, proxy)
	up := httptest.NewServer(goapi.With(&goapi.Route{Endpoint: &goapi.Endpoint{}, Upstream: upstream.Static(service.Listener.Addr().String())}, cors))
	defer up.Close()
	down := httptest.NewServer(goapi.With(&goapi.Route{Endpoint: &goapi.Endpoint{}, Upstream: upstream.Static()}, cors))
	defer down.Close()
	tests := []struct {
		name, method, url, origin string
		status                    int
		want                      http.Header // of those that matter
	}{
		{"allowed", "GET", up.URL, "https://app.example.com", 200, http.Header{
			"Access-Control-Allow-Origin": {"https://app.example.com"}, "Access-Control-Expose-Headers": {"X-Total"}, "Vary": {"Accept", "Origin"},
		}},
		{"not allowed", "GET", up.URL, "https://evil.example", 200, http.Header{"Vary": {"Accept", "Origin"}}},
		{"after hints", "GET", up.URL + "/hints", "https://app.example.com", 200, http.Header{
			"Access-Control-Allow-Origin": {"https://app.example.com"}, "Access-Control-Expose-Headers": {"X-Total"}, "Vary": {"Accept", "Origin"},
		}},
		{"in pieces", "GET", up.URL + "/flush", "https://app.example.com", 200, http.Header{
			"Access-Control-Allow-Origin": {"https://app.example.com"}, "Access-Control-Expose-Headers": {"X-Total"}, "Vary": {"Accept", "Origin"},
		}},
		{"no service", "GET", down.URL, "https://app.example.com", 503, http.Header{
			"Access-Control-Allow-Origin": {"https://app.example.com"}, "Access-Control-Expose-Headers": {"X-Total"}, "Vary": {"Origin"},
		}},
		{"a preflight", "OPTIONS", up.URL, "https://app.example.com", 204, http.Header{
			"Access-Control-Allow-Origin": {"https://app.example.com"},
			"Vary":                        {"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers", "Access-Control-Request-Private-Network"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Origin", tt.origin)
			if tt.method == "OPTIONS" {
				r.Header.Set("Access-Control-Request-Method", "GET")
			}
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status = %d, want %d", resp.StatusCode, tt.status)
			}
			for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Vary"} {
				if got := resp.Header[name]; !slices.Equal(got, tt.want[name]) {
					t.Errorf("%s = %q, want %q", name, got, tt.want[name])
				}
			}
		})
	}
}

// FuzzCORS: no origin is repeated but those that are allowed.
func FuzzCORS(f *testing.F) {
	for _, s := range []string{"https://app.example.com", "https://a.b.example.com", "https://x.example.com.evil.example", "null", "https://x\x00.example.com"} {
		f.Add(s)
	}
	h := mustCORS(f, &middleware.CORSOptions{Origins: []string{"https://one.example", "https://*.example.com"}, Credentials: true}, text(""))
	f.Fuzz(func(t *testing.T, origin string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Origin"] = []string{origin}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := w.Header().Get("Access-Control-Allow-Origin")
		if got == "" {
			return
		}
		label, ok := strings.CutSuffix(strings.TrimPrefix(origin, "https://"), ".example.com")
		if got != origin || origin != "https://one.example" && (!ok || label == "" || strings.ContainsAny(label, "./:@?#\\%\x00 ")) {
			t.Fatalf("origin %q is answered with %q", origin, got)
		}
	})
}

func ExampleCORS() {
	cors, err := middleware.CORS(&middleware.CORSOptions{Origins: []string{"https://*.example.com"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := cors(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	for _, origin := range []string{"https://app.example.com", "https://evil.example"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Printf("%q\n", w.Header().Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// "https://app.example.com"
	// ""
}

func BenchmarkCORS(b *testing.B) {
	h := mustCORS(b, &middleware.CORSOptions{Origins: []string{"https://app.example.com"}, Credentials: true}, nothing())
	for _, origin := range []string{"https://app.example.com", "https://evil.example", ""} {
		b.Run("origin="+origin, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/", nil)
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
			serveMany(b, h, r)
		})
	}
}

func mustCORS(t testing.TB, opts *middleware.CORSOptions, next http.Handler) http.Handler {
	t.Helper()
	cors, err := middleware.CORS(opts)
	if err != nil {
		t.Fatalf("CORS(%+v) error = %v", opts, err)
	}
	return cors(next)
}

func origins(list ...string) *middleware.CORSOptions { return &middleware.CORSOptions{Origins: list} }
