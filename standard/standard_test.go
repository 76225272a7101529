package standard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpenMistakes(t *testing.T) {
	tests := []struct {
		url  string
		want string
	}{
		{"nosuch://x", `unknown scheme "nosuch"; known schemes: consul:, consuls:, embedded:, embedded+micro:, etcd:, etcds:, file:, mdns:, memory:, nats:, nats+micro:, tls:, tls+micro:`},
		{"", "known schemes"},
		{"10.0.0.1:4222", "known schemes"},
		{"memory://x", "takes no address"},
		{"memory:?a=b", "takes no address"},
		{"nats://127.0.0.1:1?nosuch=1", "nosuch"},
		{"nats://user:s3cret@127.0.0.1:1?nosuch=1", "nosuch"},
		{"s3cret@nowhere %zz", "known schemes"},
		{"embedded:", "embedded"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			_, err := standard.Open(t.Context(), standard.Registries(nil), tt.url)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Open(%q) = %v, want one line with %q", tt.url, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Open(%q) = %v: shows a secret", tt.url, err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for url, want := range map[string]string{
		"etcd://10.0.0.1:2379": "", "memory:": "", "nats://10.0.0.1:4222?bucket=b": "", "embedded:": "", // none is opened
		"nats+micro://10.0.0.1:4222?window=1s": "", "consul://10.0.0.1:8500": "", "mdns:?domain=micro": "",
		"ectd://10.0.0.1:2379": `unknown scheme "ectd"`, "10.0.0.1:2379": "known schemes",
		"etcd://10.0.0.1:2379?prefx=/a":        `unknown parameter "prefx"`,
		"etcds://10.0.0.1:2379?ca=missing.pem": "missing.pem: no such file",
		"consul://10.0.0.1:8500?dc=a":          `unknown parameter "dc"`,
		"nats://10.0.0.1:4222?replicas=9":      `replicas "9" is not a number from 1 to 5`,
		"nats://10.0.0.1:4222?token_file=none": "token_file: open none: no such file",
		"nats://10.0.0.1:4222?a=b":             `unknown parameter "a"`,
		"nats+micro://10.0.0.1:4222?window=1h": `window "1h" is not a duration`,
		"embedded:?a=b":                        `unknown parameter "a"`,
		"mdns:?iface=eth0":                     `unknown parameter "iface"`,
		"file:missing.yaml":                    "missing.yaml: it is not there",
		"memory:?a=b":                          "takes no address and no parameters",
	} {
		err := standard.Check(standard.Registries(nil), url)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Check(%q) = %v, want %q", url, err, want)
		}
	}
}

// TestNoSecretWithoutSlashes: a URL that lacks its slashes shows its password no
// more than one that has them. A file has none.
func TestNoSecretWithoutSlashes(t *testing.T) {
	check := func(scheme, rest string, check func(url string) error) {
		if err := check(scheme + rest); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Check(%s%s) = %v, want an error without the secret", scheme, rest, err)
		}
		if got := standard.Redact(scheme + rest); strings.Contains(got, "s3cret") || !strings.Contains(got, "@h:1") {
			t.Errorf("Redact(%s%s) = %s, want the host alone", scheme, rest, got)
		}
	}
	for _, rest := range []string{":user:s3cret@h:1", ":/user:s3cret@h:1", ":///user:s3cret@h:1"} {
		for scheme := range standard.Registries(nil) {
			if scheme != "file" {
				check(scheme, rest, func(url string) error { return standard.Check(standard.Registries(nil), url) })
			}
		}
		for scheme := range standard.Brokers(nil) {
			check(scheme, rest, func(url string) error { return standard.Check(standard.Brokers(nil), url) })
		}
	}
}

func TestRegistries(t *testing.T) {
	srv, err := nats.Start(t.Context(), t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	opts := &standard.Options{Conns: &nats.Conns{Embedded: srv}}
	for _, url := range []string{"memory:", "embedded:", "nats://" + srv.Addr()} {
		t.Run(url, func(t *testing.T) {
			reg, err := standard.Open(t.Context(), standard.Registries(opts), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := standard.Close(reg); err != nil {
					t.Errorf("Close = %v", err)
				}
			}()
			s := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "1", Address: "127.0.0.1:9"}}}
			if err := reg.Register(t.Context(), s, 0); err != nil {
				t.Fatal(err)
			}
			if got, err := reg.Get(t.Context(), "greeter"); err != nil || len(got) != 1 {
				t.Errorf("Get = %v, %v; want what was registered", got, err)
			}
			if err := reg.Deregister(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
}

func ExampleOpen() {
	ctx := context.Background()
	reg, err := standard.Open(ctx, standard.Registries(nil), "memory:")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer standard.Close(reg)
	services, err := reg.List(ctx)
	fmt.Println(len(services), err)

	_, err = standard.Open(ctx, standard.Registries(nil), "etcetera://10.0.0.1")
	fmt.Println(err)
	// Output:
	// 0 <nil>
	// unknown scheme "etcetera"; known schemes: consul:, consuls:, embedded:, embedded+micro:, etcd:, etcds:, file:, mdns:, memory:, nats:, nats+micro:, tls:, tls+micro:
}
