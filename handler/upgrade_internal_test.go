package handler

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

func TestListProtocols(t *testing.T) {
	tests := []struct {
		header []string
		want   []string
		ok     bool
	}{
		{nil, nil, true},
		{[]string{""}, nil, true},
		{[]string{"websocket"}, []string{"websocket"}, true},
		{[]string{" WebSocket\t"}, []string{"WebSocket"}, true},
		{[]string{"a/1.0, b", ",", "c"}, []string{"a/1.0", "b", "c"}, true},
		{[]string{"a b"}, nil, false},
		{[]string{"a/b/c"}, nil, false},
		{[]string{"a/"}, nil, false},
		{[]string{"/a"}, nil, false},
		{[]string{"a;q=1"}, nil, false},
		{[]string{`"a"`}, nil, false},
		{[]string{"ü"}, nil, false},
	}
	for _, tt := range tests {
		if got, ok := listProtocols(tt.header); !slices.Equal(got, tt.want) || ok != tt.ok {
			t.Errorf("listProtocols(%q) = %q, %t, want %q, %t", tt.header, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzAskedProtocols checks that what is passed on as Upgrade are protocols that
// the client has named, none of them one in which requests could hide, and that
// they are read in the same way again.
func FuzzAskedProtocols(f *testing.F) {
	for _, seed := range []string{"websocket", "h2c, websocket", "a/1, TLS/1.2,,b", "HTTP/2.0", "a b", "a\tb", "x/1/2", ",", "H2C/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, upgrade string) {
		r := &http.Request{ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Connection": {"upgrade"}, "Upgrade": {upgrade}}}
		asked, err := askedProtocols(r)
		if err != nil {
			return
		}
		for _, p := range asked {
			named := func(part string) bool { return strings.Trim(part, " \t") == p }
			if !slices.ContainsFunc(strings.Split(upgrade, ","), named) {
				t.Errorf("askedProtocols(%q) = %q: %q is not named", upgrade, asked, p)
			}
			for _, hidden := range []string{"h2c", "http/", "tls"} {
				if strings.HasPrefix(strings.ToLower(p)+"/", hidden+"/") {
					t.Errorf("askedProtocols(%q) = %q: passes requests by", upgrade, asked)
				}
			}
		}
		joined := strings.Join(asked, ", ")
		if !httpguts.ValidHeaderFieldValue(joined) {
			t.Errorf("askedProtocols(%q) = %q: no value of a header", upgrade, asked)
		}
		if again, ok := listProtocols([]string{joined}); !ok || !slices.Equal(again, asked) {
			t.Errorf("listProtocols(%q) = %q, %t, want what it was made from", joined, again, ok)
		}
	})
}

// TestUpgradeOfNoConnection has a writer that has no connection to give away.
func TestUpgradeOfNoConnection(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "test/1")
		w.WriteHeader(http.StatusSwitchingProtocols)
	}))
	defer service.Close()
	p := newProxy(nil)
	defer p.transport.CloseIdleConnections()
	p.upgrades = &upgrades{max: 1}
	w, r, ex := goapi.NewExchange(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	ex.Route = &goapi.Route{Service: "test", Endpoint: new(goapi.Endpoint), Upstream: upstream.Static(service.Listener.Addr().String())}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "test/1")
	if err := p.forward(w, r); goapi.Status(err) != http.StatusInternalServerError {
		t.Errorf("forward error = %v, want a defect of the gateway", err)
	}
	if n := p.upgrades.open.Load(); n != 0 {
		t.Errorf("%d connections count as open, want 0", n)
	}
}
