package goapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

func TestDecodeEndpoint(t *testing.T) {
	tests := []struct {
		name string
		in   registry.Endpoint
		want goapi.Endpoint
	}{
		{
			"go-micro v6",
			registry.Endpoint{Name: "Echo.Call", Metadata: map[string]string{
				"description": "test endpoint", "endpoint": "Echo.Call", "handler": "api",
				"host": "*", "method": "GET,POST,PUT", "path": "^/echo/.*$",
			}},
			goapi.Endpoint{
				Name: "Echo.Call", Description: "test endpoint", Handler: "api",
				Host: []string{"*"}, Method: []string{"GET", "POST", "PUT"}, Path: []string{"^/echo/.*$"},
			},
		},
		{
			"go-micro v1 writes empty keys",
			registry.Endpoint{Name: "Greeter.Hello", Metadata: map[string]string{
				"endpoint": "", "description": "", "handler": "", "method": "", "path": "", "host": "",
			}},
			goapi.Endpoint{Name: "Greeter.Hello"},
		},
		{
			"no metadata",
			registry.Endpoint{Name: "/greeter"},
			goapi.Endpoint{Name: "/greeter"},
		},
		{
			"body, strip and stream",
			registry.Endpoint{Name: "A.B", Metadata: map[string]string{"body": "msg", "strip": "/v1", "stream": "true"}},
			goapi.Endpoint{Name: "A.B", Body: "msg", Strip: "/v1", Stream: true},
		},
		{
			"topic",
			registry.Endpoint{Name: "Users.Signup", Metadata: map[string]string{"handler": "event", "topic": "users.signup"}},
			goapi.Endpoint{Name: "Users.Signup", Handler: "event", Topic: "users.signup"},
		},
		{
			"spaces and empty elements",
			registry.Endpoint{Name: "A.B", Metadata: map[string]string{"method": " GET , ,POST,", "path": " /a , /b "}},
			goapi.Endpoint{Name: "A.B", Method: []string{"GET", "POST"}, Path: []string{"/a", "/b"}},
		},
		{
			"comma within a regular expression",
			registry.Endpoint{Name: "A.B", Metadata: map[string]string{"path": "^/a{1,3}$,/b,^/c{2,}/[x,y]$"}},
			goapi.Endpoint{Name: "A.B", Path: []string{"^/a{1,3}$", "/b", "^/c{2,}/[x,y]$"}},
		},
		{
			"expression without end before a template",
			registry.Endpoint{Name: "A.B", Metadata: map[string]string{"path": "^/a,/b"}},
			goapi.Endpoint{Name: "A.B", Path: []string{"^/a", "/b"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Metadata = tt.in.Metadata
			got := goapi.DecodeEndpoint(&tt.in)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("DecodeEndpoint differs (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzEndpoint(f *testing.F) {
	f.Add("Greeter.Hello", "rpc", "*,example.com", "GET,POST", "/a/{name},^/b{1,2}$", "msg", "users", true)
	f.Add("", "", "", "", ",,^,$", "", "", false)
	f.Fuzz(func(t *testing.T, name, handler, host, method, path, body, topic string, stream bool) {
		first := goapi.DecodeEndpoint(&registry.Endpoint{Name: "N", Metadata: map[string]string{
			"endpoint": name, "handler": handler, "host": host, "method": method, "path": path, "body": body, "topic": topic, "other": "kept",
		}})
		first.Stream = stream
		encoded := first.Encode()
		second := goapi.DecodeEndpoint(encoded)
		if second.Metadata["other"] != "kept" {
			t.Errorf("Encode lost a key that is not its own: %v", encoded.Metadata)
		}
		first.Metadata, second.Metadata = nil, nil
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("decoded, encoded and decoded differs (-first +second):\n%s", diff)
		}
	})
}

func TestEndpointIsAnnounced(t *testing.T) {
	for name, tt := range map[string]struct {
		e    goapi.Endpoint
		want bool
	}{
		"a name alone": {goapi.Endpoint{Name: "Greeter.Hello", Handler: "rpc"}, false},
		"metadata":     {goapi.Endpoint{Metadata: map[string]string{}}, true},
		"a request":    {goapi.Endpoint{Request: new(registry.Value)}, true},
		"a response":   {goapi.Endpoint{Response: new(registry.Value)}, true},
	} {
		if got := tt.e.IsAnnounced(); got != tt.want {
			t.Errorf("IsAnnounced() of %s = %t, want %t", name, got, tt.want)
		}
	}
}
