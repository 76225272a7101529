package mdns

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// listName is where the names of all services of a domain are asked for.
	listName = "_services"
	// maxLabel and maxName are what DNS allows, in bytes.
	maxLabel = 63
	maxName  = 253
	// maxPlain bounds the names of services that stand in DNS as they are: the
	// id of a node and the domain must fit beside them.
	maxPlain = 140
	// maxDomain bounds domains.
	maxDomain = 60
)

// serviceName returns where the nodes of a service are asked for.
func serviceName(service, domain string) string {
	if len(service) > maxPlain || !isName(service) || holdsLabel(service, listName) {
		service = hashed(service)
	}
	return service + "." + domain
}

// instanceName returns where the records of a node are, below the name of its
// service.
func instanceName(id, serviceName string) string {
	if len(id)+1+len(serviceName) > maxName || !isName(id) {
		id = hashed(id)
	}
	return id + "." + serviceName
}

// hashed stands for a name that DNS cannot hold.
func hashed(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "h-" + hex.EncodeToString(sum[:20])
}

// isName says whether s is made of labels that DNS can hold.
func isName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return true
}

func holdsLabel(name, label string) bool {
	for l := range strings.SplitSeq(name, ".") {
		if l == label {
			return true
		}
	}
	return false
}

// below returns what of name comes before the domain.
func below(name, domain string) (string, bool) {
	rest, ok := strings.CutSuffix(name, "."+domain)
	return rest, ok && rest != ""
}
