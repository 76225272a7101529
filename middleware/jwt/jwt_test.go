package jwt_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	upstream "github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/middleware/jwt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNew(t *testing.T) {
	k := keys(t)
	secret := []byte("0123456789abcdef0123456789abcdef")
	good := jwt.Options{Algorithms: []string{"RS256"}, Issuer: "https://issuer.example", Audience: []string{"api"}, Keys: k.publicPEM(t, "rsa")}
	tests := []struct {
		name   string
		change func(*jwt.Options)
		want   string // in the error; empty is none
	}{
		{"good", func(*jwt.Options) {}, ""},
		{"a secret", func(o *jwt.Options) { o.Keys, o.Secret, o.Algorithms = nil, secret, []string{"HS256"} }, ""},
		{"a URL", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "https://issuer.example/jwks" }, ""},
		{"a URL on this machine", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "http://[::1]:1/jwks" }, ""},
		{"no keys", func(o *jwt.Options) { o.Keys = nil }, "want keys from one place"},
		{"keys of two kinds", func(o *jwt.Options) { o.Secret = secret }, "want keys from one place"},
		{"no issuer", func(o *jwt.Options) { o.Issuer = "" }, "the issuer is missing"},
		{"no audience", func(o *jwt.Options) { o.Audience = nil }, "the audience is missing"},
		{"an empty audience", func(o *jwt.Options) { o.Audience = []string{"api", ""} }, "the audience is missing"},
		{"no algorithms", func(o *jwt.Options) { o.Algorithms = nil }, "the algorithms are missing"},
		{"none", func(o *jwt.Options) { o.Algorithms = []string{"RS256", "none"} }, `the algorithm "none" is not served: write RS256`},
		{"lower case", func(o *jwt.Options) { o.Algorithms = []string{"rs256"} }, `the algorithm "rs256" is not served`},
		{"a secret's algorithm without one", func(o *jwt.Options) { o.Algorithms = []string{"RS256", "HS256"} }, `"HS256" needs a secret`},
		{"a secret's algorithm with a URL", func(o *jwt.Options) {
			o.Keys, o.JWKS, o.Algorithms = nil, "https://a", []string{"HS256"}
		}, `"HS256" needs a secret`},
		{"a secret with public keys' algorithm", func(o *jwt.Options) { o.Keys, o.Secret = nil, secret }, `"RS256" does not go with a secret: write HS256`},
		{"a short secret", func(o *jwt.Options) { o.Keys, o.Secret, o.Algorithms = nil, secret[:31], []string{"HS256"} }, "has 31 bytes, and its algorithms need 32"},
		{"a secret that is short without its newline", func(o *jwt.Options) {
			o.Keys, o.Secret, o.Algorithms = nil, []byte(string(secret[:31])+"\n"), []string{"HS256"}
		}, "has 31 bytes"},
		{"a secret too short for one of its algorithms", func(o *jwt.Options) {
			o.Keys, o.Secret, o.Algorithms = nil, secret, []string{"HS256", "HS384"}
		}, "need 48"},
		{"a public key as the secret", func(o *jwt.Options) {
			o.Secret, o.Keys, o.Algorithms = o.Keys, nil, []string{"HS256"}
		}, "is a key in PEM"},
		{"skew", func(o *jwt.Options) { o.Skew = 6 * time.Minute }, "the skew is 6m0s"},
		{"negative skew", func(o *jwt.Options) { o.Skew = -1 }, "the skew is"},
		{"refresh", func(o *jwt.Options) { o.Refresh = time.Millisecond }, "the refresh is 1ms"},
		{"http", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "http://issuer.example/jwks" }, "write https"},
		{"another scheme", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "file:///jwks" }, "write one such as"},
		{"no URL", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "https://a\x00secretsecret" }, "write one such as"},
		{"a password", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "https://u:secretsecret@issuer.example" }, "leave it out"},
		{"keys of another kind", func(o *jwt.Options) { o.Algorithms = []string{"ES256"} }, "none of the keys goes with"},
		{"a private key", func(o *jwt.Options) { o.Keys = k.privatePEM(t) }, "it is a private key"},
		{"no PEM", func(o *jwt.Options) { o.Keys = []byte("secretsecret") }, "neither PEM nor JSON"},
		{"something else in PEM", func(o *jwt.Options) {
			o.Keys = pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte("secretsecret")})
		}, `it is a "X"`},
		{"damaged PEM", func(o *jwt.Options) {
			o.Keys = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("secretsecret")})
		}, "it is damaged"},
		{"a small key", func(o *jwt.Options) { o.Keys = smallRSA(t) }, "1024 bits"},
		{"PKCS #1", func(o *jwt.Options) { o.Keys = k.pkcs1() }, ""},
		{"a certificate", func(o *jwt.Options) { o.Keys = k.certificate(t) }, ""},
		{"several", func(o *jwt.Options) { o.Keys = append(k.publicPEM(t, "ed"), k.certificate(t)...) }, ""},
		{"a damaged certificate", func(o *jwt.Options) {
			o.Keys = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("secretsecret")})
		}, "damaged certificate"},
		{"damaged PKCS #1", func(o *jwt.Options) {
			o.Keys = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: []byte("secretsecret")})
		}, "it is damaged"},
		{"PEM and something else", func(o *jwt.Options) { o.Keys = append(k.pkcs1(), "secretsecret"...) }, "neither PEM nor JSON"},
		{"a key that signs nothing", func(o *jwt.Options) { o.Keys = x25519(t) }, "signs no tokens"},
		{"a URL on this machine, by name", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "http://LocalHost:1/jwks" }, ""},
		{"a URL that only looks local", func(o *jwt.Options) { o.Keys, o.JWKS = nil, "http://localhost.example/jwks" }, "write https"},
		{"a JWK", func(o *jwt.Options) { o.Keys = k.jwk(t, "rsa", nil) }, ""},
		{"a JWK set", func(o *jwt.Options) { o.Keys = k.set(t, "rsa", "p256") }, ""},
		{"a JWK set with a key for encryption", func(o *jwt.Options) {
			o.Keys = setOf(k.jwk(t, "rsa", nil), k.jwk(t, "p256", map[string]any{"use": "enc"}))
		}, ""},
		{"an empty JWK set", func(o *jwt.Options) { o.Keys = setOf() }, "none of the keys goes with"},
		{"no JWK set", func(o *jwt.Options) { o.Keys = []byte(`{"a":1}`) }, `has no "keys"`},
		{"damaged JSON", func(o *jwt.Options) { o.Keys = []byte(`{`) }, "it is no JSON"},
		{"a secret JWK", func(o *jwt.Options) { o.Keys = []byte(`{"kty":"oct","k":"c2VjcmV0"}`) }, "it is a secret"},
		{"a private JWK", func(o *jwt.Options) { o.Keys = k.jwk(t, "p256", map[string]any{"d": "AQ"}) }, "it is a private key"},
		{"a point that is not on the curve", func(o *jwt.Options) { o.Keys = k.jwk(t, "p256", map[string]any{"x": "AQ"}) }, "not valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			v, err := jwt.New(&o)
			if (v == nil) == (err == nil) || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("New = %v, %v; want %q", v, err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secretsecret") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("New error = %v: shows a secret, or has several lines", err)
			}
		})
	}
	if _, err := jwt.New(nil); err == nil {
		t.Error("New(nil) error = nil")
	}
}

