package upstream

import (
	"math"
	"net/http"
	"strings"
)

// keyOf returns what a request is to be kept on a node by, as a policy's HashBy
// has it. It is false for a request that has no such header or cookie.
func keyOf(by string, h http.Header) (key uint64, ok bool) {
	kind, name, _ := strings.Cut(by, ":")
	value := ""
	switch kind {
	case "header":
		value = h.Get(name)
	case "cookie":
		value = cookie(h, name)
	}
	if value == "" {
		return 0, false
	}
	return hashOf(value), true
}

// cookie returns the value of the first cookie with that name, or "".
func cookie(h http.Header, name string) string {
	for _, line := range h["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
				return v
			}
		}
	}
	return ""
}

// hashOf is FNV-1a. It is the same in every gateway, so that they agree.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// byKey returns the free node of g that the key is for, by rendezvous hashing:
// every node has a score for every key, and the highest wins. A node that comes
// or goes moves only its own keys. Slow start moves none.
func (p *pick) byKey(g *group) *node {
	var (
		best  *node
		score float64
	)
	for _, n := range g.nodes {
		if !p.free(n) || p.slow > 0 && n.shunned(p.now) > p.slow {
			continue
		}
		u := (float64(mix(p.key^n.seed)>>11) + 0.5) / (1 << 53) // in (0, 1)
		if s := -n.weight() / math.Log(u); best == nil || s > score {
			best, score = n, s
		}
	}
	return best
}

// mix spreads the bits of a number over all of it.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
