package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi/config"
)

// perService is a repeated flag, [SERVICE=]VALUE: what it says by service, ""
// for any other.
type perService[T any] struct {
	parse func(string) (T, error) // its error says what is wanted

	values map[string]T
	texts  []string // as given
}

var _ interface {
	pflag.Value
	pflag.SliceValue
} = (*perService[int])(nil)

// Set implements pflag.Value: it adds a value.
func (p *perService[T]) Set(text string) error {
	service, v, err := p.read(text)
	if err != nil {
		return fmt.Errorf("want %w", err)
	}
	if _, twice := p.values[service]; twice {
		return errors.New("another value is given for the same")
	}
	if p.values == nil {
		p.values = make(map[string]T)
	}
	p.values[service] = v
	p.texts = append(p.texts, text)
	return nil
}

// read splits a value from the service that it is for.
func (p *perService[T]) read(text string) (service string, v T, err error) {
	if v, err = p.parse(text); err == nil {
		return "", v, nil
	}
	service, value, ok := strings.Cut(text, "=")
	if !ok || service == "" || strings.HasPrefix(service, "/") || strings.HasSuffix(service, "/") {
		return "", v, err
	}
	v, err = p.parse(value)
	return service, v, err
}

// String implements pflag.Value.
func (p *perService[T]) String() string { return strings.Join(p.texts, " ") }

// Type implements pflag.Value.
func (p *perService[T]) Type() string { return "[SERVICE=]VALUE" }

// Append implements pflag.SliceValue.
func (p *perService[T]) Append(text string) error { return p.Set(text) }

// Replace implements pflag.SliceValue.
func (p *perService[T]) Replace(texts []string) error {
	p.values, p.texts = nil, nil
	for _, text := range texts {
		if err := p.Set(text); err != nil {
			return err
		}
	}
	return nil
}

// GetSlice implements pflag.SliceValue.
func (p *perService[T]) GetSlice() []string { return p.texts }

// policies are what the operator lays on services and their endpoints.
type policies struct {
	timeout     perService[config.Duration] // of SERVICE/ENDPOINT, too
	maxPerNode  perService[config.Limit]
	maxInFlight perService[config.AutoLimit]
	hashBy      perService[string]
	healthCheck perService[string]
}

// add adds the flags.
func (p *policies) add(flags *pflag.FlagSet) {
	p.timeout.parse, p.maxPerNode.parse, p.maxInFlight.parse = parseTimeout, parseLimit, parseInFlight
	p.hashBy.parse, p.healthCheck.parse = parseHashBy, parseHealthCheck
	flags.Var(&p.timeout, "timeout", "time that services get to answer, such as 5s, greeter=5s or greeter/Greeter.Hello=5s (repeatable; the most specific counts; default 30s)")
	flags.Var(&p.maxInFlight, "max-in-flight", "requests that a service gets at a time, such as 100 or greeter=100, or auto for as many as it can take; more are refused with 503 (repeatable; default: no limit)")
	flags.Var(&p.maxPerNode, "max-per-node", "requests that a node gets at a time, such as 100 or greeter=100 (repeatable; default: no limit)")
	flags.Var(&p.hashBy, "hash-by", "what keeps like requests on one node, header:NAME or cookie:NAME (repeatable; default: nothing)")
	flags.Var(&p.healthCheck, "health-check", "how nodes are probed, tcp, grpc or http:/PATH (repeatable; default: not at all, requests tell)")
}

func parseTimeout(s string) (config.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("a time above 0, such as 5s, greeter=5s or greeter/Greeter.Hello=5s")
	}
	return config.Duration(d), nil
}

func parseLimit(s string) (config.Limit, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, errors.New("a number above 0, such as 100 or greeter=100")
	}
	return config.Limit(n), nil
}

func parseInFlight(s string) (config.AutoLimit, error) {
	if s == "auto" {
		return config.Auto, nil
	}
	n, err := parseLimit(s)
	if err != nil {
		return 0, errors.New("a number above 0 or auto, such as 100, greeter=100 or greeter=auto")
	}
	return config.AutoLimit(n), nil
}

func parseHashBy(s string) (string, error) {
	kind, name, _ := strings.Cut(s, ":")
	if kind != "header" && kind != "cookie" || !httpguts.ValidHeaderFieldName(name) {
		return "", errors.New("header:NAME or cookie:NAME, such as header:X-User or cart=cookie:session")
	}
	return s, nil
}

// parseHealthCheck reads tcp, grpc or http:/PATH.
func parseHealthCheck(s string) (string, error) {
	path, isHTTP := strings.CutPrefix(s, "http:")
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f }
	if s != "tcp" && s != "grpc" && (!isHTTP || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsFunc(path, odd)) {
		return "", errors.New("tcp, grpc or http:/PATH, such as http:/healthz or greeter=grpc")
	}
	return s, nil
}

// layers returns what the flags lay over what the configuration says.
func (p *policies) layers() []config.Layer {
	var list []config.Layer
	for name, v := range p.timeout.values {
		service, endpoint, _ := strings.Cut(name, "/")
		list = append(list, config.Layer{Service: service, Endpoint: endpoint, Policy: config.Policy{Timeout: &v}, From: "--timeout"})
	}
	for service, v := range p.maxPerNode.values {
		list = append(list, config.Layer{Service: service, Policy: config.Policy{MaxPerNode: &v}, From: "--max-per-node"})
	}
	for service, v := range p.maxInFlight.values {
		list = append(list, config.Layer{Service: service, Policy: config.Policy{MaxInFlight: &v}, From: "--max-in-flight"})
	}
	for service, v := range p.hashBy.values {
		list = append(list, config.Layer{Service: service, Policy: config.Policy{HashBy: &v}, From: "--hash-by"})
	}
	for service, v := range p.healthCheck.values {
		list = append(list, config.Layer{Service: service, Policy: config.Policy{HealthCheck: &v}, From: "--health-check"})
	}
	return list
}
