package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/middleware"
)

func TestSecurityHeaders(t *testing.T) {
	const sts = "Strict-Transport-Security"
	year := 365 * 24 * time.Hour
	tests := []struct {
		name    string
		opts    *middleware.SecurityOptions
		service map[string]string
		tls     bool
		want    map[string]string
	}{
		{"by default", nil, nil, true, map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "strict-origin-when-cross-origin",
			sts: "", "Content-Security-Policy": "", "Permissions-Policy": "",
		}},
		{"left out", &middleware.SecurityOptions{ContentTypeOptions: "-", FrameOptions: "-", ReferrerPolicy: "-"}, nil, false, map[string]string{
			"X-Content-Type-Options": "", "X-Frame-Options": "", "Referrer-Policy": "",
		}},
		{"others", &middleware.SecurityOptions{
			FrameOptions: "SAMEORIGIN", ContentSecurityPolicy: "default-src 'self'", PermissionsPolicy: "camera=()",
			OpenerPolicy: "same-origin", ResourcePolicy: "same-site", EmbedderPolicy: "require-corp",
		}, nil, false, map[string]string{
			"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "default-src 'self'", "Permissions-Policy": "camera=()",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-site", "Cross-Origin-Embedder-Policy": "require-corp",
		}},
		{"the service knows better", &middleware.SecurityOptions{ContentSecurityPolicy: "default-src 'none'"}, map[string]string{
			"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "SAMEORIGIN",
		}, false, map[string]string{"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff"}},
		{"TLS only", &middleware.SecurityOptions{HSTS: time.Hour}, nil, true, map[string]string{sts: "max-age=3600"}},
		{"TLS only, for all", &middleware.SecurityOptions{HSTS: year, HSTSSubdomains: true, HSTSPreload: true}, nil, true, map[string]string{
			sts: "max-age=31536000; includeSubDomains; preload",
		}},
		{"TLS only, without it", &middleware.SecurityOptions{HSTS: time.Hour}, nil, false, map[string]string{sts: ""}},
		{"TLS only, by the service, without it", nil, map[string]string{sts: "max-age=1"}, false, map[string]string{sts: ""}},
		{"TLS only, by the service", nil, map[string]string{sts: "max-age=1"}, true, map[string]string{sts: "max-age=1"}},
		{"TLS only, by both", &middleware.SecurityOptions{HSTS: time.Hour}, map[string]string{sts: "max-age=1"}, true, map[string]string{sts: "max-age=3600"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(mustSecurity(t, tt.opts, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.service {
					w.Header().Set(name, value)
				}
				w.WriteHeader(http.StatusNotFound)
			})))
			if tt.tls {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			resp, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			for name, want := range tt.want {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestSecurityHeadersErrors(t *testing.T) {
	tests := []struct {
		name string
		opts middleware.SecurityOptions
		want string
	}{
		{"a short time", middleware.SecurityOptions{HSTS: time.Millisecond}, "write at least 1s"},
		{"a time that has passed", middleware.SecurityOptions{HSTS: -time.Hour}, "write at least 1s"},
		{"subdomains of nothing", middleware.SecurityOptions{HSTSSubdomains: true}, "HSTS has no time"},
		{"preload for a day", middleware.SecurityOptions{HSTS: 24 * time.Hour, HSTSSubdomains: true, HSTSPreload: true}, "preload needs subdomains and at least"},
		{"preload without subdomains", middleware.SecurityOptions{HSTS: 366 * 24 * time.Hour, HSTSPreload: true}, "preload needs subdomains"},
		{"frames", middleware.SecurityOptions{FrameOptions: "sameorigin"}, `unknown value "sameorigin"; known: DENY, SAMEORIGIN`},
		{"types", middleware.SecurityOptions{ContentTypeOptions: "sniff"}, "known: nosniff, and - to leave it out"},
		{"openers", middleware.SecurityOptions{OpenerPolicy: "same-site"}, "known: unsafe-none"},
		{"resources", middleware.SecurityOptions{ResourcePolicy: "none"}, "known: same-site"},
		{"embedders", middleware.SecurityOptions{EmbedderPolicy: "yes"}, "known: unsafe-none"},
		{"two lines", middleware.SecurityOptions{ContentSecurityPolicy: "default-src 'self';\nimg-src *"}, "write it in one line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := middleware.SecurityHeaders(&tt.opts)
			checkOneLine(t, err, tt.want)
		})
	}
}

func ExampleSecurityHeaders() {
	secure, err := middleware.SecurityHeaders(&middleware.SecurityOptions{HSTS: 365 * 24 * time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	secure(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "https://example.com/", nil))
	fmt.Println(w.Header().Get("Strict-Transport-Security"), w.Header().Get("X-Frame-Options"))
	// Output: max-age=31536000 DENY
}

func BenchmarkSecurityHeaders(b *testing.B) {
	serveMany(b, mustSecurity(b, nil, nothing()), httptest.NewRequest("GET", "/", nil))
}

func mustSecurity(t testing.TB, opts *middleware.SecurityOptions, next http.Handler) http.Handler {
	t.Helper()
	secure, err := middleware.SecurityHeaders(opts)
	if err != nil {
		t.Fatalf("SecurityHeaders() error = %v", err)
	}
	return secure(next)
}
