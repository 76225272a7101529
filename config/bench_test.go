package config_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
)

// BenchmarkWrap guards what policies cost a request: nothing is allocated, and 20
// patterns take less than 300 ns.
func BenchmarkWrap(b *testing.B) {
	var patterns strings.Builder
	patterns.WriteString("patterns:\n")
	for i := range 19 {
		fmt.Fprintf(&patterns, "  - {match: \"/api/v%d/{id}/**\", timeout: %ds}\n", i, i+1)
	}
	patterns.WriteString("  - {match: \"/api/**\", timeout: 30s}\n")
	tests := []struct{ name, text, path string }{
		{"nothing", "", "/api/v7/users/5"},
		{"policy", "policy: {timeout: 5s}", "/api/v7/users/5"},
		{"20 patterns", patterns.String(), "/api/v7/users/5"},
		{"20 patterns, none matches", patterns.String(), "/greeter/hello"},
		{"20 patterns, escaped path", patterns.String(), "/api/v7/us%20ers/5"},
		{"20 hosts", strings.ReplaceAll(patterns.String(), "match: \"", "match: \"api.example.com"), "/api/v7/users/5"},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			rt := route("a", "b", nil)
			h := policies(b, tt.text, nil).Wrap(rt, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			w, r, ex := goapi.NewExchange(httptest.NewRecorder(), request(b, tt.path))
			b.ReportAllocs()
			for b.Loop() {
				ex.Route = rt
				h.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkLoad is what a reload costs.
func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	inputs(b, dir)
	text, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.Parse(dir+"/goapi.yaml", text, noEnv); err != nil {
			b.Fatal(err)
		}
	}
}
