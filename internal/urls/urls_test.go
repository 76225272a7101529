package urls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/internal/urls"
)

func TestParams(t *testing.T) {
	tests := []struct {
		query string
		known []string
		want  string // what is wrong
	}{
		{"", nil, ""},
		{"a=1&host=i&host=j", []string{"a", urls.Host}, ""},
		{"a=sesame", nil, `unknown parameter "a"; known: none`},
		{"c=sesame", []string{"b", "a"}, `unknown parameter "c"; known: a, b`},
		{"a=sesame&a=sesame", []string{"a"}, `parameter "a" is there 2 times`},
		{"host=sesame", []string{"a"}, `unknown parameter "host"; known: a`},
		{"a=%zz", []string{"a"}, "the parameters are malformed"},
		{"a=1;b=sesame", []string{"a"}, "the parameters are malformed"},
	}
	for _, tt := range tests {
		got, err := urls.Params(&url.URL{RawQuery: tt.query}, tt.known...)
		if message(err) != tt.want {
			t.Errorf("Params(%q) error = %v, want %q", tt.query, err, tt.want)
		}
		if err == nil && got.Encode() != tt.query {
			t.Errorf("Params(%q) = %v", tt.query, got)
		}
	}
}

func TestRedact(t *testing.T) {
	tests := []struct{ url, want string }{
		{"nats://h:4222?host=sesame", "nats://h:4222"},
		{"nats://h?", "nats://h"},
		{"nats://sesame@h", "nats://xxxxx@h"},
		{"nats://user:sesame@h", "nats://xxxxx@h"},
		{"nats:user:sesame@h:1", "nats:xxxxx@h:1"},
		{"nats:user:ses@me@h:1?a=b", "nats:xxxxx@h:1"},
		{"nats:/user:sesame@h", "nats:xxxxx@h"},
		{"nats:///user:sesame@h", "nats:xxxxx@h"},
		{"nats://user:1/sesame@h", "nats:xxxxx@h"},
		{"nats://user:1#sesame@h", "nats:xxxxx@h"},
		{"file:services.yaml", "file:services.yaml"},
		{"file:///a%20b/services.yaml", "file:///a%20b/services.yaml"},
		{"mdns:", "mdns:"},
	}
	for _, tt := range tests {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		before := *u
		if got := urls.Redact(u); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.url, got, tt.want)
		}
		if *u != before {
			t.Errorf("Redact(%q) changes it", tt.url)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, 1)
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key, "empty": ""} {
		write(t, filepath.Join(dir, name), text)
	}
	tests := []struct {
		name   string
		insist bool
		params string
		secure bool
		want   string // what is wrong
	}{
		{"nothing", false, "", false, ""},
		{"insisted upon", true, "", true, ""},
		{"a CA", false, "ca={}/cert.pem", true, ""},
		{"a certificate", false, "cert={}/cert.pem&key={}/key.pem", true, ""},
		{"a certificate without a key", false, "cert={}/cert.pem", false, "cert and key go together"},
		{"a key without a certificate", false, "key={}/key.pem", false, "cert and key go together"},
		{"no file", false, "ca={}/none", false, "ca: open {}/none: no such file or directory"},
		{"no certificate", false, "ca={}/empty", false, "ca: {}/empty holds no certificate in PEM"},
		{"no pair", false, "cert={}/cert.pem&key={}/empty", false, "cert and key: tls: failed to find any PEM data in key input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			params, err := url.ParseQuery(strings.ReplaceAll(tt.params, "{}", dir))
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := urls.TLS(tt.insist, params)
			if message(err) != strings.ReplaceAll(tt.want, "{}", dir) || (cfg != nil) != tt.secure {
				t.Fatalf("TLS() = %v, %v, want one: %t, %q", cfg, err, tt.secure, tt.want)
			}
			if cfg != nil && cfg.MinVersion != tls.VersionTLS12 {
				t.Errorf("TLS() takes version %x, want 1.2", cfg.MinVersion)
			}
		})
	}
}

// TestTLSReadsAgain: a certificate that is replaced is used from then on.
func TestTLSReadsAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	save := func(serial int64) {
		cert, key := certificate(t, serial)
		write(t, certFile, cert)
		write(t, keyFile, key)
	}
	save(1)
	cfg, err := urls.TLS(false, url.Values{urls.Cert: {certFile}, urls.Key: {keyFile}})
	if err != nil {
		t.Fatal(err)
	}
	for _, serial := range []int64{1, 2} {
		save(serial)
		pair, err := cfg.GetClientCertificate(nil)
		if err != nil || pair.Leaf.SerialNumber.Int64() != serial {
			t.Errorf("GetClientCertificate() = %v, %v, want certificate %d", pair, err, serial)
		}
	}
	write(t, certFile, "")
	if _, err := cfg.GetClientCertificate(nil); err == nil || !strings.HasPrefix(err.Error(), "cert and key: ") {
		t.Errorf("GetClientCertificate() of an empty file error = %v, want one", err)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), " sesame\n")
	write(t, filepath.Join(dir, "blank"), " \n")
	tests := []struct{ file, want, err string }{
		{"secret", "sesame", ""},
		{"blank", "", "token_file: {}/blank is empty"},
		{"none", "", "token_file: open {}/none: no such file or directory"},
	}
	for _, tt := range tests {
		got, err := urls.Secret(urls.TokenFile, filepath.Join(dir, tt.file))
		if got != tt.want || message(err) != strings.ReplaceAll(tt.err, "{}", dir) {
			t.Errorf("Secret(%s) = %q, %v, want %q, %q", tt.file, got, err, tt.want, tt.err)
		}
	}
}

// FuzzParams: what is returned is what is in the URL, and known.
func FuzzParams(f *testing.F) {
	for _, query := range []string{"", "a=1&host=i&host=j", "a=%zz", "b=1", "a=1&a=2"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		known := []string{"a", urls.Host}
		got, err := urls.Params(&url.URL{RawQuery: query}, known...)
		want, malformed := url.ParseQuery(query)
		if malformed != nil && err == nil {
			t.Fatalf("Params(%q) error = nil, want one", query)
		}
		for name, values := range got {
			if !slices.Contains(known, name) || !slices.Equal(values, want[name]) || len(values) != 1 && name != urls.Host {
				t.Errorf("Params(%q) has %s %q", query, name, values)
			}
		}
	})
}

// certificate returns a certificate and its key in PEM.
func certificate(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
