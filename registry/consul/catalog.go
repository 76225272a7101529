package consul

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"

	"github.com/goapi-dev/goapi/registry"
)

// critical is the status of a check whose node is not to be used.
const critical = "critical"

// An entry is an instance of a service as /v1/health/service tells of it: what
// is registered, on which of Consul's nodes, and the checks of both.
type entry struct {
	Node struct {
		Node    string
		Address string
	}
	Service struct {
		Kind    string // of a proxy or a gateway; "" for services
		ID      string
		Service string
		Tags    []string
		Meta    map[string]string
		Address string
		Port    int

		ModifyIndex uint64
	}
	Checks []struct {
		Status string
	}
}

// A catalog is what Consul tells of services, one by one, and what becomes of
// that. The zero value is empty and ready for use.
type catalog struct {
	records registry.Records
	tags    tags
	known   map[string]*known            // by name in Consul
	gone    uint64                       // the index of the last name that was nothing any more
	bad     map[string]registry.Omission // by key
	leftOut []registry.Omission          // all, unless stale
	stale   bool
}

// known is what was last told of a name.
type known struct {
	sum     digest              // of the answer
	indexes []uint64            // of the answer, and of all that it tells of
	nodes   []string            // of Consul, that have an instance
	held    map[string][]digest // by key: the tags of its record
}

// set takes what the agent tells of a name, and the index of that. It says
// whether it is news.
func (c *catalog) set(name string, data []byte, index uint64) (bool, error) {
	sum := digest(sha256.Sum256(data))
	old := c.known[name]
	if old != nil && old.sum == sum {
		old.indexes[0] = index
		return false, nil
	}
	var entries []*entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return false, fmt.Errorf("%w: what Consul tells of service %.80q is not understood: %w", registry.ErrUnavailable, name, err)
	}
	now := &known{sum: sum, indexes: []uint64{index}, held: make(map[string][]digest)}
	for _, e := range entries {
		if e != nil && e.Service.Service == name { // Consul takes names that differ in their case for one
			c.add(now, e)
		}
	}
	c.admit(url.PathEscape(name))
	c.replace(name, old, now)
	return old != nil || len(now.nodes) > 0, nil
}

// reject takes that a name cannot be asked about. It says whether that is news.
func (c *catalog) reject(name string, why error) bool {
	old := c.known[name]
	if old != nil {
		c.replace(name, old, &known{indexes: []uint64{0}})
	}
	c.omit(registry.Omission{Key: url.PathEscape(name), Service: name, Reason: reason(why)})
	return old != nil
}

// forget forgets that a name cannot be asked about: it is gone.
func (c *catalog) forget(name string) { c.admit(url.PathEscape(name)) }

// replace makes now what is known of a name.
func (c *catalog) replace(name string, old, now *known) {
	if old != nil {
		for key, tags := range old.held {
			c.tags.release(tags)
			if _, ok := now.held[key]; !ok {
				c.records.Delete(key)
				c.admit(key)
			}
		}
	}
	if c.known == nil {
		c.known = make(map[string]*known)
	}
	c.known[name] = now
	if len(now.nodes) == 0 {
		delete(c.known, name)
		c.gone = now.indexes[0]
	}
}

// has says whether a change of this index is in what is known.
func (c *catalog) has(index uint64) bool {
	if c.gone == index {
		return true
	}
	for _, k := range c.known {
		if slices.Contains(k.indexes, index) {
			return true
		}
	}
	return false
}

// add takes one instance.
func (c *catalog) add(now *known, e *entry) {
	now.indexes = append(now.indexes, e.Service.ModifyIndex)
	if !slices.Contains(now.nodes, e.Node.Node) {
		now.nodes = append(now.nodes, e.Node.Node)
	}
	if e.Service.Kind != "" || e.isCritical() {
		return
	}
	key := e.key()
	now.held[key] = append(now.held[key], c.hold(e)...)
	s, err := c.decode(e, now.held[key])
	if err != nil {
		c.records.Delete(key)
		c.omit(registry.Omission{Key: key, Service: e.Service.Service, Reason: reason(err)})
		return
	}
	_ = c.records.Set(key, c.endow(key, s, e.Service.Meta)) // what there is no room for is left out
}

// endow adds to a node the endpoints of Consul's metadata. Those that cannot be
// read are left out, and not the node.
func (c *catalog) endow(key string, s *registry.Service, meta map[string]string) *registry.Service {
	endpoints, err := parseEndpoints(meta)
	if err != nil {
		c.omit(registry.Omission{Key: key, Service: s.Name, Node: s.Nodes[0].ID, Reason: err.Error()})
	} else {
		c.admit(key)
	}
	s.Endpoints = append(s.Endpoints, endpoints...)
	return s
}

// hold reads the tags of an instance.
func (c *catalog) hold(e *entry) []digest {
	count := min(len(e.Service.Tags), maxTags+1)
	held := make([]digest, count)
	for i, s := range e.Service.Tags[:count] {
		held[i], _ = c.tags.hold(s)
	}
	return held
}

