package registry

import "slices"

// A Change is what happened to the services of one name.
type Change struct {
	Name string
	// Old and New are every version before and after. Old is empty for a name
	// that appeared, New for one that went away.
	Old, New []*Service
}

// Diff returns what changed between two states, ordered by name. Equal pointers
// are equal services, in no more time than comparing them takes; a service that
// is another pointer has changed.
func Diff(before, after []*Service) []Change {
	before, after = byName(before), byName(after)
	var changes []Change
	for len(before) > 0 || len(after) > 0 {
		name := firstName(before, after)
		i, j := countNamed(before, name), countNamed(after, name)
		if !slices.Equal(before[:i], after[:j]) {
			changes = append(changes, Change{Name: name, Old: before[:i:i], New: after[:j:j]})
		}
		before, after = before[i:], after[j:]
	}
	return changes
}

// firstName returns the smaller name of the first services of two lists, one of
// which may be empty.
func firstName(a, b []*Service) string {
	if len(b) == 0 || len(a) > 0 && a[0].Name <= b[0].Name {
		return a[0].Name
	}
	return b[0].Name
}

// countNamed returns how many services at the start of list have the name.
func countNamed(list []*Service, name string) int {
	n := 0
	for n < len(list) && list[n].Name == name {
		n++
	}
	return n
}
