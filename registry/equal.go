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
		equalValues(a.Request, b.Request) && equalValues(a.Response, b.Response)
}

func equalValues(a, b *Value) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	return a.Name == b.Name && a.Type == b.Type && slices.EqualFunc(a.Values, b.Values, equalValues)
}
