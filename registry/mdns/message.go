package mdns

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxRecords bounds the questions and the records of a message, each.
	maxRecords = 512
	// maxMessage bounds what is sent, in bytes: less than a datagram holds.
	maxMessage = 65_000
	// announcedTTL is the TTL of all records, in seconds. Nobody relies on it:
	// a node that ends says so, and one that is silent is asked.
	announcedTTL = 120

	// wishUnicast is a bit of a question's class: the answer may be unicast.
	wishUnicast = 1 << 15
)

var errNoMessage = errors.New("registry: not a message of multicast DNS")

// A message is what is read of a datagram.
type message struct {
	id        uint16
	response  bool
	questions []dnsmessage.Question
	pointers  []pointer
	entries   []entry
}

// A pointer leads from the name of a service, or from the list of them, to
// what is there.
type pointer struct {
	name, to string
	ttl      uint32
}

// An entry is all that a message says of one node.
type entry struct {
	instance string
	target   string
	port     uint16
	ttl      uint32
	text     []string
	addrs    []netip.Addr
}

// sum stands for what an entry says.
func (e *entry) sum() [sha256.Size]byte {
	b := binary.BigEndian.AppendUint16(nil, e.port)
	addrs := slices.SortedFunc(slices.Values(e.addrs), netip.Addr.Compare)
	for _, a := range slices.Compact(addrs) {
		b = a.AppendTo(b)
		b = append(b, ' ')
	}
	for _, s := range e.text {
		b = append(b, s...)
	}
	return sha256.Sum256(b)
}

// parse reads a datagram, which may come from anybody.
func parse(data []byte) (*message, error) {
	var p dnsmessage.Parser
	h, err := p.Start(data)
	if err != nil || h.OpCode != 0 || h.RCode != dnsmessage.RCodeSuccess {
		return nil, errNoMessage
	}
	m := &message{id: h.ID, response: h.Response}
	for {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil || len(m.questions) == maxRecords {
			return nil, errNoMessage
		}
		m.questions = append(m.questions, q)
	}
	if !h.Response {
		return m, nil
	}
	var r records
	if err := r.read(&p, p.AnswerHeader, p.SkipAnswer); err != nil {
		return nil, err
	}
	if err := p.SkipAllAuthorities(); err != nil {
		return nil, errNoMessage
	}
	if err := r.read(&p, p.AdditionalHeader, p.SkipAdditional); err != nil {
		return nil, err
	}
	m.pointers, m.entries = r.pointers, r.entries()
	return m, nil
}

// records are those of a message, before they are put together.
type records struct {
	count    int
	pointers []pointer
	services map[string]*entry
	texts    map[string][]string
	addrs    map[string][]netip.Addr
}

// read reads a section.
func (r *records) read(p *dnsmessage.Parser, header func() (dnsmessage.ResourceHeader, error), skip func() error) error {
	for {
		h, err := header()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		r.count++
		if err != nil || r.count > maxRecords {
			return errNoMessage
		}
		if h.Class&^wishUnicast != dnsmessage.ClassINET {
			err = skip()
		} else {
			err = r.record(p, h, skip)
		}
		if err != nil {
			return errNoMessage
		}
	}
}

// record reads one record.
func (r *records) record(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, skip func() error) error {
	name := h.Name.String()
	switch h.Type {
	case dnsmessage.TypePTR:
		ptr, err := p.PTRResource()
		if err != nil {
			return err
		}
		r.pointers = append(r.pointers, pointer{name, ptr.PTR.String(), h.TTL})
	case dnsmessage.TypeSRV:
		srv, err := p.SRVResource()
		if err != nil {
			return err
		}
		if r.services == nil {
			r.services = make(map[string]*entry)
		}
		r.services[name] = &entry{instance: name, target: srv.Target.String(), port: srv.Port, ttl: h.TTL}
	case dnsmessage.TypeTXT:
		txt, err := p.TXTResource()
		if err != nil {
			return err
		}
		if r.texts == nil {
			r.texts = make(map[string][]string)
		}
		r.texts[name] = txt.TXT
	case dnsmessage.TypeA:
		a, err := p.AResource()
		if err != nil {
			return err
		}
		r.addr(name, netip.AddrFrom4(a.A))
	case dnsmessage.TypeAAAA:
		a, err := p.AAAAResource()
		if err != nil {
			return err
		}
		r.addr(name, netip.AddrFrom16(a.AAAA).Unmap())
	default:
		return skip()
	}
	return nil
}

func (r *records) addr(name string, a netip.Addr) {
	if r.addrs == nil {
		r.addrs = make(map[string][]netip.Addr)
	}
	r.addrs[name] = append(r.addrs[name], a)
}

// entries returns the nodes of which there is an SRV and a TXT record, ordered.
func (r *records) entries() []entry {
	var list []entry
	for name, e := range r.services {
		t, ok := r.texts[name]
		if !ok {
			continue
		}
		e.text, e.addrs = t, r.addrs[e.target]
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.instance, b.instance) })
	return list
}

// query returns the question for what a name points to.
func query(name string) ([]byte, error) {
	q, err := pointerQuestion(name)
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	return b.Finish()
}

func pointerQuestion(name string) (dnsmessage.Question, error) {
	n, err := dnsmessage.NewName(name)
	return dnsmessage.Question{Name: n, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}, err
}

// response returns the message that says all of an entry: PTR, SRV, address and
// TXT records, in the order and section in which go-micro looks for them. Where
// it answers a question by unicast, that is repeated, with its id.
func response(e *entry, name string, ask *dnsmessage.Question, id uint16) ([]byte, error) {
	owner, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	instance, err := dnsmessage.NewName(e.instance)
	if err != nil {
		return nil, err
	}
	target, err := dnsmessage.NewName(e.target)
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: true, Authoritative: true})
	b.EnableCompression()
	if ask != nil {
		err = errors.Join(b.StartQuestions(), b.Question(*ask))
	}
	header := func(n dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: e.ttl}
	}
	err = errors.Join(err, b.StartAnswers(),
		b.PTRResource(header(owner), dnsmessage.PTRResource{PTR: instance}),
		b.SRVResource(header(instance), dnsmessage.SRVResource{Priority: 10, Weight: 1, Port: e.port, Target: target}))
	for _, a := range e.addrs {
		if a.Is4() {
			err = errors.Join(err, b.AResource(header(target), dnsmessage.AResource{A: a.As4()}))
		} else {
			err = errors.Join(err, b.AAAAResource(header(target), dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	err = errors.Join(err, b.TXTResource(header(instance), dnsmessage.TXTResource{TXT: e.text}))
	if err != nil {
		return nil, err
	}
	return b.Finish()
}
