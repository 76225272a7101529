package push_test

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
)

// TestNotPushed: what a service announces is not believed; what is left out is
// logged once, with the reason.
func TestNotPushed(t *testing.T) {
	tests := []struct {
		name     string
		service  string
		metadata map[string]string
		reason   string // "" if it does not even ask
	}{
		{"a topic that is not listed", "mailer", map[string]string{"topic": "secrets"}, `topic "secrets" may not be pushed; the option Topics (--push)`},
		{"a gateway's own topic", "mailer", map[string]string{"topic": "_internal"}, `topic "_internal" may not be pushed`},
		{"dead letters", "mailer", map[string]string{"topic": "_dead-letters"}, "the topic of dead letters"},
		{"a wildcard", "mailer", map[string]string{"topic": "orders.*"}, "has a wildcard"},
		{"no topic", "mailer", nil, "is empty"},
		{"a protocol that is not known", "mailer", map[string]string{"topic": "orders", "protocol": "smtp\r\n"}, `protocol "smtp" cannot be pushed; want cloudevents or micro`},
		{"a template for a path", "mailer", map[string]string{"topic": "orders", "path": "/orders/{id}"}, `path "/orders/{id}" cannot be posted to`},
		{"an expression for a path", "mailer", map[string]string{"topic": "orders", "path": "^/orders$"}, "cannot be posted to"},
		{"another host for a path", "mailer", map[string]string{"topic": "orders", "path": "http://evil.example/"}, "cannot be posted to"},
		{"a long name", strings.Repeat("m", 201), map[string]string{"topic": "orders"}, "is no name of a group"},
		{"a path that is not escaped", "mailer", map[string]string{"topic": "orders", "path": "/ä"}, `path "/ä" cannot be posted to`},
		{"no subscriber", "mailer", map[string]string{"topic": "orders", "subscriber": "false"}, ""},
		{"does not ask", "mailer", map[string]string{"topic": "orders", "push": "maybe"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, new(broker.Memory), push.Options{Topics: []string{"orders", "orders.*", "_dead-letters"}})
			n := serve(t, nil)
			md := map[string]string{"subscriber": "true", "push": "true"}
			maps.Copy(md, tt.metadata)
			for version := range 3 { // seen again with each change
				g.register(t, &registry.Service{
					Name: tt.service, Version: fmt.Sprint(version), Nodes: []*registry.Node{{ID: fmt.Sprint(version), Address: n.addr}},
					Endpoints: []*registry.Endpoint{{Name: "On", Metadata: md}},
				})
			}
			g.announce(t, "last", n, "orders")
			g.subscribed(t, "orders")
			if tt.reason == "" {
				tt.reason = "none"
			} else if g.log.count("not pushed", tt.reason) != 1 {
				t.Errorf("the log has %d lines with %q, want 1", g.log.count("not pushed", tt.reason), tt.reason)
			}
			if got := g.log.count("not pushed"); got > 1 || got == 1 && tt.reason == "none" {
				t.Errorf("the log has %d lines of what is not pushed", got)
			}
			g.stop()
			if len(g.opened) > 0 {
				t.Errorf("subscribed to %q", <-g.opened)
			}
		})
	}
}

// TestCheck holds what is said of an announcement beforehand against what is
// pushed then.
func TestCheck(t *testing.T) {
	tests := []struct {
		name           string
		service        string // default: mailer
		node, endpoint map[string]string
		want           string // in the error; "" for none
	}{
		{name: "nothing said"},
		{name: "a name that is no group's", service: strings.Repeat("m", 201), want: "no name of a group"},
		{name: "a wildcard", endpoint: map[string]string{"topic": "orders.*"}, want: "has a wildcard"},
		{name: "a path", endpoint: map[string]string{"path": "/on-order?a=b"}},
		{name: "a relative path", endpoint: map[string]string{"path": "on-order"}, want: "begins with /"},
		{name: "a template for a path", endpoint: map[string]string{"path": "/x/{id}"}, want: "no variables"},
		{name: "a path that is not escaped", endpoint: map[string]string{"path": "/ä"}, want: "is escaped"},
		{name: "a template at a node of go-micro, whose events have no path", node: map[string]string{"protocol": "mucp"}, endpoint: map[string]string{"path": "/x/{id}"}},
		{name: "a template at one of its early versions", node: map[string]string{"server": "rpc"}, endpoint: map[string]string{"path": "/x/{id}"}},
		{name: "a template and CloudEvents at one", node: map[string]string{"protocol": "mucp"}, endpoint: map[string]string{"path": "/x/{id}", "protocol": "cloudevents"}, want: "no variables"},
		{name: "a template and go-micro", endpoint: map[string]string{"path": "/x/{id}", "protocol": "micro"}},
		{name: "a protocol that is not known", endpoint: map[string]string{"protocol": "smtp"}, want: `protocol "smtp"`},
		{name: "a node of one, which takes CloudEvents like any other", node: map[string]string{"protocol": "smtp"}},
		{name: "a template at such a node", node: map[string]string{"protocol": "smtp"}, endpoint: map[string]string{"path": "/x/{id}"}, want: "no variables"},
		{name: "gRPC", node: map[string]string{"protocol": "grpc"}, want: "speak gRPC"},
		{name: "CloudEvents beside gRPC", node: map[string]string{"protocol": "grpc"}, endpoint: map[string]string{"protocol": "cloudevents"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			md := map[string]string{"subscriber": "true", "push": "true", "topic": "orders"}
			maps.Copy(md, tt.endpoint)
			name, n := cmp.Or(tt.service, "mailer"), serve(t, microServer())
			announced := &registry.Service{
				Name: name, Nodes: []*registry.Node{{ID: "1", Address: n.addr, Metadata: tt.node}},
				Endpoints: []*registry.Endpoint{{Name: "On", Metadata: md}},
			}
			err := push.Check(name, announced.Nodes[0], goapi.DecodeEndpoint(announced.Endpoints[0]))
			if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("Check = %v, want %q", err, tt.want)
			}
			g := start(t, new(broker.Memory), push.Options{Topics: []string{"orders", "orders.*"}})
			g.register(t, announced)
			if err != nil {
				g.log.wait(t, "not pushed", err.Error())
				return
			}
			g.subscribed(t, "orders")
			g.publish(t, "orders", "1", "x")
			receive(t, n.came)
		})
	}
}

