package registry

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// few is from how many nodes, or services, on most of them can be told from
// some. What goes of fewer goes at once.
const few = 3

// Why nodes are held back.
const (
	reasonResumed  = "the registry came back with fewer than before"
	reasonServices = "most services went within a short time"
	reasonNodes    = "most nodes of the service went within a short time"
)

// A keeper decides what becomes of what a source says: its state is that, and
// the nodes that are held back. It does the work of a change for the names that
// changed only. It looks at no clock and is not safe for concurrent use.
type keeper struct {
	opts SteadyOptions

	told  []*Service // what the source said last, ordered by name
	state []*Service // what is made of it
	seen  bool       // somebody has the state: services that are equal stay the same pointers

	resumed bool      // the next that the source says ends a time without contact
	settled time.Time // until then, what the source lacks may be still to come

	count    int              // names in told
	peak     int              // the most of them since something is held back
	services tally            // of names
	losses   map[string]*loss // of the services that lost nodes lately

	stirred bool      // what is held back has changed since held and next were made
	held    []Held    // what is held back, ordered by service
	next    time.Time // when the first of that goes; zero if there is none

	incidents []Held // what was held back since that was last logged
}

// A tally is how many there were before some of them went, or more.
type tally struct {
	size  int
	until time.Time // when it is forgotten
}

// A loss is what a service lost lately, and what of that is held back.
type loss struct {
	tally

	held   []heldNode // those that went first are first
	since  time.Time  // when the first of them went
	reason string
}

// heldNode is a node that the source does not have any more.
type heldNode struct {
	node  *Node
	from  *Service // which announced it
	until time.Time
}

// newKeeper returns a keeper of a source that has said nothing yet. The state
// is what is known of it, ordered by name.
func newKeeper(opts SteadyOptions, state []*Service, seen bool) *keeper {
	return &keeper{
		opts: opts, told: state, state: state, seen: seen,
		resumed: len(state) > 0,
		count:   countNames(state),
		losses:  make(map[string]*loss),
	}
}

// lose notes that there is no contact. The state stands until it is back.
func (k *keeper) lose() { k.resumed = len(k.state) > 0 }

// update takes what the source says.
func (k *keeper) update(services []*Service, now time.Time) {
	k.forget(now)
	if k.resumed {
		k.resume(now)
	}
	services, changes := changesOf(k.told, services)
	most := k.countServices(changes, now)
	plain := sameList(k.state, k.told) // nothing was made of what the source said
	names, built := make([]string, len(changes)), make([][]*Service, len(changes))
	for i, c := range changes {
		names[i] = c.Name
		built[i] = k.build(c.New, k.judge(c, most, now), named(k.state, c.Name))
		plain = plain && slices.Equal(built[i], c.New)
	}
	k.told = services
	if plain {
		k.state = services
	} else {
		i := 0
		k.state = splice(k.state, names, func(string, []*Service) []*Service {
			i++
			return built[i-1]
		})
	}
	k.resumed = false
	if k.stirred {
		k.bound(now)
		k.review()
	}
}

