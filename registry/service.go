package registry

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName bounds names, versions and node ids, in bytes.
	maxName = 255
	// maxList bounds the endpoints and the nodes of one announcement.
	maxList = 10_000
	// maxAnnounced bounds what the nodes of one announcement take together, each
	// of which most registries write with all that the service has, in bytes.
	maxAnnounced = 32 << 20
)

// Validate returns a *FieldError for the first thing that keeps s from being
// registered, or nil.
func (s *Service) Validate() error {
	if s.Name == "" {
		return errNoName()
	}
	if err := checkName("name", s.Name); err != nil {
		return err
	}
	if err := checkName("version", s.Version); err != nil {
		return err
	}
	if err := checkSize(len(s.Endpoints), len(s.Nodes)); err != nil {
		return err
	}
	for i, e := range s.Endpoints {
		if e == nil {
			return &FieldError{fmt.Sprintf("endpoints[%d]", i), "an endpoint cannot be null"}
		}
	}
	if len(s.Nodes) == 0 {
		return &FieldError{"nodes", "a service needs at least one node"}
	}
	ids := make(map[string]int, len(s.Nodes))
	for i, n := range s.Nodes {
		field := fmt.Sprintf("nodes[%d]", i)
		if n == nil {
			return &FieldError{field, "a node cannot be null"}
		}
		if wrong := n.wrong(); wrong != nil {
			return &FieldError{field + "." + wrong.Field, wrong.Reason}
		}
		if first, ok := ids[n.ID]; ok {
			return &FieldError{field + ".id", fmt.Sprintf("nodes[%d] has the id %q too", first, n.ID)}
		}
		ids[n.ID] = i
	}
	if each := s.size(); len(s.Nodes) > max(1, maxAnnounced/each) {
		return &FieldError{"nodes", fmt.Sprintf("%d nodes, each with the %d bytes of the service, are more than %d bytes: register them in several calls",
			len(s.Nodes), each, maxAnnounced)}
	}
	return nil
}

// size returns about what a node takes with all that the service has, in bytes.
func (s *Service) size() int {
	b := appendMap(nil, s.Metadata)
	size := len(s.Name) + len(s.Version) + len(b) + 1
	for _, e := range s.Endpoints {
		b = appendEndpoint(b[:0], e)
		size += len(b)
	}
	return size
}

func errNoName() error { return &FieldError{"name", "a service needs a name"} }

// checkSize bounds what is read as well as what is registered.
func checkSize(endpoints, nodes int) error {
	if endpoints > maxList {
		return &FieldError{"endpoints", fmt.Sprintf("there are %d, more than %d", endpoints, maxList)}
	}
	if nodes > maxList {
		return &FieldError{"nodes", fmt.Sprintf("there are %d, more than %d", nodes, maxList)}
	}
	return nil
}

// Copy returns a copy of s that shares nothing with it.
func (s *Service) Copy() *Service {
	c := *s
	c.Metadata = maps.Clone(s.Metadata)
	c.Endpoints = copyList(s.Endpoints, (*Endpoint).clone)
	c.Nodes = copyList(s.Nodes, (*Node).clone)
	return &c
}

// Validate returns a *[FieldError] for a node that no request can be sent to: one
// without an id, with an id that is too long or not printable, or with an address
// that is not host:port or is link-local.
func (n *Node) Validate() error {
	if wrong := n.wrong(); wrong != nil {
		return wrong
	}
	return nil
}

// wrong is what Validate returns, or nil.
func (n *Node) wrong() *FieldError {
	if n.ID == "" {
		return &FieldError{"id", "a node needs an id"}
	}
	if reason := badName(n.ID); reason != "" {
		return &FieldError{"id", reason}
	}
	if reason := badAddress(n.Address); reason != "" {
		return &FieldError{"address", reason}
	}
	return nil
}

func (n *Node) clone() *Node {
	c := *n
	c.Metadata = maps.Clone(n.Metadata)
	return &c
}

func (e *Endpoint) clone() *Endpoint {
	c := *e
	c.Request, c.Response = e.Request.clone(), e.Response.clone()
	c.Metadata = maps.Clone(e.Metadata)
	return &c
}

func (v *Value) clone() *Value {
	if v == nil {
		return nil
	}
	c := *v
	c.Values = copyList(v.Values, (*Value).clone)
	return &c
}

func copyList[T any](list []T, clone func(T) T) []T {
	if list == nil {
		return nil
	}
	c := make([]T, len(list))
	for i, t := range list {
		c[i] = clone(t)
	}
	return c
}

// checkName refuses what stores, logs and terminals cannot be trusted with.
func checkName(field, s string) error {
	if reason := badName(s); reason != "" {
		return &FieldError{field, reason}
	}
	return nil
}

// badName says what is wrong with a name; empty for nothing.
func badName(s string) string {
	switch {
	case len(s) > maxName:
		return fmt.Sprintf("it is %d bytes long, more than %d", len(s), maxName)
	case !utf8.ValidString(s):
		return "it is not valid UTF-8"
	case strings.ContainsFunc(s, notPrintable):
		return "it holds a character that is not printable"
	}
	return ""
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// badAddress says what is wrong with a node's address; empty for nothing.
func badAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("%.80q is not host:port", address)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case len(address) > maxName:
		return fmt.Sprintf("it is %d bytes long, more than %d", len(address), maxName)
	case err != nil && !isHostname(host):
		return fmt.Sprintf("%q is not host:port: the host is neither a name nor an IP address", address)
	case !validPort(port):
		return fmt.Sprintf("the port of %q is not from 1 to 65535", address)
	case err == nil && ip.Unmap().IsLinkLocalUnicast():
		return fmt.Sprintf("%q is a link-local address", address)
	}
	return ""
}

// isHostname says whether s may be a name in DNS. Those of containers may hold
// "_".
func isHostname(s string) bool {
	if s == "" || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}
