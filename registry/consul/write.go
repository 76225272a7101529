package consul

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// lingering is how much longer than its TTL a node that is not renewed stays
	// in Consul's catalog, where nobody uses it, and leastLinger the least time
	// that it does.
	lingering   = 5 * time.Second
	leastLinger = time.Minute + lingering

	// What Consul takes as metadata.
	maxMeta      = 64
	maxMetaKey   = 128
	maxMetaValue = 512
)

// Register implements [registry.Writer]. The agent of the URL holds the nodes,
// in its own datacenter, and they go with it.
func (r *Registry) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &registry.FieldError{Field: "ttl", Reason: "it is negative"}
	}
	all := make([]*announcement, len(s.Nodes))
	for i, n := range s.Nodes {
		a, err := r.prepare(s, n, ttl)
		if err != nil {
			return fmt.Errorf("registry: service %q, node %q: %w", s.Name, n.ID, err)
		}
		all[i] = a
	}
	for _, a := range all {
		if err := r.announce(ctx, a); err != nil {
			return err
		}
	}
	return r.usable(ctx)
}

// Deregister implements [registry.Writer]. It removes what the agent of the URL
// holds, whoever registered it.
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	for _, n := range s.Nodes {
		if n == nil || s.Name == "" || n.ID == "" {
			continue // nobody can have registered it
		}
		if err := r.withdraw(ctx, serviceName(s.Name), serviceID(s.Name, n.ID)); err != nil {
			return err
		}
	}
	return r.usable(ctx)
}

// An announcement is a node as the agent is to hold it.
type announcement struct {
	service *registry.Service
	node    *registry.Node
	sum     digest // of both, and of the TTL
	reg     *api.AgentServiceRegistration
}

// prepare returns what announces a node. It does the most of the work, that of
// the tags, unless the agent has them already.
func (r *Registry) prepare(s *registry.Service, n *registry.Node, ttl time.Duration) (*announcement, error) {
	one := *s
	one.Nodes = []*registry.Node{n}
	data, err := json.Marshal(&one)
	if err != nil {
		return nil, err
	}
	a := &announcement{
		service: s, node: n,
		sum: sha256.Sum256(strconv.AppendInt(data, int64(ttl), 10)),
		reg: &api.AgentServiceRegistration{ID: serviceID(s.Name, n.ID), Name: serviceName(s.Name), Meta: meta(n.Metadata)},
	}
	if ttl > 0 {
		a.reg.Check = &api.AgentServiceCheck{
			TTL:                            ttl.String(),
			DeregisterCriticalServiceAfter: max(ttl+lingering, leastLinger).String(),
			// A node with a warning is used, and it passes a moment later. Those
			// who watch are told by name of checks that do not pass.
			Status: api.HealthWarning,
			// A check that is another one rings their bell, too: an address
			// alone would not.
			Notes: "announcement " + hex.EncodeToString(a.sum[:8]),
		}
	}
	host, port, err := net.SplitHostPort(n.Address)
	if err != nil {
		return nil, err
	}
	a.reg.Address = host
	if a.reg.Port, err = strconv.Atoi(port); err != nil {
		return nil, err
	}
	if ttl == 0 || !r.written.has(a.reg.ID, a.sum) {
		err = a.tag()
	}
	return a, err
}

// tag adds the tags, if they are not there.
func (a *announcement) tag() (err error) {
	if a.reg.Tags != nil {
		return nil
	}
	m := more{Metadata: a.service.Metadata}
	if a.reg.Name != a.service.Name {
		m.Name = a.service.Name
	}
	if a.reg.ID != a.node.ID {
		m.ID = a.node.ID
	}
	a.reg.Tags, err = encodeTags(a.service, a.node, m)
	return err
}

// announce writes one node. To renew it is to pass its check; it is registered
// again when the agent knows no such check, as it came back empty, or when it
// holds another than was registered.
func (r *Registry) announce(ctx context.Context, a *announcement) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	if a.reg.Tags == nil && r.holds(ctx, a.reg.ID) {
		err := r.update(ctx, a.reg.ID, api.HealthPassing)
		if answer, ok := errors.AsType[*answerError](err); err == nil || !ok || answer.code == http.StatusForbidden {
			return r.closed(err)
		}
	}
	r.written.remove(a.reg.ID)
	if err := a.tag(); err != nil {
		return err
	}
	err := r.agent.tell(ctx, func(ctx context.Context) error {
		opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true} // those of a TTL that is none any more
		return r.agent.writer.ServiceRegisterOpts(a.reg, opts.WithContext(ctx))
	})
	if err != nil {
		return r.refused(a, err)
	}
	defer r.touch(a.reg.Name)
	if a.reg.Check == nil {
		return nil
	}
	if err := r.update(ctx, a.reg.ID, api.HealthPassing); err != nil {
		return r.closed(err)
	}
	hash, _ := r.contentHash(ctx, a.reg.ID) // where we may not ask, nobody looks
	r.written.add(a.reg.ID, write{a.sum, hash})
	return nil
}