// release lets go of the nodes whose time is over.
func (k *keeper) release(now time.Time) {
	var names []string
	for name, l := range k.losses {
		n := len(l.held)
		l.held = slices.DeleteFunc(l.held, func(n heldNode) bool { return !n.until.After(now) })
		if len(l.held) < n {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	k.state = splice(k.state, names, func(name string, old []*Service) []*Service {
		return k.build(named(k.told, name), k.losses[name], old)
	})
	k.review()
}

// resume gives what is held back the time that it takes to announce it again.
func (k *keeper) resume(now time.Time) {
	k.settled = now.Add(k.opts.Grace)
	k.services.until = k.settled
	k.stirred = true
	for _, l := range k.losses {
		for i := range l.held {
			l.until, l.held[i].until = k.settled, k.settled
		}
	}
}

// countServices counts the names, and says whether most of them went.
func (k *keeper) countServices(changes []Change, now time.Time) bool {
	before := k.count
	for _, c := range changes {
		switch {
		case len(c.Old) == 0:
			k.count++
		case len(c.New) == 0:
			k.count--
			if k.services.until.IsZero() {
				k.services = tally{before, now.Add(k.opts.Grace)}
			}
		}
	}
	if k.next.IsZero() {
		k.peak = before
	}
	k.peak = max(k.peak, k.count)
	k.services.size = max(k.services.size, before, k.count)
	return k.services.size >= few && k.isMost(k.services.size, k.count)
}

// isMost says whether more went than the threshold allows.
func (k *keeper) isMost(size, left int) bool {
	return float64(size-left) > k.opts.PanicThreshold*float64(size)
}

// judge decides which nodes of a service are held back. It returns nil if the
// service lost none lately.
func (k *keeper) judge(c Change, most bool, now time.Time) *loss {
	left, ids := countNodes(c.New), nodeIDs(c.New)
	l := k.losses[c.Name]
	if l != nil {
		l.size = max(l.size, left)
		k.stirred = k.stirred || len(l.held) > 0
		l.held = slices.DeleteFunc(l.held, func(n heldNode) bool { return ids[n.node.ID] })
	}
	gone := lacking(c.Old, ids)
	if len(gone) == 0 {
		return l
	}
	if l == nil {
		l = &loss{tally: tally{countNodes(c.Old), k.later(now.Add(k.opts.Hold))}}
		k.losses[c.Name] = l
	}
	switch {
	case k.resumed && k.isMost(l.size, left):
		l.reason = reasonResumed
		k.hold(c.Name, l, gone, k.settled, now)
	case left == 0 && most:
		l.reason = reasonServices
		k.hold(c.Name, l, gone, k.later(now.Add(k.opts.Grace)), now)
	case l.size >= few && k.isMost(l.size, left):
		l.reason = reasonNodes
		k.hold(c.Name, l, gone, k.later(now.Add(k.opts.Hold)), now)
	}
	return l
}

// hold holds back nodes that a service lost.
func (k *keeper) hold(name string, l *loss, gone []heldNode, until, now time.Time) {
	if len(l.held) == 0 {
		l.since = now
	}
	incident := Held{Service: name, Until: until, Reason: l.reason}
	for _, n := range gone {
		n.until = until
		l.held = append(l.held, n)
		incident.Nodes = append(incident.Nodes, n.node.ID)
	}
	// No more than there ever were at once: a registry that flaps and has other
	// nodes each time would have them pile up.
	l.held = slices.Delete(l.held, 0, max(0, len(l.held)-l.size))
	k.incidents = append(k.incidents, incident)
	k.stirred = true
}

// marked returns a node with the mark of those that are held back.
func marked(n *Node) *Node {
	held := &Node{ID: n.ID, Address: n.Address, Metadata: maps.Clone(n.Metadata)}
	if held.Metadata == nil {
		held.Metadata = make(map[string]string, 1)
	}
	held.Metadata[MetaHeld] = "true"
	return held
}

// later returns t, or when the source has settled if that is later.
func (k *keeper) later(t time.Time) time.Time {
	if t.Before(k.settled) {
		return k.settled
	}
	return t
}

// build returns the services of a name: what the source says, and what is held
// back. Those of old that are equal are returned again.
func (k *keeper) build(told []*Service, l *loss, old []*Service) []*Service {
	services := told
	if l != nil && len(l.held) > 0 {
		held := l.held
		if l.reason == reasonNodes && countNodes(told) > 0 { // else it is the registry that is to be doubted
			held = slices.Clone(held)
			for i := range held {
				held[i].node = marked(held[i].node)
			}
		}
		services = withHeld(told, held)
	}
	if !k.seen {
		return services
	}
	kept := make([]*Service, len(services))
	for i, s := range services {
		kept[i] = s
		if j := slices.IndexFunc(old, func(o *Service) bool { return equalServices(o, s) }); j >= 0 {
			kept[i] = old[j]
		}
	}
	return kept
}

// bound lets go of the services that are held back longest when they are more
// than the source ever had at once, for the reason that hold has.
func (k *keeper) bound(now time.Time) {
	var holding []*loss
	for _, l := range k.losses {
		if len(l.held) > 0 {
			holding = append(holding, l)
		}
	}
	excess := len(holding) - k.peak
	if excess <= 0 {
		return
	}
	slices.SortFunc(holding, func(a, b *loss) int { return a.since.Compare(b.since) })
	for _, l := range holding[:excess] {
		for i := range l.held {
			l.until, l.held[i].until = now, now
		}
	}
	k.release(now)
}

// forget forgets what was lost long enough ago.
func (k *keeper) forget(now time.Time) {
	maps.DeleteFunc(k.losses, func(_ string, l *loss) bool { return len(l.held) == 0 && !l.until.After(now) })
	if !k.services.until.After(now) {
		k.services = tally{}
	}
}

// review makes the list of what is held back. When that is nothing, one list may
// do for what the source said and for what is made of it.
func (k *keeper) review() {
	k.stirred, k.held, k.next = false, nil, time.Time{}
	for name, l := range k.losses {
		if len(l.held) == 0 {
			continue
		}
		h := Held{Service: name, Reason: l.reason}
		for _, n := range l.held {
			h.Nodes = append(h.Nodes, n.node.ID)
			if n.until.After(h.Until) {
				h.Until = n.until
			}
			if k.next.IsZero() || n.until.Before(k.next) {
				k.next = n.until
			}
		}
		k.held = append(k.held, h)
	}
	slices.SortFunc(k.held, func(a, b Held) int { return cmp.Compare(a.Service, b.Service) })
	if len(k.held) == 0 && slices.Equal(k.state, k.told) {
		k.state = k.told
	}
}

// withHeld returns the services of a name with the nodes that are held back: in
// the service that announces the same as they did, or else in one more.
func withHeld(told []*Service, held []heldNode) []*Service {
	services := slices.Clone(told)
	in := make(map[*Service]*Service) // copies, by what announced the node
	for _, n := range held {
		s := in[n.from]
		if s == nil {
			s = new(*n.from)
			s.Nodes = nil
			i := slices.IndexFunc(services, func(t *Service) bool { return sameAnnouncement(t, s) })
			switch {
			case i < 0:
				services = append(services, s)
			case i < len(told) && services[i] == told[i]:
				*s = *told[i]
				s.Nodes = slices.Clone(told[i].Nodes)
				services[i] = s
			default:
				s = services[i] // is a copy already
			}
			in[n.from] = s
		}
		s.Nodes = append(s.Nodes, n.node)
	}
	for _, s := range in {
		slices.SortFunc(s.Nodes, func(a, b *Node) int { return cmp.Compare(a.ID, b.ID) })
	}
	slices.SortStableFunc(services, func(a, b *Service) int { return cmp.Compare(a.Version, b.Version) })
	return services
}

// changesOf returns after ordered by name, and what changed since before, which
// is. It compares pointers up to where the change is, and names from there.
func changesOf(before, after []*Service) ([]*Service, []Change) {
	from, same := 0, 0
	shorter := min(len(before), len(after))
	for from < shorter && before[from] == after[from] {
		from++
	}
	for same < shorter-from && before[len(before)-1-same] == after[len(after)-1-same] {
		same++
	}
	// The services of a name are looked at together.
	for from > 0 && (inOneName(before, from) || inOneName(after, from)) {
		from--
	}
	for same > 0 && (inOneName(before, len(before)-same) || inOneName(after, len(after)-same)) {
		same--
	}
	beside := after[max(0, from-1):min(len(after), len(after)-same+1)]
	if !slices.IsSortedFunc(beside, func(a, b *Service) int { return cmp.Compare(a.Name, b.Name) }) {
		after = byName(after)
		return after, Diff(before, after)
	}
	return after, Diff(before[from:len(before)-same], after[from:len(after)-same])
}

// sameList says whether a and b are one list.
func sameList(a, b []*Service) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// inOneName says whether the services on both sides of i have one name.
func inOneName(list []*Service, i int) bool {
	return 0 < i && i < len(list) && list[i-1].Name == list[i].Name
}

// countNames returns how many names there are in a list that is ordered by them.
func countNames(list []*Service) int {
	n := 0
	for i := range list {
		if !inOneName(list, i) {
			n++
		}
	}
	return n
}

func countNodes(services []*Service) int {
	n := 0
	for _, s := range services {
		n += len(s.Nodes)
	}
	return n
}

func nodeIDs(services []*Service) map[string]bool {
	ids := make(map[string]bool)
	for _, s := range services {
		for _, n := range s.Nodes {
			ids[n.ID] = true
		}
	}
	return ids
}

// lacking returns the nodes whose ids are not there.
func lacking(services []*Service, ids map[string]bool) []heldNode {
	var nodes []heldNode
	for _, s := range services {
		for _, n := range s.Nodes {
			if !ids[n.ID] {
				nodes = append(nodes, heldNode{node: n, from: s})
			}
		}
	}
	return nodes
}
