package consul_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestACL: an agent that denies all to those without a token, and lets a token
// do no more than reading.
func TestACL(t *testing.T) {
	const root = "3f3aef71-2d0f-44a6-8d7f-0d7b8a2b1c11"
	p := start(t, "", `
		acl {
			enabled = true
			default_policy = "deny"
			tokens { master = "`+root+`" agent = "`+root+`" }
		}`)
	p.await(func() bool {
		_, body, err := p.do(http.MethodGet, "/v1/health/service/consul", "", root)
		return err == nil && strings.Contains(body, `"passing"`)
	})
	create := func(path, body string) (secret string) {
		t.Helper()
		status, answer, err := p.do(http.MethodPut, path, body, root)
		var token struct{ SecretID string }
		if err != nil || status != http.StatusOK || json.Unmarshal([]byte(answer), &token) != nil {
			t.Fatalf("PUT %s: %d %s %v", path, status, answer, err)
		}
		return token.SecretID
	}
	create("/v1/acl/policy", `{"Name":"read","Rules":"service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }"}`)
	create("/v1/acl/policy", `{"Name":"greeter","Rules":"service \"greeter\" { policy = \"write\" }"}`)
	reader := create("/v1/acl/token", `{"Policies":[{"Name":"read"}]}`)
	writer := create("/v1/acl/token", `{"Policies":[{"Name":"read"},{"Name":"greeter"}]}`)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, writer+"\n")

	w := registrytest.Watch(t, open(t, "consul://:"+reader+"@"+p.address))
	w.Await("none", registrytest.HasNodes())
	announcing := open(t, "consul://"+p.address+"?token_file="+file)
	registrytest.Register(t, announcing, registrytest.Greeter("greeter-1"), time.Minute)
	w.Await("the node", registrytest.HasNodes("greeter-1"))
	registrytest.Register(t, announcing, registrytest.Greeter("greeter-1"), time.Minute)
	if err := announcing.Deregister(bound(t), registrytest.Greeter("greeter-1")); err != nil {
		t.Errorf("Deregister() error = %v", err)
	}
	w.Await("none", registrytest.HasNodes())

	refused := open(t, "consul://"+reader+"@"+p.address).Register(bound(t), registrytest.Greeter("greeter-1"), 0)
	wantRefusal(t, "Register() with a token that reads", refused, reader)
	other := registrytest.Greeter("greeter-1")
	other.Name = "other"
	wantRefusal(t, "Register() of another service", announcing.Register(bound(t), other, 0), writer)
	const unknown = "3f3aef71-2d0f-44a6-8d7f-000000000000"
	_, err := tryOpen(t.Context(), "consul://"+unknown+"@"+p.address)
	wantRefusal(t, "Open() with an unknown token", err, unknown)
}

// wantRefusal wants an error about a token that does not show it.
func wantRefusal(t *testing.T, what string, err error, token string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "refuses our token") || strings.Contains(err.Error(), token) {
		t.Errorf("%s error = %v, want that the agent refuses the token, and not the token", what, err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, other := newCA(t), newCA(t)
	write(t, filepath.Join(dir, "ca.pem"), ca.pem)
	write(t, filepath.Join(dir, "other.pem"), other.pem)
	certificate, key := ca.issue(t)
	write(t, filepath.Join(dir, "cert.pem"), certificate)
	write(t, filepath.Join(dir, "key.pem"), key)
	config := strings.ReplaceAll(`
		ports { https = {{https}} }
		ca_file = "DIR/ca.pem"
		cert_file = "DIR/cert.pem"
		key_file = "DIR/key.pem"
		verify_incoming_https = true`, "DIR", dir)
	p := start(t, "", config)
	p.await(func() bool {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	tests := []struct{ name, url, want string }{
		{"both know each other", "consuls://" + p.address + "?ca={}/ca.pem&cert={}/cert.pem&key={}/key.pem", ""},
		{"a CA means TLS", "consul://" + p.address + "?ca={}/ca.pem&cert={}/cert.pem&key={}/key.pem&tls=true", ""},
		{"the agent knows us not", "consuls://" + p.address + "?ca={}/ca.pem", "unavailable"},
		{"we know the agent not", "consuls://" + p.address + "?ca={}/other.pem&cert={}/cert.pem&key={}/key.pem", "unknown authority"},
		{"no TLS", "consul://" + p.address, "unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tryOpen(t.Context(), strings.ReplaceAll(tt.url, "{}", dir))
			if err == nil {
				defer r.Close()
			}
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Open() error = %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("Open() error = %v", err)
			}
			w := registrytest.Watch(t, r)
			registerSoon(t, r)
			w.Await("the node", registrytest.HasNodes("greeter-1"))
		})
	}
}

// registerSoon registers a node at an agent that may have no leader yet.
func registerSoon(t *testing.T, r registry.Writer) {
	t.Helper()
	for ctx := bound(t); ; {
		err := r.Register(ctx, registrytest.Greeter("greeter-1"), time.Minute)
		if err == nil {
			return
		}
		if !errors.Is(err, registry.ErrUnavailable) || ctx.Err() != nil {
			t.Fatalf("Register() error = %v", err)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newCA(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: encode("CERTIFICATE", der)}
}

// issue returns a certificate for 127.0.0.1, and its key.
func (a *authority) issue(t *testing.T) (certificate, private string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
