package admin_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/registry"
)

// TestPolicies: what configuration lays on a route is listed, for all routes and
// for one request.
func TestPolicies(t *testing.T) {
	policies := func(rt *goapi.Route, r *http.Request) []admin.Applied {
		value := "5s"
		if r != nil && strings.HasPrefix(r.URL.Path, "/hello/slow") {
			value = "50s"
		}
		return []admin.Applied{{Policy: "timeout", Value: value, From: "services." + rt.Service}}
	}
	srv := httptest.NewServer(newAPI(t, &admin.Options{Policies: policies}))
	defer srv.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	c := admin.NewClient(srv.URL, "")
	greeter := &registry.Service{
		Name: "greeter", Version: "1",
		Nodes:     []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9"}},
		Endpoints: []*registry.Endpoint{{Name: "Greeter.Hello", Metadata: map[string]string{"handler": "rpc", "path": "/hello/{name}"}}},
	}
	if err := c.Register(t.Context(), greeter, 0); err != nil {
		t.Fatal(err)
	}
	awaitServices(t, c, 1)

	list, err := c.Policies(t.Context())
	want := []admin.Applied{{Policy: "timeout", Value: "5s", From: "services.greeter"}}
	if err != nil || len(list) != 1 || list[0].Path != "/hello/{name}" || !slices.Equal(list[0].Policies, want) {
		t.Errorf("Policies = %+v, %v; want one route with %v", list, err, want)
	}
	e, err := c.Explain(t.Context(), "GET", "/hello/slow", nil)
	want[0].Value = "50s"
	if err != nil || !slices.Equal(e.Policies, want) {
		t.Errorf("Explain = %+v, %v; want %v applied", e, err, want)
	}
	services, err := c.List(t.Context())
	if err != nil || len(services) != 1 || services[0].Name != "greeter" || len(services[0].Endpoints) != 1 {
		t.Errorf("List = %+v, %v; want what was registered", services, err)
	}
}

// TestOperatorsPaths: metrics and profiles are the operator's alone.
func TestOperatorsPaths(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	tests := []struct {
		path, token string
		status      int
		contains    string
	}{
		{"/metrics", "secret", http.StatusOK, "up 1"},
		{"/metrics", "", http.StatusUnauthorized, "token"},
		{"/debug/pprof/", "secret", http.StatusOK, "heap"},
		{"/debug/pprof/heap?debug=1", "secret", http.StatusOK, "heap profile"},
		{"/debug/pprof/", "", http.StatusUnauthorized, "token"},
		{"/debug/pprof/cmdline", "secret", http.StatusNotFound, ""},
		{"/policies", "", http.StatusUnauthorized, "token"},
	}
	api := newAPI(t, &admin.Options{Token: "secret", Metrics: metrics})
	for _, tt := range tests {
		r := request(http.MethodGet, tt.path, "")
		if tt.token != "" {
			r.Header.Set("Authorization", "Bearer "+tt.token)
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.contains) {
			t.Errorf("GET %s with token %q = %d %.200q, want %d with %q", tt.path, tt.token, w.Code, w.Body, tt.status, tt.contains)
		}
	}
	w := httptest.NewRecorder()
	newAPI(t, &admin.Options{}).ServeHTTP(w, request(http.MethodGet, "/metrics", ""))
	if w.Code != http.StatusNotFound {
		t.Errorf("GET /metrics without metrics = %d, want 404", w.Code)
	}
}