// TestNothingIsPushedByDefault: without Topics.
func TestNothingIsPushedByDefault(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{Topics: []string{}})
	g.announce(t, "mailer", serve(t, nil), "orders")
	g.log.wait(t, "not pushed", "mailer", "orders")
}

// TestTwoEndpoints: of endpoints that ask for one topic the first by name gets
// it, and the other when that is gone.
func TestTwoEndpoints(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, nil)
	ask := func(path string) *registry.Endpoint {
		return &registry.Endpoint{Name: "On" + path, Metadata: map[string]string{"subscriber": "true", "push": "true", "topic": "orders", "path": path}}
	}
	g.register(t, &registry.Service{Name: "mailer", Nodes: []*registry.Node{n.announced("mailer")}, Endpoints: []*registry.Endpoint{ask("/b"), ask("/a")}})
	g.subscribed(t, "orders")
	g.log.wait(t, "not pushed", "endpoint=On/b", "goes to endpoint On/a")
	g.publish(t, "orders", "1", "x")
	if r := receive(t, n.came); r.URL.Path != "/a" {
		t.Errorf("posted to %s, want /a", r.URL)
	}
	g.register(t, &registry.Service{Name: "mailer", Nodes: []*registry.Node{n.announced("mailer")}, Endpoints: []*registry.Endpoint{ask("/b")}})
	for i := 0; ; i++ { // until the change has come through
		g.publish(t, "orders", fmt.Sprint("m-", i), "x")
		if receive(t, n.came).URL.Path == "/b" {
			break
		}
	}
	if len(g.opened)+len(g.closed) > 0 {
		t.Error("another subscription was made; the group is the same")
	}
}

// TestTwoServices: each gets every message, and one node of each.
func TestTwoServices(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	a1, a2, b := serve(t, nil), serve(t, nil), serve(t, nil)
	g.announce(t, "a", a1, "orders")
	g.subscribed(t, "orders")
	g.announce(t, "a", a2, "orders")
	g.announce(t, "b", b, "orders")
	g.subscribed(t, "orders")
	for i := range 50 {
		g.publish(t, "orders", fmt.Sprintf("%02d", i), "x")
	}
	b.ids(t, 50)
	seen := map[string]int{}
	for range 50 {
		select {
		case r := <-a1.came:
			seen[r.Header.Get("Ce-Id")]++
		case r := <-a2.came:
			seen[r.Header.Get("Ce-Id")]++
		}
	}
	if len(seen) != 50 {
		t.Errorf("a got %d of 50 messages: %v", len(seen), seen)
	}
}

// TestTooMany: a service has at most so many topics; those that it has stay its
// own.
func TestTooMany(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, nil)
	announce := func(node, prefix string, count int) {
		s := &registry.Service{Name: "mailer", Version: node, Nodes: []*registry.Node{{ID: node, Address: n.addr}}}
		for i := range count {
			topic := fmt.Sprintf("%s-%03d", prefix, i)
			s.Endpoints = append(s.Endpoints, &registry.Endpoint{Name: topic, Metadata: map[string]string{"subscriber": "true", "push": "true", "topic": topic}})
		}
		g.register(t, s)
	}
	announce("1", "z", 60)
	for range 60 {
		receive(t, g.opened)
	}
	announce("2", "a", 60)
	for range 40 {
		if topic := receive(t, g.opened); topic >= "a-040" {
			t.Errorf("subscribed to %q, want the first 40", topic)
		}
	}
	g.log.wait(t, "not pushed", "a-059", "more than 100 topics")
	g.publish(t, "z-059", "1", "x")
	n.ids(t, 1)
	g.stop()
	if len(g.opened) > 0 {
		t.Errorf("subscribed to %q, too", <-g.opened)
	}
}

// TestGoneAndBack: when its last node leaves, a service is not subscribed for, and
// gets what was published meanwhile when it is back.
func TestGoneAndBack(t *testing.T) {
	g := start(t, new(broker.Memory), push.Options{})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "1", "x")
	n.ids(t, 1)
	g.withdraw(t, "mailer", n)
	g.publish(t, "orders", "2", "x")
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "3", "x")
	if got := n.ids(t, 2); got[0] != "2" || got[1] != "3" {
		t.Errorf("came %q, want 2 and 3", got)
	}
	wantNone(t, n)
}
