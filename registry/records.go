package registry

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
)

// Records turns the records of a store, each a service with one node or more,
// into the complete state that a [Watcher] hands out. Registries are made with
// it. The zero value is empty and ready for use; it is not safe for concurrent
// use.
//
// The work for a change is in proportion to the service that changed. Equal
// bytes under the same key are not decoded again, and endpoints that many
// records announce are decoded and held once: of one more node of a service,
// its own part of the record is read.
type Records struct {
	byKey     map[string]*record
	byName    map[string]*announced
	endpoints map[digest]*shared
	lists     map[digest]*list
	words     words
	changed   map[string]struct{} // names whose services are to be built again
	services  []*Service          // the complete state, less what changed since

	bad      map[string]Omission   // the records that are left out, by key
	shadowed map[string][]Omission // by name: nodes whose id another one has
	leftOut  []Omission            // both of these, unless omitted
	omitted  bool                  // one of them changed since
}

// A record is what one key announces.
type record struct {
	sum       digest // of what it was made from
	group     group
	name      string
	metadata  map[string]string
	endpoints *list
	nodes     []*Node
}

// A group is what nodes have in common that one Service describes.
type group struct {
	version string
	sum     digest // of metadata and endpoints
}

// shared is an endpoint and how often records hold it.
type shared struct {
	key      digest
	sum      digest // of the content, whatever its encoding was
	endpoint *Endpoint
	uses     int
}

// A list is all endpoints of a record, and how many records hold it.
type list struct {
	key       digest // of the JSON; zero for one that is not looked for
	sum       digest // of the content
	endpoints []*shared
	uses      int
}

// Put sets the record of a key to a service in JSON. A value that is none is an
// error; the key then counts as absent, and LeftOut tells of it.
func (r *Records) Put(key string, value []byte) error {
	r.init()
	sum := digest(sha256.Sum256(value))
	if old := r.byKey[key]; old != nil && old.sum == sum {
		return nil
	}
	rec, err := r.decode(value)
	if err != nil {
		r.Omit(Omission{Key: key, Reason: reason(err)})
		return fmt.Errorf("registry: record %q: %s", key, reason(err))
	}
	rec.sum = sum
	r.replace(key, rec)
	return nil
}

// Set sets the record of a key to s, which is read-only from then on and whose
// lists hold no nil.
func (r *Records) Set(key string, s *Service) {
	r.init()
	sum := serviceDigest(s)
	if old := r.byKey[key]; old != nil && old.sum == sum {
		return
	}
	l := new(list)
	for _, e := range s.Endpoints {
		l.endpoints = append(l.endpoints, r.hold(endpointDigest(e), e))
	}
	rec := newRecord(s.Name, s.Version, s.Metadata, s.Nodes, r.keep(l))
	rec.sum = sum
	r.replace(key, rec)
}

// Delete removes the record of a key, if there is one.
func (r *Records) Delete(key string) {
	r.admit(key)
	r.replace(key, nil)
}

// Retain removes the records of all keys that keep does not want.
func (r *Records) Retain(keep func(key string) bool) {
	for key := range r.byKey {
		if !keep(key) {
			r.Delete(key)
		}
	}
	for key := range r.bad {
		if !keep(key) {
			r.admit(key)
		}
	}
}

// Services returns the complete state: every service with a node, ordered by
// name, then version. Nodes of one version that announce equal endpoints and
// metadata are in one Service, ordered by id; those that differ are in Services
// of their own, always in the same order. Of nodes of a service with the same
// id the one with the greatest key is there, and of those in one record the
// last; LeftOut tells of the others.
//
// A service that did not change is the same pointer as before, and the same
// slice is returned when none did. Both are shared: read-only.
func (r *Records) Services() []*Service {
	if len(r.changed) > 0 {
		names := slices.Sorted(maps.Keys(r.changed))
		clear(r.changed)
		r.services = splice(r.services, names, r.build)
	}
	return r.services
}

// Get returns the services of one name, as Services has them.
func (r *Records) Get(name string) []*Service { return named(r.Services(), name) }

// decode reads a record: in parts, of which one may be known, or else whole,
// which says best what is wrong.
func (r *Records) decode(value []byte) (*record, error) {
	if rec, ok := r.decodeParts(value); ok {
		return rec, nil
	}
	raw, err := readService(value)
	if err != nil {
		return nil, err
	}
	return r.assemble(raw, new(list))
}

// decodeParts reads a record whose endpoints can be cut out, and returns false
// for others. A list of endpoints that another record holds is not read.
func (r *Records) decodeParts(value []byte) (rec *record, ok bool) {
	rest, endpoints, ok := cut(value)
	if !ok {
		return nil, false
	}
	raw, err := readService(rest)
	if err != nil {
		return nil, false
	}
	key := digest(sha256.Sum256(endpoints))
	l := r.lists[key]
	if l == nil {
		l = &list{key: key}
		if raw.Endpoints, ok = elements(endpoints); !ok {
			return nil, false
		}
	}
	rec, err = r.assemble(raw, l)
	return rec, err == nil
}

// assemble makes a record of its parts. A list that no record holds yet is read.
func (r *Records) assemble(raw *rawService, l *list) (*record, error) {
	if raw.Name == "" {
		return nil, errNoName()
	}
	if err := checkSize(len(raw.Endpoints), len(raw.Nodes)); err != nil {
		return nil, err
	}
	nodes, err := readList("nodes", raw.Nodes, readNode)
	if err != nil {
		return nil, err
	}
	if l.uses == 0 {
		if l.endpoints, err = readList("endpoints", raw.Endpoints, r.read); err != nil {
			r.drop(l)
			return nil, err
		}
	}
	return newRecord(raw.Name, raw.Version, raw.Metadata, nodes, r.keep(l)), nil
}

