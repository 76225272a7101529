package nats

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	tests := []struct{ service, node, want string }{
		{"greeter", "greeter-1", "greeter.greeter-1"},
		{"go.micro.srv.greeter", "go.micro.srv.greeter-9f1c", "go.micro.srv.greeter.go=2Emicro=2Esrv=2Egreeter-9f1c"},
		{"a", "10.0.0.1:8080", "a.10=2E0=2E0=2E1=3A8080"},
		{"topic:news", "x y", "topic=3Anews.x=20y"},
		{".a..b.", ".", "=2Ea=2E=2Eb=2E.=2E"},
		{"a/b", "c=d", "a/b.c=3Dd"},
		{"*", ">", "=2A.=3E"},
		{"größe", "ü", "gr=C3=B6=C3=9Fe.=C3=BC"},
	}
	for _, tt := range tests {
		t.Run(tt.service, func(t *testing.T) {
			got := key(tt.service, tt.node)
			if got != tt.want {
				t.Errorf("key(%q, %q) = %q, want %q", tt.service, tt.node, got, tt.want)
			}
			checkKey(t, tt.service, tt.node)
		})
	}
}

// FuzzKey holds that NATS allows every key, and that a key tells which node it
// is for.
func FuzzKey(f *testing.F) {
	f.Add("go.micro.srv.greeter", "greeter-9f1c")
	f.Add(".a..b.", "10.0.0.1:8080")
	f.Add("=2E", "=")
	f.Add("a.b", "c")
	f.Add("\xff\x00", "*.>")
	f.Fuzz(func(t *testing.T, service, node string) {
		if service == "" || node == "" {
			return // neither can be registered
		}
		checkKey(t, service, node)
	})
}

// legal is what NATS says of keys, which besides must neither begin nor end
// with a dot, nor have empty elements.
var legal = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)+$`)

func checkKey(t *testing.T, service, node string) {
	t.Helper()
	k := key(service, node)
	if !legal.MatchString(k) {
		t.Errorf("key(%q, %q) = %q, which NATS does not allow", service, node, k)
	}
	if gotService, gotNode := parseKey(t, k); gotService != service || gotNode != node {
		t.Errorf("key(%q, %q) = %q, which reads back as %q, %q", service, node, k, gotService, gotNode)
	}
	if prefix := keyPrefix(service); !strings.HasPrefix(k, prefix) || strings.Contains(k[len(prefix):], ".") {
		t.Errorf("key(%q, %q) = %q, want %q and one element", service, node, k, prefix)
	}
	if got, limit := len(k), 3*(len(service)+len(node))+1; got > limit {
		t.Errorf("key(%q, %q) is %d bytes long, want at most %d", service, node, got, limit)
	}
}

// parseKey undoes key.
func parseKey(t *testing.T, k string) (service, node string) {
	t.Helper()
	last := strings.LastIndexByte(k, '.')
	return unescape(t, k[:last]), unescape(t, k[last+1:])
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	parts := strings.Split(s, string(escape))
	for i, part := range parts[1:] {
		n, err := strconv.ParseUint(part[:2], 16, 8)
		if err != nil {
			t.Fatalf("%q is escaped badly: %v", s, err)
		}
		parts[i+1] = string([]byte{byte(n)}) + part[2:]
	}
	return strings.Join(parts, "")
}
