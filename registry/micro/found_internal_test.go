package micro

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi/registry"
)

// A scene is what others say, and what is made of it.
type scene struct {
	found

	records registry.Records
	mine    map[string]bool
}

func newScene() *scene {
	s := &scene{mine: make(map[string]bool)}
	s.init(&s.records, func(key string) bool { return s.mine[key] })
	return s
}

// serves returns a service in JSON with one node, which has this address.
func serves(node, address string) []byte {
	return fmt.Appendf(nil, `{"name":"a","version":"1","nodes":[{"id":%q,"address":"h:%s"}]}`, node, address)
}

// state returns the nodes and their ports.
func (s *scene) state() string {
	var state []string
	for _, service := range s.records.Services() {
		for _, n := range service.Nodes {
			state = append(state, n.ID+strings.TrimPrefix(n.Address, "h"))
		}
	}
	return strings.Join(state, " ")
}

func TestFound(t *testing.T) {
	type step struct {
		what string // create, delete, answer, settle, or lost: settle without all answers
		node string
		port string
		want string // the state after that
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"a node that is registered", []step{{"create", "n", "1", "n:1"}, {"create", "n", "1", "n:1"}, {"create", "n", "2", "n:2"}}},
		{"a node that is deregistered", []step{{"create", "n", "1", "n:1"}, {"delete", "m", "", "n:1"}, {"delete", "n", "", ""}, {"delete", "n", "", ""}}},
		{"a node that answers", []step{{"answer", "n", "1", "n:1"}, {"answer", "n", "1", "n:1"}, {"answer", "m", "1", "m:1 n:1"}, {"settle", "", "", "m:1 n:1"}}},
		{"one that does not answer three times", []step{
			{"answer", "n", "1", "n:1"},
			{"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", ""},
		}},
		{"one that answers again", []step{
			{"answer", "n", "1", "n:1"},
			{"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"answer", "n", "1", "n:1"},
			{"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", ""},
		}},
		{"one that renews but does not answer", []step{
			{"create", "n", "1", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"},
			{"create", "n", "1", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", "n:1"}, {"settle", "", "", ""},
		}},
		{"answers that are lost", []step{
			{"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"},
			{"lost", "", "", "n:1"}, {"lost", "", "", "n:1"}, {"lost", "", "", "n:1"}, {"lost", "", "", "n:1"},
		}},
		{"an answer that is older than the end", []step{
			{"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"},
			{"delete", "n", "", ""}, {"answer", "n", "1", ""}, {"settle", "", "", ""}, {"answer", "n", "1", ""}, {"settle", "", "", ""},
			{"answer", "n", "1", "n:1"},
		}},
		{"an answer that is older than a change", []step{
			{"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"},
			{"create", "n", "2", "n:2"}, {"answer", "n", "1", "n:2"}, {"settle", "", "", "n:2"}, {"answer", "n", "1", "n:2"}, {"settle", "", "", "n:2"},
			{"answer", "n", "1", "n:2"}, {"settle", "", "", "n:1"},
		}},
		{"a change that was not told", []step{
			{"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"}, {"answer", "n", "2", "n:1"}, {"settle", "", "", "n:2"},
		}},
		{"two who say different things", []step{
			{"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"},
			{"answer", "n", "2", "n:1"}, {"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"},
			{"answer", "n", "1", "n:1"}, {"answer", "n", "2", "n:1"}, {"settle", "", "", "n:1"},
			{"answer", "n", "2", "n:1"}, {"settle", "", "", "n:2"},
		}},
		{"a change while another answer waits", []step{
			{"answer", "n", "1", "n:1"}, {"settle", "", "", "n:1"}, {"answer", "n", "2", "n:1"}, {"create", "n", "3", "n:3"}, {"settle", "", "", "n:3"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene()
			for i, step := range tt.steps {
				before := s.state()
				changed := s.do(step.what, serves(step.node, step.port))
				if got := s.state(); got != step.want {
					t.Fatalf("step %d: after %s the nodes are %q, want %q", i+1, step.what, got, step.want)
				}
				if changed != (before != step.want) {
					t.Errorf("step %d: %s says that something changed: %t, want %t", i+1, step.what, changed, !changed)
				}
			}
		})
	}
}

func (s *scene) do(what string, data []byte) bool {
	switch what {
	case "create":
		return s.create(data)
	case "delete":
		return s.delete(data)
	case "answer":
		return s.answer(data)
	case "lost":
		return s.settle(true)
	}
	return s.settle(false)
}

// TestFoundOrderOfAnswers: of several that say different things of a node that
// was something else, the order does not matter.
func TestFoundOrderOfAnswers(t *testing.T) {
	var states []string
	for _, ports := range [][]string{{"2", "3", "4"}, {"4", "3", "2"}, {"3", "4", "2"}} {
		s := newScene()
		s.answer(serves("n", "1"))
		s.settle(false)
		for _, port := range ports {
			s.answer(serves("n", port))
		}
		s.settle(false)
		states = append(states, s.state())
	}
	if states[0] != states[1] || states[0] != states[2] {
		t.Errorf("the nodes are %q, want the same whatever the order", states)
	}
}

func TestFoundLeavesOwnAlone(t *testing.T) {
	s := newScene()
	s.mine[key("a", "n")] = true
	for _, what := range []string{"create", "answer", "delete"} {
		if s.do(what, serves("n", "1")); s.state() != "" {
			t.Errorf("after %s the nodes are %q, want none", what, s.state())
		}
	}
}

// TestFoundIsBounded: more nodes than there may be are left out, once there is
// room they come, and nothing that is gone is held.
func TestFoundIsBounded(t *testing.T) {
	s := newScene()
	for i := range maxNodes + 10 {
		s.answer(serves(fmt.Sprintf("n%06d", i), "1"))
	}
	if len(s.nodes) != maxNodes {
		t.Fatalf("there are %d nodes, want %d", len(s.nodes), maxNodes)
	}
	if len(s.rounds) != 1 || len(s.read) > maxNodes {
		t.Errorf("%d things are told of and %d messages kept, want 1 and no more than %d", len(s.rounds), len(s.read), maxNodes)
	}
	s.delete(serves("n000000", ""))
	if !s.create(serves("late", "1")) {
		t.Error("there is no room for a node in place of another")
	}
	for range patience + memory {
		s.settle(false)
	}
	if len(s.nodes)+len(s.gone)+len(s.read)+len(s.rounds)+s.bytes != 0 {
		t.Errorf("%d nodes, %d that are gone, %d messages, %d things left out, %d bytes are kept, want none",
			len(s.nodes), len(s.gone), len(s.read), len(s.rounds), s.bytes)
	}
}

func TestLeftOutIsBounded(t *testing.T) {
	s := newScene()
	for i := range 2 * maxLeftOut {
		s.answer(fmt.Appendf(nil, `{"name":"a","nodes":[{"id":"%d"}]}`, i))
	}
	if len(s.rounds) != maxLeftOut || len(s.fresh) != maxLeftOut {
		t.Errorf("%d things are told of, and %d logged, want %d", len(s.rounds), len(s.fresh), maxLeftOut)
	}
}

// TestFoundAgreesWithModel: whatever is said, a node is there if and only if the
// last that was said of it, and could be believed, is that it is.
func TestFoundAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newScene()
		type model struct{ there, told, heard, missed int } // rounds; there is 0 for gone
		nodes := map[string]*model{"a": {}, "b": {}, "c": {}}
		round := 1
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "node")
			m := nodes[id]
			switch what := rapid.SampledFrom([]string{"create", "delete", "answer", "settle"}).Draw(t, "what"); what {
			case "create":
				s.create(serves(id, "1"))
				*m = model{1, round, round, 0}
			case "delete":
				s.delete(serves(id, ""))
				*m = model{0, round, 0, 0}
			case "answer":
				s.answer(serves(id, "1"))
				if m.there == 1 || m.told == 0 || m.told < round-1 {
					m.there, m.heard = 1, round
				}
			default:
				s.settle(false)
				for _, m := range nodes {
					if m.there == 0 {
						continue
					}
					if m.missed++; m.heard == round {
						m.missed = 0
					}
					if m.missed == patience {
						*m = model{}
					}
				}
				round++
			}
			var want []string
			for id, m := range nodes {
				if m.there == 1 {
					want = append(want, id+":1")
				}
			}
			slices.Sort(want)
			if got := s.state(); got != strings.Join(want, " ") {
				t.Fatalf("the nodes are %q, want %q", got, want)
			}
		}
	})
}