// TestAlgorithms has a token of every algorithm, verified with the key of its
// kind, from every form that keys come in, and with no other.
func TestAlgorithms(t *testing.T) {
	k := keys(t)
	tests := []struct{ algorithm, key string }{
		{"RS256", "rsa"}, {"RS384", "rsa"}, {"RS512", "rsa"}, {"PS256", "rsa"}, {"PS384", "rsa"}, {"PS512", "rsa"},
		{"ES256", "p256"}, {"ES384", "p384"}, {"ES512", "p521"}, {"EdDSA", "ed"},
	}
	for _, tt := range tests {
		for _, form := range []struct {
			name string
			keys []byte
		}{
			{"PEM", k.publicPEM(t, tt.key)},
			{"PEM, of several", slices.Concat(k.certificate(t), k.publicPEM(t, "p256"), k.publicPEM(t, "p384"), k.publicPEM(t, "p521"), k.publicPEM(t, "ed"))},
			{"JWK", k.jwk(t, tt.key, nil)}, {"JWK set", k.set(t, "rsa", "p256", "p384", "p521", "ed")},
		} {
			t.Run(tt.algorithm+" "+form.name, func(t *testing.T) {
				v := verifier(t, jwt.Options{Algorithms: []string{tt.algorithm}, Keys: form.keys})
				check(t, v, k.sign(t, tt.algorithm, tt.key, claims(nil), nil), "alice", "")
				for _, other := range tests {
					if other.algorithm != tt.algorithm {
						check(t, v, k.sign(t, other.algorithm, other.key, claims(nil), nil), "", "not valid")
					}
				}
			})
		}
	}
	for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
		t.Run(algorithm, func(t *testing.T) {
			v := verifier(t, jwt.Options{Algorithms: []string{algorithm}, Secret: []byte(k.secret + "\n")})
			check(t, v, k.sign(t, algorithm, "secret", claims(nil), nil), "alice", "")
			check(t, v, k.sign(t, "RS256", "rsa", claims(nil), nil), "", "not valid")
		})
	}
}

