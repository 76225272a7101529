package acme_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/server/acme"
)

func TestMain(m *testing.M) {
	// It ends when it looks again after a lock that was released.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

func TestOptions(t *testing.T) {
	good := func(change func(*acme.Options)) *acme.Options {
		o := &acme.Options{Domains: []string{"api.example.com"}, TLS: ":443"}
		change(o)
		return o
	}
	tests := []struct {
		name string
		opts *acme.Options
		want string // in the error; "" for none
	}{
		{"a domain", good(func(*acme.Options) {}), ""},
		{"a domain in other letters", good(func(o *acme.Options) { o.Domains = []string{" API.example.com. "} }), ""},
		{"one label", good(func(o *acme.Options) { o.Domains = []string{"localhost"} }), ""},
		{"only on demand", good(func(o *acme.Options) { o.Domains, o.OnDemand = nil, []string{"a.example", "*.b.example"} }), ""},
		{"both ports", good(func(o *acme.Options) { o.HTTP = ":80" }), ""},
		{"an authority", good(func(o *acme.Options) { o.Directory = "https://ca.example/directory" }), ""},
		{"an account", good(func(o *acme.Options) { o.KeyID, o.MACKey = "id", "a2V5" }), ""},

		{"nothing", nil, "name domains"},
		{"no port", good(func(o *acme.Options) { o.TLS = "" }), "name the address"},
		{"no host and port", good(func(o *acme.Options) { o.TLS = "443" }), "write HOST:PORT"},
		{"port 0", good(func(o *acme.Options) { o.HTTP = ":0" }), "write HOST:PORT"},
		{"two hosts", good(func(o *acme.Options) { o.HTTP = "192.0.2.1:80" }), "write one host"},
		{"a wildcard", good(func(o *acme.Options) { o.Domains = []string{"*.example.com"} }), "allow it on demand"},
		{"an address", good(func(o *acme.Options) { o.Domains = []string{"192.0.2.1"} }), "write a name"},
		{"nonsense", good(func(o *acme.Options) { o.Domains = []string{"a b"} }), "write one such as"},
		{"a wildcard within", good(func(o *acme.Options) { o.OnDemand = []string{"a.*.example"} }), "write one such as"},
		{"any name", good(func(o *acme.Options) { o.OnDemand = []string{"*"} }), "write one such as"},
		{"an empty label", good(func(o *acme.Options) { o.Domains = []string{"a..example"} }), "write one such as"},
		{"a long label", good(func(o *acme.Options) { o.Domains = []string{strings.Repeat("a", 64) + ".example"} }), "write one such as"},
		{"a long name", good(func(o *acme.Options) { o.Domains = []string{strings.Repeat("a.", 127) + "example"} }), "write one such as"},
		{"letters of another script", good(func(o *acme.Options) { o.Domains = []string{"bücher.example"} }), "write one such as"},
		{"an authority in clear text", good(func(o *acme.Options) { o.Directory = "http://ca.example/" }), "write https://"},
		{"half an account", good(func(o *acme.Options) { o.KeyID = "id" }), "give both, or none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := acme.New(acme.Disk(t.TempDir()), tt.opts)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("New = %v, want an error with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("New = %q, want one line", err)
			}
		})
	}
}

// TestOptionsAreTheCallers keeps what was passed as it is.
func TestOptionsAreTheCallers(t *testing.T) {
	opts := &acme.Options{Domains: []string{"API.example.com"}, TLS: ":443"}
	if _, err := acme.New(acme.Disk(t.TempDir()), opts); err != nil {
		t.Fatal(err)
	}
	if opts.Domains[0] != "API.example.com" || opts.Directory != "" {
		t.Errorf("New changed the options to %+v", opts)
	}
}

// TestNotRunning has clients come before or behind Run.
func TestNotRunning(t *testing.T) {
	m, err := acme.New(acme.Disk(t.TempDir()), &acme.Options{OnDemand: []string{"a.example"}, TLS: "127.0.0.1:443"})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if _, err := m.GetCertificate(&tls.ClientHelloInfo{ServerName: "a.example"}); !errors.Is(err, acme.ErrNotRunning) {
			t.Errorf("GetCertificate = %v, want ErrNotRunning", err)
		}
		w := httptest.NewRecorder()
		h := m.HTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") }))
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/acme-challenge/token", nil))
		if w.Body.String() != "next" {
			t.Errorf("HTTPHandler = %q, want the answer of next", w.Body)
		}
	}
	check()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := m.Run(ctx); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	check()
}

// TestChallengesOfNobody leaves what is no challenge of its own to the next.
func TestChallengesOfNobody(t *testing.T) {
	m, err := acme.New(acme.Disk(t.TempDir()), &acme.Options{OnDemand: []string{"a.example"}, HTTP: "127.0.0.1:80"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() { stop(); <-done }()
	h := m.HTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") }))
	for _, path := range []string{"/", "/.well-known/acme-challenge/token", "/.well-known/acme-challenge/../../x"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.Host = path, "a.example"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.String() != "next" {
			t.Errorf("%s = %q, want the answer of next", path, w.Body)
		}
	}
}

func Example() {
	// The public listener is at :443; port 80 is not needed.
	m, err := acme.New(acme.Disk("/var/lib/goapi/acme"), &acme.Options{
		Domains: []string{"api.example.com"},
		TLS:     ":443",
		Email:   "operator@example.com",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	certs, err := server.NewCertificates(&server.TLSOptions{Issued: m.GetCertificate})
	if err != nil {
		fmt.Println(err)
		return
	}
	conf := certs.Config() // for a server at :443, beside which m.Run runs
	fmt.Println(conf.NextProtos)
	// Output: [h2 http/1.1 acme-tls/1]
}
