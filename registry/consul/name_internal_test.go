package consul

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestServiceName(t *testing.T) {
	tests := []struct {
		name string
		same bool
	}{
		{"greeter", true},
		{"go.micro.srv.greeter", true},
		{"a/b", true},
		{"Grüße an alle", true},
		{"goapi-x", true},
		{"..", false},
		{"a//b", false},
		{"/a", false},
		{"a/", false},
		{"consul", false},
		{"Consul", false},
		{hash("x"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := serviceName(tt.name)
			if (got == tt.name) != tt.same || !readable(got) {
				t.Errorf("serviceName(%q) = %q, want the same: %t", tt.name, got, tt.same)
			}
		})
	}
}

func TestServiceID(t *testing.T) {
	const uuid = "8f791e68-1e97-44b4-aa95-cb5c0bc92e9c"
	tests := []struct {
		service, node string
		same          bool
	}{
		{"greeter", "greeter-" + uuid, true},
		{"go.micro.srv.greeter", "go.micro.srv.greeter-" + uuid, true},
		{"greeter", "greeter-1", true},
		{"greeter", "greeter", false},
		{"greeter", "greeter-", false},
		{"greeter", "other-1", false},
		{"greeter", "greeter-web-1", false},
		{"greeter", "greeter-A", false},
		{"Greeter", "Greeter-1", false},
		{"greeter", "greeter-" + strings.ToUpper(uuid), false},
		{"greeter", "greeter-a/b", false},
		{"goapi", hash("x"), false},
	}
	for _, tt := range tests {
		t.Run(tt.node, func(t *testing.T) {
			got := serviceID(tt.service, tt.node)
			if (got == tt.node) != tt.same || !isLower(got) {
				t.Errorf("serviceID(%q, %q) = %q, want the same: %t", tt.service, tt.node, got, tt.same)
			}
		})
	}
}

// TestServiceIDIsUnique: no two nodes have one id, even where their names are
// made of the same words.
func TestServiceIDIsUnique(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "-", "A", "goapi", ""}), 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		s1, n1 := strings.Join(words.Draw(t, "s1"), ""), strings.Join(words.Draw(t, "n1"), "")
		s2, n2 := strings.Join(words.Draw(t, "s2"), ""), strings.Join(words.Draw(t, "n2"), "")
		if rapid.Bool().Draw(t, "prefixed") {
			n1, n2 = s1+"-"+n1, s2+"-"+n2
		}
		same := s1 == s2 && n1 == n2
		if got := strings.EqualFold(serviceID(s1, n1), serviceID(s2, n2)); got != same {
			t.Errorf("serviceID(%q, %q) = serviceID(%q, %q): %t, want %t", s1, n1, s2, n2, got, same)
		}
	})
}
