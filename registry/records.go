package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/maphash"
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
	known     known
	seed      maphash.Seed
	changed   map[string]struct{} // names whose services are to be built again
	services  []*Service          // the complete state, less what changed since

	size int // of all records
	room int // for them; 0 is maxRecords

	bad      map[string]Omission   // the records that are left out, by key
	shadowed map[string][]Omission // by name: nodes whose id another one has
	crowded  bool                  // there was no room for some
	uncited  bool                  // more are left out than bad holds
	leftOut  []Omission            // all of these, unless omitted
	omitted  bool                  // one of them changed since
}

const (
	// maxRecords bounds what all records take together, in bytes: their JSON,
	// their keys and overhead for each, which is about what it takes besides, here
	// and in the routing table.
	maxRecords = 1 << 30
	overhead   = 4 << 10
	// maxBad bounds the records that are left out of which LeftOut tells one by
	// one.
	maxBad = 10_000
)

// A record is what one key announces.
type record struct {
	announcement

	sum   uint64 // of what it was made from: tells what is new from what is renewed
	size  int
	name  string
	nodes []*Node
}

// shared is an endpoint and how often records hold it.
type shared struct {
	key      digest
	endpoint *Endpoint
	uses     int
}

// A list is all endpoints of a record, and how many records hold it.
type list struct {
	key       digest // of the JSON; zero for one that is not looked for
	sum       digest // of the content, whatever its encoding was; zero until it is asked for
	endpoints []*shared
	uses      int
}

// Put sets the record of a key to a service in JSON. A value that is none is an
// error, and one that there is no room for is [ErrTooLarge]; the key then counts
// as absent, and LeftOut tells of it.
func (r *Records) Put(key string, value []byte) error {
	return r.PutOf(key, value, func(string) bool { return true })
}

// PutOf is Put for a store whose keys say whose records they hold: one that
// says that it is of another service is an error, too. Who may write the records
// of one service need not be trusted with others.
func (r *Records) PutOf(key string, value []byte, ofKey func(service string) bool) error {
	r.init()
	sum := maphash.Bytes(r.seed, value)
	if old := r.byKey[key]; old != nil && old.sum == sum {
		return nil
	}
	size := overhead + len(key) + len(value)
	if !r.fits(key, size) {
		return r.full(key)
	}
	rec, err := r.decode(value)
	if err != nil {
		r.Omit(Omission{Key: key, Reason: reason(err)})
		return fmt.Errorf("registry: record %q: %s", key, reason(err))
	}
	if !ofKey(rec.name) {
		r.release(rec.endpoints)
		o := Omission{Key: key, Service: rec.name, Reason: fmt.Sprintf("it says that it is of the service %.100q, and its key that it is of another", rec.name)}
		r.Omit(o)
		return fmt.Errorf("registry: record %q: %s", key, o.Reason)
	}
	rec.sum, rec.size = sum, size
	r.replace(key, rec)
	return nil
}

