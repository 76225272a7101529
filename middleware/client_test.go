package middleware_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
)

func TestClient(t *testing.T) {
	const proxies = "10.0.0.0/8 2001:db8:1::/48"
	tests := []struct {
		name, trusted, peer string
		forwarded           []string
		want                string
	}{
		{"the peer", "", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"a peer that nobody trusts", proxies, "192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		{"nobody is trusted", "", "10.0.0.1:1234", []string{"198.51.100.7"}, "10.0.0.1"},
		{"a trusted peer", proxies, "10.0.0.1:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a trusted peer that says nothing", proxies, "10.0.0.1:1234", nil, "10.0.0.1"},
		{"a chain", proxies, "10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.7,10.1.1.1 ,  10.2.2.2"}, "198.51.100.7"},
		{"a chain in lines", proxies, "10.0.0.1:1234", []string{"203.0.113.9", "198.51.100.7", "10.1.1.1"}, "198.51.100.7"},
		{"what a client makes up is to the left", proxies, "10.0.0.1:1234", []string{"10.9.9.9, 198.51.100.7"}, "198.51.100.7"},
		{"all are trusted", proxies, "10.0.0.1:1234", []string{"10.9.9.9, 10.8.8.8"}, "10.9.9.9"},
		{"what is no address is nobody known", proxies, "10.0.0.1:1234", []string{"198.51.100.7, unknown, 10.8.8.8"}, "::"},
		{"a name is nobody known", proxies, "10.0.0.1:1234", []string{"_hidden"}, "::"},
		{"what is left of nobody known does not count", proxies, "10.0.0.1:1234", []string{"10.1.1.1, 198.51.100.7, _hidden"}, "::"},
		{"an unspecified address is nobody known", proxies, "10.0.0.1:1234", []string{"0.0.0.0"}, "::"},
		{"an unspecified address with a port is nobody known", proxies, "10.0.0.1:1234", []string{"[::ffff:0.0.0.0]:1"}, "::"},
		{"nobody known, all are trusted", "::/0 0.0.0.0/0", "10.0.0.1:1234", []string{"198.51.100.7, unknown"}, "::"},
		{"an address with a port", proxies, "10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.7:99"}, "198.51.100.7"},
		{"an IPv6 address with a port", proxies, "10.0.0.1:1234", []string{"[2001:db8:2::7]:44"}, "2001:db8:2::7"},
		{"a proxy with a port", proxies, "10.0.0.1:1234", []string{"198.51.100.7:99, 10.1.1.1:80"}, "198.51.100.7"},
		{"an address with a port that is none", proxies, "10.0.0.1:1234", []string{"198.51.100.7:http"}, "::"},
		{"an address with half a port", proxies, "10.0.0.1:1234", []string{"198.51.100.7:"}, "::"},
		{"an empty element is nobody known", proxies, "10.0.0.1:1234", []string{"198.51.100.7,"}, "::"},
		{"an empty line is nobody known", proxies, "10.0.0.1:1234", []string{"198.51.100.7", ""}, "::"},
		{"IPv6", proxies, "[2001:db8:1::2]:1234", []string{"2001:db8:2::7"}, "2001:db8:2::7"},
		{"IPv4 as IPv6", proxies, "[::ffff:10.0.0.1]:1234", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a zone", proxies, "[fe80::1%eth0]:1234", nil, "fe80::1"},
		{"a zone that a proxy names", proxies, "10.0.0.1:1234", []string{"10.3.3.3, fe80::1%eth0"}, "fe80::1"},
		{"a zone does not make it trusted", proxies, "10.0.0.1:1234", []string{"198.51.100.7, 2001:db8:1::3%eth0"}, "2001:db8:1::3"},
		{"a Unix socket", proxies, "@", []string{"198.51.100.7"}, "invalid IP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			r.Header["X-Forwarded-For"] = tt.forwarded
			if got := clientOf(r, prefixes(tt.trusted)); got.String() != tt.want {
				t.Errorf("Client = %s, want %s", got, tt.want)
			}
			if why := disagreement(r, prefixes(tt.trusted)); why != "" {
				t.Error(why)
			}
		})
	}
}

