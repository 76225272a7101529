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

	keyProtocol   = "protocol"
	keyEndpoint   = "endpoint"
	keyHandler    = "handler"
	keyPath       = "path"
	keySubscriber = "subscriber"
	keyExpose     = "expose"
)

// EndpointKeys are what the text of an endpoint may tell, besides its name.
func EndpointKeys() []string {
	return append([]string{"method", keyPath, "host", keyHandler, "body", "strip", "topic", "scopes", keyProtocol, "description"}, endpointFlags()...)
}

// endpointFlags are those keys whose value is true or false.
func endpointFlags() []string { return []string{"stream", keySubscriber, "push", keyExpose} }

// ParseEndpoint reads an endpoint that people write, in Consul's metadata and
// for `goapi register --endpoint`: "Greeter.Hello;method=GET;path=/hello/{name}".
// One with a path and no handler gets the one that fits the protocol of the
// node, unless it is a subscriber, which is never routed.
func ParseEndpoint(text, protocol string) (*registry.Endpoint, error) {
	name, rest, _ := strings.Cut(text, ";")
	if name = strings.TrimSpace(name); name == "" || strings.Contains(name, "=") {
		return nil, fmt.Errorf("it has no name; %s", wantEndpoint())
	}
	m := map[string]string{keyEndpoint: name}
	for pair := range strings.SplitSeq(rest, ";") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || !slices.Contains(EndpointKeys(), key) {
			return nil, fmt.Errorf("%.80q is not known; %s", pair, wantEndpoint())
		}
		if slices.Contains(endpointFlags(), key) && value != "true" && value != "false" {
			return nil, fmt.Errorf("%.80q: want %[2]s=true or %[2]s=false", pair, key)
		}
		m[key] = value
	}
	if strings.Trim(m[keyPath], ", ") != "" && m[keyHandler] == "" && m[keySubscriber] != "true" {
		m[keyHandler] = "http"
		if protocol == "mucp" || protocol == "grpc" {
			m[keyHandler] = "rpc"
		}
	}
	return &registry.Endpoint{Name: name, Metadata: m}, nil
}

// wantEndpoint says what an endpoint looks like.
func wantEndpoint() string {
	return "want NAME;key=value;… with keys " + strings.Join(EndpointKeys(), ", ")
}

// isEndpoint says whether a key of Consul's metadata holds an endpoint.
func isEndpoint(key string) bool {
	return key == metaEndpoint || strings.HasPrefix(key, metaEndpoint+"-")
}

// parseEndpoints returns the endpoints that Consul's metadata tells of, in the
// order of their keys. One that cannot be read is hidden: what it would have
// kept from the public stays there. The error says which, beside the list.
func parseEndpoints(meta map[string]string) ([]*registry.Endpoint, error) {
	var (
		list  []*registry.Endpoint
		first error
		more  int
	)
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		if !isEndpoint(key) {
			continue
		}
		e, err := ParseEndpoint(meta[key], meta[keyProtocol])
		switch {
		case err == nil:
		case first == nil:
			first = fmt.Errorf("the endpoint of meta %s: %w", key, err)
		default:
			more++
		}
		if err != nil {
			e = &registry.Endpoint{Name: key, Metadata: map[string]string{keyExpose: "false"}}
		}
		list = append(list, e)
	}
	if more > 0 {
		first = fmt.Errorf("%w (and %d more endpoints)", first, more)
	}
	return list, first
}
