package jwt_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	upstream "github.com/golang-jwt/jwt/v5"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware/jwt"
)

// issuerKeys are the keys of an issuer, each named for its kind.
type issuerKeys struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
	secret           string
}

// keys returns the same keys to all tests: RSA keys take long to make.
var keys = func() func(testing.TB) *issuerKeys {
	made := sync.OnceValues(func() (*issuerKeys, error) {
		k := &issuerKeys{secret: strings.Repeat("0123456789abcdef", 4)}
		var errs [5]error
		k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
		k.p256, errs[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		k.p384, errs[2] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		k.p521, errs[3] = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		_, k.ed, errs[4] = ed25519.GenerateKey(rand.Reader)
		return k, errors.Join(errs[:]...)
	})
	return func(t testing.TB) *issuerKeys {
		t.Helper()
		k, err := made()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
}()

func (k *issuerKeys) private(name string) any {
	switch name {
	case "rsa":
		return k.rsa
	case "p256":
		return k.p256
	case "p384":
		return k.p384
	case "p521":
		return k.p521
	case "ed":
		return k.ed
	}
	return []byte(k.secret)
}

// sign returns a token; header adds to its own, and kid is the key's name.
func (k *issuerKeys) sign(t testing.TB, algorithm, name string, claims upstream.MapClaims, header map[string]any) string {
	t.Helper()
	with := map[string]any{"kid": name}
	maps.Copy(with, header)
	return signWith(t, upstream.GetSigningMethod(algorithm), k.private(name), claims, with)
}

func signWith(t testing.TB, method upstream.SigningMethod, key any, claims upstream.MapClaims, header map[string]any) string {
	t.Helper()
	token := upstream.NewWithClaims(method, claims)
	maps.Copy(token.Header, header)
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// claims returns valid claims with changes; nil takes one away.
func claims(changes map[string]any) upstream.MapClaims {
	c := upstream.MapClaims{"iss": "https://issuer.example", "aud": "api", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range changes {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

func (k *issuerKeys) publicPEM(t testing.TB, name string) []byte {
	t.Helper()
	return pemOf(t, k.private(name).(crypto.Signer).Public())
}

func pemOf(t testing.TB, public any) []byte {
	t.Helper()
	raw, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw})
}

func (k *issuerKeys) pkcs1() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)})
}

// certificate returns one of the RSA key.
func (k *issuerKeys) certificate(t testing.TB) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &k.rsa.PublicKey, k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func x25519(t testing.TB) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(t, key.PublicKey())
}

func (k *issuerKeys) privatePEM(t testing.TB) []byte {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func smallRSA(t testing.TB) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(t, &key.PublicKey)
}

// jwk returns a public key by hand, so that nothing of what is tested makes it.
func (k *issuerKeys) jwk(t testing.TB, name string, changes map[string]any) []byte {
	t.Helper()
	m := map[string]any{"kid": name}
	text := base64.RawURLEncoding.EncodeToString
	switch key := k.private(name).(type) {
	case *rsa.PrivateKey:
		m["kty"], m["n"], m["e"] = "RSA", text(key.N.Bytes()), "AQAB"
	case *ecdsa.PrivateKey:
		raw, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := (len(raw) - 1) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", key.Params().Name, text(raw[1:1+half]), text(raw[1+half:])
	case ed25519.PrivateKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", text(key.Public().(ed25519.PublicKey))
	}
	maps.Copy(m, changes)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (k *issuerKeys) set(t testing.TB, names ...string) []byte {
	t.Helper()
	var all [][]byte
	for _, name := range names {
		all = append(all, k.jwk(t, name, nil))
	}
	return setOf(all...)
}

func setOf(keys ...[]byte) []byte {
	var list []string
	for _, k := range keys {
		list = append(list, string(k))
	}
	return []byte(`{"keys":[` + strings.Join(list, ",") + `]}`)
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// verifier returns one for the issuer and audience of claims.
func verifier(t testing.TB, o jwt.Options) *jwt.Verifier {
	t.Helper()
	if o.Issuer == "" {
		o.Issuer = "https://issuer.example"
	}
	if o.Audience == nil {
		o.Audience = []string{"api"}
	}
	v, err := jwt.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bearer(token string) *http.Request {
	return (&http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}).WithContext(context.Background())
}

// check has a token verified twice: what is remembered is the same.
func check(t *testing.T, v *jwt.Verifier, token, subject, want string) {
	t.Helper()
	for range 2 {
		id, err := v.Authenticate(bearer(token))
		got := ""
		if id != nil {
			got = id.Subject
		}
		detail := ""
		if e, ok := errors.AsType[*goapi.Error](err); ok {
			detail = e.Detail
		}
		if got != subject || (err == nil) != (want == "") || !strings.Contains(detail, want) {
			t.Errorf("Authenticate = %q, %v; want %q, %q", got, err, subject, want)
		}
	}
}

// check401 has a token that must not be let in, whatever the answer.
func check401(t *testing.T, v *jwt.Verifier, token string) {
	t.Helper()
	if _, err := v.Authenticate(bearer(token)); goapi.Status(err) != 401 {
		t.Errorf("Authenticate = %v, want 401", err)
	}
}

// run has v run until the returned function is called.
func run(t *testing.T, v *jwt.Verifier) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	}
}
