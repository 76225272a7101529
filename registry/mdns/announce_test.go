package mdns

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/goapi-dev/goapi/registry"
)

// greeter is a service with a node.
func greeter(address string) *registry.Service {
	return &registry.Service{
		Name: "greeter", Version: "1",
		Endpoints: []*registry.Endpoint{{Name: "Greeter.Hello", Metadata: map[string]string{"path": "/hello"}}},
		Nodes:     []*registry.Node{{ID: "greeter-1", Address: address, Metadata: map[string]string{"protocol": "mucp"}}},
	}
}

// put registers a service with an announcer.
func put(t testing.TB, a *announcer, now time.Time, s *registry.Service, ttl time.Duration) {
	t.Helper()
	for _, n := range s.Nodes {
		l, err := a.encode(s, n)
		if err != nil {
			t.Fatalf("encode(%s) error = %v", n.ID, err)
		}
		a.put(now, l, ttl)
	}
}

// TestAnswerToGoMicro asks with the bytes of go-micro's client, and looks for
// what it looks for.
func TestAnswerToGoMicro(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAnnouncer("micro.", [8]byte{1})
	for _, name := range []string{"greetermdns", "other"} {
		s := greeter("127.0.0.1:9090")
		s.Name = name
		put(t, a, now, s, 0)
	}
	t.Run("for a service", func(t *testing.T) {
		m := parsed(t, capture(t, "query-service.txt")[0].data)
		answers := a.answers(now, m, true)
		if len(answers) != 1 {
			t.Fatalf("%d answers, want one", len(answers))
		}
		wantAnswer(t, answers[0], m, "greetermdns.micro.", "greeter-1.greetermdns.micro.", []dnsmessage.Type{
			dnsmessage.TypePTR, dnsmessage.TypeSRV, dnsmessage.TypeA, dnsmessage.TypeTXT,
		})
	})
	t.Run("for the list", func(t *testing.T) {
		m := parsed(t, capture(t, "query-list.txt")[0].data)
		answers := a.answers(now, m, true)
		if len(answers) != 2 {
			t.Fatalf("%d answers, want one for each service", len(answers))
		}
		slices.SortFunc(answers, func(a, b []byte) int { return len(b) - len(a) })
		wantAnswer(t, answers[0], m, "_services.micro.", "greetermdns._services.micro.", []dnsmessage.Type{
			dnsmessage.TypePTR, dnsmessage.TypeSRV, dnsmessage.TypeA, dnsmessage.TypeTXT,
		})
	})
	t.Run("for what is not there", func(t *testing.T) {
		m := parsed(t, capture(t, "startup-and-shutdown.txt")[0].data)
		if answers := a.answers(now, m, true); len(answers) != 0 {
			t.Errorf("%d answers, want none", len(answers))
		}
	})
}

// wantAnswer fails unless data repeats the question of m, and says all about one
// instance in its answer section.
func wantAnswer(t *testing.T, data []byte, m *message, name, instance string, want []dnsmessage.Type) {
	t.Helper()
	var got dnsmessage.Message
	if err := got.Unpack(data); err != nil {
		t.Fatal(err)
	}
	if got.ID != m.id || !got.Response || !got.Authoritative {
		t.Errorf("header = %+v, want an authoritative response with id %d", got.Header, m.id)
	}
	if !slices.Equal(got.Questions, m.questions) || got.Questions[0].Name.String() != name {
		t.Errorf("questions = %v, want that for %s repeated", got.Questions, name)
	}
	var types []dnsmessage.Type
	for i := range got.Answers {
		types = append(types, got.Answers[i].Header.Type)
	}
	if !slices.Equal(types, want) || len(got.Additionals) != 0 {
		t.Fatalf("answers = %v and %d additional, want %v and none", types, len(got.Additionals), want)
	}
	ptr, srv := got.Answers[0], got.Answers[1]
	if ptr.Header.Name.String() != name || ptr.Body.(*dnsmessage.PTRResource).PTR.String() != instance {
		t.Errorf("PTR = %v %v, want %s to %s", ptr.Header.Name, ptr.Body, name, instance)
	}
	if srv.Header.Name.String() != instance || srv.Header.TTL != announcedTTL || srv.Header.Class != dnsmessage.ClassINET {
		t.Errorf("SRV = %+v, want one of %s that lives %d s", srv.Header, instance, announcedTTL)
	}
	if target := srv.Body.(*dnsmessage.SRVResource).Target; target != got.Answers[2].Header.Name {
		t.Errorf("SRV target = %v, want the name of the address, %v", target, got.Answers[2].Header.Name)
	}
}

