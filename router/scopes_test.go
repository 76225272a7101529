package router_test

import (
	"testing"

	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
)

// TestScopesOfAProxy: whoever reaches all of a service by its name needs what any
// of its endpoints wants.
func TestScopesOfAProxy(t *testing.T) {
	tests := []struct {
		name      string
		endpoints []string
		want      string
		wanted    bool
	}{
		{"none", []string{"path=/x"}, "", false},
		{"those of all", []string{"name=X;path=/x;scopes=b", "name=Y;path=/y;scopes= a, ", "name=Z;path=/z;scopes=b"}, "a b", true},
		{"an endpoint that names none", []string{"name=X;path=/x;scopes=b", "name=Y;path=/y;scopes= ,"}, "", true},
		{"an endpoint with an empty list", []string{"name=X;path=/x;scopes="}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := static(t, &router.Options{Resolver: resolver.Path, Handler: "http"}, service("a", tt.endpoints...))
			rt, err := table.Route(get("/a/any"))
			if err != nil {
				t.Fatal(err)
			}
			got, wanted := rt.Endpoint.Metadata["scopes"]
			if got != tt.want || wanted != tt.wanted {
				t.Errorf("scopes = %q, %t, want %q, %t", got, wanted, tt.want, tt.wanted)
			}
		})
	}
}