// TestForgedTokens has tokens that nobody signed.
func TestForgedTokens(t *testing.T) {
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"RS256", "ES256", "ES384"}, Keys: k.set(t, "rsa", "p256", "p384")})
	good := k.sign(t, "RS256", "rsa", claims(nil), nil)
	head, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(header string, claims string) string {
		return encode(header) + "." + encode(claims) + "."
	}
	everything, _ := json.Marshal(claims(nil))
	public, err := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	hmacWith := func(secret []byte, header map[string]any) string {
		return signWith(t, upstream.SigningMethodHS256, secret, claims(nil), header)
	}
	tests := []struct{ name, token, want string }{
		{"none", forge(`{"alg":"none"}`, string(everything)), "not valid"},
		{"None", forge(`{"alg":"None"}`, string(everything)), "not valid"},
		{"nOnE with a signature", forge(`{"alg":"nOnE"}`, string(everything)) + signature, "not valid"},
		{"no algorithm", forge(`{"typ":"JWT"}`, string(everything)) + signature, "not valid"},
		{"an algorithm that is a number", forge(`{"alg":1}`, string(everything)) + signature, "not valid"},
		{"two algorithms", forge(`{"alg":"RS256","alg":"none"}`, string(everything)), "not valid"},
		{"the public key as a secret", hmacWith(k.publicPEM(t, "rsa"), nil), "not valid"},
		{"the public key as a secret, DER", hmacWith(public, map[string]any{"kid": "rsa"}), "not valid"},
		{"an empty secret", hmacWith([]byte{}, nil), "not valid"},
		{"a stranger's key", signWith(t, upstream.SigningMethodRS256, stranger, claims(nil), map[string]any{"kid": "rsa"}), "not valid"},
		{"a stranger's key, sent along", signWith(t, upstream.SigningMethodRS256, stranger, claims(nil), map[string]any{
			"jwk": map[string]any{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(stranger.N.Bytes()), "e": "AQAB"},
		}), "not valid"},
		{"the name of another key", k.sign(t, "ES256", "p256", claims(nil), map[string]any{"kid": "p384"}), "not valid"},
		{"a name that is a number", k.sign(t, "RS256", "rsa", claims(nil), map[string]any{"kid": 1}), "malformed"},
		{"a key of no name that is known", k.sign(t, "RS256", "rsa", claims(nil), map[string]any{"kid": "../../etc/passwd"}), "not valid"},
		{"another payload", head + "." + encode(`{"sub":"root"}`) + "." + signature, "issuer"},
		{"no signature", head + "." + payload + ".", "not valid"},
		{"half a signature", head + "." + payload + "." + signature[:len(signature)/2/4*4], "not valid"},
		{"a signature of zeros", k.sign(t, "ES256", "p256", claims(nil), nil)[:len(k.sign(t, "ES256", "p256", claims(nil), nil))-86] + strings.Repeat("A", 86), "not valid"},
		{"two parts", head + "." + payload, "malformed"},
		{"four parts", good + ".x", "malformed"},
		{"five parts, as if encrypted", "a.b.c.d.e", "malformed"},
		{"dots", "..", "malformed"},
		{"one word", "token", "malformed"},
		{"padding", head + "=." + payload + "." + signature, "malformed"},
		{"no base64", head + ".$." + signature, "malformed"},
		{"no JSON", encode("x") + "." + payload + "." + signature, "malformed"},
		{"a list for a header", encode("[]") + "." + payload + "." + signature, "malformed"},
		{"a list for claims", head + "." + encode("[]") + "." + signature, "malformed"},
		{"null claims", head + "." + encode("null") + "." + signature, "issuer"},
		{"deep claims", head + "." + encode(strings.Repeat("[", 5000)) + "." + signature, "malformed"},
		{"a list of tokens", good + "," + good, "malformed"},
		{"two tokens", good + " " + good, "malformed"},
		{"huge", strings.Repeat("a", 8193), "more than 8192 bytes"},
		{"a critical header", k.sign(t, "RS256", "rsa", claims(nil), map[string]any{"crit": []string{"exp"}, "exp": 1}), "malformed"},
		{"an empty critical header", k.sign(t, "RS256", "rsa", claims(nil), map[string]any{"crit": []string{}}), "malformed"},
		{"a payload that is not encoded", k.sign(t, "RS256", "rsa", claims(nil), map[string]any{"b64": false, "crit": []string{"b64"}}), "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, v, tt.token, "", tt.want) })
	}
	check(t, v, good, "alice", "")
}

