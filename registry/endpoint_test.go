package registry_test

import (
	"slices"
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
		{"Admin;path=/admin;expose=false;scopes=admin, audit", "http", map[string]string{"path": "/admin", "expose": "false", "scopes": "admin, audit"}},
		{"OnOrder;subscriber=true;push=true;topic=orders;protocol=cloudevents", "grpc", map[string]string{"protocol": "cloudevents", "handler": ""}},
		{"Hello;path=/hello;stream=maybe", "http", nil},
		{"Hello;path=/hello;expose=no", "http", nil},
		{"Hello;path=/hello;push=maybe", "http", nil},
		{"Hello;pth=/hello", "http", nil},
		{";path=/hello", "http", nil},
	}
	for _, tt := range tests {
		e, err := registry.ParseEndpoint(tt.spec, tt.protocol)
		if (err == nil) != (tt.want != nil) {
			t.Errorf("ParseEndpoint(%q) = %v, %v", tt.spec, e, err)
			continue
		}
		for key, want := range tt.want {
			if e.Metadata[key] != want {
				t.Errorf("ParseEndpoint(%q) has %s=%q, want %q", tt.spec, key, e.Metadata[key], want)
			}
		}
	}
}

// FuzzParseEndpoint: what is read has a name and known keys alone.
func FuzzParseEndpoint(f *testing.F) {
	f.Add("Hello;method=GET;path=/hello/{name}", "http")
	f.Add(" OnOrder ;; subscriber=true;push=true;topic=orders", "grpc")
	f.Add("Admin;expose=no", "mucp")
	f.Fuzz(func(t *testing.T, text, protocol string) {
		e, err := registry.ParseEndpoint(text, protocol)
		if (e == nil) == (err == nil) {
			t.Fatalf("ParseEndpoint(%q) = %v, %v: want exactly one", text, e, err)
		}
		if err != nil {
			return
		}
		if e.Name == "" || e.Metadata["endpoint"] != e.Name {
			t.Errorf("ParseEndpoint(%q) has the name %q, and %q in its metadata", text, e.Name, e.Metadata["endpoint"])
		}
		for key := range e.Metadata {
			if key != "endpoint" && !slices.Contains(registry.EndpointKeys(), key) {
				t.Errorf("ParseEndpoint(%q) has the key %q", text, key)
			}
		}
	})
}