// Set sets the record of a key to s, which is read-only from then on and whose
// lists hold no nil. One that there is no room for is [ErrTooLarge], as in Put.
func (r *Records) Set(key string, s *Service) error {
	r.init()
	content := appendService(nil, s)
	sum, size := maphash.Bytes(r.seed, content), overhead+len(key)+len(content)
	if old := r.byKey[key]; old != nil && old.sum == sum {
		return nil
	}
	if !r.fits(key, size) {
		return r.full(key)
	}
	l := new(list)
	for _, e := range s.Endpoints {
		l.endpoints = append(l.endpoints, r.hold(endpointDigest(e), e))
	}
	r.replace(key, &record{announcement{s.Version, s.Metadata, r.keep(l)}, sum, size, s.Name, s.Nodes})
	return nil
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

// decode reads a record: quickly, or else strictly, which says best what is
// wrong.
func (r *Records) decode(value []byte) (*record, error) {
	if rec, ok := r.decodePlain(value); ok {
		return rec, nil
	}
	raw, err := readService(value)
	if err != nil {
		return nil, err
	}
	if err := checkSize(len(raw.Endpoints), len(raw.Nodes)); err != nil {
		return nil, err
	}
	nodes, err := readList("nodes", raw.Nodes, readNode)
	if err != nil {
		return nil, err
	}
	whole := &plainRecord{name: raw.Name, version: raw.Version, metadata: raw.Metadata, nodes: nodes}
	return r.assemble(whole, raw.Endpoints, new(list))
}

// decodePlain reads a record in the form that most write, and returns false for
// others. A list of endpoints that another record holds is not read.
func (r *Records) decodePlain(value []byte) (rec *record, ok bool) {
	p, ok := r.known.readRecord(value)
	if !ok {
		return nil, false
	}
	l := new(list)
	var endpoints []json.RawMessage
	if p.endpoints != nil {
		l.key = sha256.Sum256(p.endpoints)
		if held := r.lists[l.key]; held != nil {
			l = held
		} else if endpoints, ok = elements(p.endpoints); !ok {
			return nil, false
		}
	}
	if checkSize(len(endpoints), len(p.nodes)) != nil {
		return nil, false
	}
	rec, err := r.assemble(p, endpoints, l)
	return rec, err == nil
}

// assemble makes a record of its parts. A list that no record holds yet is read.
func (r *Records) assemble(p *plainRecord, endpoints []json.RawMessage, l *list) (_ *record, err error) {
	if p.name == "" {
		return nil, errNoName()
	}
	if l.uses == 0 {
		if l.endpoints, err = readList("endpoints", endpoints, r.read); err != nil {
			r.drop(l)
			return nil, err
		}
	}
	return &record{announcement: announcement{p.version, p.metadata, r.keep(l)}, name: p.name, nodes: p.nodes}, nil
}

// read returns the endpoint of some JSON, which is not decoded again when it is
// known.
func (r *Records) read(data []byte) (*shared, error) {
	key := digest(sha256.Sum256(data))
	if r.endpoints[key] != nil {
		return r.hold(key, nil), nil
	}
	if e, ok := r.known.readEndpoint(data); ok {
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
		s = &shared{key: key, endpoint: e}
		r.endpoints[key] = s
	}
	s.uses++
	return s
}

// keep counts a use of a list.
func (r *Records) keep(l *list) *list {
	if l.uses == 0 && l.key != (digest{}) {
		r.lists[l.key] = l
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
		r.size -= old.size
		delete(r.byKey, key)
		delete(r.byName[old.name].records, key)
		r.changed[old.name] = struct{}{}
	}
	if rec == nil {
		return
	}
	r.admit(key)
	r.byKey[key] = rec
	r.size += rec.size
	if r.byName[rec.name] == nil {
		r.byName[rec.name] = &announced{records: make(map[string]*record)}
	}
	r.byName[rec.name].records[key] = rec
	r.changed[rec.name] = struct{}{}
}

// fits says whether there is room for a record of so many bytes. Else there is
// none of its key, and LeftOut tells so until there is a tenth of the room again.
func (r *Records) fits(key string, size int) bool {
	if old := r.byKey[key]; old != nil {
		size -= old.size
	}
	if r.size+size <= r.limit() {
		return true
	}
	r.Delete(key)
	if !r.crowded {
		r.crowded, r.omitted = true, true
	}
	return false
}

func (r *Records) limit() int { return cmp.Or(r.room, maxRecords) }

// full is the error for a record that there is no room for.
func (r *Records) full(key string) error {
	return fmt.Errorf("%w: %q: %s", ErrTooLarge, key, r.noRoom())
}

func (r *Records) noRoom() string {
	return fmt.Sprintf("there is no room: all records are more than %d bytes together", r.limit())
}

// init makes the maps of a zero value.
func (r *Records) init() {
	if r.byKey != nil {
		return
	}
	r.seed = maphash.MakeSeed()
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
