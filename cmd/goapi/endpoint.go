package main

import (
	"fmt"

	"github.com/goapi-dev/goapi/registry"
)

// endpointKeys are the metadata keys that --endpoint takes.
func endpointKeys() []string { return registry.EndpointKeys() }

// parseEndpoint reads an --endpoint, which is written as in Consul:
// 'Greeter.Hello;method=GET;path=/hello/{name}'.
func parseEndpoint(s, protocol string) (*registry.Endpoint, error) {
	e, err := registry.ParseEndpoint(s, protocol)
	if err != nil {
		return nil, fmt.Errorf("--endpoint %q: %w", s, err)
	}
	return e, nil
}
