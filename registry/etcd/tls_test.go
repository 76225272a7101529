package etcd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestTLS: the files say whom to trust, and who we are.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	ours.issue("server", net.IPv4(127, 0, 0, 1))
	ours.issue("client")
	theirs.issue("stranger")
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	s := start(t, func(cfg *embed.Config) {
		cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = file("server"), file("server-key")
		cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = file("ours"), true
		for i := range cfg.ListenClientUrls {
			cfg.ListenClientUrls[i].Scheme, cfg.AdvertiseClientUrls[i].Scheme = "https", "https"
		}
	})
	ca, pair := "?ca="+file("ours"), "&cert="+file("client")+"&key="+file("client-key")
	for _, address := range []string{"etcds://" + s.addr + ca + pair, "etcd://" + s.addr + ca + pair} {
		r := open(t, address)
		registrytest.Register(t, r, registrytest.Greeter("1"), time.Minute)
		registrytest.Watch(t, r).Await("a node", registrytest.HasNodes("1"))
	}
	tests := []struct {
		name, url string
	}{
		{"without TLS", "etcd://" + s.addr},
		{"trusting those whom the system trusts", "etcds://" + s.addr + "?" + pair[1:]},
		{"trusting another", "etcds://" + s.addr + "?ca=" + file("theirs") + pair},
		{"as nobody", "etcds://" + s.addr + ca},
		{"as a stranger", "etcds://" + s.addr + ca + "&cert=" + file("stranger") + "&key=" + file("stranger-key")},
		{"by another name", "etcds://" + strings.Replace(s.addr, "127.0.0.1", "localhost", 1) + ca + pair},
	}
	for _, tt := range tests {
		r, err := tryOpen(t.Context(), tt.url, nil)
		if err == nil {
			r.Close()
		}
		if !errors.Is(err, registry.ErrUnavailable) {
			t.Errorf("Open() %s error = %v, want ErrUnavailable", tt.name, err)
		}
	}
}

// An authority signs certificates, and writes them to files.
type authority struct {
	t      testing.TB
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// newAuthority returns an authority whose certificate is in a file of its name.
func newAuthority(t testing.TB, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir}
	a.cert, a.key = a.sign(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes a certificate for addresses to files: name.pem and name-key.pem.
func (a *authority) issue(name string, addresses ...net.IP) {
	a.t.Helper()
	_, key := a.sign(name, &x509.Certificate{
		IPAddresses: addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+"-key", "EC PRIVATE KEY", der)
}

// sign makes a certificate, by itself if there is no other yet.
func (a *authority) sign(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	template.SerialNumber, template.Subject = big.NewInt(a.serial), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name, "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(filepath.Join(a.dir, name+".pem"), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}
