package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
)

// given returns the policies of flags.
func given(args ...string) (*policies, error) {
	p := new(policies)
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	p.add(flags)
	return p, flags.Parse(args)
}

// TestPoliciesOfFlags: what flags say of services and endpoints holds for them,
// the most specific first, over what a configuration says.
func TestPoliciesOfFlags(t *testing.T) {
	p, err := given("--timeout=20s", "--timeout=greeter=5s", "--timeout=greeter/Greeter.Slow=1m",
		"--max-per-node=greeter=7", "--max-in-flight=100", "--max-in-flight=greeter=50", "--max-in-flight=calc=auto",
		"--hash-by=greeter=cookie:session", "--health-check=http:/healthz?deep=1", "--health-check=greeter=grpc")
	if err != nil {
		t.Fatal(err)
	}
	file, err := config.Parse("goapi.yaml", []byte("policy: {timeout: 1s, max_in_flight: 1, max_body: 1KiB}\n"), noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	laid, err := config.New(file, &config.Plugins{Over: p.layers()})
	if err != nil {
		t.Fatal(err)
	}
	timeouts := []struct {
		service, endpoint string
		want              time.Duration
	}{
		{"other", "Other.Call", 20 * time.Second},
		{"greeter", "Greeter.Hello", 5 * time.Second},
		{"greeter", "Greeter.Slow", time.Minute},
	}
	for _, tt := range timeouts {
		got := laidOn(laid, tt.service, tt.endpoint)
		if got.Timeout != tt.want || got.Upstream.Timeout != tt.want || got.Upstream.TryTimeout != tt.want || got.MaxBody != 1024 {
			t.Errorf("policy of %s, %s = %+v, want the timeout %v throughout, and the body of the file", tt.service, tt.endpoint, got, tt.want)
		}
	}
	if got := laid.Upstream("greeter"); got.MaxPerNode != 7 || got.MaxInFlight != 50 || got.HashBy != "cookie:session" {
		t.Errorf("Upstream(greeter) = %+v, want 7, 50 and cookie:session", got)
	}
	if got := laid.Upstream("other"); got.MaxPerNode != 0 || got.MaxInFlight != 100 || got.HashBy != "" || got.Adaptive {
		t.Errorf("Upstream(other) = %+v, want only the 100 of all", got)
	}
	if got := laid.Upstream("calc"); !got.Adaptive {
		t.Errorf("Upstream(calc) = %+v, want an adaptive limit", got)
	}
	for service, want := range map[string]string{"greeter": "grpc", "other": "http:/healthz?deep=1"} {
		if got := laid.HealthCheck(service); got != want {
			t.Errorf("health check of %s = %q, want %q", service, got, want)
		}
	}
}

// laidOn returns the policy of a request to an endpoint.
func laidOn(p *config.Policies, service, endpoint string) *goapi.Policy {
	rt := &goapi.Route{Service: service, Endpoint: &goapi.Endpoint{Name: endpoint}}
	var policy goapi.Policy
	h := goapi.With(rt, p.Wrap(rt, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		policy = *goapi.RouteFrom(r.Context()).Policy
	})))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	return &policy
}

func TestPoliciesWithoutFlags(t *testing.T) {
	p, err := given()
	if err != nil || len(p.layers()) != 0 {
		t.Errorf("layers without flags = %+v, %v; want none", p.layers(), err)
	}
}

func TestPolicyMistakes(t *testing.T) {
	tests := []struct {
		flag string
		list []string
	}{
		{"timeout", []string{"", "5", "=5s", "greeter=", "-1s", "greeter=0s", "soon", "greeter/=5s", "/Greeter.Hello=5s"}},
		{"max-per-node", []string{"", "0", "-1", "greeter=many"}},
		{"max-in-flight", []string{"0", "greeter=1.5"}},
		{"hash-by", []string{"header", "header:", "ip", "=cookie:x", "header:X Y"}},
		{"health-check", []string{"", "udp", "http://x/y", "greeter=http", "http:/a b"}},
	}
	for _, tt := range tests {
		for _, text := range tt.list {
			if _, err := given("--" + tt.flag + "=" + text); err == nil || !strings.Contains(err.Error(), "--"+tt.flag) {
				t.Errorf("--%s %q: %v, want an error that names the flag", tt.flag, text, err)
			}
		}
	}
	if _, err := given("--timeout=3s", "--timeout=4s"); err == nil {
		t.Error("two timeouts for all services: no error, want one")
	}
}

func TestPolicyFromEnv(t *testing.T) {
	cmd := runCommand(world{env: os.LookupEnv})
	env := map[string]string{"GOAPI_TIMEOUT": "20s greeter=5s", "GOAPI_MAX_IN_FLIGHT": "many"}
	err := flagsFromEnv(cmd, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err == nil || !strings.Contains(err.Error(), "GOAPI_MAX_IN_FLIGHT") || strings.Contains(err.Error(), "GOAPI_TIMEOUT") {
		t.Errorf("flagsFromEnv = %v, want an error that names the variable", err)
	}
	if got := cmd.Flags().Lookup("timeout").Value.String(); got != "20s greeter=5s" {
		t.Errorf("timeout = %q, want both values", got)
	}
}
