package router

import (
	"slices"

	"github.com/goapi-dev/goapi/registry"
)

// A step is the way from one table to the next.
type step struct {
	table    Table  // what it becomes
	hasher   hasher // of its era
	services []*registry.Service
	changed  bool
	slots    map[string]*claimed // that services want or give up in this step
	order    []*claimed          // the slots; what a service has is made side by side in memory
	ranks    map[string]int      // where in the list the services are whose order matters

	before, now []Report // of what changes
}

// contest is a slot that several services claim.
type contest struct {
	holder  *claim
	waiting []*claim
}

// claimed is a slot in a step.
type claimed struct {
	key    string
	was    contest
	claims []*claim // now; one for each service
}

// change brings the service of a name to what is announced.
func (s *step) change(name string, announced []*registry.Service) {
	t := &s.table
	old := t.services.get(t.hasher, name)
	now := t.build(name, announced, old)
	if now == old {
		return
	}
	s.changed = true
	if len(announced) > 0 {
		t.services = t.services.set(s.hasher, name, now)
	} else {
		t.services = t.services.remove(s.hasher, name)
	}
	s.now = append(s.now, now.reports...)
	var had []*claim
	if old != nil {
		s.before = append(s.before, old.reports...)
		had = old.claims
	}
	for _, c := range without(had, now.claims) {
		slot := s.slot(c)
		slot.claims = slices.DeleteFunc(slot.claims, func(d *claim) bool { return d == c })
	}
	for _, c := range without(now.claims, had) {
		slot := s.slot(c)
		slot.claims = append(slot.claims, c)
	}
}

// slot returns the slot of a claim in this step.
func (s *step) slot(c *claim) *claimed {
	key := c.slot()
	if slot := s.slots[key]; slot != nil {
		return slot
	}
	slot := &claimed{key: key}
	if was := s.table.contests.get(s.table.hasher, key); was != nil {
		slot.was = *was
		slot.claims = append(slot.claims, was.waiting...)
	} else {
		slot.was.holder, _ = s.table.trie(c.host).find(s.table.hasher, &c.pattern, c.method)
	}
	if was := slot.was.holder; was != nil {
		slot.claims = append(slot.claims, was)
		if s.table.waits(was) {
			s.before = append(s.before, was.crowdedOut())
		}
	}
	s.slots[key] = slot
	s.order = append(s.order, slot)
	return slot
}

// settle decides who has the slots.
func (s *step) settle() {
	t := &s.table
	s.findRanks()
	holders := make([]*claim, 0, len(s.order))
	edits := make([]edit, 0, len(s.order))
	for _, slot := range s.order {
		now := s.decide(slot)
		holders = append(holders, now.holder)
		if was := slot.was.holder; now.holder != was {
			c := now.holder
			if c == nil {
				c = was
			}
			edits = append(edits, edit{c, now.holder})
		}
		if len(now.waiting) > 0 {
			t.contests = t.contests.set(s.hasher, slot.key, &now)
		} else if len(slot.was.waiting) > 0 {
			t.contests = t.contests.remove(s.hasher, slot.key)
		}
		s.before = append(s.before, slot.was.reports()...)
		s.now = append(s.now, now.reports()...)
	}
	t.edit(s.hasher, edits)
	for _, c := range holders {
		if t.waits(c) {
			s.now = append(s.now, c.crowdedOut())
		}
	}
}

// decide returns who has a slot from now on: the operator's service, or the one
// that had it, or else the first in the list.
func (s *step) decide(slot *claimed) contest {
	claims := slot.claims
	if len(claims) == 0 {
		return contest{}
	}
	first := s.heir(slot)
	if first < 0 {
		first = 0
		for i, c := range claims {
			if s.ranks[c.route.Service] < s.ranks[claims[first].route.Service] {
				first = i
			}
		}
	}
	claims[0], claims[first] = claims[first], claims[0]
	return contest{holder: claims[0], waiting: claims[1:]}
}

// heir returns where the claim is of the operator, or else of the service that
// had the slot, in the last table or before the program was started, or -1.
func (s *step) heir(slot *claimed) int {
	before, operator := s.table.opts.Before, s.table.opts.Operator
	if operator != nil {
		if i := slices.IndexFunc(slot.claims, func(c *claim) bool { return operator(c.route.Service) }); i >= 0 {
			return i
		}
	}
	had := ""
	switch was := slot.was.holder; {
	case len(slot.claims) == 1:
		return 0
	case was != nil:
		had = was.route.Service
	case before != nil:
		had = before.Holder(slot.key)
	}
	if had == "" {
		return -1
	}
	return slices.IndexFunc(slot.claims, func(c *claim) bool { return c.route.Service == had })
}

// findRanks finds where in the list the services are that want a slot which
// nobody had, or whose holder is gone: those first that were there before the
// program was started. Others need no order.
func (s *step) findRanks() {
	unknown := len(s.services)
	s.ranks = make(map[string]int)
	for _, slot := range s.order {
		if len(slot.claims) > 1 && s.heir(slot) < 0 {
			for _, c := range slot.claims {
				s.ranks[c.route.Service] = unknown
			}
		}
	}
	missing := len(s.ranks)
	for i, service := range s.services {
		if missing == 0 {
			return
		}
		if rank, wanted := s.ranks[service.Name]; wanted && rank == unknown {
			s.ranks[service.Name] = i
			if before := s.table.opts.Before; before != nil && before.Known(service.Name) {
				s.ranks[service.Name] = i - unknown
			}
			missing--
		}
	}
}

// reports returns a report for each claim that waits.
func (c contest) reports() []Report {
	var list []Report
	for _, w := range c.waiting {
		list = append(list, w.waitsFor(c.holder))
	}
	return list
}

// without returns the claims of a that are not in b.
func without(a, b []*claim) []*claim {
	if len(b) == 0 {
		return a
	}
	in := make(map[*claim]struct{}, len(b))
	for _, c := range b {
		in[c] = struct{}{}
	}
	var rest []*claim
	for _, c := range a {
		if _, ok := in[c]; !ok {
			rest = append(rest, c)
		}
	}
	return rest
}

// trie returns the trie of a host, "" for any, or nil.
func (t *Table) trie(host string) *node {
	if host == "" {
		return t.anyHost
	}
	return t.hosts.get(t.hasher, host)
}

// edit makes edits in the tries of their hosts. It is called on a table that
// nobody has yet.
func (t *Table) edit(h hasher, edits []edit) {
	for len(edits) > 0 {
		host, run := edits[0].at.host, 1
		for run < len(edits) && edits[run].at.host == host {
			run++
		}
		t.setTrie(h, host, t.trie(host).edit(h, edits[:run], 0))
		edits = edits[run:]
	}
}

// setTrie sets the trie of a host. It is called on a table that nobody has yet.
func (t *Table) setTrie(h hasher, host string, n *node) {
	switch {
	case host == "":
		t.anyHost = n
	case n == nil:
		t.hosts = t.hosts.remove(h, host)
	default:
		t.hosts = t.hosts.set(h, host, n)
	}
}
