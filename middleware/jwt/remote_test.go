package jwt_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/middleware/jwt"
)

// TestKeysFromAURL has an issuer that is a real server.
func TestKeysFromAURL(t *testing.T) {
	k := keys(t)
	set := k.set(t, "rsa", "p256")
	tests := []struct {
		name   string
		answer http.HandlerFunc
		ok     bool
	}{
		{"keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(set) }, true},
		{"a redirect on the server", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/keys", http.StatusFound)
				return
			}
			w.Write(set)
		}, true},
		{"a redirect in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, false},
		{"a redirect to another scheme", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+"/", http.StatusFound)
		}, false},
		{"a redirect to another machine", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/keys", http.StatusFound)
		}, false},
		{"a redirect to a file", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, false},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); w.Write(set) }, false},
		{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, false},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, false},
		{"no set", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"error":"x"}`) }, false},
		{"more bytes than are read", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(bytes.Replace(set, []byte(`{`), []byte(`{"x":"`+strings.Repeat("x", 300<<10)+`",`), 1))
		}, false},
		{"more keys than are taken", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(setOf(bytes.Split(bytes.TrimSuffix(bytes.Repeat(append(k.jwk(t, "ed", nil), '\n'), 101), []byte("\n")), []byte("\n"))...))
		}, false},
		{"an answer without an end", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
					return
				}
			}
		}, false},
		{"bad keys beside a good one", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(setOf([]byte(`{"kty":"oct","k":"AAAA"}`), []byte(`{"kty":"EC"}`), []byte(`"x"`), []byte(`{"kty":"?"}`),
				k.jwk(t, "p384", map[string]any{"d": "AQ"}), k.jwk(t, "p521", map[string]any{"key_ops": []string{"sign"}}), k.jwk(t, "rsa", nil)))
		}, true},
		{"a key for another algorithm", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(setOf(k.jwk(t, "rsa", map[string]any{"alg": "RS512"})))
		}, false},
		{"a key without a name", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(setOf(k.jwk(t, "rsa", map[string]any{"kid": ""})))
		}, true},
		{"more keys without a name than are tried", func(w http.ResponseWriter, _ *http.Request) {
			nameless := k.jwk(t, "rsa", map[string]any{"kid": ""})
			w.Write(setOf(nameless, nameless, nameless, nameless, nameless, nameless, nameless, nameless, nameless))
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			v := verifier(t, jwt.Options{Algorithms: []string{"RS256"}, JWKS: server.URL})
			defer run(t, v)()
			id, err := v.Authenticate(bearer(k.sign(t, "RS256", "rsa", claims(nil), nil)))
			if (err == nil) != tt.ok {
				t.Errorf("Authenticate = %v, %v; want ok = %t", id, err, tt.ok)
			}
			if status := goapi.Status(err); err != nil && status != 503 && status != 401 {
				t.Errorf("status = %d, want 503 or 401", status)
			}
		})
	}
}

// TestKeysOverTLSOnlyOfAServerThatIsTrusted has a certificate that nobody
// issued.
func TestKeysOverTLSOnlyOfAServerThatIsTrusted(t *testing.T) {
	k := keys(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(k.set(t, "rsa")) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	token := k.sign(t, "RS256", "rsa", claims(nil), nil)
	v := verifier(t, jwt.Options{Algorithms: []string{"RS256"}, JWKS: server.URL})
	end := run(t, v)
	if _, err := v.Authenticate(bearer(token)); goapi.Status(err) != 503 {
		t.Errorf("Authenticate = %v, want 503", err)
	}
	end()
	v = verifier(t, jwt.Options{Algorithms: []string{"RS256"}, JWKS: server.URL, Transport: server.Client().Transport})
	defer run(t, v)()
	if _, err := v.Authenticate(bearer(token)); err != nil {
		t.Errorf("Authenticate = %v, want none", err)
	}
}

// TestNobodyListens has a URL at which nothing is.
func TestNobodyListens(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	k := keys(t)
	v := verifier(t, jwt.Options{Algorithms: []string{"EdDSA"}, JWKS: "http://" + ln.Addr().String()})
	defer run(t, v)()
	_, err = v.Authenticate(bearer(k.sign(t, "EdDSA", "ed", claims(nil), nil)))
	var e *goapi.Error
	if !errors.As(err, &e) || e.Code != 503 || e.Header.Get("Retry-After") != "1" || strings.Contains(e.Detail, "127.0.0.1") {
		t.Errorf("Authenticate = %v, want 503 without an address", err)
	}
}
