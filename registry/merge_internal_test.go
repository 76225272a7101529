package registry

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMergeAgreesWithModel follows random changes, and compares with a merge of
// all that there is.
func TestMergeAgreesWithModel(t *testing.T) {
	var pool []*Service
	for i, ids := range [][]string{{"n1"}, {"n2"}, {"n1", "n2"}, {"n2", "n3"}, {"n1", "n2", "n3"}, {}} {
		for _, name := range []string{"a", "b", "c"} {
			s := &Service{Name: name, Version: fmt.Sprint(i)}
			for _, id := range ids {
				s.Nodes = append(s.Nodes, &Node{ID: id})
			}
			pool = append(pool, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		m := newMerge(make([]Member, 3))
		states := make([][]*Service, 3)
		for range rapid.IntRange(1, 10).Draw(t, "changes") {
			i := rapid.IntRange(0, 2).Draw(t, "member")
			state := rapid.SliceOfDistinct(rapid.SampledFrom(pool), func(s *Service) *Service { return s }).Draw(t, "state")
			slices.SortStableFunc(state, func(a, b *Service) int { return cmp.Compare(a.Name, b.Name) })
			states[i] = state
			before := make([][]*Service, 3)
			for j := range before {
				before[j] = m.sources[j].kept
			}
			m.set(i, state)
			if got, want := describe(m.services()...), describe(simpleMerge(states)...); !slices.Equal(got, want) {
				t.Fatalf("services() = %q, want %q", got, want)
			}
			for j, source := range m.sources {
				wantSame(t, before[j], source.kept)
			}
		}
	})
}

// wantSame fails unless services of equal content are the same pointer.
func wantSame(t *rapid.T, before, after []*Service) {
	t.Helper()
	said := describe(before...)
	for _, s := range after {
		if i := slices.Index(said, describe(s)[0]); i >= 0 && before[i] != s {
			t.Fatalf("%s did not change and is another pointer", said[i])
		}
	}
}

func simpleMerge(states [][]*Service) []*Service {
	type place struct{ name, id string }
	from := make(map[place]int)
	var merged []*Service
	for i, state := range states {
		for _, s := range state {
			rest := *s
			rest.Nodes = nil
			for _, n := range s.Nodes {
				at := place{s.Name, n.ID}
				if by, taken := from[at]; taken && by != i {
					continue
				}
				from[at] = i
				rest.Nodes = append(rest.Nodes, n)
			}
			if len(rest.Nodes) == len(s.Nodes) || len(rest.Nodes) > 0 {
				merged = append(merged, &rest)
			}
		}
	}
	return merged
}

func describe(services ...*Service) []string {
	list := make([]string, len(services))
	for i, s := range services {
		list[i] = s.Name + " " + s.Version + ":"
		for _, n := range s.Nodes {
			list[i] += " " + n.ID
		}
	}
	return list
}
