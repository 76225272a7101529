package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// A digest stands for bytes or content: whoever announces services could make
// a weaker hash collide, and take the place of another's endpoints.
type digest [sha256.Size]byte

// appendService appends all that s holds.
func appendService(b []byte, s *Service) []byte {
	b = appendString(b, s.Name)
	b = appendString(b, s.Version)
	b = appendMap(b, s.Metadata)
	b = binary.AppendUvarint(b, uint64(len(s.Endpoints)))
	for _, e := range s.Endpoints {
		b = appendEndpoint(b, e)
	}
	for _, n := range s.Nodes {
		b = appendString(b, n.ID)
		b = appendString(b, n.Address)
		b = appendMap(b, n.Metadata)
	}
	return b
}

// groupDigest returns a digest of what a record announces for its nodes.
func groupDigest(metadata map[string]string, endpoints *list) digest {
	sum := endpoints.content()
	return sha256.Sum256(append(appendMap(nil, metadata), sum[:]...))
}

// content returns a digest of the content of a list. It is worked out once, and
// only for a service whose nodes announce lists that may differ.
func (l *list) content() digest {
	if l.sum == (digest{}) {
		var b []byte
		for _, e := range l.endpoints {
			sum := endpointDigest(e.endpoint)
			b = append(b, sum[:]...)
		}
		l.sum = sha256.Sum256(b)
	}
	return l.sum
}

// endpointDigest returns a digest of the content of e. What is null and what is
// empty are the same.
func endpointDigest(e *Endpoint) digest { return sha256.Sum256(appendEndpoint(nil, e)) }

func appendEndpoint(b []byte, e *Endpoint) []byte {
	b = appendString(b, e.Name)
	b = appendValue(b, e.Request)
	b = appendValue(b, e.Response)
	return appendMap(b, e.Metadata)
}

func appendValue(b []byte, v *Value) []byte {
	if v == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	b = appendString(b, v.Name)
	b = appendString(b, v.Type)
	b = binary.AppendUvarint(b, uint64(len(v.Values)))
	for _, within := range v.Values {
		b = appendValue(b, within)
	}
	return b
}

func appendMap(b []byte, m map[string]string) []byte {
	var few [16]string // enough for most, and no garbage
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = binary.AppendUvarint(b, uint64(len(m)))
	for _, k := range keys {
		b = appendString(b, k)
		b = appendString(b, m[k])
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