func TestClaims(t *testing.T) {
	k := keys(t)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Audience: []string{"api", "other"}})
	tests := []struct {
		name    string
		claims  map[string]any
		subject string
		want    string
	}{
		{"good", nil, "alice", ""},
		{"another audience of ours", map[string]any{"aud": "other"}, "alice", ""},
		{"one of its audiences is ours", map[string]any{"aud": []string{"x", "api"}}, "alice", ""},
		{"none of its audiences is ours", map[string]any{"aud": []string{"x", "y"}}, "", "another audience"},
		{"a part of our audience", map[string]any{"aud": "ap"}, "", "another audience"},
		{"no audience", map[string]any{"aud": nil}, "", "lacks a claim"},
		{"an audience that is a number", map[string]any{"aud": 1}, "", "lacks a claim"},
		{"another issuer", map[string]any{"iss": "https://issuer.example/"}, "", "issuer that is not known"},
		{"no issuer", map[string]any{"iss": nil}, "", "issuer that is not known"},
		{"a list of issuers", map[string]any{"iss": []string{"https://issuer.example"}}, "", "issuer that is not known"},
		{"expired within the skew", map[string]any{"exp": at(-20 * time.Second)}, "alice", ""},
		{"expired", map[string]any{"exp": at(-40 * time.Second)}, "", "has expired"},
		{"without an end", map[string]any{"exp": nil}, "", "lacks a claim"},
		{"an end that is text", map[string]any{"exp": "never"}, "", "not valid"},
		{"an end that is no number", map[string]any{"exp": true}, "", "not valid"},
		{"before its time, within the skew", map[string]any{"nbf": at(20 * time.Second)}, "alice", ""},
		{"before its time", map[string]any{"nbf": at(40 * time.Second)}, "", "not valid yet"},
		{"issued in the future", map[string]any{"iat": at(time.Hour)}, "", "not valid yet"},
		{"no subject", map[string]any{"sub": nil}, "", "lacks a claim"},
		{"an empty subject", map[string]any{"sub": ""}, "", "lacks a claim"},
		{"a subject that is a number", map[string]any{"sub": 7}, "", "lacks a claim"},
		{"a subject of two lines", map[string]any{"sub": "alice\r\nX-Admin: true"}, "", "lacks a claim"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, v, k.sign(t, "EdDSA", "ed", claims(tt.claims), nil), tt.subject, tt.want)
		})
	}
}

func TestAnyIssuerAndAudience(t *testing.T) {
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Issuer: "*", Audience: []string{"*"}, Subject: "client_id"})
	check(t, v, k.sign(t, "EdDSA", "ed", claims(map[string]any{"iss": nil, "aud": nil, "client_id": "job"}), nil), "job", "")
	check(t, v, k.sign(t, "EdDSA", "ed", claims(nil), nil), "", "client_id")
}