// read returns the endpoint of some JSON, which is not decoded again when it is
// known.
func (r *Records) read(data []byte) (*shared, error) {
	key := digest(sha256.Sum256(data))
	if r.endpoints[key] != nil {
		return r.hold(key, nil), nil
	}
	if e, ok := r.words.readPlain(data); ok {
		return r.hold(key, e), nil
	}
	e, err := readEndpoint(data)
	if err != nil {
		return nil, err
	}
	return r.hold(key, e), nil
}

// hold counts a use of the endpoint of a key, which is e where it is new.
func (r *Records) hold(key digest, e *Endpoint) *shared {
	s := r.endpoints[key]
	if s == nil {
		s = &shared{key: key, sum: endpointDigest(e), endpoint: e}
		r.endpoints[key] = s
	}
	s.uses++
	return s
}

// keep counts a use of a list.
func (r *Records) keep(l *list) *list {
	if l.uses == 0 {
		l.sum = listDigest(l.endpoints)
		if l.key != (digest{}) {
			r.lists[l.key] = l
		}
	}
	l.uses++
	return l
}

// release is the end of the use that a record makes of a list.
func (r *Records) release(l *list) {
	l.uses--
	if l.uses == 0 {
		delete(r.lists, l.key)
		r.drop(l)
	}
}

// drop is the end of the uses that a list makes of endpoints.
func (r *Records) drop(l *list) {
	for _, s := range l.endpoints {
		s.uses--
		if s.uses == 0 {
			delete(r.endpoints, s.key)
		}
	}
}

// replace makes rec, or none if it is nil, the record of a key.
func (r *Records) replace(key string, rec *record) {
	if old := r.byKey[key]; old != nil {
		r.release(old.endpoints)
		delete(r.byKey, key)
		delete(r.byName[old.name].records, key)
		r.changed[old.name] = struct{}{}
	}
	if rec == nil {
		return
	}
	r.admit(key)
	r.byKey[key] = rec
	if r.byName[rec.name] == nil {
		r.byName[rec.name] = &announced{records: make(map[string]*record)}
	}
	r.byName[rec.name].records[key] = rec
	r.changed[rec.name] = struct{}{}
}

// init makes the maps of a zero value.
func (r *Records) init() {
	if r.byKey != nil {
		return
	}
	r.byKey = make(map[string]*record)
	r.byName = make(map[string]*announced)
	r.endpoints = make(map[digest]*shared)
	r.lists = make(map[digest]*list)
	r.changed = make(map[string]struct{})
	r.bad = make(map[string]Omission)
	r.shadowed = make(map[string][]Omission)
}

// build returns the services of a name, which changed since it was last called.
func (r *Records) build(name string, _ []*Service) []*Service {
	a := r.byName[name]
	r.shadow(name, a.build(name))
	if len(a.records) == 0 {
		delete(r.byName, name)
	}
	services := make([]*Service, len(a.built))
	for i, b := range a.built {
		services[i] = b.service
	}
	return services
}

// announced is what there is of one name.
type announced struct {
	records map[string]*record // by key
	built   []built            // ordered by version, then digest
}

// built is a group and the Service that describes it.
type built struct {
	group   group
	service *Service
}

// A place is a node and where it was found.
type place struct {
	key  string
	from *record
	node *Node
}

// build makes the services anew, and keeps those that are as they were. It
// returns the nodes that gave way to others.
func (a *announced) build(name string) []Omission {
	places, omissions := a.places(name)
	groups := make(map[group]*Service)
	for _, id := range slices.Sorted(maps.Keys(places)) {
		p := places[id]
		s := groups[p.from.group]
		if s == nil {
			s = p.from.service()
			groups[p.from.group] = s
		}
		s.Nodes = append(s.Nodes, p.node)
	}
	for _, old := range a.built {
		if s := groups[old.group]; s != nil && slices.EqualFunc(s.Nodes, old.service.Nodes, equalNodes) {
			groups[old.group] = old.service
		}
	}
	a.built = make([]built, 0, len(groups))
	for g, s := range groups {
		a.built = append(a.built, built{g, s})
	}
	slices.SortFunc(a.built, func(x, y built) int { return x.group.compare(y.group) })
	return omissions
}

// places returns where each node id is found, and the nodes that gave way to
// others.
func (a *announced) places(name string) (map[string]place, []Omission) {
	places := make(map[string]place)
	var omissions []Omission
	for _, key := range slices.Sorted(maps.Keys(a.records)) {
		rec := a.records[key]
		for _, n := range rec.nodes {
			if p, ok := places[n.ID]; ok {
				omissions = append(omissions, shadowed(name, n.ID, p.key, key))
			}
			places[n.ID] = place{key, rec, n}
		}
	}
	return places, omissions
}

func newRecord(name, version string, metadata map[string]string, nodes []*Node, endpoints *list) *record {
	g := group{version, groupDigest(metadata, endpoints)}
	return &record{group: g, name: name, metadata: metadata, endpoints: endpoints, nodes: nodes}
}

// service returns the record as a Service, without nodes.
func (rec *record) service() *Service {
	s := &Service{Name: rec.name, Version: rec.group.version, Metadata: rec.metadata}
	for _, e := range rec.endpoints.endpoints {
		s.Endpoints = append(s.Endpoints, e.endpoint)
	}
	return s
}

func (g group) compare(h group) int {
	return cmp.Or(cmp.Compare(g.version, h.version), bytes.Compare(g.sum[:], h.sum[:]))
}

func equalNodes(a, b *Node) bool {
	return a == b || a.ID == b.ID && a.Address == b.Address && maps.Equal(a.Metadata, b.Metadata)
}
