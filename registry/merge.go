package registry

import (
	"maps"
	"slices"
)

// A merge is the services of several registries as one state. It does the work
// of a change for the names that changed only.
type merge struct {
	sources []source
}

// source is what one registry says, and what remains of it.
type source struct {
	exclusive bool       // no later registry may add to its services
	services  []*Service // ordered by name
	kept      []*Service // less the nodes that an earlier registry has
}

func newMerge(members []Member) *merge {
	m := &merge{sources: make([]source, len(members))}
	for i, member := range members {
		m.sources[i].exclusive = member.Exclusive
	}
	return m
}

// set replaces what registry i says.
func (m *merge) set(i int, services []*Service) {
	services = byName(services)
	changes := Diff(m.sources[i].services, services)
	names := make([]string, len(changes))
	for j, c := range changes {
		names[j] = c.Name
	}
	m.sources[i].services = services
	for j := i; j < len(m.sources); j++ {
		m.sources[j].kept = splice(m.sources[j].kept, names, func(name string, old []*Service) []*Service {
			return m.keep(j, name, old)
		})
	}
}

// services returns the complete state: registry by registry.
func (m *merge) services() []*Service {
	lists := make([][]*Service, len(m.sources))
	for i, s := range m.sources {
		lists[i] = s.kept
	}
	return slices.Concat(lists...)
}

// keep returns the services of a name that registry i has, without the nodes
// that earlier registries have under the same name, or none if an earlier one
// has the name for itself. Services of old that say the same are returned
// again.
func (m *merge) keep(i int, name string, old []*Service) []*Service {
	mine := named(m.sources[i].services, name)
	taken := make(map[string]bool)
	for _, earlier := range m.sources[:i] {
		has := named(earlier.services, name)
		if earlier.exclusive && len(has) > 0 {
			return nil
		}
		for _, s := range has {
			for _, n := range s.Nodes {
				taken[n.ID] = true
			}
		}
	}
	if len(taken) == 0 {
		return mine
	}
	var kept []*Service
	for _, s := range mine {
		nodes := slices.DeleteFunc(slices.Clone(s.Nodes), func(n *Node) bool { return taken[n.ID] })
		switch len(nodes) {
		case len(s.Nodes):
			kept = append(kept, s)
		case 0:
		default:
			kept = append(kept, withNodes(s, nodes, old))
		}
	}
	return kept
}

// withNodes returns s with other nodes: one of old where it is the same.
func withNodes(s *Service, nodes []*Node, old []*Service) *Service {
	for _, o := range old {
		if o.Version == s.Version && slices.Equal(o.Nodes, nodes) &&
			slices.Equal(o.Endpoints, s.Endpoints) && maps.Equal(o.Metadata, s.Metadata) {
			return o
		}
	}
	c := *s
	c.Nodes = nodes
	return &c
}
