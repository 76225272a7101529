package server_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/server"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	priv crypto.Signer
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.priv = a.key(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "authority " + serial(t).String()}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.priv.Public(), a.priv)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// file writes who vouches.
func (a *authority) file(t *testing.T, dir string) string {
	t.Helper()
	return writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", a.cert.Raw)
}

func (a *authority) key(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) issue(t *testing.T, subject string, key crypto.Signer, life time.Duration, names ...string) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: subject}, NotAfter: time.Now().Add(life), DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.priv)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// write issues a certificate, and writes it and its key.
func (a *authority) write(t *testing.T, dir, subject string, names ...string) server.Pair {
	t.Helper()
	return writePair(t, dir, subject, a.issue(t, subject, a.key(t), time.Hour, names...))
}

func (a *authority) writeRSA(t *testing.T, dir, subject string, names ...string) server.Pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return writePair(t, dir, subject, a.issue(t, subject, key, time.Hour, names...))
}

func writePair(t *testing.T, dir, name string, c *tls.Certificate) server.Pair {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return server.Pair{
		Cert: writePEM(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", c.Certificate[0]),
		Key:  writePEM(t, filepath.Join(dir, name+".key"), "PRIVATE KEY", key),
	}
}

func writePEM(t *testing.T, file, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// shake shakes hands, and waits for what the server has to say about it.
func shake(t *testing.T, s *server.Server, conf *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	conn := tls.Client(dial(t, s.Addr().String()), conf)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if len(conf.NextProtos) > 0 {
		return conn.ConnectionState(), nil // it is not HTTP
	}
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return tls.ConnectionState{}, err
	}
	_, err := conn.Read(make([]byte, 1)) // a client certificate is judged after the client's handshake
	return conn.ConnectionState(), err
}

// run follows the files until the test ends.
func run(t *testing.T, certs *server.Certificates) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- certs.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// lines takes a log.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // nobody waits for so many
	}
	return len(p), nil
}

// await returns the next line with a text.
func (l lines) await(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			t.Fatalf("the log never says %q", text)
		}
	}
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	dir = filepath.Join(dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func link(t *testing.T, to, file string) {
	t.Helper()
	if err := os.Symlink(to, file); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
