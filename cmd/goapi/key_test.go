package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/middleware"
)

// TestKey: what is printed lets the owner in, and nothing on standard output
// does.
func TestKey(t *testing.T) {
	var out, errs bytes.Buffer
	w := world{out: &out, err: &errs, env: noEnvironment}
	if code := run(t.Context(), []string{"key", "partner", "orders:read"}, w); code != 0 {
		t.Fatalf("goapi key = %d: %s", code, errs.String())
	}
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	key := lines[len(lines)-1]
	keys, err := middleware.NewKeys(&out, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Api-Key", key)
	id, err := keys.Authenticate(r)
	if err != nil || id.Subject != "partner" || len(id.Scopes) != 1 || id.Scopes[0] != "orders:read" {
		t.Errorf("Authenticate = %+v, %v, want the partner with a scope", id, err)
	}
	if strings.Contains(out.String(), key) {
		t.Error("standard output has the key")
	}
}

func TestKeyGiven(t *testing.T) {
	tests := []struct {
		name, in string
		args     []string
		code     int
		want     string // on standard output, or in the error
	}{
		{"a key", "0123456789abcdef0123\n", []string{"partner"}, 0, "partner " + middleware.HashKey("0123456789abcdef0123")},
		{"no newline", "0123456789abcdef0123", []string{"partner"}, 0, "partner sha256:"},
		{"too short", "secret\n", []string{"partner"}, 1, "16 to 512"},
		{"nothing", "", []string{"partner"}, 1, "16 to 512"},
		{"two words", "0123456789abcdef0123", []string{"a partner"}, 1, "one word"},
		{"a comment", "0123456789abcdef0123", []string{"#partner"}, 1, "one word"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"key", "--stdin"}, tt.args...), world{in: strings.NewReader(tt.in), out: &out, err: &errs, env: noEnvironment})
			said := out.String()
			if tt.code != 0 {
				said = errs.String()
			}
			if code != tt.code || !strings.Contains(said, tt.want) {
				t.Errorf("goapi key = %d %q, want %d with %q", code, said, tt.code, tt.want)
			}
			if tt.code != 0 && strings.Contains(errs.String(), "secret") {
				t.Errorf("the error has the key: %s", errs.String())
			}
		})
	}
}

// noEnvironment has no variables.
func noEnvironment(string) (string, bool) { return "", false }
