package mdns

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// listInterval is how often the list of all services is asked for, and
	// askInterval how often the nodes of one are. With more than maxAsk of them
	// times askInterval in seconds it is less often.
	listInterval = 5 * time.Second
	askInterval  = 5 * time.Second
	maxAsk       = 100 // a second, in the long run
	// askPause is how long due need not be called again: it looks at all services.
	askPause = 50 * time.Millisecond
	// patience is how long an answer is waited for before the question is asked
	// again, and maxMisses how many answers in a row a node may miss.
	patience  = time.Second
	maxMisses = 3
	// listedLife is how long a service without nodes is remembered that is not
	// listed again.
	listedLife = 30 * time.Second

	// firstWindow is how long answers to the first questions are collected,
	// lastWindow for how long after the last of them, and startLimit bounds both.
	firstWindow = 300 * time.Millisecond
	lastWindow  = 200 * time.Millisecond
	startLimit  = 3 * time.Second

	// What others can make us hold.
	maxServices = 8192
	maxNodes    = 32768
	maxBytes    = 64 << 20 // of JSON
)

// A browser knows what is announced by others, and when to ask them what. It
// does not send and has no clock of its own. It is not safe for concurrent use.
type browser struct {
	domains []string
	records *registry.Records
	omitted omissions

	started time.Time // zero: nobody wants to know
	first   time.Time // when a fresh service was last asked for
	listed  int       // how often the list was asked for
	listAt  time.Time // when it is asked for next
	unasked int       // fresh services

	names map[string]*asked // by the DNS name of the service
	nodes map[string]*found // by the DNS name of the node
	size  int               // of what the nodes say

	changes int // of records

	asking   budget // questions
	decoding budget // bytes
	inflater inflater
}

// asked is a service whose nodes are asked for.
type asked struct {
	nodes   map[string]*found
	listed  time.Time // last
	at      time.Time // when its nodes were last asked for
	due     time.Time // when to do so next, or to see who answered
	fresh   bool      // it was listed, and not asked for yet
	waiting bool      // for answers
}

// found is a node that others announce.
type found struct {
	name   string // of its service, in DNS
	sum    [sha256.Size]byte
	from   sender
	heard  time.Time
	misses int
	size   int
}

func newBrowser(domains []string, records *registry.Records) *browser {
	return &browser{
		domains:  domains,
		records:  records,
		names:    make(map[string]*asked),
		nodes:    make(map[string]*found),
		asking:   budget{rate: 10 * maxAsk, burst: 2 * maxAsk},
		decoding: budget{rate: 16 << 20, burst: 32 << 20},
	}
}

// start begins asking.
func (b *browser) start(now time.Time) {
	if b.started.IsZero() {
		b.started, b.listAt = now, now
	}
}

// restart begins anew, and forgets whom it waits for: contact is back.
func (b *browser) restart(now time.Time) {
	if b.started.IsZero() {
		return
	}
	b.started, b.listAt, b.listed = now, now, 0
	for _, n := range b.names {
		n.waiting, n.due = false, now
	}
}

// ready says whether all that is there had time to answer.
func (b *browser) ready(now time.Time) bool {
	switch since := now.Sub(b.started); {
	case b.started.IsZero() || since < firstWindow:
		return false
	case since >= startLimit:
		return true
	}
	return b.unasked == 0 && now.Sub(b.first) >= lastWindow
}

// hear takes in a message of others.
func (b *browser) hear(now time.Time, m *message, from sender) {
	for _, p := range m.pointers {
		b.hearPointer(now, p, from)
	}
	for i := range m.entries {
		b.hearEntry(now, &m.entries[i], from)
	}
}

// hearPointer learns of a service from the list, or of the end of a node.
func (b *browser) hearPointer(now time.Time, p pointer, from sender) {
	if p.ttl == 0 {
		if f := b.nodes[p.to]; f != nil && f.name == p.name && f.from.same(from) {
			b.remove(p.to)
		}
		return
	}
	for _, domain := range b.domains {
		if p.name != listName+"."+domain {
			continue
		}
		if service, ok := below(p.to, p.name); ok && len(service) <= maxPlain && isName(service) {
			b.hearListed(now, service+"."+domain)
		}
	}
}