// holds says whether the agent holds a node as it was registered. It does so
// where that cannot be found out, too.
func (r *Registry) holds(ctx context.Context, id string) bool {
	want := r.written.get(id).hash
	if want == "" {
		return true
	}
	hash, err := r.contentHash(ctx, id)
	if answer, ok := errors.AsType[*answerError](err); ok && answer.code == http.StatusNotFound {
		return false
	}
	return err != nil || hash == want
}

// contentHash returns the agent's own hash of what it holds of a node.
func (r *Registry) contentHash(ctx context.Context, id string) (hash string, err error) {
	err = r.agent.tell(ctx, func(ctx context.Context) error {
		var q api.QueryOptions
		s, _, err := r.agent.writer.Service(id, q.WithContext(ctx))
		if err == nil {
			hash = s.ContentHash
		}
		return err
	})
	return hash, err
}

// update sets the status of a node's check, which renews it.
func (r *Registry) update(ctx context.Context, id, status string) error {
	return r.agent.tell(ctx, func(ctx context.Context) error {
		var q api.QueryOptions
		return r.agent.writer.UpdateTTLOpts("service:"+id, "", status, q.WithContext(ctx))
	})
}

// refused returns what an error of registering means.
func (r *Registry) refused(a *announcement, err error) error {
	answer, ok := errors.AsType[*answerError](err)
	switch {
	case ok && answer.code == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: service %q, node %q: %s answers %s", registry.ErrTooLarge, a.service.Name, a.node.ID, r.agent.name, answer.text)
	case ok && answer.code == http.StatusBadRequest:
		return &registry.FieldError{Field: "nodes", Reason: "Consul does not take " + strconv.Quote(a.node.ID) + ": " + answer.text}
	}
	return r.closed(err)
}

// withdraw removes one node. What the agent does not know is gone.
func (r *Registry) withdraw(ctx context.Context, name, id string) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	if r.written.remove(id) {
		// Those who watch are told by name, and drop it now.
		_ = r.update(ctx, id, api.HealthCritical) // what fails now fails below, too
	}
	err := r.agent.tell(ctx, func(ctx context.Context) error {
		var q api.QueryOptions
		return r.agent.writer.ServiceDeregisterOpts(id, q.WithContext(ctx))
	})
	answer, ok := errors.AsType[*answerError](err)
	if ok && (answer.code == http.StatusNotFound || strings.Contains(answer.text, "Unknown service")) {
		return nil
	}
	if err != nil {
		return r.closed(err)
	}
	r.touch(name)
	return nil
}

// meta returns what Consul takes of a node's metadata, for those who read it
// there. Readers of go-micro's tags have all of it.
func meta(metadata map[string]string) map[string]string {
	m := make(map[string]string, len(metadata))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		if len(m) < maxMeta && isMetaKey(key) && len(metadata[key]) <= maxMetaValue {
			m[key] = metadata[key]
		}
	}
	return m
}

func isMetaKey(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return s != "" && len(s) <= maxMetaKey && strings.Trim(s, letters) == "" && !strings.HasPrefix(s, "consul-")
}

// writes are the nodes that the agent got from us and that are to be renewed.
// The zero value is empty and ready for use.
type writes struct {
	mu   sync.Mutex
	last map[string]write // by id
}

// A write is a node that was written.
type write struct {
	sum  digest // of what was asked for
	hash string // the agent's, of what it has made of that; "" if it is not known
}

func (w *writes) has(id string, sum digest) bool { return w.get(id).sum == sum }

// get returns what was written last; zero for nothing.
func (w *writes) get(id string) write {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[id]
}

func (w *writes) add(id string, now write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = make(map[string]write)
	}
	w.last[id] = now
}

// remove says whether the node was there.
func (w *writes) remove(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.last[id]
	delete(w.last, id)
	return ok
}
