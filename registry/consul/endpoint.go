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
)

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
		e, err := registry.ParseEndpoint(meta[key], meta[keyProtocol])
		switch {
		case err == nil:
		case first == nil:
			first = fmt.Errorf("the endpoint of meta %s: %w", key, err)
		default:
			more++
		}
		if err != nil {
			e = &registry.Endpoint{Name: key, Metadata: map[string]string{"expose": "false"}}
		}
		list = append(list, e)
	}
	if more > 0 {
		first = fmt.Errorf("%w (and %d more endpoints)", first, more)
	}
	return list, first
}
