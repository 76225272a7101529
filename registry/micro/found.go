package micro

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// patience is how many questions in a row a node leaves unanswered until it
	// is gone.
	patience = 3
	// maxNodes and maxBytes bound what others may have registered.
	maxNodes = 100_000
	maxBytes = 256 << 20
	// maxList bounds the nodes of one message, and maxWrong those that are told
	// of as wrong.
	maxList  = 10_000
	maxWrong = 100
	// maxKey is at least what a valid service and node may have together.
	maxKey = 1024
)

// found is what others have registered, as their answers and the changes that
// they tell say. The registry's mu guards it.
//
// Time is counted in rounds, each of which begins with a question.
type found struct {
	leftOut

	records *registry.Records
	own     func(key string) bool // says whether a node is not theirs

	round int
	nodes map[string]*node // by key
	gone  map[string]int   // nodes that were deregistered, and in which round
	bytes int              // what nodes were made of
	read  map[digest]*reading
}

type digest [sha256.Size]byte

// A node is one that somebody else has registered. What it announces is in
// records alone.
type node struct {
	version, address string

	from   digest // of the message that describes it
	bytes  int    // its part of the message
	heard  int    // the round in which it was last heard of
	told   int    // the round in which a change last told of it
	same   int    // the round in which an answer last said what is known
	missed int    // how many questions in a row it was not in an answer to
	other  *announced
}

// An announced is a node as a message describes it.
type announced struct {
	key     string
	service *registry.Service // with that node alone
	from    digest            // of the message
	bytes   int               // its part of the message
}

// A reading is what a message says. Those that are kept lack the services: a
// message that says what is known is not read again.
type reading struct {
	nodes []announced
	wrong []registry.Omission
	heard int // the round in which it was last heard
}

func (f *found) init(records *registry.Records, own func(string) bool) {
	*f = found{
		records: records,
		own:     own,
		round:   1,
		nodes:   make(map[string]*node),
		gone:    make(map[string]int),
		read:    make(map[digest]*reading),
	}
}

// create takes a service that somebody has registered or renewed. It says
// whether anything has changed.
func (f *found) create(data []byte) bool {
	changed := false
	for _, a := range f.understand(subjectWatch, data) {
		if f.own(a.key) {
			continue
		}
		delete(f.gone, a.key)
		n := f.nodes[a.key]
		if n == nil || n.from != a.from {
			n = f.put(a)
			changed = changed || n != nil
		}
		if n != nil {
			n.heard, n.told, n.missed = f.round, f.round, 0
			f.offer(n, announced{})
		}
	}
	return changed
}

// delete takes a service that somebody has deregistered: its name and the ids of
// its nodes. It says whether anything has changed.
func (f *found) delete(data []byte) bool {
	var s struct {
		Name  string
		Nodes []struct{ ID string }
	}
	if err := json.Unmarshal(data, &s); err != nil {
		f.leaveOut(registry.Omission{Key: subjectWatch, Reason: reason(err)}, f.round)
		return false
	}
	changed := false
	for _, n := range s.Nodes {
		if k := key(s.Name, n.ID); !f.own(k) {
			changed = f.remove(k) || changed
		}
	}
	return changed
}

// answer takes an answer to the question of this round, or of the last: it may
// be late. It says whether anything has changed: what is new is taken at once,
// what is different when the round is over.
func (f *found) answer(data []byte) bool {
	changed := false
	for _, a := range f.understand(subjectQuery, data) {
		if f.own(a.key) || f.recent(f.gone[a.key]) {
			continue
		}
		n := f.nodes[a.key]
		switch {
		case n == nil:
			n = f.put(a)
			changed = changed || n != nil
		case n.from == a.from:
			n.same = f.round
		case f.recent(n.told): // the answer may be older
		default:
			f.offer(n, a)
		}
		if n != nil {
			n.heard = f.round
		}
	}
	return changed
}

// recent says whether an answer may be older than what happened in a round.
func (f *found) recent(round int) bool { return round > 0 && round >= f.round-1 }

// settle ends a round: a node becomes what the answers say, if none says that it
// is what it was; and those that were not heard of too often are gone, unless
// answers were lost. It says whether anything has changed.
func (f *found) settle(lost bool) bool {
	changed := false
	for key, n := range f.nodes {
		other := n.other
		f.offer(n, announced{})
		switch {
		case other != nil && n.same != f.round:
			f.put(*other)
			changed = true
		case n.heard >= f.round:
			n.missed = 0
		case lost:
		default:
			n.missed++
		}
		if n.missed >= patience {
			f.drop(key)
			changed = true
		}
	}
	for sum, r := range f.read {
		if r.heard <= f.round-patience {
			delete(f.read, sum)
		}
	}
	for key, round := range f.gone {
		if !f.recent(round) {
			delete(f.gone, key)
		}
	}
	f.age(f.round)
	f.round++
	return changed
}

// reprieve forgets how often nodes were not heard of: we had no contact.
func (f *found) reprieve() {
	for _, n := range f.nodes {
		n.missed = 0
	}
}

