package registry

import (
	"cmp"
	"slices"
)

// A Change is what happened to the services of one name.
type Change struct {
	Name string
	// Old and New are every version before and after. Old is empty for a name
	// that appeared, New for one that went away.
	Old, New []*Service
}

// Diff returns what changed between two states, ordered by name. Equal pointers
// are equal services, in no more time than comparing them takes; a service that
// is another pointer has changed. States that are in order, and those of a
// [Multi] with few members, are not sorted.
func Diff(before, after []*Service) []Change {
	was, is := inRuns(before), inRuns(after)
	var changes []Change
	var then, now []*Service // used again for each name
	for {
		name, ok := firstName(was, is)
		if !ok {
			return changes
		}
		then, now = was.take(then[:0], name), is.take(now[:0], name)
		if !slices.Equal(then, now) {
			changes = append(changes, Change{Name: name, Old: slices.Clone(then), New: slices.Clone(now)})
		}
	}
}

// maxRuns is how many runs are looked at for each name. A list with more is
// sorted once.
const maxRuns = 8

// runs are what is left of a list, in parts that are each ordered by name.
type runs [][]*Service

// inRuns returns the runs of a list.
func inRuns(list []*Service) runs {
	var parts runs
	start := 0
	for i := 1; i <= len(list); i++ {
		if i < len(list) && list[i-1].Name <= list[i].Name {
			continue
		}
		if len(parts) == maxRuns {
			return runs{byName(list)}
		}
		parts = append(parts, list[start:i])
		start = i
	}
	return parts
}

// firstName returns the smallest name in two lists; false when both are empty.
func firstName(a, b runs) (name string, ok bool) {
	for _, list := range [...]runs{a, b} {
		for _, run := range list {
			if len(run) > 0 && (!ok || run[0].Name < name) {
				name, ok = run[0].Name, true
			}
		}
	}
	return name, ok
}

// take removes the services of a name that no other is before, and appends them
// to list.
func (r runs) take(list []*Service, name string) []*Service {
	for i, run := range r {
		n := countNamed(run, name)
		list = append(list, run[:n]...)
		r[i] = run[n:]
	}
	return list
}

// countNamed returns how many services at the start of list have the name.
func countNamed(list []*Service, name string) int {
	n := 0
	for n < len(list) && list[n].Name == name {
		n++
	}
	return n
}

// byName returns list ordered by name: list itself when it is.
func byName(list []*Service) []*Service {
	compare := func(a, b *Service) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(list, compare) {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, compare)
	return list
}
