package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestKeeperInvariants has a source say anything, lose contact and come back,
// and holds what is made of it to all that is promised whatever that was.
func TestKeeperInvariants(t *testing.T) {
	pool := make(map[string][]*Service) // by name: what its services may be
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		for _, nodes := range [][]int{{0}, {1}, {0, 1}, {0, 1, 2}, {3, 4, 5}, {0, 1, 2, 3, 4, 5, 6, 7}, {2, 8}, {9, 10, 11, 12, 13}} {
			pool[name] = append(pool[name], numbered(name, "", nodes...), numbered(name, "2", nodes...))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		opts := (*SteadyOptions)(nil).orDefault()
		k := newKeeper(opts, nil, true)
		now := time.Unix(0, 0)
		lastSaid := make(map[string]time.Time) // by name and id of a node
		contact := true
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := slices.Clone(k.state)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				k.lose()
				contact = false
				if !slices.Equal(before, k.state) {
					t.Fatal("a loss of contact changes the state")
				}
			case 1:
				now = pass(k, contact, now, time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "time")))
			default:
				contact = true
				said := drawState(t, pool)
				for _, s := range said {
					for _, n := range s.Nodes {
						lastSaid[s.Name+" "+n.ID] = now
					}
				}
				for id := range nodesOf(k.told) {
					lastSaid[id] = now // until now
				}
				k.update(said, now)
			}
			wantKept(t, k, before)
			wantHeldByRight(t, k, contact, now, lastSaid)
		}
		// In the end all is as the source says.
		k.update(k.told, now)
		pass(k, true, now, opts.Grace)
		if got, want := nodesOf(k.state), nodesOf(k.told); !maps.Equal(got, want) {
			t.Fatalf("after the grace time the nodes are %v, want %v", got, want)
		}
		k.update(k.told, now.Add(time.Hour))
		if len(k.losses) > 0 || len(k.held) > 0 || k.services.size > countNames(k.told) {
			t.Fatalf("an hour later it still knows of losses: %+v, %+v", k.losses, k.services)
		}
	})
}

// wantKept fails unless the state is in order, and what is equal to what was
// before is the same.
func wantKept(t *rapid.T, k *keeper, before []*Service) {
	t.Helper()
	order := func(a, b *Service) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version)) }
	if !slices.IsSortedFunc(k.state, order) {
		t.Fatalf("the state is out of order: %v", nodesOf(k.state))
	}
	for _, s := range k.state {
		if len(s.Nodes) == 0 {
			t.Fatalf("the service %s has no nodes", s.Name)
		}
		for _, old := range before {
			if s != old && s.Name == old.Name && equalServices(s, old) {
				t.Fatalf("the service %s is equal to one before, and not the same", s.Name)
			}
		}
	}
}

// wantHeldByRight fails unless the state is what the source says, and nodes
// that it said not long ago.
func wantHeldByRight(t *rapid.T, k *keeper, contact bool, now time.Time, lastSaid map[string]time.Time) {
	t.Helper()
	told, state := nodesOf(k.told), nodesOf(k.state)
	for id := range told {
		if !state[id] {
			t.Fatalf("the state lacks the node %s", id)
		}
		delete(state, id)
	}
	reported := 0
	for _, h := range k.held {
		reported += len(h.Nodes)
		for _, id := range h.Nodes {
			if !state[h.Service+" "+id] {
				t.Fatalf("the node %s of %s is reported, and not held back", id, h.Service)
			}
		}
		if contact && (!h.Until.After(now) || h.Until.Sub(now) > k.opts.Grace) {
			t.Fatalf("%s is held back for %v", h.Service, h.Until.Sub(now))
		}
	}
	if reported != len(state) {
		t.Fatalf("%d nodes are held back, and %d reported", len(state), reported)
	}
	if (reported > 0) == k.next.IsZero() {
		t.Fatalf("with %d nodes held back the next time is %v", reported, k.next)
	}
	for id := range state {
		if lastSaid[id].IsZero() {
			t.Fatalf("the node %s is held back, which the source never had", id)
		}
	}
}

// pass lets time pass as a watcher does, and returns the time then.
func pass(k *keeper, contact bool, now time.Time, d time.Duration) time.Time {
	end := now.Add(d)
	for contact && !k.next.IsZero() && !k.next.After(end) {
		k.release(k.next)
	}
	return end
}

// drawState draws what a source may say: one or two services of some names.
func drawState(t *rapid.T, pool map[string][]*Service) []*Service {
	var said []*Service
	for _, name := range slices.Sorted(maps.Keys(pool)) {
		ids := make(map[string]bool)
		for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom(pool[name]), 0, 2, func(s *Service) string { return s.Version }).Draw(t, name) {
			if !slices.ContainsFunc(s.Nodes, func(n *Node) bool { return ids[n.ID] }) {
				said = append(said, s)
			}
			for _, n := range s.Nodes {
				ids[n.ID] = true
			}
		}
	}
	slices.SortStableFunc(said, func(a, b *Service) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	for i, s := range said {
		if rapid.Bool().Draw(t, "decoded again") {
			said[i] = s.Copy()
		}
	}
	return said
}

