package micro

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/registry"
)

// own is what is registered here, and answered for. The registry's mu guards it.
type own struct {
	records  registry.Records             // services as answers have them
	services map[string]*registry.Service // one node each, by key
	leases   map[string]*lease            // by key, of nodes with a time to live
	answers  map[*registry.Service][][]byte
	query    *natsgo.Subscription // nil before the first is registered
}

// A lease is a time to live.
type lease struct{ timer *time.Timer }

// key is unique: neither part holds a control character.
func key(service, node string) string { return service + "\x00" + node }

func (o *own) has(key string) bool { return o.services[key] != nil }

// set adds or replaces a service of one node.
func (o *own) set(key string, s *registry.Service) {
	if o.services == nil {
		o.services = make(map[string]*registry.Service)
		o.leases = make(map[string]*lease)
	}
	o.services[key] = s
	_ = o.records.Set(key, s) // what there is no room for is left out
}

// remove removes a node, and its time to live.
func (o *own) remove(key string) {
	o.endLease(key)
	delete(o.services, key)
	o.records.Delete(key)
}

func (o *own) endLease(key string) {
	if l := o.leases[key]; l != nil {
		l.timer.Stop()
		delete(o.leases, key)
	}
}

// asked returns the services that a question is about: none where nothing is
// known.
func (o *own) asked(h heard) []*registry.Service {
	switch h.Action {
	case actionGet:
		var s struct{ Name string }
		if err := json.Unmarshal(h.Service, &s); err != nil || s.Name == "" {
			return nil
		}
		return o.records.Get(s.Name)
	case actionList:
		return o.records.Services()
	}
	return nil
}

// answer returns a service as messages.
func (o *own) answer(s *registry.Service, limit int64) [][]byte {
	if len(o.answers) > 2*len(o.services) {
		o.answers = nil // most are of services that are gone
	}
	if o.answers == nil {
		o.answers = make(map[*registry.Service][][]byte)
	}
	messages, ok := o.answers[s]
	if !ok {
		messages, _ = encode(s, limit, alone) // it was told in a message that is longer
		o.answers[s] = messages
	}
	return messages
}

// Register implements [registry.Writer].
func (r *Registry) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &registry.FieldError{Field: "ttl", Reason: "it is negative"}
	}
	s = s.Copy()
	changes, err := encode(s, r.limit(), created)
	if err != nil {
		return err
	}
	return r.write(ctx, func() ([][]byte, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.life.Err() != nil {
			return nil, registry.ErrClosed
		}
		if err := r.listen(); err != nil {
			return nil, err
		}
		for _, n := range s.Nodes {
			one := *s
			one.Nodes = []*registry.Node{n}
			key := key(s.Name, n.ID)
			r.own.set(key, &one)
			r.found.forget(key)
			_ = r.records.Set(key, &one)
			r.expireAfter(key, ttl)
		}
		r.notify()
		return changes, nil
	})
}

// Deregister implements [registry.Writer].
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	return r.write(ctx, func() ([][]byte, error) {
		keys := make([]string, 0, len(s.Nodes))
		for _, n := range s.Nodes {
			if n != nil {
				keys = append(keys, key(s.Name, n.ID))
			}
		}
		return r.remove(keys, s), nil
	})
}

// write makes a change, which returns what to tell others, and tells them.
func (r *Registry) write(ctx context.Context, change func() ([][]byte, error)) error {
	return r.call(ctx, func(ctx context.Context) error {
		if err := r.change(change); err != nil {
			return err
		}
		return r.conn.FlushWithContext(ctx)
	})
}

func (r *Registry) change(change func() ([][]byte, error)) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	changes, err := change()
	if err != nil {
		return err
	}
	return r.tell(changes)
}

// remove removes nodes, whoever has registered them, and returns what to tell
// others: for each version in which they are known, or else for that of s.
func (r *Registry) remove(keys []string, s *registry.Service) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	type version struct{ name, version string }
	gone := make(map[version]*registry.Service)
	for _, k := range keys {
		name, id, _ := strings.Cut(k, "\x00")
		v, node := version{name: name}, &registry.Node{ID: id}
		switch own, found := r.own.services[k], r.found.nodes[k]; {
		case own != nil:
			v.version, node.Address = own.Version, own.Nodes[0].Address
		case found != nil:
			v.version, node.Address = found.version, found.address
		case s != nil:
			v.version = s.Version
		}
		if gone[v] == nil {
			gone[v] = &registry.Service{Name: v.name, Version: v.version}
		}
		gone[v].Nodes = append(gone[v].Nodes, node)
		r.own.remove(k)
		r.found.remove(k)
	}
	r.notify()
	var changes [][]byte
	for _, s := range gone {
		change, err := encode(s, r.limit(), deleted)
		if err != nil { // nobody can have registered it
			continue
		}
		changes = append(changes, change...)
	}
	return changes
}

// expireAfter replaces the time to live of a node; 0 is none. The caller holds
// mu.
func (r *Registry) expireAfter(key string, ttl time.Duration) {
	r.own.endLease(key)
	if ttl == 0 {
		return
	}
	l := new(lease)
	l.timer = time.AfterFunc(ttl, func() { r.expire(key, l) })
	r.own.leases[key] = l
}

// expire removes a node, unless it was renewed just now.
func (r *Registry) expire(key string, l *lease) {
	err := r.change(func() ([][]byte, error) {
		r.mu.Lock()
		over := r.own.leases[key] == l
		r.mu.Unlock()
		if !over {
			return nil, nil
		}
		return r.remove([]string{key}, nil), nil
	})
	if err != nil { // others will find out when they ask
		r.log.Debug("the end of a registration is not told", slog.Any("reason", err))
	}
}

// withdraw ends all that is registered here.
func (r *Registry) withdraw() {
	r.mu.Lock()
	keys := slices.Sorted(maps.Keys(r.own.services))
	query := r.own.query
	r.own.query = nil
	r.mu.Unlock()
	if query != nil {
		_ = query.Unsubscribe() // fails when the connection is closed
	}
	if len(keys) == 0 {
		return
	}
	err := r.change(func() ([][]byte, error) { return r.remove(keys, nil), nil })
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = r.conn.FlushWithContext(ctx)
	}
	if err != nil {
		r.log.Debug("the end of registrations is not told", slog.Any("reason", err))
	}
}

// listen answers questions from now on. The caller holds mu.
func (r *Registry) listen() (err error) {
	if r.own.query != nil {
		return nil
	}
	r.own.query, err = r.conn.Subscribe(subjectQuery, r.onQuery)
	return err
}

// onQuery answers a question.
func (r *Registry) onQuery(m *natsgo.Msg) {
	if !mayAnswerTo(m.Reply) {
		return
	}
	h, err := hear(m.Data)
	if err != nil {
		return // what was not understood is not for us
	}
	r.mu.Lock()
	services := r.own.asked(h)
	r.mu.Unlock()
	for _, s := range services { // one by one: who asks does not wait for long
		r.mu.Lock()
		answer := r.own.answer(s, r.limit())
		r.mu.Unlock()
		for _, data := range answer {
			if err := r.conn.Publish(m.Reply, data); err != nil {
				return // without contact nobody waits for it
			}
		}
	}
}

// mayAnswerTo keeps questions from making us speak where others are addressed.
func mayAnswerTo(subject string) bool {
	return subject != "" && subject[0] != '$' && subject != subjectQuery && subject != subjectWatch
}