// FuzzMessages holds that whatever is said, what is found is valid, can be told
// and read again, and is counted as what it takes.
func FuzzMessages(f *testing.F) {
	for _, name := range []string{"query.txt", "register-get-deregister.txt"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			if line[0] == '{' {
				f.Add(bytes.TrimSpace(line))
			}
		}
	}
	f.Add([]byte(`{"Action":"create","Service":{"name":"a","nodes":[{"id":"n","address":"h:1"},{"id":"n","address":"h:2"},null]}}`))
	f.Add(serves("n", "1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newScene()
		if h, err := hear(data); err == nil {
			s.create(h.Service)
			s.answer(data)
		}
		size := 0
		for _, n := range s.nodes {
			size += n.bytes
		}
		if size != s.bytes {
			t.Fatalf("%d bytes are counted, want %d", s.bytes, size)
		}
		other := newScene()
		for _, service := range s.records.Services() {
			if err := service.Validate(); err != nil {
				t.Fatalf("a service that is invalid was found: %v", err)
			}
			messages, err := encode(service, 1<<20, created)
			if err != nil {
				continue // it grew: "<" is six bytes long
			}
			for _, m := range messages {
				h, err := hear(m)
				if err != nil || h.Action != actionCreate {
					t.Fatalf("%s cannot be read: %v", m, err)
				}
				other.create(h.Service)
			}
		}
		if got, want := text(t, other), text(t, s); len(s.nodes) == len(other.nodes) && got != want {
			t.Fatalf("what is told is read as\n%s, want\n%s", got, want)
		}
		s.delete(data)
		for range patience {
			s.settle(false)
		}
		s.settle(false)
		if got := s.state(); got != "" || s.bytes != 0 {
			t.Fatalf("the nodes are %q in %d bytes after silence, want none", got, s.bytes)
		}
	})
}

