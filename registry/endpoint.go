package registry

import (
	"fmt"
	"slices"
	"strings"
)

const (
	keyEndpoint   = "endpoint"
	keyExpose     = "expose"
	keyHandler    = "handler"
	keyPath       = "path"
	keyProtocol   = "protocol"
	keyPush       = "push"
	keySubscriber = "subscriber"
)

// EndpointKeys are what [ParseEndpoint] takes, besides the name.
func EndpointKeys() []string {
	return append([]string{"method", keyPath, "host", keyHandler, "body", "strip", "topic", "scopes", keyProtocol, "description"}, endpointFlags()...)
}

// endpointFlags are those keys whose value is true or false.
func endpointFlags() []string { return []string{"stream", keySubscriber, keyPush, keyExpose} }

// ParseEndpoint reads an endpoint that people write by hand, as in the metadata of
// Consul or for `goapi register --endpoint`: "Greeter.Hello;method=GET;path=/hello/{name}".
// One with a path and no handler gets the one that fits the protocol of the
// node, unless it is a subscriber, which is never routed.
func ParseEndpoint(text, protocol string) (*Endpoint, error) {
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
	return &Endpoint{Name: name, Metadata: m}, nil
}

// wantEndpoint says what an endpoint looks like.
func wantEndpoint() string {
	return "want NAME;key=value;… with keys " + strings.Join(EndpointKeys(), ", ")
}
