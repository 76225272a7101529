package consul

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// ownService is what Consul's servers call themselves.
	ownService = "consul"
	// hashed begins the names and ids that we give to what Consul cannot carry,
	// before a hash of the true ones.
	hashed = "goapi-"
	// hashSize is the length of such a hash, in hexadecimal.
	hashSize = 32
)

// serviceName returns what a service is called in Consul: its name, unless the
// path of a URL cannot carry it, or it could be mistaken.
func serviceName(name string) string {
	if readable(name) && !strings.EqualFold(name, ownService) && !isHashed(name) {
		return name
	}
	return hash(name)
}

// readable says whether Consul can be asked about a name. It stands in the path
// of a URL, which the agent cleans.
func readable(name string) bool { return name != "" && path.Clean("/"+name) == "/"+name }

// serviceID returns the id in Consul of a node, which is unique among all
// services of an agent, whatever the case of its letters. It is that of the
// node where it is the name of the service, "-", and a word or a UUID, as
// go-micro has it: then it is nobody else's.
func serviceID(service, node string) string {
	rest, ok := strings.CutPrefix(node, service+"-")
	if ok && isLower(service) && isLower(rest) && (!strings.Contains(rest, "-") || isUUID(rest)) && !isHashed(node) {
		return node
	}
	return hash(service + "\x00" + node)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hashed + hex.EncodeToString(sum[:])[:hashSize]
}

// isHashed says whether s looks as if hash had made it.
func isHashed(s string) bool {
	rest, ok := strings.CutPrefix(s, hashed)
	return ok && len(rest) == hashSize && strings.Trim(rest, "0123456789abcdef") == ""
}

// isLower says whether s is made of small letters, digits, "-", "." and "_".
func isLower(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

// isUUID says whether s has the form of a UUID.
func isUUID(s string) bool {
	groups := strings.Split(s, "-")
	if len(groups) != 5 {
		return false
	}
	for i, size := range []int{8, 4, 4, 4, 12} {
		if len(groups[i]) != size || strings.Trim(groups[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return true
}

// trueNames returns the name of a service and the id of a node that Consul
// knows by others. What a tag says of them is believed only where the others
// are made of it: nobody can speak for a service that Consul does not let him
// register.
func (m *more) trueNames(name, id string) (service, node string, err error) {
	service, node = name, id
	if m == nil {
		return service, node, nil
	}
	if m.Name != "" {
		if serviceName(m.Name) != name {
			return "", "", &registry.FieldError{Field: "name", Reason: "a tag claims that it is another"}
		}
		service = m.Name
	}
	if m.ID != "" {
		if serviceID(service, m.ID) != id {
			return "", "", &registry.FieldError{Field: "nodes[0].id", Reason: "a tag claims that it is another"}
		}
		node = m.ID
	}
	return service, node, nil
}
