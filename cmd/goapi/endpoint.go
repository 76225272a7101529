package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
)

// errEndpoint ends every error about an --endpoint.
var errEndpoint = fmt.Errorf("want NAME;key=value;… with keys %s", strings.Join(endpointKeys(), ", "))

// endpointKeys are the metadata keys that --endpoint takes.
func endpointKeys() []string {
	return []string{"method", "path", "host", "handler", "body", "strip", "stream", "topic", "subscriber", "push", "protocol", "description"}
}

// parseEndpoint reads an --endpoint: 'Greeter.Hello;method=GET;path=/hello/{name}'.
// An endpoint with a path and no handler gets the one that fits the protocol,
// unless it is a subscriber, which is never routed.
func parseEndpoint(s, protocol string) (*registry.Endpoint, error) {
	name, rest, _ := strings.Cut(s, ";")
	if name = strings.TrimSpace(name); name == "" || strings.Contains(name, "=") {
		return nil, fmt.Errorf("--endpoint %q has no name: %w", s, errEndpoint)
	}
	e := &registry.Endpoint{Name: name, Metadata: map[string]string{}}
	for pair := range strings.SplitSeq(rest, ";") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || !slices.Contains(endpointKeys(), key) {
			return nil, fmt.Errorf("--endpoint %q: %q is not known: %w", s, pair, errEndpoint)
		}
		if slices.Contains([]string{"stream", "subscriber", "push"}, key) && value != "true" && value != "false" {
			return nil, fmt.Errorf("--endpoint %q: %q: want %[3]s=true or %[3]s=false", s, pair, key)
		}
		e.Metadata[key] = value
	}
	d := goapi.DecodeEndpoint(e)
	if len(d.Path) > 0 && d.Handler == "" && e.Metadata["subscriber"] != "true" {
		d.Handler = "http"
		if protocol == "mucp" || protocol == "grpc" {
			d.Handler = "rpc"
		}
	}
	return d.Encode(), nil
}