// TestKeeperIsBounded has a registry flap that has other services, and nodes,
// each time, and never enough of them.
func TestKeeperIsBounded(t *testing.T) {
	k := newKeeper((*SteadyOptions)(nil).orDefault(), nil, true)
	now := time.Unix(0, 0)
	most := 0
	for i := range 8640 { // a day
		var said []*Service
		for j := range []int{20, 6, 0}[i%3] {
			s := numbered(fmt.Sprintf("service-%d", j), "", i, i+1, i+2) // other nodes
			if j%2 == 0 {
				s.Name = fmt.Sprintf("%d-%d", i, j) // another service
			}
			said = append(said, s)
		}
		k.update(said, now)
		k.incidents = nil
		now = pass(k, true, now, 5*time.Second)
		k.lose()
		now = pass(k, false, now, 5*time.Second)
		most = max(most, len(nodesOf(k.state)))
	}
	// 20 services of 3 nodes, and as much again held back, in up to two forms.
	if most < 60 || most > 180 || len(k.losses) > 60 {
		t.Errorf("there were %d nodes at most, and %d losses, want about twice those of 20 services", most, len(k.losses))
	}
}

// TestChangesOf holds the short way to the long one.
func TestChangesOf(t *testing.T) {
	pool := make([]*Service, 24)
	for i := range pool {
		pool[i] = &Service{Name: fmt.Sprint(i % 6)}
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) []*Service {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 12, func(s *Service) *Service { return s }).Draw(t, label)
		}
		before, after := byName(draw("before")), draw("after")
		if rapid.Bool().Draw(t, "in order") {
			after = byName(after)
		}
		got, changes := changesOf(before, after)
		want := Diff(before, byName(after))
		if !slices.Equal(got, byName(after)) {
			t.Fatalf("changesOf() = %v, want it ordered", got)
		}
		if !slices.EqualFunc(changes, want, func(a, b Change) bool {
			return a.Name == b.Name && slices.Equal(a.Old, b.Old) && slices.Equal(a.New, b.New)
		}) {
			t.Fatalf("changesOf() = %+v, want %+v", changes, want)
		}
	})
}

func TestEqualServices(t *testing.T) {
	service := func(change func(s *Service)) *Service {
		s := numbered("a", "1", 1, 2)
		s.Metadata = map[string]string{"k": "v"}
		value := func() *Value { return &Value{Name: "v", Type: "t", Values: []*Value{{Name: "w"}}} }
		s.Endpoints = []*Endpoint{{Name: "e", Request: value(), Response: value(), Metadata: map[string]string{"k": "v"}}}
		change(s)
		return s
	}
	tests := []struct {
		name   string
		change func(s *Service)
		want   bool
	}{
		{"a copy", func(*Service) {}, true},
		{"empty for null", func(s *Service) { s.Nodes[0].Metadata = map[string]string{} }, true},
		{"version", func(s *Service) { s.Version = "2" }, false},
		{"metadata", func(s *Service) { s.Metadata["k"] = "w" }, false},
		{"a node less", func(s *Service) { s.Nodes = s.Nodes[:1] }, false},
		{"a node's address", func(s *Service) { s.Nodes[1].Address = "other" }, false},
		{"a node's metadata", func(s *Service) { s.Nodes[1].Metadata = map[string]string{"k": "v"} }, false},
		{"no endpoint", func(s *Service) { s.Endpoints = nil }, false},
		{"an endpoint's name", func(s *Service) { s.Endpoints[0].Name = "f" }, false},
		{"an endpoint's metadata", func(s *Service) { s.Endpoints[0].Metadata = nil }, false},
		{"no request", func(s *Service) { s.Endpoints[0].Request = nil }, false},
		{"the type of a response", func(s *Service) { s.Endpoints[0].Response.Type = "u" }, false},
		{"a value within", func(s *Service) { s.Endpoints[0].Request.Values[0].Name = "x" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := equalServices(service(func(*Service) {}), service(tt.change)); got != tt.want {
				t.Errorf("equalServices() = %t, want %t", got, tt.want)
			}
		})
	}
}

// TestKeeperMakesNoListOfItsOwn of what the source says, unless something is held
// back: a list of all services is what a change costs most.
func TestKeeperMakesNoListOfItsOwn(t *testing.T) {
	k := newKeeper((*SteadyOptions)(nil).orDefault(), nil, true)
	now := time.Unix(0, 0)
	a, b := numbered("a", "", 0, 1, 2, 3), numbered("b", "", 0)
	few := numbered("a", "", 0)
	steps := []struct {
		name string
		says []*Service
		own  bool
	}{
		{"first", []*Service{a, b}, false},
		{"another service", []*Service{a, b, numbered("c", "", 0)}, false},
		{"most nodes go", []*Service{few, b}, true},
		{"they are back", []*Service{a, b}, false},
		{"a change after that", []*Service{a, b, numbered("d", "", 0)}, false},
	}
	for _, tt := range steps {
		k.update(tt.says, now)
		if own := !sameList(k.state, tt.says); own != tt.own {
			t.Errorf("%s: the state is a list of its own: %t, want %t", tt.name, own, tt.own)
		}
	}
	k.update([]*Service{few, b}, now)
	k.release(now.Add(time.Hour))
	if !sameList(k.state, k.told) {
		t.Error("when nothing is held back any more the state is a list of its own")
	}
}

// numbered returns a service with nodes of the given numbers.
func numbered(name, version string, nodes ...int) *Service {
	s := &Service{Name: name, Version: version}
	for _, n := range nodes {
		id := fmt.Sprintf("n%02d", n)
		s.Nodes = append(s.Nodes, &Node{ID: id, Address: id})
	}
	return s
}

// nodesOf returns the nodes of all services, by name and id.
func nodesOf(services []*Service) map[string]bool {
	ids := make(map[string]bool)
	for _, s := range services {
		for _, n := range s.Nodes {
			ids[s.Name+" "+n.ID] = true
		}
	}
	return ids
}
