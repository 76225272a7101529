package main

import (
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
)

func TestTimeouts(t *testing.T) {
	c := &config{timeouts: []string{"20s", "greeter=5s", "greeter/Greeter.Slow=1m", "greeter=6s"}}
	p, err := c.policies()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		service, endpoint string
		want              time.Duration
	}{
		{"other", "Other.Call", 20 * time.Second},
		{"greeter", "Greeter.Hello", 6 * time.Second},
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
	c := &config{
		maxPerNode: []string{"greeter=7"}, maxInFlight: []string{"100", "greeter=50"}, hashBy: []string{"greeter=cookie:session"},
		healthChecks: []string{"http:/healthz?deep=1", "greeter=grpc"},
	}
	p, err := c.policies()
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
	p, err := new(config).policies()
	if err != nil || p.route("x", &goapi.Endpoint{}).Timeout != 0 || p.service("x").MaxInFlight != 0 || p.healthCheck.of("x") != "" {
		t.Errorf("policies without flags = %+v, %v; want the defaults", p, err)
	}
}

func TestPolicyMistakes(t *testing.T) {
	tests := []struct {
		flag string
		list []string
		c    func(*config) *[]string
	}{
		{"timeout", []string{"", "5", "=5s", "greeter=", "-1s", "greeter=0s", "soon"}, func(c *config) *[]string { return &c.timeouts }},
		{"max-per-node", []string{"", "0", "-1", "greeter=many"}, func(c *config) *[]string { return &c.maxPerNode }},
		{"max-in-flight", []string{"0", "greeter=1.5"}, func(c *config) *[]string { return &c.maxInFlight }},
		{"hash-by", []string{"header", "header:", "ip", "=cookie:x"}, func(c *config) *[]string { return &c.hashBy }},
		{"health-check", []string{"", "udp", "http://x/y", "greeter=http"}, func(c *config) *[]string { return &c.healthChecks }},
	}
	for _, tt := range tests {
		for _, text := range tt.list {
			c := new(config)
			*tt.c(c) = []string{text}
			if _, err := c.policies(); err == nil || !strings.Contains(err.Error(), "--"+tt.flag) {
				t.Errorf("policies with --%s %q = %v, want an error that names the flag", tt.flag, text, err)
			}
		}
	}
}