// hearListed learns of a service, whose nodes are asked for at once.
func (b *browser) hearListed(now time.Time, name string) {
	n := b.learn(name, now)
	if n == nil {
		return
	}
	n.listed = now
	if n.at.IsZero() && !n.fresh {
		n.fresh, n.due = true, now
		b.unasked++
	}
}

// hearEntry learns of a node.
func (b *browser) hearEntry(now time.Time, e *entry, from sender) {
	domain := b.domainOf(e.instance)
	if domain == "" {
		return
	}
	f, sum := b.nodes[e.instance], e.sum()
	switch {
	case f != nil && e.ttl == 0:
		if f.from.same(from) {
			b.remove(e.instance)
		}
		return
	case e.ttl == 0:
		return
	case f != nil && f.sum == sum:
		f.heard, f.misses = now, 0
		return
	case f != nil && !f.from.same(from):
		return // whoever was first keeps the name for as long as it answers
	}
	s, name, size, err := b.read(now, e, domain, from)
	if err == nil {
		err = b.room(f, name, size)
	}
	switch {
	case errors.Is(err, errForeign), errors.Is(err, errBusy):
		return
	case err != nil:
		b.drop(e.instance)
		b.omitted.add(now, e.instance, strings.TrimSuffix(name, "."+domain), reason(err))
		return
	}
	b.remove(e.instance)
	n := b.learn(name, now.Add(jitter(askInterval)))
	f = &found{name: name, sum: sum, from: sender{addr: from.addr, own: from.own}, heard: now, size: size}
	n.nodes[e.instance], b.nodes[e.instance] = f, f
	b.size += size
	b.changes++
	_ = b.records.Set(e.instance, s) // what is known is bounded before
}

// reason returns what an error about a record says.
func reason(err error) string {
	if field, ok := errors.AsType[*registry.FieldError](err); ok {
		return field.Field + ": " + field.Reason
	}
	return err.Error()
}

// errBusy is for what is not read, since too much came at once. It will be
// heard again.
var errBusy = errors.New("registry: too much to read")

// read returns what an entry announces, the DNS name of its service, and the
// size of it.
func (b *browser) read(now time.Time, e *entry, domain string, from sender) (*registry.Service, string, int, error) {
	if !b.decoding.take(now, 0) {
		return nil, "", 0, errBusy
	}
	t, size, err := b.inflater.decode(e.text)
	b.decoding.left -= float64(size) // more than there is: others wait
	if err != nil {
		return nil, "", size, err
	}
	id, name, err := t.place(e.instance, domain)
	if err != nil {
		return nil, "", size, err
	}
	address, err := t.address(e, from)
	if err != nil {
		return nil, name, size, err
	}
	s := &registry.Service{
		Name: t.Service, Version: t.Version, Metadata: t.ServiceMetadata, Endpoints: t.Endpoints,
		Nodes: []*registry.Node{{ID: id, Address: address, Metadata: t.Metadata}},
	}
	err = s.Validate()
	return s, name, size, err
}

// place returns the id of a node, and the DNS name of its service: they must be
// those of the record's owner.
func (t *text) place(instance, domain string) (id, name string, err error) {
	for _, name := range []string{t.Service + "." + domain, serviceName(t.Service, domain)} {
		id, ok := below(instance, name)
		switch {
		case !ok:
		case t.ID == "":
			return id, name, nil
		case instance == instanceName(t.ID, name), instance == hashed(t.ID)+"."+name:
			return t.ID, name, nil
		}
	}
	return "", "", fmt.Errorf("its TXT record is that of service %.80q, and its name is not", t.Service)
}

// address returns the address of a node, as far as the sender may say so.
func (t *text) address(e *entry, from sender) (string, error) {
	reason := "it has no address record"
	for _, a := range e.addrs {
		if reason = from.takes(a); reason != "" {
			continue
		}
		if said, err := netip.ParseAddrPort(t.Address); err == nil && said.Addr().Unmap() == a && said.Port() == e.port {
			return t.Address, nil
		}
		return net.JoinHostPort(a.String(), strconv.Itoa(int(e.port))), nil
	}
	if t.Address == "" || len(e.addrs) > 0 {
		return "", errors.New(reason)
	}
	// The address is a host's name, which could lead anywhere.
	if !from.own {
		return "", fmt.Errorf("the address %.80q is a name, which is only taken from this machine", t.Address)
	}
	return t.Address, nil
}

