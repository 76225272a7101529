package handler

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOriginsAllow(t *testing.T) {
	patterns := []string{
		"https://www.example.com", "https://*.apps.example.com", "http://dev.test:8080", "HTTPS://Upper.test:443", "http://[::1]:3000",
		"no.scheme.test", "https://path.test/", "https://user@at.test", "", "https://*", "https://a.*.test", "https://.dot.test",
	}
	tests := []struct {
		origin string
		want   bool
	}{
		{"https://www.example.com", true},
		{"https://www.example.com:443", true},
		{"https://WWW.example.com", true},
		{"http://www.example.com", false},
		{"https://www.example.com:8443", false},
		{"https://www.example.com.", false},
		{"https://www.example.com.evil.test", false},
		{"https://a.apps.example.com", true},
		{"https://a.b.apps.example.com", true},
		{"https://apps.example.com", false},
		{"https://.apps.example.com", false},
		{"https://evilapps.example.com", false},
		{"http://dev.test:8080", true},
		{"http://dev.test", false},
		{"https://upper.test", true},
		{"http://[::1]:3000", true},
		{"http://[::1]", false},
		{"http://goapi.test", true}, // the host itself
		{"http://goapi.test:80", true},
		{"https://goapi.test", true},
		{"http://goapi.test:8080", false},
		{"http://no.scheme.test", false},
		{"https://path.test", false},
		{"https://at.test", false},
		{"https://a.b.test", false},
		{"https://a", false},
		{"https://a.dot.test", false},
		{"null", false},
		{"", false},
		{"://", false},
		{"https://", false},
		{"file://", false},
		{"https://www.example.com/", false},
		{"https://www.example.com\\.evil.test", false},
		{"https://evil.test/https://www.example.com", false},
		{"https://evil.test?www.example.com", false},
		{"https://www.example.com@evil.test", false},
		{"https://www.example.com, https://evil.test", false},
	}
	list := parseOrigins(patterns)
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "http://goapi.test/", nil)
		r.Header.Set("Origin", tt.origin)
		if got := list.allow(r); got != tt.want {
			t.Errorf("allow(%q) = %t, want %t", tt.origin, got, tt.want)
		}
	}
}

// TestOriginsOfAnyPage: a star is any page wherever it stands, and no list at all
// leaves it to the services.
func TestOriginsOfAnyPage(t *testing.T) {
	for _, list := range []origins{nil, parseOrigins([]string{"*"}), append(sameOrigin(), parseOrigins([]string{"https://one.test", "*"})...)} {
		for _, from := range []string{"https://evil.test", "null", "app://x"} {
			r := httptest.NewRequest(http.MethodGet, "http://goapi.test/", nil)
			r.Header.Set("Origin", from)
			if !list.allow(r) {
				t.Errorf("allow(%q) of %v = false, want true", from, list)
			}
		}
	}
}

func TestOriginsOfTheHostItself(t *testing.T) {
	tests := []struct {
		host, origin string
		want         bool
	}{
		{"a.test", "http://a.test", true},
		{"A.test:80", "http://a.test", true},
		{"a.test:", "http://a.test", true},
		{"a.test:8080", "http://a.test:8080", true},
		{"a.test:8080", "http://a.test", false},
		{"a.test:443", "http://a.test", false},
		{"a.test", "app://a.test", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[::1]", "http://[::1]", true},
		{"", "http://", false},
	}
	list := parseOrigins([]string{"https://one.test"})
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = tt.host
		r.Header.Set("Origin", tt.origin)
		if got := list.allow(r); got != tt.want {
			t.Errorf("allow(%q) for host %q = %t, want %t", tt.origin, tt.host, got, tt.want)
		}
	}
}

// FuzzOrigins checks that an origin which is allowed is the host itself, or is
// what a pattern says, character by character; and that a request without one
// passes.
func FuzzOrigins(f *testing.F) {
	for _, seed := range [][3]string{
		{"https://*.example.com", "https://a.example.com", "goapi.test"},
		{"https://example.com:8443", "https://example.com:8443", "goapi.test"},
		{"https://*.example.com", "https://example.com.evil.test", "goapi.test"},
		{"http://[::1]:80", "http://[::1]", "[::1]"},
		{"*", "null", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, pattern, from, host string) {
		list := parseOrigins([]string{pattern})
		r := &http.Request{Host: host, Header: http.Header{}}
		if !list.allow(r) {
			t.Fatal("a request without an origin is refused")
		}
		r.Header["Origin"] = []string{from}
		if !list.allow(r) {
			return
		}
		from, pattern = strings.ToLower(from), strings.ToLower(pattern)
		scheme, name, _ := strings.Cut(from, "://")
		bare := func(s string) string { // a port that is implied, or empty, is none
			s = strings.TrimSuffix(s, ":")
			switch scheme {
			case "http", "ws":
				return strings.TrimSuffix(s, ":80")
			case "https", "wss":
				return strings.TrimSuffix(s, ":443")
			}
			return s
		}
		want, wanted, _ := strings.Cut(pattern, "://")
		below, wild := strings.CutPrefix(wanted, "*")
		switch {
		case pattern == "*":
		case bare(name) == bare(strings.ToLower(host)):
		case scheme == want && bare(name) == bare(wanted):
		case scheme == want && wild && strings.HasSuffix(bare(name), bare(below)):
		default:
			t.Errorf("origin %q is allowed by %q for host %q", from, pattern, host)
		}
	})
}
