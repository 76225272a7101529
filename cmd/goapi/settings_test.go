package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/config"
)

func TestPublicTLS(t *testing.T) {
	cert, key := writeCertificate(t)
	tests := []struct {
		name, cert, key string
		want            string // in the error; none for ""
	}{
		{"clear text", "", "", ""},
		{"both", cert, key, ""},
		{"no key", cert, "", "--tls-key"},
		{"no certificate", "", key, "--tls-cert"},
		{"no such file", cert + "x", key, "no such file"},
		{"swapped", key, cert, "--tls-cert"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := &gateway{cfg: settings{tlsCert: tt.cert, tlsKey: tt.key, file: new(config.File)}}
			conf, err := g.publicTLS()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("publicTLS = %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("publicTLS = %v, want an error with %q", err, tt.want)
			case err == nil && (conf != nil) != (tt.cert != ""):
				t.Errorf("publicTLS = %v, want TLS only with a certificate", conf)
			}
		})
	}
}

// writeCertificate writes a certificate and its key to files.
func writeCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}
