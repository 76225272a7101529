package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// perService is what a repeated flag says, [SERVICE=]VALUE, by service; "" is
// any other.
type perService[T any] map[string]T

// parsePerService reads the values of a flag. A later one replaces an earlier
// for the same service. The error of parse says what is wanted.
func parsePerService[T any](flag string, list []string, parse func(string) (T, error)) (perService[T], error) {
	m := make(perService[T], len(list))
	for _, text := range list {
		v, err := parse(text)
		if err == nil {
			m[""] = v
			continue
		}
		service, value, ok := strings.Cut(text, "=")
		if ok && service != "" {
			v, err = parse(value)
		}
		if err != nil {
			return nil, fmt.Errorf("--%s %q: want %w", flag, text, err)
		}
		m[service] = v
	}
	return m, nil
}

// of returns what holds for the first of the names that something is said of,
// or for any other.
func (m perService[T]) of(names ...string) T {
	for _, name := range names {
		if v, ok := m[name]; ok {
			return v
		}
	}
	return m[""]
}

func parseTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("a time above 0, such as 5s, greeter=5s or greeter/Greeter.Hello=5s")
	}
	return d, nil
}

func parseLimit(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, errors.New("a number above 0, such as 100 or greeter=100")
	}
	return n, nil
}

func parseHashBy(s string) (string, error) {
	kind, name, _ := strings.Cut(s, ":")
	if kind != "header" && kind != "cookie" || name == "" || strings.Contains(name, "=") {
		return "", errors.New("header:NAME or cookie:NAME, such as header:X-User or cart=cookie:session")
	}
	return s, nil
}

// parseHealthCheck reads tcp, grpc or http:/PATH.
func parseHealthCheck(s string) (string, error) {
	if s != "tcp" && s != "grpc" && !strings.HasPrefix(s, "http:/") || strings.HasPrefix(s, "http://") {
		return "", errors.New("tcp, grpc or http:/PATH, such as http:/healthz or greeter=grpc")
	}
	return s, nil
}

// policies are what the operator lays on services and their endpoints.
type policies struct {
	timeout     perService[time.Duration]
	maxPerNode  perService[int]
	maxInFlight perService[int]
	hashBy      perService[string]
	healthCheck perService[string]
}

func (c *config) policies() (*policies, error) {
	var p policies
	var errs [5]error
	p.timeout, errs[0] = parsePerService("timeout", c.timeouts, parseTimeout)
	p.maxPerNode, errs[1] = parsePerService("max-per-node", c.maxPerNode, parseLimit)
	p.maxInFlight, errs[2] = parsePerService("max-in-flight", c.maxInFlight, parseLimit)
	p.hashBy, errs[3] = parsePerService("hash-by", c.hashBy, parseHashBy)
	p.healthCheck, errs[4] = parsePerService("health-check", c.healthChecks, parseHealthCheck)
	return &p, errors.Join(errs[:]...)
}

// route returns the policy of an endpoint's routes.
func (p *policies) route(service string, e *goapi.Endpoint) *goapi.Policy {
	timeout := p.timeout.of(service+"/"+e.Name, service)
	return &goapi.Policy{Timeout: timeout, Upstream: upstream.Policy{Timeout: timeout, TryTimeout: timeout}}
}

// service returns what holds for the nodes of a service.
func (p *policies) service(name string) *upstream.Policy {
	return &upstream.Policy{
		MaxPerNode:  p.maxPerNode.of(name),
		MaxInFlight: p.maxInFlight.of(name),
		HashBy:      p.hashBy.of(name),
	}
}