// TestClientKeepsTheExchange: the outer ring's exchange is the one that learns.
func TestClientKeepsTheExchange(t *testing.T) {
	r, ex := withExchange(httptest.NewRequest("GET", "/", nil))
	middleware.Client(nil)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if goapi.ExchangeFrom(r.Context()) != ex {
			t.Error("the exchange is another one")
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
	if got := ex.Client.String(); got != "192.0.2.1" {
		t.Errorf("Client = %s, want httptest's 192.0.2.1", got)
	}
}

// TestClientUnknown: whoever a trusted proxy does not tell gets nothing of what
// the proxy may, and is not counted with it.
func TestClientUnknown(t *testing.T) {
	trusted := prefixes("127.0.0.1/32 ::1/128")
	statusOf := func(forwarded, allow, deny string) int {
		h := middleware.Client(trusted)(middleware.Addresses(prefixes(allow), prefixes(deny))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		r, _ := withExchange(httptest.NewRequest("GET", "/", nil))
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for _, forwarded := range []string{"8.8.8.8", "8.8.8.8:1234", "[2001:db8::9]:44", "unknown", "_hidden", ""} {
		if got := statusOf(forwarded, "127.0.0.0/8", ""); got != 403 {
			t.Errorf("X-Forwarded-For %q: status = %d where the proxy is allowed, want 403", forwarded, got)
		}
	}
	for _, forwarded := range []string{"10.1.1.1", "10.1.1.1:80", "unknown"} {
		if got := statusOf(forwarded, "", "10.1.1.1/32"); got != 403 {
			t.Errorf("X-Forwarded-For %q: status = %d where it is denied, want 403", forwarded, got)
		}
	}
	if got := statusOf("unknown", "::/0 0.0.0.0/0", ""); got != 403 {
		t.Errorf("status of nobody known = %d where all addresses are allowed, want 403", got)
	}
	key, err := middleware.RateKey("client")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for peer, forwarded := range map[string]string{"127.0.0.1:1": "unknown", "127.0.0.1:2": "127.0.0.1", "127.0.0.1:3": "::1", "127.0.0.1:4": "8.8.8.8"} {
		r, _ := withExchange(httptest.NewRequest("GET", "/", nil))
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", forwarded)
		middleware.Client(trusted)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if other, ok := keys[key(r)]; ok {
				t.Errorf("%s is counted with %s", forwarded, other)
			}
			keys[key(r)] = forwarded
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
}

// FuzzClient: handlers see the same client.
func FuzzClient(f *testing.F) {
	f.Add("10.0.0.1:1", "198.51.100.7, 10.1.1.1", "10.2.2.2")
	f.Add("[2001:db8::1]:1", "::ffff:10.0.0.1,a", "")
	f.Add("10.0.0.1:1", "fe80::1%x", "\u00a010.1.1.1\u00a0")
	trusted := prefixes("10.0.0.0/8 2001:db8::/32")
	f.Fuzz(func(t *testing.T, peer, first, second string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		r.Header["X-Forwarded-For"] = []string{first, second}
		if why := disagreement(r, trusted); why != "" {
			t.Fatal(why)
		}
	})
}

func ExampleClient() {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	h := middleware.Client(trusted)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, goapi.ExchangeFrom(r.Context()).Client)
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.0.0.1:4711"
	r.Header.Set("X-Forwarded-For", "127.0.0.1, 198.51.100.7, 10.0.0.2")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Body)
	// Output: 198.51.100.7
}

func BenchmarkClient(b *testing.B) {
	h := middleware.Client(prefixes("10.0.0.0/8"))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r, _ := withExchange(httptest.NewRequest("GET", "/", nil))
	r.RemoteAddr = "10.0.0.1:4711"
	r.Header.Set("X-Forwarded-For", "198.51.100.7, 10.0.0.2")
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(nil, r)
	}
}

func clientOf(r *http.Request, trusted []netip.Prefix) (client netip.Addr) {
	middleware.Client(trusted)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		client = goapi.ExchangeFrom(r.Context()).Client
	})).ServeHTTP(httptest.NewRecorder(), r)
	return client
}

// disagreement says whether a handler sees another client than the middleware.
// It tells callers apart by the IDs that it gives to their events: a request
// that comes directly from the client has the same one.
//
// Handlers do not know ports and clients that nobody knows.
func disagreement(r *http.Request, trusted []netip.Prefix) string {
	for _, list := range r.Header["X-Forwarded-For"] {
		for hop := range strings.SplitSeq(list, ",") {
			if _, err := netip.ParseAddr(strings.TrimSpace(hop)); err != nil {
				return ""
			}
		}
	}
	client, got := clientOf(r, trusted), eventID(r, trusted)
	through := prefixes("127.0.0.9/32")
	same := func(peer, hop string) bool { // who is seen as the same client
		direct := httptest.NewRequest("GET", "/", nil)
		direct.RemoteAddr = peer
		if hop != "" {
			direct.Header.Set("X-Forwarded-For", hop)
		}
		return clientOf(direct, through) == client && eventID(direct, through) == got
	}
	if same(r.RemoteAddr, "") {
		return ""
	}
	for hop := range strings.SplitSeq(strings.Join(r.Header["X-Forwarded-For"], ","), ",") { // handlers keep how it is written
		if same("127.0.0.9:1", hop) {
			return ""
		}
	}
	return fmt.Sprintf("peer %q, X-Forwarded-For %q: handlers see another client than %s", r.RemoteAddr, r.Header["X-Forwarded-For"], client)
}

// eventID returns the ID under which a request's event is published.
func eventID(r *http.Request, trusted []netip.Prefix) string {
	var heard heard
	r = r.Clone(r.Context())
	r.Header.Set("Idempotency-Key", "k")
	r.URL.Path = "/topic/name"
	handler.Event(&heard, &handler.EventOptions{Publish: handler.PublishOptions{
		TrustedProxies: trusted,
	}}).ServeHTTP(httptest.NewRecorder(), r)
	return heard.id
}

// heard keeps the ID of what is published.
type heard struct{ id string }

func (h *heard) Publish(_ context.Context, _ string, m *broker.Message) error {
	h.id = m.ID
	return nil
}
