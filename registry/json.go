package registry

import (
	"encoding/json"
	"errors"
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
// them. A null in a list is left out. A value of the wrong type is a
// *[FieldError].
//
// What is written is the current form: every field, null for what is absent.
func (s *Service) UnmarshalJSON(data []byte) error {
	raw, err := readService(data)
	if err != nil {
		return err
	}
	endpoints, err := readList("endpoints", raw.Endpoints, readEndpoint)
	if err != nil {
		return err
	}
	nodes, err := readList("nodes", raw.Nodes, readNode)
	if err != nil {
		return err
	}
	*s = Service{Name: raw.Name, Version: raw.Version, Metadata: raw.Metadata, Endpoints: endpoints, Nodes: nodes}
	return nil
}

// UnmarshalJSON reads a node. A port of its own, as go-micro announced it
// before v1.8, is joined to an address that has none. An address that lacks a
// port after that is kept as it is.
func (n *Node) UnmarshalJSON(data []byte) error {
	read, err := readNode(data)
	if err != nil {
		return inField("", err)
	}
	*n = *read
	return nil
}

// UnmarshalJSON reads an endpoint. It refuses values that nest too deep.
func (e *Endpoint) UnmarshalJSON(data []byte) error {
	read, err := readEndpoint(data)
	if err != nil {
		return inField("", err)
	}
	*e = *read
	return nil
}

// rawService is a service whose lists are still to be read, one by one: only
// then can an error say where it is.
type rawService struct {
	Name      string            `json:"name"`
	Version   string            `json:"version"`
	Metadata  map[string]string `json:"metadata"`
	Endpoints []json.RawMessage `json:"endpoints"`
	Nodes     []json.RawMessage `json:"nodes"`
}

func readService(data []byte) (*rawService, error) {
	s := new(rawService)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, inField("", err)
	}
	return s, nil
}

// readList reads the elements of a list, without nulls. With an error it
// returns those before it.
func readList[T any](field string, list []json.RawMessage, read func([]byte) (T, error)) ([]T, error) {
	if list == nil {
		return nil, nil
	}
	elements := make([]T, 0, len(list))
	for i, data := range list {
		if string(data) == "null" {
			continue
		}
		t, err := read(data)
		if err != nil {
			return elements, inField(fmt.Sprintf("%s[%d]", field, i), err)
		}
		elements = append(elements, t)
	}
	return elements, nil
}

// readNode is what Node.UnmarshalJSON does, for those who have its JSON alone.
func readNode(data []byte) (*Node, error) {
	var p struct {
		ID       string            `json:"id"`
		Address  string            `json:"address"`
		Metadata map[string]string `json:"metadata"`
		Port     json.RawMessage   `json:"port"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	n := &Node{ID: p.ID, Address: p.Address, Metadata: p.Metadata}
	if port := strings.Trim(string(p.Port), `"`); validPort(port) {
		n.Address = joinPort(n.Address, port)
	}
	return n, nil
}

// readEndpoint is what Endpoint.UnmarshalJSON does, for those who have its JSON
// alone and need not look for its end first.
func readEndpoint(data []byte) (*Endpoint, error) {
	type plain Endpoint
	p := new(plain)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, err
	}
	if err := checkValue(p.Request, 1); err != nil {
		return nil, inField("request", err)
	}
	if err := checkValue(p.Response, 1); err != nil {
		return nil, inField("response", err)
	}
	return (*Endpoint)(p), nil
}

// inField returns an error of decoding as that of a field, whose own path may
// go on: a client sees neither our types nor what it sent. What concerns no
// field stays what it is.
func inField(path string, err error) error {
	var (
		field *FieldError
		kind  *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &field):
		return &FieldError{joinPath(path, field.Field), field.Reason}
	case errors.As(err, &kind):
		name, _, _ := strings.Cut(kind.Value, " ") // a number follows as it was sent
		reason := "it cannot be a JSON " + name
		if path = joinPath(path, kind.Field); path == "" {
			return errors.New(reason)
		}
		return &FieldError{path, reason}
	}
	return err
}

func joinPath(path, field string) string { return strings.Trim(path+"."+field, ".") }

// checkValue removes nulls from the lists within v, and bounds its depth. It is
// not Value.UnmarshalJSON, which would read the innermost once for each level.
func checkValue(v *Value, depth int) error {
	if v == nil {
		return nil
	}
	if depth > maxDepth {
		return &FieldError{"", fmt.Sprintf("values nest deeper than %d", maxDepth)}
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