func TestAnswers(t *testing.T) {
	question := func(name string, kind dnsmessage.Type, class dnsmessage.Class) *message {
		return &message{questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}}}
	}
	tests := []struct {
		name string
		ask  *message
		want int
	}{
		{"PTR", question("greeter.micro.", dnsmessage.TypePTR, dnsmessage.ClassINET), 1},
		{"PTR, unicast wished for", question("greeter.micro.", dnsmessage.TypePTR, dnsmessage.ClassINET|wishUnicast), 1},
		{"anything about the service", question("greeter.micro.", dnsmessage.TypeALL, dnsmessage.ClassINET), 1},
		{"SRV of the node", question("greeter-1.greeter.micro.", dnsmessage.TypeSRV, dnsmessage.ClassINET), 1},
		{"TXT of the node", question("greeter-1.greeter.micro.", dnsmessage.TypeTXT, dnsmessage.ClassINET), 1},
		{"PTR of the node", question("greeter-1.greeter.micro.", dnsmessage.TypePTR, dnsmessage.ClassINET), 0},
		{"SRV of the service", question("greeter.micro.", dnsmessage.TypeSRV, dnsmessage.ClassINET), 0},
		{"another class", question("greeter.micro.", dnsmessage.TypePTR, dnsmessage.ClassCHAOS), 0},
		{"another domain", question("greeter.local.", dnsmessage.TypePTR, dnsmessage.ClassINET), 0},
		{"nothing", &message{}, 0},
	}
	now := time.Unix(0, 0)
	a := newAnnouncer("micro.", [8]byte{1})
	put(t, a, now, greeter("127.0.0.1:9090"), 0)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := a.answers(now, tt.ask, true); len(got) != tt.want {
				t.Errorf("%d answers, want %d", len(got), tt.want)
			}
		})
	}
	t.Run("to all, once a second", func(t *testing.T) {
		for i, want := range []int{1, 0, 1} {
			got := a.answers(now.Add(time.Duration(i)*multicastInterval/2), tests[0].ask, false)
			if len(got) != want {
				t.Fatalf("%d answers to question %d, want %d", len(got), i, want)
			}
			if want == 1 && len(parsed(t, got[0]).questions) != 0 {
				t.Error("an answer to all repeats the question")
			}
		}
	})
	t.Run("a flood", func(t *testing.T) {
		sent := 0
		for range 20_000 {
			sent += len(a.answers(now, tests[0].ask, true))
		}
		if sent == 0 || sent > 5000 {
			t.Errorf("%d answers at once, want 5000 at most", sent)
		}
	})
}

func TestAnnouncerTime(t *testing.T) {
	begin := time.Unix(0, 0)
	at := begin.Add
	a := newAnnouncer("micro.", [8]byte{1})
	put(t, a, begin, greeter("127.0.0.1:9090"), 10*time.Second)
	if _, messages, next := a.due(begin); len(messages) != 0 || next != at(repeatAfter) {
		t.Errorf("due at once = %d messages, next %v, want none until %v", len(messages), next, at(repeatAfter))
	}
	expired, messages, next := a.due(at(repeatAfter))
	if len(expired) != 0 || len(messages) != 1 || next != at(10*time.Second) {
		t.Errorf("due after %v = %q, %d messages, next %v, want the announcement again", repeatAfter, expired, len(messages), next)
	}
	put(t, a, at(5*time.Second), greeter("127.0.0.1:9090"), 10*time.Second)
	if expired, messages, _ := a.due(at(10 * time.Second)); len(expired) != 0 || len(messages) != 0 {
		t.Errorf("due after a renewal = %q, %d messages, want nothing", expired, len(messages))
	}
	expired, _, _ = a.due(at(15 * time.Second))
	if want := []string{localKey("greeter", "greeter-1")}; !slices.Equal(expired, want) {
		t.Errorf("expired = %q, want %q", expired, want)
	}
	bye := parsed(t, a.remove(at(15*time.Second), expired[0]))
	if len(bye.entries) != 1 || bye.entries[0].ttl != 0 || len(bye.entries[0].text) == 0 {
		t.Errorf("goodbye = %+v, want all records with TTL 0", bye)
	}
	if _, messages, _ := a.due(at(16 * time.Second)); len(messages) != 1 || parsed(t, messages[0]).entries[0].ttl != 0 {
		t.Errorf("due after the goodbye = %d messages, want it again", len(messages))
	}
	if again := a.remove(at(17*time.Second), expired[0]); again != nil {
		t.Error("the goodbye of a node that is gone, want none")
	}
	if len(a.byKey)+len(a.byInstance)+len(a.byName)+len(a.repeats) != 0 {
		t.Errorf("the announcer holds %v, want nothing", a)
	}
}