// FuzzQuestions holds that whoever asks gets what is registered, whole, or
// nothing.
func FuzzQuestions(f *testing.F) {
	f.Add([]byte(`{"Service":null,"Action":"list"}`))
	f.Add([]byte(`{"action":"get","service":{"name":"a"}}`))
	f.Add([]byte(`{"Action":"get","Service":{"name":"b","version":"","metadata":null,"endpoints":null,"nodes":null}}`))
	var o own
	for _, name := range []string{"a", "b"} {
		s := &registry.Service{Name: name, Nodes: []*registry.Node{{ID: name + "1", Address: "h:1"}}}
		o.set(key(name, name+"1"), s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := hear(data)
		if err != nil {
			return
		}
		services := o.asked(h)
		if len(services) > 0 && h.Action != actionGet && h.Action != actionList {
			t.Fatalf("%q is answered", data)
		}
		for _, asked := range services {
			answer := o.answer(asked, 1<<20)
			if len(answer) != 1 {
				t.Fatalf("the answer is %q, want one message", answer)
			}
			var s registry.Service
			if err := json.Unmarshal(answer[0], &s); err != nil || len(s.Nodes) != 1 || s.Nodes[0].ID != s.Name+"1" {
				t.Fatalf("the answer to %q is %q, want a service as it was registered", data, answer)
			}
		}
	})
}

func text(t *testing.T, s *scene) string {
	t.Helper()
	data, err := json.Marshal(s.records.Services())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
