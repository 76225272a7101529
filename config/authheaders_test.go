package config_test

import (
	"strings"
	"testing"

	"github.com/goapi-dev/goapi/config"
)

// TestAuthHeaders: what an authenticator reads is no header to tell services in,
// as nobody who authenticates so would ever pass.
func TestAuthHeaders(t *testing.T) {
	dir := t.TempDir()
	inputs(t, dir)
	const (
		keys     = "identity: {keys: {main: {file: keys.txt}}}\n"
		custom   = "identity: {keys: {main: {file: keys.txt, header: X_Key}}}\n"
		asked    = "identity: {external: {main: {url: 'http://127.0.0.1:1'}}}\n"
		sent     = "identity: {external: {main: {url: 'http://127.0.0.1:1', headers: [X-Groups]}}}\n"
		keysName = "identity.keys.main reads credentials from "
	)
	policy := func(headers, by string) string {
		return "policy: {auth: {any: [" + by + "/main], headers: {" + headers + ": subject}}}\n"
	}
	tests := []struct {
		name, text string
		want       string // what is said, "" for nothing
	}{
		{"another header", keys + policy("X-User", "keys"), ""},
		{"Authorization", keys + policy("Authorization", "keys"), "goapi.yaml:2:44: policy.auth.headers: header Authorization has a meaning of its own"},
		{"Authorization, in another case", keys + policy("AUTHORIZATION", "keys"), "has a meaning of its own"},
		{"the header of keys", keys + policy("X-API-Key", "keys"), "goapi.yaml:2:"},
		{"the header of keys, said in words", keys + policy("x-api-key", "keys"), keysName + "x-api-key"},
		{"a header of keys", custom + policy("X-Key", "keys"), keysName + "X-Key"},
		{"the default where keys have another", custom + policy("X-API-Key", "keys"), ""},
		{"what an external is sent", asked + policy("X-API-Key", "external"), "identity.external.main reads credentials from X-API-Key"},
		{"what an external is sent that has headers", sent + policy("X-Groups", "external"), "identity.external.main reads credentials from X-Groups"},
		{"what an external is not sent", sent + policy("X-API-Key", "external"), ""},
		{"of another policy", keys + "services: {a: {endpoints: {b: {auth: {any: [keys/main], headers: {X-API-Key: subject}}}}}}\n", "services.a.endpoints.b.auth.headers.X-API-Key: " + keysName},
		{
			"what an external copies", "identity:\n  keys: {main: {file: keys.txt}}\n  external: {main: {url: 'http://127.0.0.1:1', headers: [Cookie], copy: [X-Tenant, X-Api-Key]}}\n",
			"identity.external.main.copy[1]: " + keysName,
		},
		{"Authorization that an external copies", "identity: {external: {main: {url: 'http://127.0.0.1:1', copy: [Authorization]}}}\n", "header Authorization has a meaning of its own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Parse(dir+"/goapi.yaml", []byte(tt.text), noEnv)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if (err == nil) != (tt.want == "") || !strings.Contains(said, tt.want) || strings.Contains(said, "\n") {
				t.Errorf("Parse(%q) = %q, want %q", tt.text, said, tt.want)
			}
		})
	}
}