// decode returns the service that an instance announces, less the endpoints of
// Consul's metadata.
func (c *catalog) decode(e *entry, held []digest) (*registry.Service, error) {
	if len(held) > maxTags {
		return nil, &registry.FieldError{Field: "tags", Reason: fmt.Sprintf("there are more than %d", maxTags)}
	}
	said, err := c.read(held)
	if err != nil {
		return nil, err
	}
	id := e.Service.ID
	if !said.micro {
		id += "@" + e.Node.Node // ids of others need be unique on one node of Consul only
	}
	if said.metadata == nil {
		said.metadata = plainMetadata(e.Service.Meta)
	}
	version := e.Service.Meta[metaVersion]
	if said.version != nil {
		version = *said.version
	}
	s := &registry.Service{Version: version, Endpoints: said.endpoints}
	if said.more != nil {
		s.Metadata = said.more.Metadata
	}
	n := &registry.Node{Metadata: said.metadata}
	if s.Name, n.ID, err = said.more.trueNames(e.Service.Service, id); err != nil {
		return nil, err
	}
	if n.Address, err = e.address(); err != nil {
		return nil, err
	}
	s.Nodes = []*registry.Node{n}
	return s, nil
}

// said is what the tags of an instance say.
type said struct {
	micro     bool // go-micro or we wrote them
	version   *string
	metadata  map[string]string
	endpoints []*registry.Endpoint
	more      *more
}

// read puts together what tags say.
func (c *catalog) read(held []digest) (said, error) {
	var s said
	size := 0
	for i, key := range held {
		t := c.tags.held[key].tag
		if t.err != nil {
			return said{}, &registry.FieldError{Field: fmt.Sprintf("tags[%d]", i), Reason: reason(t.err)}
		}
		if size += t.size; size > maxTexts {
			return said{}, &registry.FieldError{Field: "tags", Reason: fmt.Sprintf("they hold more than %d bytes", maxTexts)}
		}
		s.micro = s.micro || t.kind != 0 && !t.weak
		switch t.kind {
		case tagVersion:
			s.version = &t.version
		case tagMetadata:
			if s.metadata == nil {
				s.metadata = make(map[string]string)
			}
			maps.Copy(s.metadata, t.metadata)
		case tagEndpoint:
			if t.endpoint != nil {
				s.endpoints = append(s.endpoints, t.endpoint)
			}
		case tagMore:
			s.more = t.more
		}
	}
	return s, nil
}

// plainMetadata returns Consul's metadata less what says something else.
func plainMetadata(meta map[string]string) map[string]string {
	metadata := make(map[string]string, len(meta))
	for key, value := range meta {
		if !isEndpoint(key) {
			metadata[key] = value
		}
	}
	return metadata
}

// isCritical says whether a check of the instance, or of its node, is critical.
// Nodes with a warning are used.
func (e *entry) isCritical() bool {
	for _, check := range e.Checks {
		if check.Status == critical {
			return true
		}
	}
	return false
}

// key returns where Consul holds the instance.
func (e *entry) key() string {
	return url.PathEscape(e.Service.Service) + "/" + url.PathEscape(e.Node.Node) + "/" + e.Service.ID
}

// address returns where the instance listens: on its node, if it does not say.
func (e *entry) address() (string, error) {
	if e.Service.Port <= 0 || e.Service.Port > 65535 {
		return "", &registry.FieldError{Field: "nodes[0].address", Reason: fmt.Sprintf("its port is %d, not from 1 to 65535", e.Service.Port)}
	}
	host := cmp.Or(e.Service.Address, e.Node.Address)
	if host == "" {
		return "", &registry.FieldError{Field: "nodes[0].address", Reason: "neither the service nor its node has one"}
	}
	return net.JoinHostPort(host, strconv.Itoa(e.Service.Port)), nil
}

// omit notes what is left out of the record of a key, and why.
func (c *catalog) omit(o registry.Omission) {
	if c.bad[o.Key] == o {
		return
	}
	if c.bad == nil {
		c.bad = make(map[string]registry.Omission)
	}
	c.bad[o.Key], c.stale = o, true
}

// admit forgets that the record of a key was left out.
func (c *catalog) admit(key string) {
	if _, ok := c.bad[key]; ok {
		delete(c.bad, key)
		c.stale = true
	}
}

// omissions returns what the state lacks. The caller leaves it as it is.
func (c *catalog) omissions() []registry.Omission {
	shared := c.records.LeftOut() // nodes that share an id
	if !c.stale && len(shared) == 0 {
		return c.leftOut
	}
	list := slices.AppendSeq(slices.Clone(shared), maps.Values(c.bad))
	slices.SortFunc(list, func(a, b registry.Omission) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Node, b.Node))
	})
	if len(shared) == 0 {
		c.leftOut, c.stale = list, false
	}
	return list
}

// reason returns what an error about a record says.
func reason(err error) string {
	if field, ok := errors.AsType[*registry.FieldError](err); ok {
		return field.Field + ": " + field.Reason
	}
	return err.Error()
}