// room returns why there is no room for a node, beside one that it replaces.
func (b *browser) room(old *found, name string, size int) error {
	if old != nil {
		size -= old.size
	}
	switch {
	case old == nil && len(b.nodes) >= maxNodes:
		return fmt.Errorf("there are %d nodes already", maxNodes)
	case b.size+size > maxBytes:
		return fmt.Errorf("the nodes say more than %d bytes already", maxBytes)
	case b.names[name] == nil && len(b.names) >= maxServices:
		return fmt.Errorf("there are %d services already", maxServices)
	}
	return nil
}

// domainOf returns the domain that a name is in, or "".
func (b *browser) domainOf(name string) string {
	for _, domain := range b.domains {
		if _, ok := below(name, domain); ok {
			return domain
		}
	}
	return ""
}

// learn returns the service of a DNS name; nil when there are too many. A new
// one is asked for when it is due.
func (b *browser) learn(name string, due time.Time) *asked {
	if n := b.names[name]; n != nil {
		return n
	}
	if len(b.names) >= maxServices {
		return nil
	}
	n := &asked{nodes: make(map[string]*found), due: due}
	b.names[name] = n
	return n
}

// remove forgets a node, or why it was left out.
func (b *browser) remove(instance string) {
	b.omitted.remove(instance)
	b.drop(instance)
}

// drop removes a node, if it is there.
func (b *browser) drop(instance string) {
	f := b.nodes[instance]
	if f == nil {
		return
	}
	delete(b.nodes, instance)
	delete(b.names[f.name].nodes, instance)
	b.size -= f.size
	b.changes++
	b.records.Delete(instance)
}

// due returns the names to be asked for now, and when to call again.
func (b *browser) due(now time.Time) (names []string, next time.Time) {
	if b.started.IsZero() {
		return nil, now.Add(time.Hour)
	}
	if !b.listAt.After(now) {
		for _, domain := range b.domains {
			names = append(names, listName+"."+domain)
		}
		b.listed++
		b.listAt = now.Add(jitter(listInterval))
		if b.listed == 1 {
			b.listAt = now.Add(firstWindow / 2) // the first may be lost
		}
		b.omitted.expire(now)
	}
	next = b.listAt
	for name, n := range b.names {
		if !n.due.After(now) && b.ask(now, name, n) {
			names = append(names, name)
		}
		if n.due.Before(next) {
			next = n.due
		}
	}
	if soonest := now.Add(askPause); next.Before(soonest) {
		next = soonest
	}
	return names, next
}

// ask says whether the nodes of a service are to be asked for, and removes
// those that were silent for too long.
func (b *browser) ask(now time.Time, name string, n *asked) bool {
	if n.waiting && !b.silent(n) {
		n.waiting = false
		n.due = now.Add(jitter(b.interval()) - patience)
		return false
	}
	if len(n.nodes) == 0 && !n.at.IsZero() && now.Sub(n.listed) > listedLife {
		delete(b.names, name)
		return false
	}
	if !b.asking.take(now, 1) {
		return false
	}
	if n.fresh {
		n.fresh, b.first = false, now
		b.unasked--
	}
	n.at, n.due, n.waiting = now, now.Add(patience), true
	return true
}

// silent counts the nodes that did not answer, and says whether any is left.
func (b *browser) silent(n *asked) bool {
	silent := false
	for instance, f := range n.nodes {
		if !f.heard.Before(n.at) {
			continue
		}
		f.misses++
		if f.misses >= maxMisses {
			b.remove(instance)
			continue
		}
		silent = true
	}
	return silent
}

// interval returns how often a service is asked for.
func (b *browser) interval() time.Duration {
	return max(askInterval, time.Duration(len(b.names))*time.Second/maxAsk)
}

// jitter returns d, give or take a tenth.
func jitter(d time.Duration) time.Duration {
	return d*9/10 + rand.N(d/5) //nolint:gosec // jitter is no secret
}
