package main

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/client/grpc"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/upstream"
)

// TestProbes asks nodes that are well, and one that is not, as --health-check
// has it.
func TestProbes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/well" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	opts := client.Options{DialContext: new(net.Dialer).DialContext}
	n := &nodes{opts: opts, grpc: grpc.New(&grpc.Options{Options: opts}), http: &http.Transport{}}
	defer n.grpc.Close()
	defer n.http.CloseIdleConnections()
	p, err := given("--health-check=tcp", "--health-check=web=http:/well", "--health-check=ill=http:/ill", "--health-check=calc=grpc")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		service string
		at      *httptest.Server
		well    bool
	}{
		{"other", server, true},
		{"other", gone, false},
		{"web", server, true},
		{"web", gone, false},
		{"ill", server, false},
		{"calc", server, false}, // it speaks no gRPC
	}
	for _, tt := range tests {
		probe := under(t, p).probe(n)(tt.service)
		if probe == nil {
			t.Fatalf("%s is not probed", tt.service)
		}
		err := probe.Prober(t.Context(), &registry.Node{ID: "1", Address: tt.at.Listener.Addr().String()})
		if (err == nil) != tt.well {
			t.Errorf("probe of %s at %s = %v, want well: %t", tt.service, tt.at.URL, err, tt.well)
		}
	}
	if none, _ := given(); under(t, none).probe(n)("web") != nil {
		t.Error("a service is probed that no flag names")
	}
}

// under returns a gateway without a configuration, under the policies of flags.
func under(t *testing.T, p *policies) *gateway {
	t.Helper()
	laid, err := config.New(new(config.File), &config.Plugins{Over: p.layers()})
	if err != nil {
		t.Fatal(err)
	}
	g := new(gateway)
	g.current.Store(&setup{policies: laid})
	return g
}

// TestDialer: no node may lead a request back to a listener of the gateway.
func TestDialer(t *testing.T) {
	g := new(gateway)
	own := []**server.Server{&g.public, &g.admin, &g.plain}
	for _, s := range own {
		listener, err := server.Listen(t.Context(), "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		*s = listener
	}
	d := g.dialer()
	for _, s := range own {
		if conn, err := d.DialContext(t.Context(), "tcp", (*s).Addr().String()); !errors.Is(err, upstream.ErrForbiddenAddress) {
			t.Errorf("DialContext(%s) = %v, %v, want ErrForbiddenAddress", (*s).Addr(), conn, err)
		}
	}
}
