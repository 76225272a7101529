package registry

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds how deep values nest. go-micro announces three levels.
const maxDepth = 64

// UnmarshalJSON reads a service in every form that go-micro has written: names
// in any case, null for what is absent, and nodes as [Node.UnmarshalJSON] has
// them. A null in a list is left out.
//
// What is written is the current form: every field, null for what is absent.
func (s *Service) UnmarshalJSON(data []byte) error {
	type plain Service
	var p plain
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	p.Endpoints = withoutNil(p.Endpoints)
	p.Nodes = withoutNil(p.Nodes)
	*s = Service(p)
	return nil
}

// UnmarshalJSON reads a node. A port of its own, as go-micro announced it
// before v1.8, is joined to an address that has none. An address that lacks a
// port after that is kept as it is.
func (n *Node) UnmarshalJSON(data []byte) error {
	type plain Node
	var p struct {
		plain

		Port json.RawMessage `json:"port"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*n = Node(p.plain)
	if port := strings.Trim(string(p.Port), `"`); validPort(port) {
		n.Address = joinPort(n.Address, port)
	}
	return nil
}

// UnmarshalJSON reads an endpoint. It refuses values that nest too deep.
func (e *Endpoint) UnmarshalJSON(data []byte) error {
	read, err := readEndpoint(data)
	if err != nil {
		return err
	}
	*e = *read
	return nil
}

// readEndpoint is what Endpoint.UnmarshalJSON does, for those who have its JSON
// alone and need not look for its end first.
func readEndpoint(data []byte) (*Endpoint, error) {
	type plain Endpoint
	p := new(plain)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, err
	}
	for _, v := range []*Value{p.Request, p.Response} {
		if err := checkValue(v, 1); err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", p.Name, err)
		}
	}
	return (*Endpoint)(p), nil
}

// checkValue removes nulls from the lists within v, and bounds its depth. It is
// not Value.UnmarshalJSON, which would read the innermost once for each level.
func checkValue(v *Value, depth int) error {
	if v == nil {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("values nest deeper than %d", maxDepth)
	}
	v.Values = withoutNil(v.Values)
	for _, within := range v.Values {
		if err := checkValue(within, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// withoutNil removes nil pointers from list, in place.
func withoutNil[T any](list []*T) []*T {
	return slices.DeleteFunc(list, func(p *T) bool { return p == nil })
}

// joinPort returns address with port, or as it is when it has one, is empty,
// or is nothing that a port can follow.
func joinPort(address, port string) string {
	host := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if host == "" {
		return address
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return address
		}
	}
	return net.JoinHostPort(host, port)
}

// validPort says whether s is a number from 1 to 65535.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