func TestScopes(t *testing.T) {
	k := keys(t)
	tests := []struct {
		name   string
		names  []string
		claims map[string]any
		want   []string
	}{
		{"none", nil, nil, nil},
		{"a string", nil, map[string]any{"scope": "read  write"}, []string{"read", "write"}},
		{"a list", nil, map[string]any{"scp": []string{"read", "write"}}, []string{"read", "write"}},
		{"a string in scp", nil, map[string]any{"scp": "read"}, []string{"read"}},
		{"scopes", nil, map[string]any{"scopes": []string{"read"}}, []string{"read"}},
		{"the first decides", nil, map[string]any{"scope": "", "scp": "admin"}, nil},
		{"what is no scope", nil, map[string]any{"scope": []any{"read admin", "", 1, nil, "write"}}, []string{"write"}},
		{"a map", nil, map[string]any{"scope": map[string]any{"admin": true}, "scp": "x"}, nil},
		{"the operator's claim", []string{"roles"}, map[string]any{"scope": "x", "roles": "admin"}, []string{"admin"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Scopes: tt.names})
			id, err := v.Authenticate(bearer(k.sign(t, "EdDSA", "ed", claims(tt.claims), nil)))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(id.Scopes, tt.want) {
				t.Errorf("scopes = %q, want %q", id.Scopes, tt.want)
			}
		})
	}
}

func TestClaimsKeepTheirDigits(t *testing.T) {
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed")})
	id, err := v.Authenticate(bearer(k.sign(t, "EdDSA", "ed", claims(map[string]any{"account": json.Number("9007199254740993")}), nil)))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(id.Claims["account"]); got != "9007199254740993" || id.Method != "jwt" {
		t.Errorf("account = %s, method = %s; want 9007199254740993 and jwt", got, id.Method)
	}
}

// TestAnswers has what clients are told, within an Auth.
func TestAnswers(t *testing.T) {
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Realm: `the "api"`})
	other := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed"), Issuer: "https://other.example"})
	wrap, err := middleware.Auth([]middleware.Authenticator{v, other}, &middleware.AuthOptions{Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	var seen string
	h := wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Get("Authorization") }))
	const realm = `Bearer realm="the \"api\""`
	tests := []struct {
		name, token string
		want        int
		challenge   string
	}{
		{"none", "", 401, realm},
		{"good", k.sign(t, "EdDSA", "ed", claims(map[string]any{"scope": "read"}), nil), 200, ""},
		{"good, of the second issuer", k.sign(t, "EdDSA", "ed", claims(map[string]any{"scope": "read", "iss": "https://other.example"}), nil), 200, ""},
		{"of a third issuer", k.sign(t, "EdDSA", "ed", claims(map[string]any{"iss": "https://third.example"}), nil), 401, `error_description="the token is of an issuer that is not known"`},
		{"expired", k.sign(t, "EdDSA", "ed", claims(map[string]any{"exp": 1}), nil), 401, realm + `, error="invalid_token", error_description="the token has expired"`},
		{"not signed", k.sign(t, "EdDSA", "ed", claims(nil), nil) + "AAAA", 401, realm + `, error="invalid_token", error_description="the token is not valid"`},
		{"too few scopes", k.sign(t, "EdDSA", "ed", claims(map[string]any{"scope": "write"}), nil), 403, realm + `, error="insufficient_scope", scope="read"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
			if tt.token != "" {
				r.Header.Set("Authorization", "bearer "+tt.token)
			}
			h.ServeHTTP(w, r)
			if w.Code != tt.want || !strings.Contains(w.Header().Get("WWW-Authenticate"), tt.challenge) {
				t.Errorf("status = %d, WWW-Authenticate = %s; want %d, %s", w.Code, w.Header().Get("WWW-Authenticate"), tt.want, tt.challenge)
			}
			if strings.Contains(w.Body.String(), "crypto") || strings.Contains(w.Body.String(), "ed25519") {
				t.Errorf("body = %s: says too much", w.Body)
			}
			if seen != "" {
				t.Errorf("service sees %q", seen)
			}
		})
	}
}

// TestErrorsHideTheToken has causes, which are for logs.
func TestErrorsHideTheToken(t *testing.T) {
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, Keys: k.publicPEM(t, "ed")})
	token := k.sign(t, "EdDSA", "ed", claims(map[string]any{"exp": 1, "sub": "alice-in-wonderland"}), map[string]any{"kid": "key-of-secrets"})
	for _, token := range []string{token, token + "x", token[1:], token[:len(token)-3], token + ".x"} {
		_, err := v.Authenticate(bearer(token))
		if err == nil {
			t.Fatalf("%s is valid", token)
		}
		for _, part := range append(strings.Split(token, "."), "wonderland", "key-of-secrets") {
			if len(part) > 4 && strings.Contains(err.Error(), part) {
				t.Errorf("error = %v: shows %s", err, part)
			}
		}
	}
}
