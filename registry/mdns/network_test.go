package mdns

import (
	"net/netip"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// TestOffLink has a registry receive the same announcement from here and there.
func TestOffLink(t *testing.T) {
	t.Parallel()
	r := open(t, "mdns:?domain=off")
	w := watch(t, r)
	await(t, w, "null")
	s := greeter("127.0.0.1:1")
	a := newAnnouncer("off.", [8]byte{1})
	l, err := a.encode(s, s.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	lo := r.net.links.Load().list[0].Index
	for _, d := range []datagram{
		{l.data, netip.MustParseAddrPort("198.51.100.1:5353"), lo},
		{l.data, netip.MustParseAddrPort("[2001:db8::1]:5353"), lo},
		{l.data, netip.MustParseAddrPort("[fe80::1]:5353"), lo + 1},
		{nil, netip.MustParseAddrPort("127.0.0.1:5353"), lo},
		{l.data[:20], netip.MustParseAddrPort("127.0.0.1:5353"), lo},
		{l.data, netip.AddrPort{}, lo},
	} {
		r.take(d)
		if got, _ := r.get("greeter"); len(got) != 0 {
			t.Fatalf("a datagram from %v is believed: %s, want it dropped", d.from, asText(got))
		}
	}
	r.take(datagram{l.data, netip.MustParseAddrPort("127.0.0.1:5353"), lo})
	await(t, w, asText([]*registry.Service{s}))
}

// TestOwnPackets has a registry hear what it says itself, late.
func TestOwnPackets(t *testing.T) {
	t.Parallel()
	r := open(t, "mdns:?domain=own")
	w := watch(t, r)
	await(t, w, "null")
	s := greeter("127.0.0.1:1")
	register(t, r, s)
	r.mu.Lock()
	said := r.announcer.byKey[localKey("greeter", "greeter-1")].data
	r.mu.Unlock()
	await(t, w, asText([]*registry.Service{s}))
	if err := r.Deregister(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r.take(datagram{said, netip.MustParseAddrPort("127.0.0.1:5353"), r.net.links.Load().list[0].Index})
	if got, _ := r.get("greeter"); len(got) != 0 {
		t.Errorf("what was withdrawn here is believed again: %s", asText(got))
	}
	port := r.net.asking[0].conn.LocalAddr().String()
	if from := netip.MustParseAddrPort(port).Port(); !r.net.isOurs(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), from)) {
		t.Errorf("a datagram from our own port %d is read, want it dropped", from)
	}
	if r.net.isOurs(netip.MustParseAddrPort("127.0.0.1:5353")) {
		t.Error("a datagram from the shared port is dropped, want it read")
	}
}

// TestQueryOfAPeer asks from the shared port: the answer is to all.
func TestQueryOfAPeer(t *testing.T) {
	t.Parallel()
	r := open(t, "mdns:?domain=peer")
	register(t, r, greeter("127.0.0.1:1"))
	listener, err := listenShared(t.Context(), groupV4())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.conn.Close()
	listener.join(r.net.links.Load())
	question, err := query("greeter.peer.")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.multicast(question, &r.net.links.Load().list[0]); err != nil {
		t.Fatal(err)
	}
	if err := listener.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, maxDatagram)
	asked := false
	for {
		n, _, _, err := listener.read(buf)
		if err != nil {
			t.Fatalf("no answer to all: %v", err)
		}
		m, err := parse(buf[:n]) // others' tests are heard, too
		if err != nil {
			continue
		}
		asked = asked || len(m.questions) == 1 && m.questions[0].Name.String() == "greeter.peer."
		if asked && len(m.entries) == 1 && m.entries[0].instance == "greeter-1.greeter.peer." {
			if !m.response || len(m.questions) != 0 {
				t.Errorf("the answer to all = %+v, want no question in it", m)
			}
			return
		}
	}
}

// TestQueueIsBounded has nobody read what arrives.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	n, err := openNetwork(t.Context(), nil, groupV4())
	if err != nil {
		t.Fatal(err)
	}
	n.scan()
	n.run()
	defer n.close()
	said, err := listenAlone(t.Context(), groupV4())
	if err != nil {
		t.Fatal(err)
	}
	defer said.conn.Close()
	data := make([]byte, 60_000)
	for range 3 * maxWaitingBytes / len(data) {
		if err := said.multicast(data, &n.links.Load().list[0]); err != nil {
			t.Fatal(err)
		}
		if waiting := n.waiting.Load(); waiting > maxWaitingBytes {
			t.Fatalf("%d bytes wait, want %d at most", waiting, maxWaitingBytes)
		}
	}
}
