package mdns

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// TestQueryOfGoMicro wants the very bytes of go-micro, but for the id.
func TestQueryOfGoMicro(t *testing.T) {
	for file, name := range map[string]string{"query-list.txt": "_services.micro.", "query-service.txt": "greetermdns.micro."} {
		got, err := query(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := capture(t, file)[0].data; !bytes.Equal(got[2:], want[2:]) {
			t.Errorf("query(%s) = %x, want %x", name, got, want)
		}
	}
	if _, err := query("a..b.micro."); err == nil {
		t.Error("query of what DNS cannot hold: error = nil")
	}
}

// TestResponse writes messages, and reads them.
func TestResponse(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("fd00::9")
	ask := &dnsmessage.Question{Name: dnsmessage.MustNewName("greeter.micro."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}
	tests := []struct {
		name  string
		ask   *dnsmessage.Question
		id    uint16
		entry entry
	}{
		{"an announcement", nil, 0, entry{port: 1, ttl: 120, addrs: []netip.Addr{v4}, text: []string{"cafe"}}},
		{"an answer", ask, 7, entry{port: 65535, ttl: 120, addrs: []netip.Addr{v4}, text: []string{"cafe", "babe"}}},
		{"a goodbye", nil, 0, entry{port: 1, addrs: []netip.Addr{v6}, text: []string{"cafe"}}},
		{"two addresses", nil, 0, entry{port: 1, ttl: 1, addrs: []netip.Addr{v4, v6}, text: []string{""}}},
		{"no address", ask, 0, entry{port: 1, ttl: 1, text: []string{"cafe"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.entry.instance, tt.entry.target = "greeter-1.greeter.micro.", "host.micro."
			data, err := response(&tt.entry, "greeter.micro.", tt.ask, tt.id)
			if err != nil {
				t.Fatal(err)
			}
			want := &message{
				id: tt.id, response: true, entries: []entry{tt.entry},
				pointers: []pointer{{"greeter.micro.", "greeter-1.greeter.micro.", tt.entry.ttl}},
			}
			if tt.ask != nil {
				want.questions = []dnsmessage.Question{*tt.ask}
			}
			if got := parsed(t, data); !reflect.DeepEqual(got, want) {
				t.Errorf("parse(response) = %+v, want %+v", got, want)
			}
		})
	}
	bad := entry{instance: "greeter-1.greeter.micro.", target: "host.micro.", text: []string{"cafe"}}
	for _, names := range [][3]string{{"", "a.", "b."}, {"a.", "no dot", "b."}, {"a.", "b.", "c..d."}} {
		bad.instance, bad.target = names[1], names[2]
		if _, err := response(&bad, names[0], nil, 0); err == nil {
			t.Errorf("response with the names %q: error = nil", names)
		}
	}
}

// TestParseOthers reads what other programs send: records in the additional
// section, with the bit that flushes caches, some of kinds and classes that
// are not known, and several nodes in one message.
func TestParseOthers(t *testing.T) {
	const flush = dnsmessage.ClassINET | 1<<15
	name := dnsmessage.MustNewName
	header := func(n string, class dnsmessage.Class) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name(n), Class: class, TTL: 60}
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	for _, id := range []string{"b", "a"} {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: header("greeter.local.", dnsmessage.ClassINET), Body: &dnsmessage.PTRResource{PTR: name(id + ".greeter.local.")},
		})
		m.Additionals = append(m.Additionals,
			dnsmessage.Resource{Header: header(id+".greeter.local.", flush), Body: &dnsmessage.SRVResource{Port: 1, Target: name("host.local.")}},
			dnsmessage.Resource{Header: header(id+".greeter.local.", flush), Body: &dnsmessage.TXTResource{TXT: []string{id}}},
		)
	}
	m.Authorities = append(m.Authorities, dnsmessage.Resource{
		Header: header("x.greeter.local.", flush), Body: &dnsmessage.SRVResource{Port: 2, Target: name("host.local.")},
	})
	m.Additionals = append(m.Additionals,
		dnsmessage.Resource{Header: header("host.local.", flush), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}}},
		dnsmessage.Resource{Header: header("host.local.", dnsmessage.ClassCHAOS), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 10}}},
		dnsmessage.Resource{Header: header("host.local.", flush), Body: &dnsmessage.UnknownResource{Type: 47, Data: []byte{1, 2, 3}}},
		dnsmessage.Resource{Header: header("lonely.greeter.local.", flush), Body: &dnsmessage.SRVResource{Port: 3, Target: name("host.local.")}},
	)
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got := parsed(t, data)
	var want []entry
	for _, id := range []string{"a", "b"} {
		want = append(want, entry{
			instance: id + ".greeter.local.", target: "host.local.", port: 1, ttl: 60,
			text: []string{id}, addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
		})
	}
	if !reflect.DeepEqual(got.entries, want) {
		t.Errorf("entries = %+v, want %+v", got.entries, want)
	}
	if len(got.pointers) != 2 {
		t.Errorf("pointers = %+v, want both", got.pointers)
	}
}

// TestSum tells entries apart.
func TestSum(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("fd00::9")
	one := entry{port: 1, text: []string{"ca", "fe"}, addrs: []netip.Addr{a, b}, ttl: 120, target: "x."}
	same := []entry{
		{port: 1, text: []string{"ca", "fe"}, addrs: []netip.Addr{b, a, b}},
		{port: 1, text: []string{"cafe"}, addrs: []netip.Addr{a, b}, ttl: 1, target: "y."},
	}
	others := []entry{
		{port: 2, text: one.text, addrs: one.addrs},
		{port: 1, text: []string{"babe"}, addrs: one.addrs},
		{port: 1, text: one.text, addrs: one.addrs[:1]},
		{port: 1, text: one.text},
	}
	for i := range same {
		if same[i].sum() != one.sum() {
			t.Errorf("sum(%+v) differs from that of %+v, want the same", same[i], one)
		}
	}
	for i := range others {
		if others[i].sum() == one.sum() {
			t.Errorf("sum(%+v) is that of %+v, want another", others[i], one)
		}
	}
	if !slices.Equal(one.addrs, []netip.Addr{a, b}) {
		t.Errorf("sum has changed the addresses to %v", one.addrs)
	}
}