// put adds or replaces a node; nil when there is no room for it.
func (f *found) put(a announced) *node {
	n := f.nodes[a.key]
	if n == nil {
		if len(f.nodes) >= maxNodes || f.bytes+a.bytes > maxBytes {
			reason := fmt.Sprintf("there are more than %d nodes or %d bytes: what came later is left out", maxNodes, maxBytes)
			f.leaveOut(registry.Omission{Key: subjectQuery, Reason: reason}, f.round)
			return nil
		}
		n = new(node)
		f.nodes[a.key] = n
	}
	f.bytes += a.bytes - n.bytes
	n.version, n.address = a.service.Version, a.service.Nodes[0].Address
	n.from, n.bytes, n.heard, n.missed = a.from, a.bytes, f.round, 0
	_ = f.records.Set(a.key, a.service) // what is known is bounded before
	return n
}

// offer notes what an answer says that is not what is known of a node: of
// several, always the same. Nothing takes it back.
func (f *found) offer(n *node, a announced) {
	old := 0
	if n.other != nil {
		old = n.other.bytes
	}
	switch {
	case a.service == nil:
		n.other = nil
	case f.bytes+a.bytes-old > maxBytes, n.other != nil && bytes.Compare(n.other.from[:], a.from[:]) >= 0:
		return
	default:
		n.other = &a
	}
	f.bytes += a.bytes - old
}

// remove removes a node that was deregistered. It says whether it was there.
func (f *found) remove(key string) bool {
	if len(f.gone) < maxNodes && len(key) <= maxKey {
		f.gone[key] = f.round
	}
	there := f.nodes[key] != nil
	f.forget(key)
	f.records.Delete(key)
	return there
}

// drop removes a node that is not heard of any more.
func (f *found) drop(key string) {
	f.forget(key)
	f.records.Delete(key)
}

// forget makes a node somebody else's.
func (f *found) forget(key string) {
	if n := f.nodes[key]; n != nil {
		f.offer(n, announced{})
		f.bytes -= n.bytes
		delete(f.nodes, key)
	}
}

// understand returns the nodes of a service in JSON. What is wrong is left out.
func (f *found) understand(subject string, data []byte) []announced {
	if err := checkSize(data); err != nil {
		f.leaveOut(registry.Omission{Key: subject, Reason: err.Error()}, f.round)
		return nil
	}
	sum := digest(sha256.Sum256(data))
	r := f.read[sum]
	if r == nil || !f.knows(r.nodes) {
		r = read(subject, sum, data)
		f.keep(sum, r)
	} else {
		r.heard = f.round
	}
	for _, o := range r.wrong {
		f.leaveOut(o, f.round)
	}
	return r.nodes
}

// knows says whether nodes are as a message describes them, or not to be taken
// from it.
func (f *found) knows(nodes []announced) bool {
	return !slices.ContainsFunc(nodes, func(a announced) bool {
		n := f.nodes[a.key]
		return !f.own(a.key) && (n == nil || n.from != a.from)
	})
}

// keep remembers what a message says.
func (f *found) keep(sum digest, r *reading) {
	if len(f.read) >= maxNodes {
		clear(f.read)
	}
	kept := &reading{nodes: slices.Clone(r.nodes), wrong: r.wrong, heard: f.round}
	for i := range kept.nodes {
		kept.nodes[i].service = nil
	}
	f.read[sum] = kept
}

// read reads a service in JSON. Of nodes with the same id the first is taken.
func read(subject string, sum digest, data []byte) *reading {
	r, s := new(reading), new(registry.Service)
	err := json.Unmarshal(data, s)
	if err == nil {
		err = checkService(s)
	}
	if err != nil {
		r.wrong = []registry.Omission{{Key: subject, Reason: reason(err)}}
		return r
	}
	ids := make(map[string]bool, len(s.Nodes))
	for i, n := range s.Nodes {
		one := *s
		one.Nodes = []*registry.Node{n}
		err := one.Validate()
		switch {
		case err == nil && !ids[n.ID]:
			ids[n.ID] = true
			r.nodes = append(r.nodes, announced{key(s.Name, n.ID), &one, sum, len(data) / len(s.Nodes)})
		case err != nil && len(r.wrong) < maxWrong:
			said := strings.Replace(reason(err), "nodes[0]", fmt.Sprintf("nodes[%d]", i), 1)
			r.wrong = append(r.wrong, registry.Omission{Key: subject, Service: s.Name, Node: fmt.Sprintf("%.80s", n.ID), Reason: said})
		}
	}
	return r
}

// checkService returns what is wrong with a service whatever its nodes are.
func checkService(s *registry.Service) error {
	if len(s.Nodes) > maxList {
		return fmt.Errorf("nodes: there are %d, more than %d", len(s.Nodes), maxList)
	}
	one := *s
	one.Nodes = []*registry.Node{{ID: "id", Address: "127.0.0.1:1"}}
	return one.Validate()
}

// reason returns what an error about a message says.
func reason(err error) string {
	if field, ok := errors.AsType[*registry.FieldError](err); ok {
		return field.Field + ": " + field.Reason
	}
	return err.Error()
}
