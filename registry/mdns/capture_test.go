package mdns

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// captureNode is the node of the captured query; captured under captureService.
const (
	captureService = "greetermdns"
	captureNode    = "greetermdns-5cd90202-039a-430a-9493-645d9ca6cf9e"
)

// A packet is a datagram of a capture.
type packet struct {
	from netip.AddrPort
	data []byte
}

// capture reads the datagrams of a capture: a line that says where one is from,
// and a line in hexadecimal.
func capture(t testing.TB, name string) []packet {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "captures", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := regexp.MustCompile(`^--- from \('([^']+)', (\d+)\)`)
	var list []packet
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := head.FindStringSubmatch(lines.Text()); m != nil {
			port, _ := strconv.Atoi(m[2])
			list = append(list, packet{from: netip.AddrPortFrom(netip.MustParseAddr(m[1]), uint16(port))})
			continue
		}
		text, ok := strings.CutPrefix(lines.Text(), "hex: ")
		data, err := hex.DecodeString(text)
		if !ok || err != nil {
			t.Fatalf("%s: line %.20q is no packet: %v", name, lines.Text(), err)
		}
		list[len(list)-1].data = data
	}
	return list
}

// machine is one with the address of the captures, on the interface 2.
func machine() *links {
	list := []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("fd00::2/64"), netip.MustParsePrefix("fe80::2/64")}
	l := &links{own: make(map[netip.Addr]bool), list: make([]link, 1)}
	l.list[0].Index, l.list[0].prefixes = 2, list
	for _, p := range list {
		l.own[p.Addr()] = true
	}
	return l
}

// from returns a sender on the interface 2.
func from(t testing.TB, addr string) sender {
	t.Helper()
	s, ok := machine().sender(netip.MustParseAddr(addr), 2)
	if !ok {
		t.Fatalf("sender(%s) = false, want one on the link", addr)
	}
	return s
}

// newBrowsing returns a browser of micro and local that has begun.
func newBrowsing(now time.Time) *browser {
	b := newBrowser([]string{"micro.", "local."}, new(registry.Records))
	b.start(now)
	return b
}

// replay has a browser hear a packet, if it is an answer.
func replay(t testing.TB, b *browser, now time.Time, p packet) {
	t.Helper()
	m, err := parse(p.data)
	if err != nil {
		t.Fatalf("parse error = %v", err)
	}
	if m.response {
		b.hear(now, m, from(t, p.from.Addr().String()))
	}
}

func TestCaptureOfTheList(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBrowsing(now)
	b.due(now)
	for _, p := range capture(t, "query-list.txt") {
		replay(t, b, now, p)
	}
	got, _ := b.due(now)
	slices.Sort(got)
	if want := []string{"greetermdns.micro.", "micro.http.broker.micro."}; !slices.Equal(got, want) {
		t.Errorf("what is asked for after the list = %q, want %q", got, want)
	}
	if len(b.records.Services()) != 0 {
		t.Errorf("Services() = %s, want none before their nodes are known", asText(b.records.Services()))
	}
}

// TestCaptureOfAService also has the same answer come from two addresses.
func TestCaptureOfAService(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBrowsing(now)
	for _, p := range capture(t, "query-service.txt") {
		replay(t, b, now, p)
	}
	got := b.records.Services()
	if len(got) != 1 || len(got[0].Nodes) != 1 {
		t.Fatalf("Services() = %s, want one with one node", asText(got))
	}
	data, err := os.ReadFile("testdata/captures/query-service.json")
	if err != nil {
		t.Fatal(err)
	}
	want := new(registry.Service) // endpoints and metadata have the same names, but for their case
	if err := json.Unmarshal(data, want); err != nil {
		t.Fatal(err)
	}
	want.Name = captureService
	want.Nodes = []*registry.Node{{ID: captureNode, Address: "127.0.0.1:19004", Metadata: want.Metadata}}
	want.Metadata = nil
	if len(want.Endpoints) != 9 {
		t.Fatalf("the capture has %d endpoints, want 9", len(want.Endpoints))
	}
	if g, w := asText(got), asText([]*registry.Service{want}); g != w {
		t.Errorf("Services() =\n%s, want\n%s", g, w)
	}
	if got := b.omitted.all(nil); len(got) != 0 {
		t.Errorf("left out: %v, want nothing", got)
	}
}

func TestCaptureOfStartupAndShutdown(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBrowsing(now)
	var states []string
	for _, p := range capture(t, "startup-and-shutdown.txt") {
		before := b.changes
		replay(t, b, now, p)
		if b.changes == before {
			continue
		}
		var nodes []string
		for _, s := range b.records.Services() {
			for _, n := range s.Nodes {
				id, _, _ := strings.Cut(n.ID, "-")
				nodes = append(nodes, s.Name+" "+id+" "+n.Address)
			}
		}
		states = append(states, strings.Join(nodes, ", "))
	}
	const (
		event = "micro.http.broker greeter.event 127.0.0.1:42737"
		hello = "micro.http.broker greeter.hello 127.0.0.1:42737"
		node  = "mdnstmp mdnstmp 127.0.0.1:19005"
	)
	want := []string{
		hello, event + ", " + hello, node + ", " + event + ", " + hello, // announced, then repeated
		event + ", " + hello, event, "", // goodbye
	}
	if !slices.Equal(states, want) {
		t.Errorf("states =\n%s\nwant\n%s", strings.Join(states, "\n"), strings.Join(want, "\n"))
	}
}

// TestCaptureFromElsewhere shows that what go-micro announces on a loopback is
// not taken from another machine.
func TestCaptureFromElsewhere(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBrowsing(now)
	p := capture(t, "query-service.txt")[1]
	p.from = netip.MustParseAddrPort("192.0.2.9:5353")
	replay(t, b, now, p)
	if got := b.records.Services(); len(got) != 0 {
		t.Errorf("Services() = %s, want none", asText(got))
	}
	got := b.omitted.all(nil)
	want := registry.Omission{
		Key: captureNode + ".greetermdns.micro.", Service: captureService,
		Reason: "127.0.0.1 is an address of this machine, and 192.0.2.9 is not",
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("left out: %+v, want %+v", got, want)
	}
}
