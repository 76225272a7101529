package main

import (
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi"
)

func TestTimeouts(t *testing.T) {
	c := &config{timeouts: []string{"20s", "greeter=5s", "greeter/Greeter.Slow=1m", "a=b=3s", "greeter=6s"}}
	policy, err := c.policy()
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
		{"a=b", "X.Y", 3 * time.Second},
	}
	for _, tt := range tests {
		p := policy(tt.service, &goapi.Endpoint{Name: tt.endpoint})
		if p.Timeout != tt.want || p.Upstream.Timeout != tt.want || p.Upstream.TryTimeout != tt.want {
			t.Errorf("policy(%s, %s) = %+v, want the timeout %v throughout", tt.service, tt.endpoint, p, tt.want)
		}
	}
	if p, err := new(config).policy(); err != nil || p("x", &goapi.Endpoint{}).Timeout != 0 {
		t.Errorf("policy without flags = %v, want the defaults", err)
	}
}

func TestTimeoutMistakes(t *testing.T) {
	for _, text := range []string{"", "5", "=5s", "greeter=", "-1s", "greeter=0s", "soon"} {
		c := &config{timeouts: []string{text}}
		if _, err := c.policy(); err == nil || !strings.Contains(err.Error(), "--timeout") {
			t.Errorf("policy with --timeout %q = %v, want an error that names the flag", text, err)
		}
	}
}
