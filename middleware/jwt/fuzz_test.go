package jwt_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/middleware/jwt"
)

// FuzzToken: what is let in is signed, as a simple look at it says.
func FuzzToken(f *testing.F) {
	k := keys(f)
	secret := []byte(k.secret)
	v := verifier(f, jwt.Options{Algorithms: []string{"HS256"}, Secret: secret})
	good := k.sign(f, "HS256", "secret", claims(nil), nil)
	f.Add(good)
	f.Add(good + "x")
	f.Add(good[:len(good)-1] + "_")
	f.Add(k.sign(f, "HS256", "secret", claims(map[string]any{"exp": 1}), nil))
	f.Add(encode(`{"alg":"none"}`) + "." + encode(`{"sub":"x"}`) + ".")
	f.Add(encode(`{"alg":"HS256","crit":[]}`) + "." + encode(`null`) + ".AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Authenticate(bearer(token))
		if (id == nil) == (err == nil) {
			t.Fatalf("Authenticate = %v, %v: want exactly one", id, err)
		}
		if err != nil {
			return
		}
		signed, signature, _ := cutLast(strings.TrimLeft(token, " "))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		if want := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); signature != want || id.Subject == "" {
			t.Errorf("%q is let in as %q with signature %s, want %s", token, id.Subject, signature, want)
		}
	})
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// FuzzKeys: keys that are taken verify tokens of their own, and nothing else
// that New says of them has two lines.
func FuzzKeys(f *testing.F) {
	k := keys(f)
	for _, name := range []string{"rsa", "p256", "p384", "p521", "ed"} {
		f.Add(k.publicPEM(f, name))
		f.Add(k.jwk(f, name, nil))
	}
	f.Add(k.set(f, "rsa", "p256", "ed"))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`))
	f.Add(k.privatePEM(f))
	all := []string{"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"}
	var forged []string
	for _, a := range all {
		forged = append(forged, encode(`{"alg":"`+a+`"}`)+"."+encode(`{"iss":"i","aud":"a","sub":"root","exp":9999999999}`)+"."+strings.Repeat("A", 86))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := jwt.New(&jwt.Options{Algorithms: all, Keys: raw, Issuer: "i", Audience: []string{"a"}})
		if (v == nil) == (err == nil) {
			t.Fatalf("New = %v, %v: want exactly one", v, err)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("New error = %q: want one line", err)
			}
			return
		}
		for _, token := range forged {
			if id, err := v.Authenticate(bearer(token)); err == nil {
				t.Errorf("%s is let in as %s", token, id.Subject)
			}
		}
	})
}
