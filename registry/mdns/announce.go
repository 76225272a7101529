package mdns

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// repeatAfter is when an announcement or a goodbye is sent again: the first
	// may be lost.
	repeatAfter = time.Second
	// multicastInterval is how often a node is announced at most because
	// somebody asks for an answer to all.
	multicastInterval = time.Second

	// maxBurst and pause are how many messages are sent again at once, and when
	// the next are, so that those who listen can keep up.
	maxBurst = 50
	pause    = 5 * time.Millisecond

	// listPort is what go-micro announces for the names in the list.
	listPort = 9999
)

// An announcer knows what this registry announces, and answers questions about
// it. It does not send and has no clock of its own. It is not safe for
// concurrent use.
type announcer struct {
	domain string
	target string // the host in SRV records, which tells our announcements

	byKey      map[string]*local            // by localKey
	byInstance map[string]*local            // by the DNS name of the node
	byName     map[string]map[string]*local // by the DNS name of the service, then of the node
	repeats    map[string]repeat            // by the DNS name of the node

	answering budget
	deflater  deflater
}

// local is a node that is registered here.
type local struct {
	key     string
	name    string // of its service, in DNS
	entry   entry
	data    []byte    // that announces it
	expires time.Time // zero: never
	sent    time.Time // when it was last multicast because of a question
}

// repeat is a message that is to be sent again.
type repeat struct {
	data []byte
	at   time.Time
}

// newAnnouncer returns an announcer whose id tells it from others.
func newAnnouncer(domain string, id [8]byte) *announcer {
	return &announcer{
		domain:     domain,
		target:     "goapi-" + hex.EncodeToString(id[:]) + "." + domain,
		byKey:      make(map[string]*local),
		byInstance: make(map[string]*local),
		byName:     make(map[string]map[string]*local),
		repeats:    make(map[string]repeat),
		answering:  budget{rate: 5000, burst: 5000},
	}
}

// localKey is greater than the DNS name of any node: what is registered here
// wins over others of the same id. Neither part holds a control character.
func localKey(service, id string) string { return "\xff" + service + "\x00" + id }

// encode returns a node of s as it is announced.
func (a *announcer) encode(s *registry.Service, n *registry.Node) (*local, error) {
	l := &local{key: localKey(s.Name, n.ID), name: serviceName(s.Name, a.domain)}
	l.entry = entry{instance: a.instance(s.Name, n.ID, l.name), target: a.target, ttl: announcedTTL}
	t := &text{Service: s.Name, Version: s.Version, Endpoints: s.Endpoints, Metadata: n.Metadata, ServiceMetadata: s.Metadata}
	if id, _ := below(l.entry.instance, l.name); id != n.ID {
		t.ID = n.ID
	}
	if err := l.entry.setAddress(n.Address); err != nil {
		return nil, err
	}
	if l.entry.address() != n.Address {
		t.Address = n.Address
	}
	var err error
	if l.entry.text, err = a.deflater.encode(t); err != nil {
		return nil, err
	}
	size := len(l.entry.text) * (1 + maxString) // nearly
	if size <= maxMessage {
		l.data, err = response(&l.entry, l.name, nil, 0)
		size = len(l.data)
	}
	if size > maxMessage {
		return nil, fmt.Errorf("%w: service %q, node %q: %d bytes; a datagram takes %d",
			registry.ErrTooLarge, s.Name, n.ID, size, maxMessage)
	}
	if err != nil {
		return nil, fmt.Errorf("registry: service %q, node %q: %w", s.Name, n.ID, err)
	}
	return l, nil
}

// setAddress sets the port, and the IP address if it is one.
func (e *entry) setAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	e.port = uint16(number)
	if ip, err := netip.ParseAddr(host); err == nil {
		e.addrs = []netip.Addr{ip.Unmap()}
	}
	return nil
}

// address returns the first address with the port, or "".
func (e *entry) address() string {
	if len(e.addrs) == 0 {
		return ""
	}
	return netip.AddrPortFrom(e.addrs[0], e.port).String()
}

// instance returns the DNS name of a node: that under which it is registered,
// or else one that no other node has.
func (a *announcer) instance(service, id, name string) string {
	if l := a.byKey[localKey(service, id)]; l != nil {
		return l.entry.instance
	}
	instance := instanceName(id, name)
	if a.byInstance[instance] != nil { // "a.b" of "c", and "a" of "b.c"
		return hashed(id) + "." + name
	}
	return instance
}

