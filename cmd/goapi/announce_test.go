package main

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/server"
)

func TestIgnoredOfEndpoints(t *testing.T) {
	tests := []struct {
		endpoint, protocol, metadata string
		want                         string // in the one warning; "" for none
	}{
		{endpoint: "Hello;path=/hello"},
		{endpoint: "Signup;path=/signup;handler=event;topic=signups"},
		{endpoint: "Signup;path=/signup;handler=cloudevents;topic=signups"},
		{endpoint: "Signup;path=/signup;handler=nosuch", want: "nosuch"},
		{endpoint: "Signup;path=/signup;handler=event;topic=signups.*", want: "endpoint Signup: invalid topic"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;path=/on-order"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders>;path=/on-order", want: "invalid topic"},
		{endpoint: "OnOrder;subscriber=true;push=true;path=/on-order", want: "needs a topic"},
		{endpoint: "OnOrder;push=true;topic=orders", want: "subscriber=true"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;path=on-order", want: "begins with /"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;path=/on/{order}", want: "no variables"},
		{endpoint: "OnOrder;subscriber=true;topic=orders;path=on-order", metadata: "push=true", want: "begins with /"},
		{endpoint: "OnOrder;subscriber=true;topic=orders;path=on-order"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;protocol=smtp", want: `protocol "smtp" cannot be pushed`},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders", protocol: "grpc", want: "nodes that speak gRPC cannot be pushed to"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;protocol=cloudevents", protocol: "grpc"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;path=/x/{id}", protocol: "mucp"},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders;path=/ä", want: `path "/ä" cannot be posted to`},
		{endpoint: "OnOrder;subscriber=true;push=true;topic=orders", metadata: "protocol=smtp"},
		{endpoint: "OnOrder;subscriber=true;push=false;topic=orders;path=on-order", metadata: "push=true"},
	}
	for _, tt := range tests {
		t.Run(tt.endpoint+" "+tt.protocol+tt.metadata, func(t *testing.T) {
			r := registration{name: "shop", version: "1", address: "127.0.0.1:9000", protocol: "http", endpoints: []string{tt.endpoint}, ttl: commandTime}
			if tt.protocol != "" {
				r.protocol = tt.protocol
			}
			if tt.metadata != "" {
				r.metadata = []string{tt.metadata}
			}
			s, err := r.service()
			if err != nil {
				t.Fatal(err)
			}
			got := ignored(s)
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
				t.Errorf("ignored = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRouteHandlers holds the list against what a gateway has.
func TestRouteHandlers(t *testing.T) {
	g := &gateway{log: slog.New(slog.DiscardHandler)}
	g.cfg.file = new(config.File)
	defer g.Close()
	for _, s := range []**server.Server{&g.public, &g.admin} {
		listener, err := server.Listen(t.Context(), "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		g.onClose(listener.Close)
		*s = listener
	}
	n, err := g.nodes()
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(g.newHandlers(n, new(broker.Memory)))); !slices.Equal(got, routeHandlers()) {
		t.Errorf("a gateway has the handlers %q, want those that register knows: %q", got, routeHandlers())
	}
}
