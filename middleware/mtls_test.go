package middleware_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/middleware"
)

// TestMTLS has clients with certificates of an authority, over TLS.
func TestMTLS(t *testing.T) {
	ca := newAuthority(t)
	spiffe, other := mustURL(t, "spiffe://example.org/billing"), mustURL(t, "spiffe://example.org/root")
	tests := []struct {
		name    string
		subject []string
		leaf    x509.Certificate
		want    string // X-User at the service, or the status
	}{
		{"common name", nil, x509.Certificate{Subject: pkix.Name{CommonName: "billing"}}, "billing"},
		{"SPIFFE goes before", nil, x509.Certificate{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"y"}, URIs: []*url.URL{spiffe}}, "spiffe://example.org/billing"},
		{"DNS goes before", nil, x509.Certificate{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"billing.example.org", "b"}}, "billing.example.org"},
		{"two URIs name nobody", nil, x509.Certificate{Subject: pkix.Name{CommonName: "x"}, URIs: []*url.URL{spiffe, other}}, "403"},
		{"the operator's choice", []string{"email", "cn"}, x509.Certificate{Subject: pkix.Name{CommonName: "x"}, EmailAddresses: []string{"a@example.org"}, DNSNames: []string{"y"}}, "a@example.org"},
		{"the operator's second choice", []string{"email", "cn"}, x509.Certificate{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"y"}}, "x"},
		{"no name of the kind", []string{"uri"}, x509.Certificate{Subject: pkix.Name{CommonName: "x"}}, "403"},
		{"no name at all", nil, x509.Certificate{Subject: pkix.Name{Organization: []string{"x"}}}, "403"},
		{"a name that is two headers", nil, x509.Certificate{Subject: pkix.Name{CommonName: "x\r\nX-Admin: true"}}, "403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := middleware.NewMTLS(&middleware.MTLSOptions{Subject: tt.subject})
			if err != nil {
				t.Fatal(err)
			}
			server := ca.serve(t, tls.VerifyClientCertIfGiven, protect(t, m))
			if got := ask(t, server, ca.issue(t, &tt.leaf)); got != tt.want {
				t.Errorf("service sees %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMTLSWithoutACertificate(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	m, err := middleware.NewMTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "billing"}}
	tests := []struct {
		name string
		auth tls.ClientAuthType
		with []tls.Certificate
		want string
	}{
		{"none", tls.VerifyClientCertIfGiven, nil, "403"},
		{"asked for and not verified", tls.RequestClientCert, stranger.issue(t, leaf), "403"},
		{"of the authority, and not verified", tls.RequestClientCert, ca.issue(t, leaf), "403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, ca.serve(t, tt.auth, protect(t, m)), tt.with); got != tt.want {
				t.Errorf("service sees %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := m.Authenticate(httptest.NewRequest("GET", "http://x/", nil)); err == nil {
		t.Error("a request without TLS has an identity")
	}
}

func TestMTLSClaims(t *testing.T) {
	ca := newAuthority(t)
	m, err := middleware.NewMTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	pair := ca.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "billing", Organization: []string{"Money"}}, DNSNames: []string{"a.example.org", "b.example.org"},
		EmailAddresses: []string{"x@example.org"}, URIs: []*url.URL{mustURL(t, "spiffe://example.org/b")},
	})
	leaf, err := x509.ParseCertificate(pair[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}}}
	id, err := m.Authenticate(r)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(id.Claims["cn"], id.Claims["organization"], id.Claims["dns"], id.Claims["email"], id.Claims["uri"], id.Claims["serial"], id.Claims["issuer"])
	if want := "billing[Money] [a.example.org b.example.org] [x@example.org] [spiffe://example.org/b]2aCN=authority"; got != want {
		t.Errorf("claims = %s, want %s", got, want)
	}
	if len(id.Claims["fingerprint"].(string)) != 64 || id.Method != "mtls" {
		t.Errorf("fingerprint = %v, method = %s", id.Claims["fingerprint"], id.Method)
	}
}

func TestMTLSOptions(t *testing.T) {
	if _, err := middleware.NewMTLS(&middleware.MTLSOptions{Subject: []string{"cn", "dn"}}); err == nil || !strings.Contains(err.Error(), `"dn": write uri, dns, email or cn`) {
		t.Errorf("NewMTLS error = %v, want one that names dn", err)
	}
}

// protect returns a handler that answers with the X-User that a service sees.
func protect(t *testing.T, a middleware.Authenticator) http.Handler {
	t.Helper()
	wrap, err := middleware.Auth([]middleware.Authenticator{a}, &middleware.AuthOptions{Headers: map[string]string{"X-User": "subject"}})
	if err != nil {
		t.Fatal(err)
	}
	return wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Saw", r.Header.Get("X-User")) }))
}

// ask returns what the service saw, or the status that is not 200.
func ask(t *testing.T, server *httptest.Server, certificates []tls.Certificate) string {
	t.Helper()
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = certificates
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-User", "root")
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return fmt.Sprint(resp.StatusCode)
	}
	return resp.Header.Get("Saw")
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newECKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(t, template, template, a.key)
	return a
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue returns a client's certificate with the names of leaf.
func (a *authority) issue(t *testing.T, leaf *x509.Certificate) []tls.Certificate {
	t.Helper()
	key, template := newECKey(t), *leaf
	template.SerialNumber = big.NewInt(42)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return []tls.Certificate{{Certificate: [][]byte{a.sign(t, &template, a.cert, key).Raw}, PrivateKey: key}}
}

// serve returns a server that asks clients for certificates of a.
func (a *authority) serve(t *testing.T, auth tls.ClientAuthType, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	server.TLS = &tls.Config{ClientAuth: auth, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
