package push

import (
	"net/http"
	"strings"
	"testing"
)

// TestMicroError: what go-micro says of its subscribers' errors, which it wraps
// in one of its own.
func TestMicroError(t *testing.T) {
	wrap := func(detail string) string {
		return `{"id":"go.micro.server","code":500,"detail":"subscriber error: ` + strings.NewReplacer(`"`, `\"`, "\n", `\n`).Replace(detail) + `","status":"Internal Server Error"}`
	}
	const bad, busy = `{"id":"a","code":400,"detail":"no item","status":"Bad Request"}`, `{"id":"a","code":503,"detail":"busy","status":"Service Unavailable"}`
	tests := []struct {
		name, text string
		verdict    verdict
		reason     string
	}{
		{"none", "", taken, ""},
		{"plain", "secret 10.0.0.1", again, "no code"},
		{"with a code", bad, never, "400: no item"},
		{"wrapped", wrap(bad), never, "400: no item"},
		{"wrapped, again", wrap(busy), again, "503: busy"},
		{"wrapped plain", wrap("secret 10.0.0.1"), again, "no code"},
		{"several for good", wrap(bad + "\n" + bad), never, "400: no item"},
		{"one of several again", wrap(bad + "\n" + busy), again, "503: busy"},
		{"one of several plain", wrap(bad + "\nsubscriber error: secret"), again, "no code"},
		{"nothing wrapped", wrap(""), again, "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := make(http.Header)
			if tt.text != "" {
				h.Set("Micro-Error", tt.text)
			}
			got := outcome{verdict: taken}
			if r := microError(h); r != nil {
				got = judge(r)
			}
			if got.verdict != tt.verdict || !strings.Contains(got.reason, tt.reason) || strings.Contains(got.reason, "secret") {
				t.Errorf("outcome = %+v, want verdict %d with %q and no text of others", got, tt.verdict, tt.reason)
			}
		})
	}
}