// TestNewInterface has many nodes be announced again, in parts.
func TestNewInterface(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAnnouncer("micro.", [8]byte{1})
	s := greeter("127.0.0.1:9090")
	for i := range 3 * maxBurst {
		s.Nodes[0].ID = fmt.Sprint(i)
		put(t, a, now, s, 0)
	}
	now = now.Add(time.Minute)
	a.due(now)
	a.due(now)
	a.due(now)
	a.again(now)
	for range 3 {
		_, messages, next := a.due(now)
		if len(messages) != maxBurst {
			t.Errorf("%d messages at once, want %d", len(messages), maxBurst)
		}
		now = next
	}
	if _, messages, _ := a.due(now); len(messages) != 0 {
		t.Errorf("%d messages more, want none", len(messages))
	}
}

// TestReadsBackEqual sends what is announced through bytes to a browser.
func TestReadsBackEqual(t *testing.T) {
	long := strings.Repeat("n", 255)
	services := []*registry.Service{
		greeter("192.0.2.2:9090"),
		{Name: "a.b", Nodes: []*registry.Node{{ID: "c", Address: "192.0.2.2:1"}, {ID: "a.b", Address: "192.0.2.2:2"}}},
		{Name: "b", Nodes: []*registry.Node{{ID: "c.a", Address: "192.0.2.2:3"}, {ID: "a", Address: "192.0.2.2:4"}}},
		{Name: "_services", Nodes: []*registry.Node{{ID: "_services", Address: "192.0.2.2:5"}}},
		{Name: "a..b", Version: "v 1", Nodes: []*registry.Node{{ID: ".", Address: "[::1]:6"}}},
		{Name: long, Version: long, Nodes: []*registry.Node{{ID: long, Address: "[::ffff:127.0.0.1]:7"}}},
		{Name: "port", Nodes: []*registry.Node{{ID: "port", Address: "127.0.0.1:080"}}},
		{Name: "host", Metadata: map[string]string{"team": "blue"}, Nodes: []*registry.Node{{ID: "host", Address: "node.example:8"}}},
		{Name: "\u6328\u62f6", Nodes: []*registry.Node{{ID: "👋", Address: "127.0.0.1:9"}}},
	}
	now := time.Unix(0, 0)
	a := newAnnouncer("micro.", [8]byte{1})
	b := newBrowsing(now)
	var want registry.Records
	for i, s := range services {
		put(t, a, now, s, 0)
		want.Set(fmt.Sprint(i), s)
	}
	for _, l := range a.byKey {
		b.hear(now, parsed(t, l.data), from(t, "192.0.2.2"))
	}
	if got, want := asText(b.records.Services()), asText(want.Services()); got != want {
		t.Errorf("Services() =\n%s, want\n%s", got, want)
	}
	if got := b.omitted.all(nil); len(got) != 0 {
		t.Errorf("left out: %v, want nothing", got)
	}
	for name := range a.byName {
		if b.names[name] == nil {
			t.Errorf("%.80q is not asked for", name)
		}
	}
}

// TestAmbiguousNames registers two nodes whose DNS names would be one.
func TestAmbiguousNames(t *testing.T) {
	now := time.Unix(0, 0)
	a := newAnnouncer("micro.", [8]byte{1})
	one := &registry.Service{Name: "c", Nodes: []*registry.Node{{ID: "a.b", Address: "192.0.2.2:1"}}}
	two := &registry.Service{Name: "b.c", Nodes: []*registry.Node{{ID: "a", Address: "192.0.2.2:2"}}}
	put(t, a, now, one, 0)
	put(t, a, now, two, 0)
	put(t, a, now, two, 0)
	b := newBrowsing(now)
	for _, l := range a.byKey {
		b.hear(now, parsed(t, l.data), from(t, "192.0.2.2"))
	}
	if got, want := asText(b.records.Services()), asText([]*registry.Service{two, one}); got != want {
		t.Errorf("Services() =\n%s, want\n%s", got, want)
	}
}

func TestTooLarge(t *testing.T) {
	noise := make([]byte, 40_000) // which cannot be compressed
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for name, padding := range map[string]string{
		"for a datagram": hex.EncodeToString(noise),
		"to be read":     strings.Repeat("x", maxText),
	} {
		s := greeter("192.0.2.2:1")
		s.Metadata = map[string]string{"padding": padding}
		if _, err := newAnnouncer("micro.", [8]byte{}).encode(s, s.Nodes[0]); !errors.Is(err, registry.ErrTooLarge) {
			t.Errorf("encode of what is too large %s error = %v, want ErrTooLarge", name, err)
		}
	}
}
