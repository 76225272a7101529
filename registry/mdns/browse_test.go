package mdns

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/goapi-dev/goapi/registry"
)

// announced returns the message that announces a node.
func announced(t testing.TB, service, id, address string) *message {
	t.Helper()
	a := newAnnouncer("micro.", [8]byte{})
	s := &registry.Service{Name: service, Version: "1", Nodes: []*registry.Node{{ID: id, Address: address}}}
	l, err := a.encode(s, s.Nodes[0])
	if err != nil {
		t.Fatalf("encode(%s) error = %v", asText([]*registry.Service{s}), err)
	}
	return parsed(t, l.data)
}

// gone returns m as a goodbye.
func gone(m *message) *message {
	bye := *m
	bye.pointers, bye.entries = slices.Clone(m.pointers), slices.Clone(m.entries)
	for i := range bye.pointers {
		bye.pointers[i].ttl = 0
	}
	for i := range bye.entries {
		bye.entries[i].ttl = 0
	}
	return &bye
}

func parsed(t testing.TB, data []byte) *message {
	t.Helper()
	m, err := parse(data)
	if err != nil {
		t.Fatalf("parse error = %v", err)
	}
	return m
}

// addresses returns the addresses of all nodes.
func addresses(b *browser) []string {
	var list []string
	for _, s := range b.records.Services() {
		for _, n := range s.Nodes {
			list = append(list, n.Address)
		}
	}
	return list
}

// TestKilledNode asks as the browser wants, and has a node fall silent.
func TestKilledNode(t *testing.T) {
	begin := time.Unix(0, 0)
	now := begin
	b := newBrowsing(now)
	peer := from(t, "192.0.2.9")
	dies, lives := announced(t, "greeter", "dies", "192.0.2.9:1"), announced(t, "greeter", "lives", "192.0.2.9:2")
	for _, m := range []*message{dies, lives} {
		b.hear(now, m, peer)
	}
	killed := begin.Add(time.Minute)
	questions := 0
	for len(addresses(b)) == 2 {
		if now.Sub(killed) > 9*time.Second {
			t.Fatalf("the node is there %v after it was killed, want 9 s at most", now.Sub(killed))
		}
		names, next := b.due(now)
		for _, name := range names {
			if name != "greeter.micro." {
				continue
			}
			questions++
			b.hear(now.Add(10*time.Millisecond), lives, peer)
			if now.Before(killed) {
				b.hear(now.Add(10*time.Millisecond), dies, peer)
			}
		}
		if !next.After(now) {
			t.Fatalf("due(%v) is to be called again at %v, want later", now, next)
		}
		now = next
	}
	if now.Before(killed.Add(2 * time.Second)) {
		t.Errorf("the node is gone %v after it was killed, want more patience", now.Sub(killed))
	}
	if got := addresses(b); !slices.Equal(got, []string{"192.0.2.9:2"}) {
		t.Errorf("nodes = %q, want the one that answers", got)
	}
	if questions > 20 {
		t.Errorf("%d questions in a minute for one service, want 20 at most", questions)
	}
}

