package etcd_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/etcd"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		url  string
		want string
	}{
		{"etcd://h:1?prefx=/a", `etcd://h:1: unknown parameter "prefx"; known: ca, cert, host, key, password_file, prefix`},
		{"etcd://h:1?tls=true", `unknown parameter "tls"; known: ca, cert, host, key, password_file, prefix`},
		{"consul://h", `unknown scheme "consul"; known: etcd, etcds`},
		{"etcd:", `host "" is not host:port`},
		{"etcd:h", "it has parts that mean nothing; want etcd://host:port?parameter=value"},
		{"etcds://h/path", "it has parts that mean nothing; want etcds://host:port?parameter=value"},
		{"etcd://h#x", "it has parts that mean nothing"},
		{"etcd://h?host=", `host "" is not host:port`},
		{"etcd://h?host=a,b", `host "a,b" is not host:port`},
		{"etcd://h?host=a/b", `host "a/b" is not host:port`},
		{"etcd://h?host=::1", `host "::1" is not host:port`},
		{"etcd://h?host=a:b", `host "a:b" is not host:port`},
		{"etcd://h?host=user:secret@b", "is not host:port"},
		{"etcd://h?prefix=", "prefix is not a path like /micro/registry"},
		{"etcd://h?prefix=/", "prefix is not a path like /micro/registry"},
		{"etcd://h?prefix=micro", "prefix is not a path like /micro/registry"},
		{"etcd://h?prefix=/a%00", "prefix is not a path like /micro/registry"},
		{"etcd://h?prefix=/" + strings.Repeat("a", 255), "of at most 255 bytes"},
		{"etcd://h?prefix=/a&prefix=/b", `parameter "prefix" is there 2 times`},
		{"etcd://h?prefix=%zz", "the parameters are malformed"},
		{"etcd://user@h", "a user and a password go together"},
		{"etcd://:secret@h", "a user and a password go together"},
		{"etcd://h?password_file=" + empty, "a user and a password go together"},
		{"etcd://user:secret@h?password_file=" + empty, "it has both a password and password_file; want one"},
		{"etcd://user@h?password_file=" + empty, "password_file: " + empty + " is empty"},
		{"etcd://user@h?password_file=/none", "password_file: open /none"},
		{"etcd://h?cert=a.pem", "cert and key go together"},
		{"etcd://h?key=a.pem", "cert and key go together"},
		{"etcd://h?ca=/none.pem", "ca: open /none.pem"},
		{"etcd://h?ca=" + empty, "holds no certificate in PEM"},
		{"etcd://h?cert=" + empty + "&key=" + empty, "cert and key:"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			r, err := tryOpen(t.Context(), tt.url, nil)
			if err == nil {
				r.Close()
				t.Fatal("Open() error = nil")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "registry: ") {
				t.Errorf("Open() error = %v, want %q", err, tt.want)
			}
			if errors.Is(err, registry.ErrUnavailable) {
				t.Errorf("Open() error = %v, which says that another attempt may help", err)
			}
		})
	}
}

// TestURLs: each of these finds the server.
func TestURLs(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for _, address := range []string{
		"etcd://" + s.addr,
		"etcd://" + s.addr + "/",
		"etcd://" + s.addr + "?prefix=/micro/registry/",
		"etcd://" + s.addr + "?host=localhost&host=[::1]",
		"etcd://" + strings.Replace(s.addr, "127.0.0.1", "localhost", 1),
		"etcd://user:password@" + s.addr, // a server that wants no user takes any
	} {
		r := open(t, address)
		registrytest.Register(t, r, registrytest.Greeter("1"), 0)
		if got, err := r.List(t.Context()); err != nil || !registrytest.HasNodes("1")(got) {
			t.Errorf("List() of %s = %v, %v, want the node", address, got, err)
		}
	}
}

// FuzzURL: no URL opens what it does not name, and no error shows a password.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{
		"etcd://h", "etcds://h:1?host=i&prefix=/a", "etcd://u:hunter2@h", "etcd://u:hunter2@h?x", "etcd://[::1]:1?ca=a", "etcd:%",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		r, err := etcd.Open(cancelled(), u, nil)
		if err == nil {
			r.Close()
			t.Fatalf("Open(%q) error = nil, want one: there is no server", address)
		}
		if password, ok := u.User.Password(); ok && password == "hunter2" && strings.Contains(err.Error(), password) &&
			!strings.Contains(u.Host+u.Scheme+u.RawQuery, password) {
			t.Errorf("Open(%q) error = %v, which shows the password", address, err)
		}
	})
}
