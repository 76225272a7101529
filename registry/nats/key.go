package nats

import "strings"

// escape begins what stands for a byte that NATS does not allow in a key: two
// hexadecimal digits follow.
const escape = '='

const hexDigits = "0123456789ABCDEF"

// key returns the key of a node. It is readable where names are plain, and no
// two nodes have the same: a node is one element, whatever comes before is the
// service.
func key(service, node string) string {
	return keyPrefix(service) + keyElement(node)
}

// keyPrefix returns what the keys of all nodes of a service begin with; those
// keys have one element more.
func keyPrefix(service string) string {
	var b strings.Builder
	for i := range len(service) {
		// A dot stays if it separates what is not empty: a.b, but not .a or a..b
		inner := i > 0 && i < len(service)-1 && service[i-1] != '.' && service[i+1] != '.'
		writeEscaped(&b, service[i], inner)
	}
	b.WriteByte('.')
	return b.String()
}

// isOf says whether a key is that of a node of a service.
func isOf(key, service string) bool {
	node, ok := strings.CutPrefix(key, keyPrefix(service))
	return ok && !strings.Contains(node, ".")
}

// keyElement returns the element for a node.
func keyElement(node string) string {
	var b strings.Builder
	for i := range len(node) {
		writeEscaped(&b, node[i], false)
	}
	return b.String()
}

// writeEscaped writes a byte as it is if NATS allows it there.
func writeEscaped(b *strings.Builder, c byte, dot bool) {
	if plain(c) || c == '.' && dot {
		b.WriteByte(c)
		return
	}
	b.WriteByte(escape)
	b.WriteByte(hexDigits[c>>4])
	b.WriteByte(hexDigits[c&0xF])
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '/'
}
