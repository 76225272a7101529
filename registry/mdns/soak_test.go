package mdns

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A world is a network with a clock of its own: announcers, one browser, and a
// link between them that loses messages.
type world struct {
	t     *testing.T
	now   time.Time
	rand  *rand.Rand
	loss  float64 // of 1
	peer  sender
	b     *browser
	nodes []*announcer

	questions int
}

func newWorld(t *testing.T, announcers int, loss float64) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(0, 0), rand: rand.New(rand.NewPCG(1, 2)), loss: loss, peer: from(t, "192.0.2.9")}
	w.b = newBrowsing(w.now)
	for i := range announcers {
		w.nodes = append(w.nodes, newAnnouncer("micro.", [8]byte{byte(i)}))
	}
	return w
}

// arrives says whether a message does.
func (w *world) arrives() bool { return w.rand.Float64() >= w.loss }

// send has the browser hear what an announcer says, or not.
func (w *world) send(data []byte) {
	if data != nil && w.arrives() {
		w.b.hear(w.now, parsed(w.t, data), w.peer)
	}
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		names, next := w.b.due(w.now)
		for _, name := range names {
			w.questions++
			data, err := query(name)
			if err != nil {
				w.t.Fatalf("query(%s) error = %v", name, err)
			}
			for _, a := range w.nodes {
				if !w.arrives() {
					continue
				}
				for _, answer := range a.answers(w.now, parsed(w.t, data), true) {
					w.send(answer)
				}
			}
		}
		for _, a := range w.nodes {
			expired, messages, due := a.due(w.now)
			for _, key := range expired {
				w.send(a.remove(w.now, key))
			}
			for _, data := range messages {
				w.send(data)
			}
			next = earlier(next, due)
		}
		w.now = earlier(next, end)
	}
}

// want fails unless the browser knows what is announced, and no more.
func (w *world) want() {
	w.t.Helper()
	var all registry.Records
	for i, a := range w.nodes {
		for key, l := range a.byKey {
			var in inflater
			said, _, err := in.decode(l.entry.text)
			if err != nil {
				w.t.Fatal(err)
			}
			id, _ := below(l.entry.instance, l.name)
			all.Set(fmt.Sprint(i, key), &registry.Service{
				Name: said.Service, Version: said.Version, Endpoints: said.Endpoints,
				Nodes: []*registry.Node{{ID: id, Address: l.entry.address(), Metadata: said.Metadata}},
			})
		}
	}
	if got, want := asText(w.b.records.Services()), asText(all.Services()); got != want {
		w.t.Fatalf("after %v Services() =\n%s, want\n%s", w.now.Sub(time.Unix(0, 0)), got, want)
	}
}

// held counts what the browser and the announcers hold.
func (w *world) held() int {
	n := len(w.b.names) + len(w.b.nodes) + len(w.b.omitted.byKey) + w.b.size + len(w.b.records.Services())
	for _, a := range w.nodes {
		n += len(a.byKey) + len(a.byInstance) + len(a.byName) + len(a.repeats)
	}
	return n
}

// TestLossyNetwork has nodes come, go, move and die while a third of all
// messages is lost. Soon after, the browser must know what there is.
func TestLossyNetwork(t *testing.T) {
	w := newWorld(t, 4, 1./3)
	for round := range 20 {
		for range 10 {
			i := w.rand.IntN(len(w.nodes))
			s := greeter(fmt.Sprintf("192.0.2.9:%d", 1+w.rand.IntN(3)))
			s.Name = fmt.Sprintf("service-%d", w.rand.IntN(5))
			s.Nodes[0].ID = fmt.Sprintf("%s-%d", s.Name, i)
			a := w.nodes[i]
			switch w.rand.IntN(4) {
			case 0:
				w.send(a.remove(w.now, localKey(s.Name, s.Nodes[0].ID)))
			case 1: // killed, and started again with nothing
				w.nodes[i] = newAnnouncer("micro.", [8]byte{byte(i), byte(round)})
			default:
				put(t, a, w.now, s, 0)
			}
			w.pass(time.Duration(w.rand.IntN(1000)) * time.Millisecond)
		}
		w.loss = 0 // the end of this could be the loss of three answers in a row
		w.pass(20 * time.Second)
		w.want()
		w.loss = 1. / 3
	}
}

// TestFlapping has services come and go for a day, with goodbye or without.
func TestFlapping(t *testing.T) {
	w := newWorld(t, 1, 0)
	before := w.held()
	for i := range 24 * 60 {
		s := greeter("192.0.2.9:1")
		s.Name = fmt.Sprintf("service-%d", i)
		put(t, w.nodes[0], w.now, s, 40*time.Second)
		w.pass(30 * time.Second)
		w.want()
		if i%2 == 0 {
			w.nodes[0] = newAnnouncer("micro.", [8]byte{byte(i)})
		}
		w.pass(30 * time.Second)
		w.want()
	}
	w.pass(2 * listedLife)
	if after := w.held(); after != before {
		t.Errorf("%d things are held after a day, want %d as before", after, before)
	}
	if most := 24 * 60 * 60; w.questions > most {
		t.Errorf("%d questions in a day, want %d at most", w.questions, most)
	}
}
