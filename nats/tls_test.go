package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/goapi-dev/goapi/nats"
)

func TestConnsTLS(t *testing.T) {
	dir := t.TempDir()
	ca, other := newCA(t), newCA(t)
	write(t, filepath.Join(dir, "ca.pem"), ca.pem)
	write(t, filepath.Join(dir, "other.pem"), other.pem)
	certificate, key := ca.issue(t)
	write(t, filepath.Join(dir, "cert.pem"), certificate)
	write(t, filepath.Join(dir, "key.pem"), key)
	addr := startTLS(t, ca)

	tests := []struct {
		name, url string
		want      string
	}{
		{"both know each other", "tls://" + addr + "?ca={}/ca.pem&cert={}/cert.pem&key={}/key.pem", ""},
		{"a CA means TLS", "nats://" + addr + "?ca={}/ca.pem&cert={}/cert.pem&key={}/key.pem", ""},
		{"the server knows us not", "tls://" + addr + "?ca={}/ca.pem", "unavailable"},
		{"we know the server not", "tls://" + addr + "?ca={}/other.pem&cert={}/cert.pem&key={}/key.pem", "unknown authority"},
		{"the key is no key", "tls://" + addr + "?cert={}/cert.pem&key={}/ca.pem", "cert and key: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var conns nats.Conns
			c, err := conns.Open(t.Context(), mustParse(t, strings.ReplaceAll(tt.url, "{}", dir)))
			if err == nil {
				defer c.Close()
			}
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("Open() error = %v, want nil", err)
			case tt.want != "" && err == nil:
				t.Errorf("Open() error = nil, want %q", tt.want)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("Open() error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestConnsInsistOnTLS(t *testing.T) {
	s := start(t, t.TempDir(), &nats.ServerOptions{Address: "127.0.0.1:0"})
	var conns nats.Conns
	c, err := conns.Open(t.Context(), mustParse(t, "tls://"+s.Addr()))
	if !errors.Is(err, nats.ErrUnavailable) {
		t.Errorf("Open() of a server without TLS = %v, %v, want ErrUnavailable", c, err)
	}
}

// startTLS starts a server that wants to see a certificate, and returns its
// address.
func startTLS(t *testing.T, ca *authority) string {
	t.Helper()
	certificate, key := ca.issue(t)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.pem))
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		TLSTimeout: 2,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{pair},
			ClientCAs:    pool,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s.Addr().String()
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
