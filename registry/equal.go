package registry

import (
	"maps"
	"slices"
)

// equalServices says whether two services are the same in content. What is null
// and what is empty are the same.
func equalServices(a, b *Service) bool {
	return a == b || slices.EqualFunc(a.Nodes, b.Nodes, equalNodes) && sameAnnouncement(a, b)
}

// sameAnnouncement says whether two services of a name have the same in
// content, but for their nodes.
func sameAnnouncement(a, b *Service) bool {
	return a.Version == b.Version && maps.Equal(a.Metadata, b.Metadata) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, equalEndpoints)
}

func equalEndpoints(a, b *Endpoint) bool {
	return a == b || a.Name == b.Name && maps.Equal(a.Metadata, b.Metadata) &&
		a.Request.Equal(b.Request) && a.Response.Equal(b.Response)
}

// Equal says whether two values are the same in content. Nil is only the same as
// nil.
func (v *Value) Equal(other *Value) bool {
	if v == nil || other == nil || v == other {
		return v == other
	}
	return v.Name == other.Name && v.Type == other.Type && slices.EqualFunc(v.Values, other.Values, (*Value).Equal)
}
