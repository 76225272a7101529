package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/middleware"
)

func TestAddresses(t *testing.T) {
	tests := []struct {
		name, allow, deny string
		client, peer      string
		want              int
	}{
		{"no lists", "", "", "192.0.2.1", "", 200},
		{"allowed", "192.0.2.0/24", "", "192.0.2.1", "", 200},
		{"not allowed", "192.0.2.0/24", "", "198.51.100.1", "", 403},
		{"denied", "", "192.0.2.0/24", "192.0.2.1", "", 403},
		{"not denied", "", "192.0.2.0/24", "198.51.100.1", "", 200},
		{"allowed and denied", "192.0.2.0/24", "192.0.2.1/32", "192.0.2.1", "", 403},
		{"allowed beside a denied one", "192.0.2.0/24", "192.0.2.1/32", "192.0.2.2", "", 200},
		{"IPv4 within IPv6", "", "192.0.2.0/24", "::ffff:192.0.2.1", "", 403},
		{"IPv4 within IPv6 in the list", "", "::ffff:192.0.2.0/120", "192.0.2.1", "", 403},
		{"IPv6", "2001:db8::/32", "", "2001:db8::1", "", 200},
		{"IPv6, and IPv4 is allowed", "0.0.0.0/0", "", "2001:db8::1", "", 403},
		{"a zone", "", "fe80::/10", "fe80::1%eth0", "", 403},
		{"a zone, of the peer", "", "fe80::/10", "", "[fe80::1%eth0]:1", 403},
		{"nobody looked: the peer", "192.0.2.0/24", "", "", "192.0.2.1:1234", 200},
		{"nobody looked: another peer", "192.0.2.0/24", "", "", "198.51.100.1:1234", 403},
		{"the client, not the peer", "192.0.2.0/24", "", "198.51.100.1", "192.0.2.1:1234", 403},
		{"no address", "", "192.0.2.0/24", "", "@", 403},
		{"no address, no lists", "", "", "", "", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := middleware.Addresses(prefixes(tt.allow), prefixes(tt.deny))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			r, ex := withExchange(httptest.NewRequest("GET", "/", nil))
			r.RemoteAddr = tt.peer
			// What the client says of itself is for Client to judge.
			r.Header.Set("X-Forwarded-For", "192.0.2.1")
			if tt.client != "" {
				ex.Client = netip.MustParseAddr(tt.client)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d", w.Code, tt.want)
			}
			if strings.Contains(w.Body.String(), "192.0.2") {
				t.Errorf("body = %s: shows an address", w.Body)
			}
		})
	}
}

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for s := range strings.FieldsSeq(list) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
