package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/goapi-dev/goapi"
)

// given returns the policies of flags.
func given(args ...string) (*policies, error) {
	p := new(policies)
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	p.add(flags)
	return p, flags.Parse(args)
}

func TestTimeouts(t *testing.T) {
	p, err := given("--timeout=20s", "--timeout=greeter=5s", "--timeout=greeter/Greeter.Slow=1m")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		service, endpoint string
		want              time.Duration
	}{
		{"other", "Other.Call", 20 * time.Second},
		{"greeter", "Greeter.Hello", 5 * time.Second},
		{"greeter", "Greeter.Slow", time.Minute},
	}
	for _, tt := range tests {
		got := p.route(tt.service, &goapi.Endpoint{Name: tt.endpoint})
		if got.Timeout != tt.want || got.Upstream.Timeout != tt.want || got.Upstream.TryTimeout != tt.want {
			t.Errorf("route(%s, %s) = %+v, want the timeout %v throughout", tt.service, tt.endpoint, got, tt.want)
		}
	}
}

func TestPoliciesOfServices(t *testing.T) {
	p, err := given("--max-per-node=greeter=7", "--max-in-flight=100", "--max-in-flight=greeter=50",
		"--hash-by=greeter=cookie:session", "--health-check=http:/healthz?deep=1", "--health-check=greeter=grpc")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.service("greeter"); got.MaxPerNode != 7 || got.MaxInFlight != 50 || got.HashBy != "cookie:session" {
		t.Errorf("service(greeter) = %+v, want 7, 50 and cookie:session", got)
	}
	if got := p.service("other"); got.MaxPerNode != 0 || got.MaxInFlight != 100 || got.HashBy != "" {
		t.Errorf("service(other) = %+v, want only the 100 of all", got)
	}
	for service, want := range map[string]string{"greeter": "grpc", "other": "http:/healthz?deep=1"} {
		if got := p.healthCheck.of(service); got != want {
			t.Errorf("health check of %s = %q, want %q", service, got, want)
		}
	}
}

func TestPoliciesWithoutFlags(t *testing.T) {
	p, err := given()
	if err != nil || p.route("x", &goapi.Endpoint{}).Timeout != 0 || p.service("x").MaxInFlight != 0 || p.healthCheck.of("x") != "" {
		t.Errorf("policies without flags = %+v, %v; want the defaults", p, err)
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
