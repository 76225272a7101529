package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// An Omission is something that a registry holds and its state lacks: a record
// that is no service, or a node whose id another one has.
type Omission struct {
	// Registry is the name of the [Member] that says so; empty for a registry
	// that is alone.
	Registry string
	// Key is where the registry holds the record.
	Key string
	// Service is empty for a record that could not be read.
	Service string
	// Node is the id of the node; empty when the whole record is left out.
	Node string
	// Reason says why.
	Reason string
}

// A Reporter says what it left out. A [Reader] whose records may be written by
// others is one too; it may be used concurrently.
type Reporter interface {
	// LeftOut returns what the state last read lacks, ordered by key, then
	// node. It is nil or empty when that is nothing, and before anything was
	// read. It asks nobody and is shared: read-only.
	LeftOut() []Omission
}

// LeftOut returns what Services leaves out, as [Reporter] has it. The same
// slice is returned when nothing changed.
func (r *Records) LeftOut() []Omission {
	r.Services() // finds the nodes that share an id
	if r.crowded && r.size <= r.limit()*9/10 {
		r.crowded, r.omitted = false, true
	}
	if !r.omitted {
		return r.leftOut
	}
	r.omitted = false
	list := make([]Omission, 0, len(r.bad))
	if r.crowded {
		list = append(list, Omission{Reason: "some records are left out: " + r.noRoom()})
	}
	if r.uncited {
		list = append(list, Omission{Reason: fmt.Sprintf("more than %d records are left out", maxBad)})
	}
	for _, o := range r.bad {
		list = append(list, o)
	}
	for _, nodes := range r.shadowed {
		list = append(list, nodes...)
	}
	slices.SortFunc(list, func(a, b Omission) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Node, b.Node))
	})
	r.leftOut = slices.Clip(list)
	return r.leftOut
}

// Omit removes the record of o.Key, if there is one, and has LeftOut tell of o
// until the key is put, set or deleted: for what a registry holds that the
// caller refuses by itself.
func (r *Records) Omit(o Omission) {
	r.init()
	r.replace(o.Key, nil)
	old, known := r.bad[o.Key]
	switch {
	case known && old == o:
	case known || len(r.bad) < maxBad:
		r.bad[o.Key], r.omitted = o, true
	case !r.uncited:
		r.uncited, r.omitted = true, true
	}
}

// admit forgets that the record of a key was left out.
func (r *Records) admit(key string) {
	if _, ok := r.bad[key]; ok {
		delete(r.bad, key)
		r.uncited = r.uncited && len(r.bad) > maxBad*9/10
		r.omitted = true
	}
}

// shadow notes which nodes of a name are left out.
func (r *Records) shadow(name string, list []Omission) {
	if slices.Equal(r.shadowed[name], list) {
		return
	}
	r.omitted = true
	if len(list) == 0 {
		delete(r.shadowed, name)
		return
	}
	r.shadowed[name] = list
}

// shadowed returns that a node of a record gives way to one of the same id,
// whose record has the key winner.
func shadowed(service, node, key, winner string) Omission {
	reason := fmt.Sprintf("the record %q has a node with the same id", winner)
	if key == winner {
		reason = "a later node of the record has the same id"
	}
	return Omission{Key: key, Service: service, Node: node, Reason: reason}
}

// reason returns what an error about a record says.
func reason(err error) string {
	if field, ok := errors.AsType[*FieldError](err); ok {
		return field.Field + ": " + field.Reason
	}
	return err.Error()
}

// LeftOut implements [Reporter]: what the members left out that are Reporters,
// in order.
func (m *Multi) LeftOut() []Omission {
	var list []Omission
	for _, member := range m.members {
		reporter, ok := member.Reader.(Reporter)
		if !ok {
			continue
		}
		for _, o := range reporter.LeftOut() {
			o.Registry = member.Name
			list = append(list, o)
		}
	}
	return list
}
