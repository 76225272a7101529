package push_test

import (
	"maps"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
)

// microServer answers as a server of go-micro does that runs a subscriber: 200
// with the header that came, and the error in it.
func microServer(failures ...string) http.HandlerFunc {
	next := make(chan string, len(failures))
	for _, text := range failures {
		next <- text
	}
	return func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), r.Header)
		w.Header().Del("Content-Length")
		select {
		case text := <-next:
			w.Header().Set("Micro-Error", text)
		default:
		}
	}
}

// TestMicro: a node of go-micro is sent the message as an event on its RPC
// address.
func TestMicro(t *testing.T) {
	tests := []struct {
		name    string
		message broker.Message
		want    http.Header
		body    string
	}{
		{
			"protobuf",
			broker.Message{ID: "m-1", Header: map[string]string{"Content-Type": "application/protobuf", "X-Request-Id": "r", "Micro-Endpoint": "A.B", "Authorization": "x"}, Body: []byte{10, 0xff}},
			http.Header{"Content-Type": {"application/protobuf"}, "X-Request-Id": {"r"}},
			"\n\xff",
		},
		{
			"with parameters, which go-micro does not know",
			broker.Message{ID: "m-1", Header: map[string]string{"content-type": "Application/JSON; charset=utf-8"}, Body: []byte("{}")},
			http.Header{"Content-Type": {"application/json"}},
			"{}",
		},
		{
			"from a client of gRPC",
			broker.Message{ID: "m-1", Header: map[string]string{"Content-Type": "application/grpc+proto"}, Body: []byte("x")},
			http.Header{"Content-Type": {"application/protobuf"}},
			"x",
		},
		{
			"a structured event",
			broker.Message{ID: "m-1", Header: map[string]string{"Content-Type": "application/cloudevents+json"}, Body: []byte(structured)},
			http.Header{"Content-Type": {"application/json"}},
			structured,
		},
		{
			"a binary event",
			broker.Message{ID: "m-1", Header: map[string]string{"Content-Type": "text/plain", "ce-specversion": "1.0", "ce-id": "e", "ce-source": "/s", "ce-type": "é"}, Body: []byte("x")},
			http.Header{"Content-Type": {"text/plain"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"e"}, "Ce-Source": {"/s"}, "Ce-Type": {"%C3%A9"}},
			"x",
		},
		{
			"without a type, which go-micro has a default for",
			broker.Message{ID: "m-1", Body: []byte("x")},
			http.Header{},
			"x",
		},
	}
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, microServer())
	g.announce(t, "greeter", n.of("protocol", "mucp"), "orders", "path", "/not/this")
	g.subscribed(t, "orders")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.message.ID = tt.name
			if err := g.Publish(t.Context(), "orders", &tt.message); err != nil {
				t.Fatal(err)
			}
			r := receive(t, n.came)
			delete(r.Header, "Content-Length")
			tt.want["Micro-Topic"], tt.want["Micro-Id"] = []string{"orders"}, []string{tt.name}
			if diff := cmp.Diff(tt.want, r.Header); diff != "" || r.body != tt.body || r.URL.Path != "/" {
				t.Errorf("POST %s with %q, header (-want +got):\n%s", r.URL, r.body, diff)
			}
		})
	}
}

// TestProtocol: what a node is sent depends on the endpoint, or else on what the
// node speaks.
func TestProtocol(t *testing.T) {
	tests := []struct {
		name     string
		node     []string
		endpoint []string
		micro    bool
	}{
		{"a plain node", nil, nil, false},
		{"an HTTP node", []string{"protocol", "http"}, nil, false},
		{"a node of go-micro", []string{"protocol", "mucp"}, nil, true},
		{"an old node of go-micro", []string{"server", "rpc", "transport", "http"}, nil, true},
		{"a node of go-micro that wants CloudEvents", []string{"protocol", "mucp"}, []string{"protocol", "cloudevents"}, false},
		{"a plain node that wants events of go-micro", nil, []string{"protocol", "micro"}, true},
		{"the same by the other name", nil, []string{"protocol", "mucp"}, true},
		{"a node of gRPC that takes CloudEvents as well", []string{"protocol", "grpc"}, []string{"protocol", "cloudevents"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, new(broker.Memory), push.Options{})
			n := serve(t, nil)
			g.announce(t, "greeter", n.of(tt.node...), "orders", tt.endpoint...)
			g.subscribed(t, "orders")
			g.publish(t, "orders", "m-1", "x")
			if r := receive(t, n.came); (r.Header.Get("Micro-Topic") != "") != tt.micro || (r.Header.Get("Ce-Id") != "") == tt.micro {
				t.Errorf("header = %v, want that of go-micro: %v", r.Header, tt.micro)
			}
		})
	}
}

// TestNodesOfTwoProtocols: each node of a service gets what it announces, by the
// path that it announces, and one of gRPC nothing.
func TestNodesOfTwoProtocols(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	micro, plain, grpc := serve(t, microServer()), serve(t, nil), serve(t, nil)
	g.announce(t, "greeter", grpc.of("protocol", "grpc"), "orders")
	g.log.wait(t, "not pushed", "gRPC")
	g.announce(t, "greeter", micro.of("protocol", "mucp"), "orders")
	g.announce(t, "greeter", plain, "orders", "path", "/new")
	g.subscribed(t, "orders")
	for range 200 {
		g.publish(t, "orders", "", "x")
	}
	for range 200 {
		select {
		case r := <-micro.came:
			if r.URL.Path != "/" || r.Header.Get("Micro-Topic") != "orders" {
				t.Errorf("the node of go-micro got %s %v", r.URL, r.Header)
			}
		case r := <-plain.came:
			if r.URL.Path != "/new" || r.Header.Get("Ce-Id") == "" {
				t.Errorf("the plain node got %s %v", r.URL, r.Header)
			}
		}
	}
	wantNone(t, grpc)
}

// TestNodeAsks: a service of go-micro cannot say of a subscriber that it asks;
// its node can, for all of them.
func TestNodeAsks(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	asks, other := serve(t, microServer()), serve(t, microServer())
	subscriber := func(name, topic string, push ...string) *registry.Endpoint {
		md := map[string]string{"subscriber": "true", "topic": topic}
		if len(push) > 0 {
			md["push"] = push[0]
		}
		return &registry.Endpoint{Name: name, Metadata: md}
	}
	g.register(t, &registry.Service{
		Name: "greeter",
		Nodes: []*registry.Node{
			asks.of("protocol", "mucp", "push", "true").announced("greeter"),
			other.of("protocol", "mucp").announced("greeter"),
		},
		Endpoints: []*registry.Endpoint{
			subscriber("Sub.Orders", "orders"), subscriber("Sub.Private", "private", "false"),
			{Name: "Greeter.Hello", Metadata: map[string]string{"topic": "other"}},
		},
	})
	g.subscribed(t, "orders")
	for range 20 {
		g.publish(t, "orders", "", "x")
		if r := receive(t, asks.came); r.Header.Get("Micro-Topic") != "orders" {
			t.Errorf("header = %v, want the topic", r.Header)
		}
	}
	wantNone(t, other)
	g.stop()
	if len(g.opened) > 0 {
		t.Errorf("subscribed to %q, too", <-g.opened)
	}
}
