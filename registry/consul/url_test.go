package consul_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ url, want string }{
		{"http://h", `unknown scheme "http"; known: consul, consuls`},
		{"consul://h?hots=sesame", `unknown parameter "hots"; known: ca, cert, datacenter, key, tls, token_file`},
		{"consul://h?ca=a&ca=b", `parameter "ca" is there 2 times`},
		{"consul://h?ca=%zz", "malformed"},
		{"consul://h/path", "parts that mean nothing"},
		{"consul://h#x", "parts that mean nothing"},
		{"consul:opaque", "parts that mean nothing"},
		{"consul://h:0", "not host:port"},
		{"consul://h:99999", "not host:port"},
		{"consul://a,b", "not host:port"},
		{"consul://user:sesame@h", "both a user and a password"},
		{"consul://sesame@h?token_file=" + empty, "both a token and token_file"},
		{"consul://h?token_file=/no/such", "token_file: open /no/such"},
		{"consul://h?token_file=" + empty, "is empty"},
		{"consul://h?cert=" + empty, "cert and key go together"},
		{"consul://h?cert=" + empty + "&key=" + empty, "cert and key: "},
		{"consul://h?ca=/no/such", "ca: open /no/such"},
		{"consul://h?ca=" + empty, "holds no certificate"},
		{"consul://h?tls=yes", "tls is neither true nor false"},
		{"consuls://h?tls=false", "tls=false contradicts"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			_, err := tryOpen(t.Context(), tt.url, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("Open() error = %v, want %q, and no secret", err, tt.want)
			}
		})
	}
}

func TestToken(t *testing.T) {
	f := newFakeAgent(t)
	f.set(func() { f.token = "sesame" })
	host := f.Listener.Addr().String()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, url string
		want      bool
	}{
		{"a password", "consul://:sesame@" + host, true},
		{"a user", "consul://sesame@" + host, true},
		{"a file", "consul://" + host + "?token_file=" + file, true},
		{"none", "consul://" + host, false},
		{"a wrong one", "consul://:tulip@" + host, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tryOpen(t.Context(), tt.url, nil)
			if err == nil {
				registrytest.Register(t, r, registrytest.Greeter("greeter-1"), 0)
				r.Close()
			}
			if (err == nil) != tt.want {
				t.Errorf("Open() error = %v, want success: %t", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "tulip") || !strings.Contains(err.Error(), "refuses our token")) {
				t.Errorf("Open() error = %v, want one about the token that does not show it", err)
			}
		})
	}
	t.Run("a file that changes", func(t *testing.T) {
		r := open(t, "consul://"+host+"?token_file="+file)
		f.set(func() { f.token = "open" })
		if _, err := r.List(t.Context()); !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("List() with an old token error = %v, want ErrUnavailable", err)
		}
		if err := os.WriteFile(file, []byte("open"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.List(t.Context()); err != nil {
			t.Errorf("List() with the new token error = %v", err)
		}
	})
}

// TestTokenOfTheEnvironment: it is that of Consul's own tools, for an agent that
// the URL names no token for.
func TestTokenOfTheEnvironment(t *testing.T) {
	f := newFakeAgent(t)
	f.set(func() { f.token = "sesame" })
	t.Setenv("CONSUL_HTTP_TOKEN", "sesame")
	registrytest.Register(t, open(t, f.address()), registrytest.Greeter("greeter-1"), 0)
	if r, err := tryOpen(t.Context(), "consul://tulip@"+f.Listener.Addr().String(), nil); err == nil {
		r.Close()
		t.Error("Open() with a token of its own takes that of the environment")
	}
}

func TestOpenUnavailable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if r, err := tryOpen(t.Context(), "consul://sesame@"+address, nil); !errors.Is(err, registry.ErrUnavailable) ||
		!strings.Contains(err.Error(), address) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("Open() without an agent = %v, %v, want ErrUnavailable, the address, and no token", r, err)
	}
}
