package handler

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestValidHost(t *testing.T) {
	tests := []struct {
		host string
		want bool
	}{
		{"", true},
		{"a", true},
		{"a.example:80", true},
		{"a:", true},
		{"10.0.0.1:80", true},
		{"[::1]", true},
		{"[::1]:80", true},
		{"[::ffff:10.0.0.1]:80", true},
		{"[::1%25eth0]", false},
		{"[::1%eth0]", false},
		{"[10.0.0.1]", false},
		{"[::1]x", false},
		{"[::1]]", false},
		{"[[::1]]", false},
		{"[", false},
		{"[::1", false},
		{"::1]", false},
		{"]", false},
		{"a[", false},
		{"::1", false},
		{"a:b", false},
	}
	for _, tt := range tests {
		if got := validHost(tt.host); got != tt.want {
			t.Errorf("validHost(%q) = %v, want %v", tt.host, got, tt.want)
		}
	}
}

func TestPeerIP(t *testing.T) {
	tests := []struct{ remote, want string }{
		{"127.0.0.1:80", "127.0.0.1"},
		{"[::1]:80", "::1"},
		{"[fe80::1%eth0]:80", "fe80::1"},
		{"@", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := peerIP(tt.remote); got != tt.want {
			t.Errorf("peerIP(%q) = %q, want %q", tt.remote, got, tt.want)
		}
	}
}

func TestTrustedPeer(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		peer string
		want bool
	}{
		{"10.1.2.3", true}, {"::ffff:10.1.2.3", true}, {"fd00::1", true}, {"11.0.0.1", false}, {"", false},
	}
	for _, tt := range tests {
		if got := isTrusted(tt.peer, trusted); got != tt.want {
			t.Errorf("isTrusted(%q) = %v, want %v", tt.peer, got, tt.want)
		}
	}
	r := &http.Request{RemoteAddr: "[fd00::1]:80", Host: "a", Header: http.Header{"Forwarded": {"for=1.2.3.4"}}, ProtoMajor: 2}
	h, err := requestHeader(r, trusted)
	if want := `for=1.2.3.4, for="[fd00::1]";host="a";proto=http`; err != nil || h.Get("Forwarded") != want || h.Get("Via") != "2.0 goapi" {
		t.Errorf("requestHeader() = %v, %v, want Forwarded: %s", h, err, want)
	}
}

// FuzzRequestHeader holds what a service sees to what it may see, whatever a
// client sends.
func FuzzRequestHeader(f *testing.F) {
	f.Add("GET", "Connection", "close, X-A", "X-A", "1", "10.0.0.1:1", true)
	f.Add("GET", "X-Forwarded-For", "6.6.6.6", "X_Forwarded_For", "6.6.6.6", "[::1]:1", false)
	f.Add("POST", "Te", "trailers;q=1", "Micro-Topic", "t", "10.0.0.1:1", false)
	f.Add("POST", "Connection", "authorization", "Authorization", "x", "10.0.0.1:1", false)
	f.Add("PUT", "Forwarded", "for=a", "Via", "1.1 goapi", "10.0.0.1:1", true)
	f.Fuzz(func(t *testing.T, method, name1, value1, name2, value2, peer string, trust bool) {
		r := &http.Request{Method: method, Host: "a", RemoteAddr: peer, Header: make(http.Header), ProtoMajor: 1, ProtoMinor: 1}
		for _, field := range [][2]string{{name1, value1}, {name2, value2}} {
			if name := http.CanonicalHeaderKey(field[0]); name != "" { // as a server reads it
				r.Header[name] = append(r.Header[name], field[1])
			}
		}
		before := r.Header.Clone()
		var trusted []netip.Prefix
		if trust {
			trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}
		h, err := requestHeader(r, trusted)
		if !equalHeaders(before, r.Header) {
			t.Fatalf("requestHeader changed the client's header from %v to %v", before, r.Header)
		}
		if err != nil {
			return
		}
		ip := peerIP(peer)
		for name, values := range h {
			switch {
			case name == "Te" && len(values) == 1 && values[0] == "trailers", name == "X-Real-Ip":
			case name == "X-Forwarded-For":
				if len(values) != 1 || !strings.HasSuffix(values[0], ip) || !isTrusted(ip, trusted) && values[0] != ip {
					t.Errorf("X-Forwarded-For = %q for peer %q", values, ip)
				}
			case name == "X-Forwarded-Host", name == "X-Forwarded-Proto", isTrusted(ip, trusted) && !strings.Contains(name, "_"):
			case reserved(name):
				t.Errorf("%s = %q reaches the service", name, values)
			}
		}
		for _, credential := range []string{"Authorization", "Cookie"} {
			if !slices.Equal(h[credential], r.Header[credential]) {
				t.Errorf("%s = %q, want it as the client sent it: %q", credential, h[credential], r.Header[credential])
			}
		}
	})
}

func equalHeaders(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// FuzzForwardTarget holds the target that is forwarded to the one that was
// received: nothing is decoded, encoded or made a host.
func FuzzForwardTarget(f *testing.F) {
	for _, target := range []string{"/", "/a%2Fb?x", "//a/b", "/a?", "/%61/b", "/a\"b#c", "*", "http://a/b", "/v1//x", "/v1/%2e%2e"} {
		f.Add(target, "/v1")
		f.Add(target, "")
	}
	f.Fuzz(func(t *testing.T, target, strip string) {
		in, err := url.ParseRequestURI(target)
		if err != nil || in.Opaque != "" || strings.Contains(target, "?") && in.RawQuery == "" && !in.ForceQuery {
			return
		}
		u := forwardTarget(in, strip)
		u.Scheme, u.Host = "http", "node:80"
		got := u.RequestURI()
		if !strings.HasPrefix(got, "/") && got != "*" {
			t.Fatalf("forwardTarget(%q, %q) = %q, want a path", target, strip, got)
		}
		if !strings.HasPrefix(target, "/") { // in absolute form
			return
		}
		path, query, _ := strings.Cut(got, "?")
		want, wantQuery, _ := strings.Cut(target, "?")
		if query != wantQuery {
			t.Errorf("forwardTarget(%q, %q) has query %q, want %q", target, strip, query, wantQuery)
		}
		want = strings.ReplaceAll(want, "#", "%23")
		if strings.HasPrefix(path, "//") {
			want = escapeOdd(want)
		}
		if strip == "" && path != want || !strings.HasSuffix(want, path) && path != "/" {
			t.Errorf("forwardTarget(%q, %q) has path %q, want the end of %q", target, strip, path, want)
		}
	})
}