// TestLostAnswers loses two answers of three.
func TestLostAnswers(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBrowsing(now)
	peer, m := from(t, "192.0.2.9"), announced(t, "greeter", "1", "192.0.2.9:1")
	b.hear(now, m, peer)
	asked := 0
	for end := now.Add(time.Hour); now.Before(end); {
		names, next := b.due(now)
		if slices.Contains(names, "greeter.micro.") {
			asked++
			if asked%3 == 0 {
				b.hear(now, m, peer)
			}
		}
		if len(addresses(b)) != 1 {
			t.Fatalf("the node is gone after %d questions, want it to stay while it answers one of three", asked)
		}
		now = next
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBrowsing(now)
	for i := range 2 * maxServices {
		b.hearPointer(now, pointer{"_services.micro.", fmt.Sprintf("s%d._services.micro.", i), 120}, from(t, "192.0.2.9"))
	}
	if len(b.names) != maxServices {
		t.Errorf("%d services are known, want %d at most", len(b.names), maxServices)
	}
	questions := 0
	for range 1000 {
		names, next := b.due(now)
		questions += len(names)
		now = next
	}
	took := now.Sub(time.Unix(0, 0))
	if most := int(10*maxAsk*(took.Seconds()+1)) + 2*maxAsk; questions > most {
		t.Errorf("%d questions in %v, want %d at most", questions, took, most)
	}
	if now = now.Add(2 * listedLife); len(b.names) > 0 {
		for range 10_000 {
			_, now = b.due(now)
			if len(b.names) == 0 {
				return
			}
		}
		t.Errorf("%d services without nodes are known still, want none that is not listed any more", len(b.names))
	}
}

func TestReady(t *testing.T) {
	begin := time.Unix(0, 0)
	at := begin.Add
	b := newBrowsing(begin)
	b.due(begin)
	if b.ready(at(firstWindow - 1)) {
		t.Error("ready before anybody had time to answer")
	}
	if !b.ready(at(firstWindow)) {
		t.Error("not ready, and nobody answered")
	}
	b.hearPointer(at(firstWindow/2), pointer{"_services.micro.", "greeter._services.micro.", 120}, from(t, "192.0.2.9"))
	if b.ready(at(firstWindow)) {
		t.Error("ready before a service that was listed was asked for")
	}
	b.due(at(firstWindow - 1))
	if b.ready(at(firstWindow)) {
		t.Error("ready before the service had time to answer")
	}
	if !b.ready(at(firstWindow + lastWindow)) {
		t.Error("not ready, and the service had time to answer")
	}
	b.hearPointer(at(0), pointer{"_services.micro.", "other._services.micro.", 120}, from(t, "192.0.2.9"))
	if !b.ready(at(startLimit)) {
		t.Error("not ready after the limit")
	}
	if b.restart(at(time.Minute)); b.ready(at(time.Minute)) {
		t.Error("ready at once after contact was lost")
	}
}

// TestHear hears messages in order, and looks at what is known then.
func TestHear(t *testing.T) {
	const id = "greeter-1"
	one := announced(t, "greeter", id, "192.0.2.9:1")
	moved := announced(t, "greeter", id, "192.0.2.9:2")
	thief := announced(t, "greeter", id, "192.0.2.66:1")
	v6 := announced(t, "greeter", id, "[fd00::9]:1")
	named := announced(t, "greeter", id, "node.example:1")
	type heard struct {
		m    *message
		from string
	}
	tests := []struct {
		name  string
		heard []heard
		want  string
	}{
		{"an announcement", []heard{{one, "192.0.2.9"}}, "192.0.2.9:1"},
		{"twice", []heard{{one, "192.0.2.9"}, {one, "192.0.2.9"}}, "192.0.2.9:1"},
		{"over both IP versions", []heard{{one, "192.0.2.9"}, {one, "fe80::9"}}, "192.0.2.9:1"},
		{"over IPv6, and the node is at an IPv4 address", []heard{{one, "fe80::9"}}, "192.0.2.9:1"},
		{"an IPv6 address", []heard{{v6, "fd00::9"}}, "[fd00::9]:1"},
		{"an IPv6 address, from the link", []heard{{v6, "fe80::9"}}, "[fd00::9]:1"},
		{"a change", []heard{{one, "192.0.2.9"}, {moved, "192.0.2.9"}}, "192.0.2.9:2"},
		{"a goodbye", []heard{{one, "192.0.2.9"}, {gone(one), "192.0.2.9"}}, ""},
		{"a goodbye before", []heard{{gone(one), "192.0.2.9"}}, ""},
		{"a goodbye and a new start", []heard{{one, "192.0.2.9"}, {gone(one), "192.0.2.9"}, {one, "192.0.2.9"}}, "192.0.2.9:1"},
		{"another's goodbye", []heard{{one, "192.0.2.9"}, {gone(one), "192.0.2.66"}}, "192.0.2.9:1"},
		{"another takes the name", []heard{{one, "192.0.2.9"}, {thief, "192.0.2.66"}}, "192.0.2.9:1"},
		{"another takes the name after the goodbye", []heard{{one, "192.0.2.9"}, {gone(one), "192.0.2.9"}, {thief, "192.0.2.66"}}, "192.0.2.66:1"},
		{"another node on the link", []heard{{one, "192.0.2.66"}}, "192.0.2.9:1"},
		{"this machine's two addresses", []heard{{one, "127.0.0.1"}, {moved, "192.0.2.2"}}, "192.0.2.9:2"},
		{"a node at a name, here", []heard{{named, "192.0.2.2"}}, "node.example:1"},
		{"a node at a name, elsewhere", []heard{{named, "192.0.2.9"}}, ""},
		{"a change to what is left out", []heard{{one, "192.0.2.9"}, {announced(t, "greeter", id, "8.8.8.8:1"), "192.0.2.9"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(0, 0)
			b := newBrowsing(now)
			for _, h := range tt.heard {
				b.hear(now, h.m, from(t, h.from))
			}
			if got := strings.Join(addresses(b), " "); got != tt.want {
				t.Errorf("nodes = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLeftOut has a browser hear what is no announcement, or a hostile one.
func TestLeftOut(t *testing.T) {
	const instance, target = "greeter-1.greeter.micro.", "host.micro."
	packed := func(s string) []string {
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		z.Write([]byte(s))
		z.Close()
		var list []string
		for part := range slices.Chunk([]byte(hex.EncodeToString(b.Bytes())), maxString) {
			list = append(list, string(part))
		}
		return list
	}
	good := packed(`{"Service":"greeter","Version":"1"}`)
	cut := []string{good[0][:len(good[0])-20]}
	deep := strings.Repeat(`{"values":[`, 70) + strings.Repeat(`]}`, 70)
	tests := []struct {
		name     string
		instance string
		text     []string
		addrs    string
		want     string // the reason; empty for none
	}{
		{"a printer", "Printer._ipp._tcp.local.", []string{"txtvers=1", "pdl=application/pdf"}, "192.0.2.9", ""},
		{"no text", instance, []string{""}, "192.0.2.9", ""},
		{"hexadecimal of something else", instance, []string{"cafe"}, "192.0.2.9", ""},
		{"another domain", "greeter-1.greeter.other.", good, "192.0.2.9", ""},
		{"cut off", instance, cut, "192.0.2.9", "the TXT record is cut off"},
		{"not JSON", instance, packed("hello"), "192.0.2.9", "the TXT record does not hold the JSON of a service"},
		{"another type", instance, packed(`{"Service":1}`), "192.0.2.9", "the TXT record does not hold the JSON of a service"},
		{"a bomb", instance, packed(strings.Repeat(" ", 8<<20)), "192.0.2.9", "the TXT record holds more than 1048576 bytes of JSON"},
		{"deep values", instance, packed(`{"Service":"greeter","Endpoints":[{"name":"a","request":` + deep + `}]}`), "192.0.2.9", "endpoints.request: values nest deeper than 64"},
		{"another service's name", instance, packed(`{"Service":"bank"}`), "192.0.2.9", `its TXT record is that of service "bank", and its name is not`},
		{"no service", instance, packed(`{}`), "192.0.2.9", `its TXT record is that of service "", and its name is not`},
		{"another node's name", instance, packed(`{"Service":"greeter","ID":"other"}`), "192.0.2.9", `its TXT record is that of service "greeter", and its name is not`},
		{"no address", instance, good, "", "it has no address record"},
		{"off the link", instance, good, "10.0.0.1", "10.0.0.1 is neither 192.0.2.9, which says so, nor on its link"},
		{"this machine", instance, good, "192.0.2.2", "192.0.2.2 is an address of this machine, and 192.0.2.9 is not"},
		{"the loopback", instance, good, "127.9.9.9", "127.9.9.9 is an address of this machine, and 192.0.2.9 is not"},
		{"the IPv6 loopback", instance, good, "::1", "::1 is an address of this machine, and 192.0.2.9 is not"},
		{"a metadata service", instance, good, "169.254.169.254", "it cannot be reached at 169.254.169.254"},
		{"nowhere", instance, good, "0.0.0.0", "it cannot be reached at 0.0.0.0"},
		{"a group", instance, good, "224.0.0.251", "it cannot be reached at 224.0.0.251"},
		{"a control character", "\x1b[2J.greeter.micro.", good, "192.0.2.9", "nodes[0].id: it holds a character that is not printable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(0, 0)
			b := newBrowsing(now)
			e := entry{instance: tt.instance, target: target, port: 1, ttl: 120, text: tt.text}
			if tt.addrs != "" {
				e.addrs = []netip.Addr{netip.MustParseAddr(tt.addrs)}
			}
			for range 2 {
				b.hear(now, &message{entries: []entry{e}}, from(t, "192.0.2.9"))
			}
			if got := addresses(b); len(got) != 0 {
				t.Errorf("nodes = %q, want none", got)
			}
			got := ""
			for _, o := range b.omitted.all(nil) {
				got += o.Reason
			}
			if got != tt.want {
				t.Errorf("left out because %q, want %q", got, tt.want)
			}
			b.omitted.expire(now.Add(time.Hour))
			if got := b.omitted.all(nil); len(got) != 0 {
				t.Errorf("left out an hour later: %v, want nothing", got)
			}
		})
	}
}

func TestFloods(t *testing.T) {
	peer := from(t, "192.0.2.9")
	t.Run("nodes", func(t *testing.T) {
		now := time.Unix(0, 0)
		b := newBrowsing(now)
		m := announced(t, "greeter", "x", "192.0.2.9:1")
		for i := range maxNodes - 100 { // as if they had been heard
			b.nodes[fmt.Sprint(i)] = &found{name: "filler.micro."}
		}
		for i := range 100 + 2*maxOmissions {
			m.entries[0].instance = fmt.Sprintf("n%d.greeter.micro.", i)
			b.hear(now.Add(time.Duration(i)*time.Millisecond), m, peer)
		}
		if len(b.nodes) != maxNodes {
			t.Errorf("%d nodes are held, want %d", len(b.nodes), maxNodes)
		}
		if got := len(b.omitted.all(nil)); got != maxOmissions {
			t.Errorf("%d records are left out, want %d to be remembered", got, maxOmissions)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		now := time.Unix(0, 0)
		b := newBrowsing(now)
		a := newAnnouncer("micro.", [8]byte{})
		big := map[string]string{"padding": strings.Repeat("x", maxText*9/10)}
		s := &registry.Service{Name: "greeter", Metadata: big, Nodes: []*registry.Node{{ID: "x", Address: "192.0.2.9:1"}}}
		l, err := a.encode(s, s.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		m := parsed(t, l.data)
		b.size = maxBytes - 5*maxText
		for i := range 10 {
			m.entries[0].instance = fmt.Sprintf("n%d.greeter.micro.", i)
			b.hear(now.Add(time.Duration(i)*time.Second), m, peer)
		}
		if b.size > maxBytes || b.size < maxBytes-maxText {
			t.Errorf("the nodes say %d bytes, want nearly %d", b.size, maxBytes)
		}
	})
	t.Run("at once", func(t *testing.T) {
		now := time.Unix(0, 0)
		b := newBrowsing(now)
		m := &message{entries: []entry{announced(t, "greeter", "x", "192.0.2.9:1").entries[0]}}
		b.decoding.take(now, 0)
		b.decoding.left = -1
		if b.hear(now, m, peer); len(b.nodes) != 0 {
			t.Error("a record was read beyond the budget")
		}
		if b.hear(now.Add(time.Second), m, peer); len(b.nodes) != 1 {
			t.Error("a record was not read a second later")
		}
	})
}

// TestParseHostile reads what no program sends.
func TestParseHostile(t *testing.T) {
	name := dnsmessage.MustNewName("greeter.micro.")
	flood := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	flood.EnableCompression()
	if err := flood.StartAnswers(); err != nil {
		t.Fatal(err)
	}
	for range maxRecords + 1 {
		err := flood.AResource(dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, dnsmessage.AResource{})
		if err != nil {
			t.Fatal(err)
		}
	}
	records, err := flood.Finish()
	if err != nil {
		t.Fatal(err)
	}
	header := func(h string) []byte {
		b, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	valid := capture(t, "query-service.txt")[1].data
	tests := []struct {
		name string
		data []byte
	}{
		{"nothing", nil},
		{"half a header", valid[:6]},
		{"cut off", valid[:len(valid)-1]},
		{"a pointer to itself", append(header("000084000000000100000000"), header("c00c000c0001000000780002c00c")...)},
		{"pointers in a ring", append(header("000084000000000100000000"), header("c00ec00c000c0001000000780002c00c")...)},
		{"a pointer beyond the end", append(header("000084000000000100000000"), header("ffff000c0001000000780002c00c")...)},
		{"a flood of records", records},
		{"a flood of questions", append(header("0000000002ff000000000000"), bytes.Repeat(header("0161000001"+"0001"), maxRecords+1)...)},
		{"more records promised than there are", append(header("00008400000000ff00000000"), header("00000c00010000007800020000")...)},
		{"another kind of message", append(header("0000a8000000000000000000"), valid[12:]...)},
		{"an error", append(header("000084030000000000000000"), valid[12:]...)},
		{"a label with a dot", append(header("000084000000000100000000"), header("03612e6200000c000100000078000100")...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := parse(tt.data); err == nil {
				t.Errorf("parse = %+v, want an error", m)
			}
		})
	}
}
