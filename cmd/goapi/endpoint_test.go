package main

import (
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

func TestParseEndpoint(t *testing.T) {
	tests := []struct {
		spec, protocol string
		want           map[string]string // nil is an error
	}{
		{"Hello;method=GET;path=/hello", "http", map[string]string{"endpoint": "Hello", "handler": "http", "method": "GET", "path": "/hello"}},
		{"Greeter.Count;path=/count;stream=true", "grpc", map[string]string{"handler": "rpc", "stream": "true"}},
		{"OnOrder;subscriber=true;push=true;topic=orders;path=/on-order", "http", map[string]string{"subscriber": "true", "push": "true", "topic": "orders", "path": "/on-order", "handler": ""}},
		{"Signup;path=/signup;handler=event;topic=signups", "http", map[string]string{"handler": "event", "topic": "signups"}},
		{"Hello;path=/hello;stream=maybe", "http", nil},
		{"Hello;path=/hello;push=maybe", "http", nil},
		{"Hello;pth=/hello", "http", nil},
		{";path=/hello", "http", nil},
	}
	for _, tt := range tests {
		e, err := parseEndpoint(tt.spec, tt.protocol)
		if (err == nil) != (tt.want != nil) {
			t.Errorf("parseEndpoint(%q) = %v, %v", tt.spec, e, err)
			continue
		}
		for key, want := range tt.want {
			if e.Metadata[key] != want {
				t.Errorf("parseEndpoint(%q) has %s=%q, want %q", tt.spec, key, e.Metadata[key], want)
			}
		}
	}
}

func TestIgnored(t *testing.T) {
	s := &registry.Service{
		Name: "hello", Version: "1",
		Nodes:     []*registry.Node{{ID: "hello-1", Address: "127.0.0.1:9", Metadata: map[string]string{"weight": "heavy"}}},
		Endpoints: []*registry.Endpoint{{Name: "Bad", Metadata: map[string]string{"handler": "http", "path": "/{"}}},
	}
	text := strings.Join(ignored(s), "\n")
	for _, want := range []string{"heavy", "/{"} {
		if !strings.Contains(text, want) {
			t.Errorf("ignored = %q, want something of %q", text, want)
		}
	}
	s.Nodes[0].Metadata["weight"], s.Endpoints[0].Metadata["path"] = "3", "/hello"
	if got := ignored(s); len(got) != 0 {
		t.Errorf("ignored = %q, want nothing", got)
	}
}
