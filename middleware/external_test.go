package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/middleware"
)

func TestNewExternal(t *testing.T) {
	tests := []struct {
		name, url string
		opts      *middleware.ExternalOptions
		want      string // in the error; empty is none
	}{
		{"http", "http://auth.internal:9000/verify?x=1", nil, ""},
		{"https", "https://auth.internal/", nil, ""},
		{"no URL", "auth.internal:9000", nil, "write one such as"},
		{"no host", "http:///verify", nil, "write one such as"},
		{"another scheme", "file:///etc/passwd", nil, "write one such as"},
		{"a password", "http://user:secretsecret@auth.internal", nil, "leave it out"},
		{"control character", "http://auth.internal/secretsecret\x00", nil, "write one such as"},
		{"no name", "http://a", &middleware.ExternalOptions{Headers: []string{"X Y"}}, "no name of a header"},
		{"one hop", "http://a", &middleware.ExternalOptions{Headers: []string{"connection"}}, "one hop"},
		{"copies what no service sees", "http://a", &middleware.ExternalOptions{Copy: []string{"X-Forwarded-User"}}, "meaning of its own"},
		{"no subject", "http://a", &middleware.ExternalOptions{Subject: "Remote User"}, "no name of a header"},
		{"negative", "http://a", &middleware.ExternalOptions{Timeout: -1}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.NewExternal(tt.url, tt.opts)
			if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secretsecret")) {
				t.Errorf("NewExternal error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestExternalAnswers(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   int
		header http.Header // of the answer to the client
		told   http.Header // what the service sees
	}{
		{
			"yes", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Remote-User", "alice")
				w.Header().Set("X-Groups", "a, b")
				w.Header().Set("X-Scope", "read,write admin")
				w.Header().Set("X-Not-Copied", "x")
			}, 200, nil, http.Header{"X-Groups": {"a, b"}, "X-User": {"alice"}, "X-Scopes": {"read write admin"}},
		},
		{"yes, and no name", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 200, nil, http.Header{}},
		{
			"yes, in two lines", func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["X-Groups"] = []string{"a", "b"}
			}, 200, nil, http.Header{"X-Groups": {"a, b"}},
		},
		{
			"no", func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Www-Authenticate"] = []string{`Bearer realm="x"`, "Negotiate"}
				w.Header().Set("Set-Cookie", "a=b")
				http.Error(w, "because of secrets", http.StatusUnauthorized)
			}, 401, http.Header{"Www-Authenticate": {`Bearer realm="x"`, "Negotiate"}}, nil,
		},
		{"never", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "because of secrets", http.StatusForbidden)
		}, 403, nil, nil},
		{"an error", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "because of secrets", http.StatusInternalServerError)
		}, 503, http.Header{"Retry-After": {"1"}}, nil},
		{"another refusal", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 503, nil, nil},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, 503, nil, nil},
		{
			"a giant head", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Giant", strings.Repeat("x", 1<<20))
			}, 503, nil, nil,
		},
		{
			"a giant value", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Groups", strings.Repeat("x", 10_000))
			}, 503, nil, nil,
		},
		{
			"a giant body", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Remote-User", "alice")
				for range 1000 {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
			}, 200, nil, http.Header{"X-User": {"alice"}},
		},
		{
			"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503, nil, nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := httptest.NewServer(tt.answer)
			defer service.Close()
			e := mustExternal(t, service.URL, &middleware.ExternalOptions{Copy: []string{"x-groups"}, Scopes: "X-Scope"})
			var told http.Header
			h := authAround(t, []middleware.Authenticator{e},
				&middleware.AuthOptions{Headers: map[string]string{"X-User": "subject", "X-Scopes": "scopes"}},
				func(r *http.Request) { told = r.Header })
			r := httptest.NewRequest("GET", "/", nil)
			r.Header = http.Header{"X-User": {"root"}, "X-Groups": {"admins"}, "X_groups": {"admins"}, "X-Scopes": {"all"}}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want || strings.Contains(w.Body.String(), "secrets") || strings.Contains(w.Body.String(), "127.0.0.1") {
				t.Errorf("status = %d, %s; want %d", w.Code, w.Body, tt.want)
			}
			if fmt.Sprint(told) != fmt.Sprint(tt.told) {
				t.Errorf("service sees %v, want %v", told, tt.told)
			}
			for name, values := range tt.header {
				if got := w.Header()[name]; !slices.Equal(got, values) {
					t.Errorf("%s = %q, want %q", name, got, values)
				}
			}
			if w.Header().Get("Set-Cookie") != "" {
				t.Error("a cookie of the external service reaches the client")
			}
		})
	}
}

