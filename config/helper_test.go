package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
)

// noEnv is an environment without variables.
func noEnv(string) (string, bool) { return "", false }

// environment is one with some.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// write writes a file and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inputs writes the files that the example names, and some that are wrong.
func inputs(t testing.TB, dir string) {
	t.Helper()
	cert, key := certificate(t)
	otherCert, otherKey := certificate(t)
	for name, text := range map[string]string{
		"cert.pem": cert, "key.pem": key, "ca.pem": cert, "other.pem": otherCert, "other.key": otherKey,
		"admin.token": "secret\n", "nats.token": "secret\n", "eab.key": "c2VjcmV0\n", "empty": "\n",
		"jwt.secret":     "0123456789abcdef0123456789abcdef\n",
		"short.secret":   "hunter2\n",
		"issuer.jwk":     `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"keys.txt":       "acme " + middleware.HashKey("k") + " orders:read\n",
		"bad-keys.txt":   "acme k\n",
		"users.htpasswd": "ann:$2y$04$9zMs5zLHYVPjcGdGYvbbB.PVJbcoXI5ZvUWQPpXrRQv4xgYQMCZCe\n",
		"bad.htpasswd":   "ann:{SHA}hunter2\n",
	} {
		write(t, dir, name, text)
	}
}

// exampleDir returns a directory with the example, as goapi.yaml, and the files
// that it names.
func exampleDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	inputs(t, dir)
	text, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "goapi.yaml", string(text))
	return dir
}

// parse reads a text that is right.
func parse(t testing.TB, text string) *config.File {
	t.Helper()
	f, err := config.Parse("goapi.yaml", []byte(text), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// certificate returns a certificate that is signed by itself, and its key, in
// PEM.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.example.com"}, DNSNames: []string{"api.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// record returns the status that a handler answers with.
func record(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}
