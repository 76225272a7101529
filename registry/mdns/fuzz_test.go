package mdns

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goapi-dev/goapi/registry"
)

// FuzzHear has a browser hear any datagram, after one that it knows: whatever
// comes, what is known can be registered, and the bounds hold.
func FuzzHear(f *testing.F) {
	for _, name := range []string{"query-list.txt", "query-service.txt", "startup-and-shutdown.txt"} {
		for _, p := range capture(f, name) {
			f.Add(p.data)
		}
	}
	peer := from(f, "192.0.2.2")
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if (m == nil) == (err == nil) {
			t.Fatalf("parse = %v, %v: want exactly one", m, err)
		}
		if err != nil {
			return
		}
		now := time.Unix(0, 0)
		b := newBrowsing(now)
		b.hear(now, announced(t, "greeter", "greeter-1", "192.0.2.2:1"), peer)
		b.hear(now, m, peer)
		nodes := 0
		for _, s := range b.records.Services() {
			nodes += len(s.Nodes)
			if err := s.Validate(); err != nil {
				t.Errorf("%s was found: %v", asText([]*registry.Service{s}), err)
			}
		}
		if nodes > len(b.nodes) || b.size > maxBytes || b.size < 0 {
			t.Errorf("%d nodes of %d bytes, want no more than the %d that are held", nodes, b.size, len(b.nodes))
		}
		for instance := range b.nodes {
			b.remove(instance)
		}
		if b.size != 0 || len(b.records.Services()) != 0 {
			t.Errorf("without nodes %d bytes are held", b.size)
		}
		a := newAnnouncer("micro.", [8]byte{})
		put(t, a, now, greeter("192.0.2.2:1"), 0)
		for _, answer := range a.answers(now, m, true) {
			parsed(t, answer)
		}
	})
}

// FuzzText reads any TXT record. What can be read can be written, and says the
// same again.
func FuzzText(f *testing.F) {
	for _, p := range capture(f, "query-service.txt")[1:] {
		for _, e := range parsed(f, p.data).entries {
			text := ""
			for _, s := range e.text {
				text += s
			}
			packed, err := hex.DecodeString(text)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed)
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		var in inflater
		var de deflater
		one, _, err := in.decode([]string{hex.EncodeToString(packed)})
		if (one == nil) == (err == nil) {
			t.Fatalf("decode = %v, %v: want exactly one", one, err)
		}
		if err != nil {
			return
		}
		again, err := de.encode(one)
		if err != nil {
			return // what is escaped is longer
		}
		two, _, err := in.decode(again)
		if err != nil {
			t.Fatalf("decode of what encode has made: error = %v", err)
		}
		if got, want := asText(two.service()), asText(one.service()); got != want {
			t.Errorf("read again =\n%s, want\n%s", got, want)
		}
	})
}

// service returns what a TXT record says as services.
func (t *text) service() []*registry.Service {
	return []*registry.Service{{
		Name: t.Service, Version: t.Version, Metadata: t.ServiceMetadata, Endpoints: t.Endpoints,
		Nodes: []*registry.Node{{ID: t.ID, Address: t.Address, Metadata: t.Metadata}},
	}}
}

// FuzzRoundTrip announces any service, and reads it back equal.
func FuzzRoundTrip(f *testing.F) {
	f.Add("greeter", "1", "greeter-1", "127.0.0.1", uint16(9090), "key", "value")
	f.Add("a..b", "", ".", "::1", uint16(1), "", "\x00")
	f.Add("_services", "latest", "a.b", "::ffff:1.2.3.4", uint16(65535), "a", "b")
	f.Fuzz(func(t *testing.T, name, version, id, host string, port uint16, key, value string) {
		ip, err := netip.ParseAddr(host)
		if plain := ip.Unmap(); err != nil || ip.Zone() != "" || plain.IsUnspecified() || plain.IsMulticast() || plain.IsLinkLocalUnicast() {
			return
		}
		s := &registry.Service{
			Name: name, Version: version, Metadata: map[string]string{key: value},
			Nodes: []*registry.Node{{ID: id, Address: netip.AddrPortFrom(ip, port).String(), Metadata: map[string]string{value: key}}},
		}
		if s.Validate() != nil || !utf8.ValidString(key+value) { // JSON holds nothing else
			return
		}
		now := time.Unix(0, 0)
		a := newAnnouncer("micro.", [8]byte{})
		put(t, a, now, s, 0)
		peer := sender{addr: ip.Unmap(), links: new(links), own: ip.Unmap().IsLoopback()}
		b := newBrowsing(now)
		for _, l := range a.byKey {
			b.hear(now, parsed(t, l.data), peer)
		}
		if got, want := asText(b.records.Services()), asText([]*registry.Service{s}); got != want {
			t.Errorf("Services() =\n%s, want\n%s; left out: %v", got, want, b.omitted.all(nil))
		}
	})
}
