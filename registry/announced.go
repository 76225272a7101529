package registry

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
)

// announced is what there is of one name.
type announced struct {
	records map[string]*record // by key
	built   []built            // ordered by group
}

// built is a Service and what its nodes have in common.
type built struct {
	announcement

	service *Service
}

// An announcement is what nodes have in common that one Service describes.
type announcement struct {
	version   string
	metadata  map[string]string
	endpoints *list
}

// A group stands for equal announcements.
type group struct {
	version string
	sum     digest // of metadata and endpoints
}

// A place is a node and where it was found.
type place struct {
	key  string
	from *record
	node *Node
}

// build makes the services anew, and keeps those that are as they were. It
// returns the nodes that gave way to others.
func (a *announced) build(name string) []Omission {
	places, omissions := a.places(name)
	groupOf := announcement.group
	if a.isUniform() {
		groupOf = func(announcement) group { return group{} }
	}
	groups := make(map[group]*built)
	for _, id := range slices.Sorted(maps.Keys(places)) {
		p := places[id]
		g := groupOf(p.from.announcement)
		b := groups[g]
		if b == nil {
			b = &built{p.from.announcement, p.from.service()}
			groups[g] = b
		}
		b.service.Nodes = append(b.service.Nodes, p.node)
	}
	for _, old := range a.built {
		if b := groups[groupOf(old.announcement)]; b != nil && slices.EqualFunc(b.service.Nodes, old.service.Nodes, equalNodes) {
			b.service = old.service
		}
	}
	a.built = make([]built, 0, len(groups))
	for _, b := range groups {
		a.built = append(a.built, *b)
	}
	if len(a.built) > 1 {
		slices.SortFunc(a.built, func(x, y built) int { return x.group().compare(y.group()) })
	}
	return omissions
}

// isUniform says whether all announcements are equal, those of what was built
// included. It does not find out at any price: false may be wrong.
func (a *announced) isUniform() bool {
	var first *announcement
	for _, rec := range a.records {
		if first == nil {
			first = &rec.announcement
		}
		if !rec.same(*first) {
			return false
		}
	}
	return first != nil && !slices.ContainsFunc(a.built, func(b built) bool { return !b.same(*first) })
}

// places returns where each node id is found, and the nodes that gave way to
// others.
func (a *announced) places(name string) (map[string]place, []Omission) {
	places := make(map[string]place)
	var omissions []Omission
	for _, key := range slices.Sorted(maps.Keys(a.records)) {
		rec := a.records[key]
		for _, n := range rec.nodes {
			if p, ok := places[n.ID]; ok {
				omissions = append(omissions, shadowed(name, n.ID, p.key, key))
			}
			places[n.ID] = place{key, rec, n}
		}
	}
	return places, omissions
}

// service returns the record as a Service, without nodes.
func (rec *record) service() *Service {
	s := &Service{Name: rec.name, Version: rec.version, Metadata: rec.metadata}
	for _, e := range rec.endpoints.endpoints {
		s.Endpoints = append(s.Endpoints, e.endpoint)
	}
	return s
}

// same says whether announcements are equal whose lists of endpoints are the
// same; others may be equal too.
func (a announcement) same(b announcement) bool {
	return a.endpoints == b.endpoints && a.version == b.version && maps.Equal(a.metadata, b.metadata)
}

// group returns the group of equal announcements, whatever their encoding was.
func (a announcement) group() group { return group{a.version, groupDigest(a.metadata, a.endpoints)} }

func (g group) compare(h group) int {
	return cmp.Or(cmp.Compare(g.version, h.version), bytes.Compare(g.sum[:], h.sum[:]))
}

func equalNodes(a, b *Node) bool {
	return a == b || a.ID == b.ID && a.Address == b.Address && maps.Equal(a.Metadata, b.Metadata)
}
