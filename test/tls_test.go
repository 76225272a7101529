package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority signs certificates.
type authority struct {
	t      *testing.T
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = newPrivateKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file("ca.pem"), "CERTIFICATE", der)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue writes NAME.pem and NAME.key of a certificate for a DNS name.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	a.serial++
	private := newPrivateKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano() + a.serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = a.file(name+".pem"), a.file(name+".key")
	writePEM(a.t, key, "PRIVATE KEY", secret)
	writePEM(a.t, cert, "CERTIFICATE", der)
	return cert, key
}

// client returns a client that believes the authority and asks for a name
// wherever it connects; it shows a certificate if there is one.
func (a *authority) client(name string, shown ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: name, Certificates: shown},
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func newPrivateKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTLS: certificates by name, read again when they change; clients that are
// known by theirs; and plain HTTP that leads to TLS.
func TestTLS(t *testing.T) {
	s, a := startEcho(t), newAuthority(t)
	apiCert, apiKey := a.issue("api.example.com")
	webCert, webKey := a.issue("web.example.com")
	cert, key := a.issue("batch")
	shown, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	plain := l.Addr().String()
	l.Close()
	c := startConfigured(t, operated(s, fmt.Sprintf(`
tls:
  certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}]
  client_ca: %q
  client_auth: request
  http: %q
  port: 8443
identity: {mtls: {machines: {subject: [cn]}}}
patterns: [{match: /web/machines/**, auth: {any: [mtls/machines], headers: {X-User: subject}}}]
`, apiCert, apiKey, webCert, webKey, a.file("ca.pem"), plain)))
	get := func(client *http.Client, url string) (*http.Response, string) {
		t.Helper()
		rsp, err := client.Get(url)
		if err != nil {
			t.Fatalf("GET %s: %v\n%s", url, err, c.logged())
		}
		defer rsp.Body.Close()
		b, err := io.ReadAll(rsp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return rsp, string(b)
	}
	url := "https://" + c.address + "/web/"
	for _, name := range []string{"api.example.com", "web.example.com"} {
		if rsp, body := get(a.client(name), url+"x"); rsp.StatusCode != http.StatusOK || rsp.ProtoMajor != 2 {
			t.Errorf("GET by the name %s = %s %s %s, want 200 over HTTP/2", name, rsp.Proto, rsp.Status, body)
		}
	}
	if rsp, body := get(a.client("api.example.com", shown), url+"machines/x"); rsp.StatusCode != http.StatusOK || !strings.Contains(body, `"user":"batch"`) {
		t.Errorf("GET with a certificate = %s %s, want the service to know whose", rsp.Status, body)
	}
	if rsp, body := get(a.client("api.example.com"), url+"machines/x"); rsp.StatusCode != http.StatusForbidden {
		t.Errorf("GET without a certificate = %s %s, want 403", rsp.Status, body)
	}

	rsp, _ := get(a.client(""), "http://"+plain+"/web/x?a=b")
	if want := "https://127.0.0.1:8443/web/x?a=b"; rsp.StatusCode != http.StatusPermanentRedirect || rsp.Header.Get("Location") != want {
		t.Errorf("GET over plain HTTP = %s to %q, want a redirect to %s", rsp.Status, rsp.Header.Get("Location"), want)
	}
	post, err := http.Post("http://"+plain+"/web/x", "text/plain", strings.NewReader("secret"))
	if err != nil {
		t.Fatal(err)
	}
	post.Body.Close()
	if post.StatusCode != http.StatusForbidden {
		t.Errorf("POST over plain HTTP = %s, want 403", post.Status)
	}

	before := serial(t, a, c.address)
	a.issue("api.example.com")
	c.await(func() bool { return serial(t, a, c.address) != before }, "certificate that was replaced")
}

// serial returns the number of the certificate that api.example.com has.
func serial(t *testing.T, a *authority, address string) string {
	t.Helper()
	rsp, err := a.client("api.example.com").Get("https://" + address + "/web/x")
	if err != nil {
		t.Fatal(err)
	}
	rsp.Body.Close()
	return rsp.TLS.PeerCertificates[0].SerialNumber.String()
}