// put adds or renews a node. It says whether that is to be announced.
func (a *announcer) put(now time.Time, l *local, ttl time.Duration) bool {
	if old := a.byKey[l.key]; old != nil && old.entry.sum() == l.entry.sum() {
		old.expire(now, ttl)
		return false
	}
	l.expire(now, ttl)
	a.byKey[l.key], a.byInstance[l.entry.instance] = l, l
	if a.byName[l.name] == nil {
		a.byName[l.name] = make(map[string]*local)
	}
	a.byName[l.name][l.entry.instance] = l
	a.repeats[l.entry.instance] = repeat{l.data, now.Add(repeatAfter)}
	return true
}

func (l *local) expire(now time.Time, ttl time.Duration) {
	l.expires = time.Time{}
	if ttl > 0 {
		l.expires = now.Add(ttl)
	}
}

// remove removes a node. It returns the message that tells of it; nil when it
// was not there.
func (a *announcer) remove(now time.Time, key string) []byte {
	l := a.byKey[key]
	if l == nil {
		return nil
	}
	delete(a.byKey, key)
	delete(a.byInstance, l.entry.instance)
	delete(a.byName[l.name], l.entry.instance)
	if len(a.byName[l.name]) == 0 {
		delete(a.byName, l.name)
	}
	bye := l.entry
	bye.ttl = 0
	data, err := response(&bye, l.name, nil, 0)
	if err != nil { // the announcement was no error
		return nil
	}
	a.repeats[l.entry.instance] = repeat{data, now.Add(repeatAfter)}
	return data
}

// again has everything announced again: there is a new interface.
func (a *announcer) again(now time.Time) {
	for instance, l := range a.byInstance {
		a.repeats[instance] = repeat{l.data, now}
	}
}

// due returns the keys of the nodes that were not renewed in time, the messages
// to be sent again now, and when to call again.
func (a *announcer) due(now time.Time) (expired []string, messages [][]byte, next time.Time) {
	next = now.Add(time.Hour)
	for key, l := range a.byKey {
		switch {
		case l.expires.IsZero():
		case !l.expires.After(now):
			expired = append(expired, key)
		case l.expires.Before(next):
			next = l.expires
		}
	}
	for instance, r := range a.repeats {
		switch {
		case !r.at.After(now) && len(messages) == maxBurst:
			next = earlier(next, now.Add(pause))
		case !r.at.After(now):
			messages = append(messages, r.data)
			delete(a.repeats, instance)
		case r.at.Before(next):
			next = r.at
		}
	}
	return expired, messages, next
}

// answers returns the messages that answer the questions of m. Each is about
// one node, since go-micro reads no more of a message. To a client that has its
// own port the answer is unicast, and repeats the question.
func (a *announcer) answers(now time.Time, m *message, unicast bool) [][]byte {
	var messages [][]byte
	for i := range m.questions {
		q := &m.questions[i]
		if q.Class&^wishUnicast != dnsmessage.ClassINET {
			continue
		}
		for _, l := range a.asked(q) {
			if data := a.answer(now, m, q, l, unicast); data != nil {
				messages = append(messages, data)
			}
		}
	}
	return messages
}

// asked returns the nodes that a question is about, or entries of the list.
func (a *announcer) asked(q *dnsmessage.Question) []*local {
	name := q.Name.String()
	var list []*local
	switch q.Type {
	case dnsmessage.TypePTR, dnsmessage.TypeALL:
		if name == listName+"."+a.domain {
			for service := range a.byName {
				list = append(list, a.listed(service, name))
			}
		}
		for _, l := range a.byName[name] {
			list = append(list, l)
		}
	}
	switch q.Type {
	case dnsmessage.TypeSRV, dnsmessage.TypeTXT, dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeALL:
		if l := a.byInstance[name]; l != nil {
			list = append(list, l)
		}
	}
	return list
}

// listed returns what the list says of a service, in the way of go-micro.
func (a *announcer) listed(service, list string) *local {
	label, _ := below(service, a.domain)
	return &local{name: list, entry: entry{
		instance: label + "." + list, target: a.target, port: listPort, ttl: announcedTTL,
		text: []string{""}, addrs: []netip.Addr{netip.IPv4Unspecified()},
	}}
}

// answer returns the message about one node; nil when too much was sent already.
func (a *announcer) answer(now time.Time, m *message, q *dnsmessage.Question, l *local, unicast bool) []byte {
	if !a.answering.take(now, 1) {
		return nil
	}
	ask, id := q, m.id
	if !unicast {
		if l.key != "" && now.Sub(l.sent) < multicastInterval {
			return nil
		}
		l.sent = now
		ask, id = nil, 0
	}
	data, err := response(&l.entry, l.name, ask, id)
	if err != nil {
		return nil // it is not announced either
	}
	return data
}

// wishesUnicast says whether who asks wants to be answered alone.
func wishesUnicast(q dnsmessage.Question) bool { return q.Class&wishUnicast != 0 }
