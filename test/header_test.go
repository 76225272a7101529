package test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/service"
)

// TestTrustedProxy says where a request came from, as a proxy would. Services
// hear it only if the proxy is trusted.
func TestTrustedProxy(t *testing.T) {
	const told = "192.0.2.7"
	for _, tt := range []struct{ name, trusted, want string }{
		{"trusted", "127.0.0.1", told + ", 127.0.0.1"},
		{"network", "127.0.0.0/8", told + ", 127.0.0.1"},
		{"other", "192.0.2.1", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startGateway(t, "--trusted-proxy", tt.trusted)
			s := service.New("from", &service.Options{Registry: p.client()})
			s.HandleHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
			}), &goapi.Endpoint{Name: "Web", Path: []string{"/http"}})
			s.Handle("From.Call", service.Method(func(ctx context.Context, _ *struct{}) (*string, error) {
				from := service.Header(ctx).Get("X-Forwarded-For")
				return &from, nil
			}), &goapi.Endpoint{Path: []string{"/rpc"}})
			p.serve(s)
			for path, want := range map[string]string{"/http": tt.want, "/rpc": `"` + tt.want + `"`} {
				if status, got := p.get(p.address, path, "X-Forwarded-For", told); status != http.StatusOK || strings.TrimSpace(got) != want {
					t.Errorf("%s: X-Forwarded-For = %d %q, want %s", path, status, got, want)
				}
			}
		})
	}
}
