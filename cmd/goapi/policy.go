package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
)

// timeouts are what --timeout says: of all calls under "", of a service's under
// its name, and of an endpoint's under SERVICE/ENDPOINT.
type timeouts map[string]time.Duration

// parseTimeouts reads [SERVICE[/ENDPOINT]=]DURATION. A later one replaces an
// earlier.
func parseTimeouts(list []string) (timeouts, error) {
	t := make(timeouts, len(list))
	for _, text := range list {
		whose, value, ok := cutLast(text, "=")
		if !ok {
			whose, value = "", text
		}
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 || ok && whose == "" {
			return nil, fmt.Errorf("--timeout %q: want a time above 0, such as 5s, greeter=5s or greeter/Greeter.Hello=5s", text)
		}
		t[whose] = d
	}
	return t, nil
}

// of returns the timeout of an endpoint: the most specific, 0 if there is none.
func (t timeouts) of(service, endpoint string) time.Duration {
	for _, whose := range []string{service + "/" + endpoint, service, ""} {
		if d, ok := t[whose]; ok {
			return d
		}
	}
	return 0
}

// policy is what the operator lays on an endpoint, nil for all defaults.
func (c *config) policy() (func(string, *goapi.Endpoint) *goapi.Policy, error) {
	limits, err := parseTimeouts(c.timeouts)
	if err != nil {
		return nil, err
	}
	return func(service string, e *goapi.Endpoint) *goapi.Policy {
		p := &goapi.Policy{Timeout: limits.of(service, e.Name)}
		p.Upstream.Timeout, p.Upstream.TryTimeout = p.Timeout, p.Timeout
		return p
	}, nil
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