func TestExternalQuestion(t *testing.T) {
	var asked *http.Request
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r }))
	defer service.Close()
	e := mustExternal(t, service.URL+"/verify", &middleware.ExternalOptions{
		Headers: []string{"authorization", "Cookie", "X-Groups"}, Copy: []string{"X-Groups"},
	})
	r, ex := withExchange(httptest.NewRequest("DELETE", "http://api.example.org/a%2Fb?x=1", strings.NewReader("body")))
	ex.Client = netip.MustParseAddr("192.0.2.7")
	r.Header = http.Header{
		"Authorization": {"Bearer x"}, "Cookie": {"a=b"}, "X-Api-Key": {"not sent"}, "X-Groups": {"forged"},
		"X-Forwarded-Uri": {"/forged"}, "X-Forwarded-For": {"forged"},
	}
	if _, err := e.Authenticate(r); err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Authorization": {"Bearer x"}, "Cookie": {"a=b"}, "X-Forwarded-Method": {"DELETE"}, "X-Forwarded-Uri": {"/a%2Fb?x=1"},
		"X-Forwarded-Host": {"api.example.org"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-For": {"192.0.2.7"},
	}
	asked.Header.Del("User-Agent")
	asked.Header.Del("Accept-Encoding")
	if asked.Method != "GET" || asked.URL.Path != "/verify" || asked.ContentLength != 0 || fmt.Sprint(asked.Header) != fmt.Sprint(want) {
		t.Errorf("asked %s %s with %v, want GET /verify with %v", asked.Method, asked.URL, asked.Header, want)
	}
}

// TestExternalUnknownClient: a client that nobody knows is not the gateway.
func TestExternalUnknownClient(t *testing.T) {
	var told []string
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told = r.Header["X-Forwarded-For"] }))
	defer service.Close()
	r, ex := withExchange(httptest.NewRequest("GET", "/", nil))
	ex.Client = netip.IPv6Unspecified()
	if _, err := mustExternal(t, service.URL, nil).Authenticate(r); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []string{"unknown"}) {
		t.Errorf("X-Forwarded-For = %q, want unknown", told)
	}
}

// TestExternalHangs has a service that never answers: requests end in time, few
// wait for it, and nothing is left of them, which the bubble sees to.
func TestExternalHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout, inFlight, requests = 200 * time.Millisecond, 3, 20
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe() // nobody reads
			t.Cleanup(func() { far.Close() })
			return near, nil
		}}
		e := mustExternal(t, "http://auth.internal", &middleware.ExternalOptions{Timeout: timeout, InFlight: inFlight, Transport: transport})
		h := authAround(t, []middleware.Authenticator{e}, nil, func(*http.Request) { t.Error("let in") })
		var shed, waited atomic.Int32
		var wg sync.WaitGroup
		for range requests {
			wg.Go(func() {
				r, ex := withExchange(httptest.NewRequest("GET", "/", nil))
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, r)
				took := time.Since(began)
				if w.Code != 503 {
					t.Errorf("status = %d, want 503", w.Code)
				}
				switch tooMany := strings.Contains(fmt.Sprint(ex.Err), "too many questions at a time"); {
				case tooMany && took == 0:
					shed.Add(1)
				case !tooMany && took == timeout:
					waited.Add(1)
				default:
					t.Errorf("request ended after %s: %v", took, ex.Err)
				}
			})
		}
		wg.Wait()
		if shed.Load() != requests-inFlight || waited.Load() != inFlight {
			t.Errorf("%d requests waited, and %d were told that there are too many; want %d and %d", waited.Load(), shed.Load(), inFlight, requests-inFlight)
		}
	})
}

func TestExternalEndsWithTheRequest(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-leave }))
	defer service.Close()
	defer close(leave)
	e := mustExternal(t, service.URL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := e.Authenticate(httptest.NewRequest("GET", "/", nil).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("Authenticate = %v, want %v", err, context.Canceled)
	}
}

func TestExternalErrorsHideTheURL(t *testing.T) {
	e := mustExternal(t, "http://127.0.0.1:1/?token=secretsecret", nil)
	_, err := e.Authenticate(httptest.NewRequest("GET", "/", nil))
	if err == nil || strings.Contains(err.Error(), "secretsecret") {
		t.Errorf("Authenticate = %v, want an error without the URL", err)
	}
}

func TestExternalRefusesTwoAuthorizations(t *testing.T) {
	e := mustExternal(t, "http://127.0.0.1:1", nil)
	id, err := e.Authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer a", "Bearer b"}}})
	checkIdentity(t, id, err, "", 400)
}

func TestExternalTakesAuthorizationOff(t *testing.T) {
	tests := []struct {
		name string
		send []string
		want string
	}{
		{"sent along", nil, ""}, {"not sent along", []string{"Cookie"}, "Bearer x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=b"}}}
			mustExternal(t, "http://127.0.0.1:1", &middleware.ExternalOptions{Headers: tt.send}).Clean(r)
			if got := r.Header.Get("Authorization"); got != tt.want || r.Header.Get("Cookie") != "a=b" {
				t.Errorf("Authorization = %q, Cookie = %q; want %q, and the cookie kept", got, r.Header.Get("Cookie"), tt.want)
			}
		})
	}
}

func mustExternal(t *testing.T, url string, opts *middleware.ExternalOptions) *middleware.External {
	t.Helper()
	e, err := middleware.NewExternal(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
