package registry_test

import (
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestIsPushedTo(t *testing.T) {
	node := func(push string) *registry.Node { return &registry.Node{Metadata: map[string]string{"push": push}} }
	endpoint := func(subscriber, push string) *registry.Endpoint {
		return &registry.Endpoint{Metadata: map[string]string{"subscriber": subscriber, "push": push}}
	}
	tests := []struct {
		name     string
		node     *registry.Node
		endpoint *registry.Endpoint
		want     bool
	}{
		{"neither asks", new(registry.Node), endpoint("true", ""), false},
		{"the endpoint asks", new(registry.Node), endpoint("true", "true"), true},
		{"the node asks", node("true"), endpoint("true", ""), true},
		{"both ask", node("true"), endpoint("true", "true"), true},
		{"the endpoint does not want what the node asks for", node("true"), endpoint("true", "false"), false},
		{"the endpoint asks, unlike the node", node("false"), endpoint("true", "true"), true},
		{"another word", node("yes"), endpoint("true", ""), false},
		{"no subscriber asks", new(registry.Node), endpoint("", "true"), false},
		{"the node of no subscriber asks", node("true"), endpoint("false", ""), false},
		{"no metadata", node("true"), new(registry.Endpoint), false},
		{"no node", nil, endpoint("true", "true"), false},
		{"no endpoint", node("true"), nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := registry.IsPushedTo(tt.node, tt.endpoint); got != tt.want {
				t.Errorf("IsPushedTo(%v, %v) = %t, want %t", tt.node, tt.endpoint, got, tt.want)
			}
		})
	}
}

// TestIsPushed: one node is enough.
func TestIsPushed(t *testing.T) {
	e := &registry.Endpoint{Metadata: map[string]string{"subscriber": "true"}}
	s := &registry.Service{Nodes: []*registry.Node{nil, {ID: "1"}}}
	if registry.IsPushed(s, e) {
		t.Error("IsPushed without a node that asks = true")
	}
	s.Nodes = append(s.Nodes, &registry.Node{ID: "2", Metadata: map[string]string{"push": "true"}})
	if !registry.IsPushed(s, e) {
		t.Error("IsPushed with a node that asks = false")
	}
	if registry.IsPushed(s, nil) {
		t.Error("IsPushed of no endpoint = true")
	}
}
