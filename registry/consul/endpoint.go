package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// metaEndpoint begins the keys of Consul's metadata that hold endpoints, and
	// metaVersion is that of the version.
	metaEndpoint = "goapi-endpoint"
	metaVersion  = "version"

	keyProtocol = "protocol"
	keyEndpoint = "endpoint"
	keyHandler  = "handler"
	keyPath     = "path"
	keyStream   = "stream"
)

// endpointKeys are what an endpoint may be told of, besides its name.
func endpointKeys() []string {
	return []string{"method", keyPath, "host", keyHandler, "body", "strip", keyStream, "topic", "description"}
}

// isEndpoint says whether a key of Consul's metadata holds an endpoint.
func isEndpoint(key string) bool {
	return key == metaEndpoint || strings.HasPrefix(key, metaEndpoint+"-")
}

// parseEndpoints returns the endpoints that Consul's metadata tells of, in the
// order of their keys.
func parseEndpoints(meta map[string]string) ([]*registry.Endpoint, error) {
	var list []*registry.Endpoint
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		if !isEndpoint(key) {
			continue
		}
		e, err := parseEndpoint(meta[key], meta[keyProtocol])
		if err != nil {
			return nil, &registry.FieldError{Field: "meta " + key, Reason: err.Error()}
		}
		list = append(list, e)
	}
	return list, nil
}

// parseEndpoint reads an endpoint as `goapi register --endpoint` does:
// "Greeter.Hello;method=GET;path=/hello/{name}". One with a path and no handler
// gets the one that fits the protocol.
func parseEndpoint(s, protocol string) (*registry.Endpoint, error) {
	name, rest, _ := strings.Cut(s, ";")
	if name = strings.TrimSpace(name); name == "" || strings.Contains(name, "=") {
		return nil, fmt.Errorf("it has no name; want NAME;key=value;… with keys %s", strings.Join(endpointKeys(), ", "))
	}
	m := map[string]string{keyEndpoint: name}
	for pair := range strings.SplitSeq(rest, ";") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || !slices.Contains(endpointKeys(), key) {
			return nil, fmt.Errorf("%.80q is not known; want NAME;key=value;… with keys %s", pair, strings.Join(endpointKeys(), ", "))
		}
		m[key] = value
	}
	if m[keyPath] != "" && m[keyHandler] == "" {
		m[keyHandler] = "http"
		if protocol == "mucp" || protocol == "grpc" {
			m[keyHandler] = "rpc"
		}
	}
	return &registry.Endpoint{Name: name, Metadata: m}, nil
}
