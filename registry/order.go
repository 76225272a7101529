package registry

import (
	"slices"
	"sort"
)

// span returns the range of the services of one name in a list that is ordered
// by name.
func span(list []*Service, name string) (start, end int) {
	start = sort.Search(len(list), func(i int) bool { return list[i].Name >= name })
	for end = start; end < len(list) && list[end].Name == name; {
		end++
	}
	return start, end
}

// named returns the services of one name in a list that is ordered by name.
func named(list []*Service, name string) []*Service {
	start, end := span(list, name)
	return list[start:end:end]
}

// splice returns list, which is ordered by name, with the services of the given
// names, which are ordered too, replaced by what build makes of them. When that
// is what they were, it returns list itself.
func splice(list []*Service, names []string, build func(name string, old []*Service) []*Service) []*Service {
	var next []*Service
	done := 0 // what of list is in next already
	for _, name := range names {
		start, end := span(list[done:], name)
		start, end = done+start, done+end
		now := build(name, list[start:end])
		if slices.Equal(now, list[start:end]) {
			continue
		}
		if next == nil {
			next = make([]*Service, 0, len(list)+len(names))
		}
		next = append(append(next, list[done:start]...), now...)
		done = end
	}
	if next == nil {
		return list
	}
	return slices.Clip(append(next, list[done:]...))
}
