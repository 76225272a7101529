package upstream

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

// The keys of a node's metadata that say which requests it is for.
const (
	metaWeight = "weight"
	metaCanary = "canary"
	metaMatch  = "match"
)

// maxWeight bounds a weight.
const maxWeight = 1000

// traits is what a node's metadata asks for. It does not change.
type traits struct {
	weight  float64 // 0 drains the node
	match   match
	canary  bool
	percent float64  // of the requests that do not ask, for all canaries together
	held    bool     // the registry does not have the node any more
	bad     []string // what is ignored, and why
}

// match is a header and the value that a request must have there. The zero
// match is none.
type match struct{ name, value string }

// holds says that a request has the header.
func (m match) holds(h http.Header) bool { return slices.Contains(h[m.name], m.value) }

// traitsOf reads the metadata of a node. It returns nil for one that asks for
// nothing. What is malformed counts as absent.
func traitsOf(n *registry.Node) *traits {
	weight, weighs := n.Metadata[metaWeight]
	canary, isCanary := n.Metadata[metaCanary]
	header, matches := n.Metadata[metaMatch]
	_, held := n.Metadata[registry.MetaHeld]
	if !weighs && !isCanary && !matches && !held {
		return nil
	}
	t := &traits{weight: 1, held: held}
	if weighs {
		if w, ok := number(weight, maxWeight); ok {
			t.weight = w
		} else {
			t.ignore(metaWeight, weight, "a number from 0 to 1000")
		}
	}
	if matches && !t.readMatch(header) {
		t.ignore(metaMatch, header, "Name:value")
	}
	if isCanary && !t.readCanary(canary) {
		t.ignore(metaCanary, canary, "true, false or a percentage")
	}
	return t
}

// ignore notes what is not used.
func (t *traits) ignore(key, value, want string) {
	t.bad = append(t.bad, key+" is "+strconv.QuoteToASCII(value[:min(len(value), 40)])+", want "+want)
}

// number reads a number from 0 to most.
func number(s string, most float64) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return v, err == nil && v >= 0 && v <= most // NaN is neither
}

// readMatch reads "Name:value".
func (t *traits) readMatch(s string) bool {
	name, value, ok := strings.Cut(s, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || !isToken(name) || value == "" {
		return false
	}
	t.match = match{http.CanonicalHeaderKey(name), value}
	return true
}

// readCanary reads true, false, or a percentage with or without its sign.
func (t *traits) readCanary(s string) bool {
	switch s = strings.TrimSpace(s); s {
	case "true":
		t.canary = true
		return true
	case "false":
		return true
	}
	percent, ok := number(strings.TrimSuffix(s, "%"), 100)
	if ok {
		t.canary, t.percent = true, percent
	}
	return ok
}

// isToken says that s may be the name of a header.
func isToken(s string) bool {
	const others = "!#$%&'*+-.^_`|~"
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune(others, r)
	})
}
