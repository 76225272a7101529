package acme

import (
	"fmt"
	"net"
	"strings"
)

// How long a name may be, and each of its labels, as DNS has it.
const (
	maxName  = 253
	maxLabel = 63
)

// parseNames returns names as they are compared, or what keeps one from having a
// certificate.
func parseNames(names []string, wild bool) ([]string, error) {
	all := make([]string, 0, len(names))
	for _, n := range names {
		name := canonical(n)
		plain, isWild := strings.CutPrefix(name, "*.")
		switch {
		case isWild && !wild:
			return nil, fmt.Errorf("acme: domain %q: no authority issues it for HTTP-01 or TLS-ALPN-01: write each name, or allow it on demand", n)
		case net.ParseIP(plain) != nil:
			return nil, fmt.Errorf("acme: %q is an address: write a name", n)
		case !isName(plain):
			return nil, fmt.Errorf("acme: %q is no name that a certificate can be for: write one such as api.example.com", n)
		}
		all = append(all, name)
	}
	return all, nil
}

// canonical returns the one way to write a name.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
}

// isName says whether labels of letters, digits, hyphens and underscores make a
// name: other letters are written as xn-- in DNS.
func isName(name string) bool {
	if len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		plain := strings.IndexFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) < 0
		if label == "" || len(label) > maxLabel || !plain || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}
