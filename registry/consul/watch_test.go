package consul_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestRestart: the agent comes back empty, and its index begins anew.
func TestRestart(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Minute)
	w := registrytest.Watch(t, r)
	w.Await("the node", registrytest.HasNodes("greeter-1"))
	back := r.Reconnected(t.Context())
	f.awaitQuestions(t, quietPath, 3) // the first was Open's, and the last one blocks
	restore := f.sever()
	f.awaitQuestions(t, quietPath, 5) // the client tries again once by itself
	f.set(func() {
		clear(f.services)
		f.index = 5
	})
	restore()
	w.Await("no node", registrytest.HasNodes())
	receive(t, back)
	registrytest.Register(t, r, registrytest.Greeter("greeter-1"), time.Minute)
	w.Await("the node again", registrytest.HasNodes("greeter-1"))
}

// TestIndexGoesBack: an agent that restored an older state, without a word.
func TestIndexGoesBack(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	f.set(func() { f.index = 1000 })
	f.add(&instance{Name: "a", ID: "1", Address: "h", Port: 80}, "passing")
	w := registrytest.Watch(t, r)
	w.Await("the node", registrytest.HasNodes("1@node-2"))
	f.set(func() {
		f.index = 500
		f.services["node-2/1"].Port = 81 // its index stays
	})
	w.Await("the older state", func(got []*registry.Service) bool { return got[0].Nodes[0].Address == "h:81" })
	f.add(&instance{Name: "a", ID: "2", Address: "h", Port: 80}, "passing")
	w.Await("a change after that", registrytest.HasNodes("1@node-2", "2@node-2"))
	f.set(func() {
		if slices.Contains(f.indexes, "0") {
			t.Errorf("questions had the indexes %q, want none with 0", f.indexes)
		}
	})
}

// TestFewQuestions: a thousand services cost three questions at a time, and a
// change costs those of the service that changed.
func TestFewQuestions(t *testing.T) {
	f := newFakeAgent(t)
	for i := range 1000 {
		f.add(&instance{Name: fmt.Sprintf("s-%d", i), ID: fmt.Sprint(i), Address: "h", Port: 80}, "passing")
	}
	r := open(t, f.address())
	w := registrytest.Watch(t, r)
	w.Await("all", func(got []*registry.Service) bool { return len(got) == 1000 })
	before := f.questions()
	f.set(func() { f.setStatus(f.services["node-2/500"], "critical") })
	w.Await("all but one", func(got []*registry.Service) bool { return len(got) == 999 })
	if got := f.questions() - before; got > 8 {
		t.Errorf("a change cost %d questions, want at most 8", got)
	}
	f.set(func() {
		if got := f.asked["/v1/health/service/s-500"]; got > 3 {
			t.Errorf("the service that changed was asked for %d times, want at most 3", got)
		}
	})
}

// TestChangeWithoutACheck moves neither a check nor a name, and is found.
func TestChangeWithoutACheck(t *testing.T) {
	f := newFakeAgent(t)
	f.add(&instance{Name: "a", ID: "1", Address: "h", Port: 80}, "")
	w := registrytest.Watch(t, open(t, f.address()))
	w.Await("the node", registrytest.HasNodes("1@node-2"))
	f.add(&instance{Name: "a", ID: "1", Address: "h", Port: 81}, "")
	w.Await("its new address", func(got []*registry.Service) bool { return got[0].Nodes[0].Address == "h:81" })
	f.add(&instance{Name: "a", ID: "2", Address: "h", Port: 81}, "")
	w.Await("another node", registrytest.HasNodes("1@node-2", "2@node-2"))
}

// TestNodeCheck: what befalls a node of Consul befalls all that is on it.
func TestNodeCheck(t *testing.T) {
	f := newFakeAgent(t)
	f.add(&instance{Name: "a", ID: "1", Address: "h", Port: 80}, "passing")
	w := registrytest.Watch(t, open(t, f.address()))
	before := w.Await("the node", registrytest.HasNodes("1@node-2"))
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	f.set(func() { f.index++ }) // the check of a node that has no service
	if got, err := w.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() = %v, %v, want %v", got, err, context.DeadlineExceeded)
	}
	f.set(func() { f.setStatus(f.services["node-2/1"], "critical") })
	w.Await("none", registrytest.HasNodes())
	f.set(func() { f.setStatus(f.services["node-2/1"], "passing") })
	if after := w.Await("the node", registrytest.HasNodes("1@node-2")); text(t, before[0]) != text(t, after[0]) {
		t.Errorf("Next() = %s, want %s", text(t, after[0]), text(t, before[0]))
	}
}

// TestEqualEndpointsAreShared: many services that announce the same hold it
// once.
func TestEqualEndpointsAreShared(t *testing.T) {
	f := newFakeAgent(t)
	for _, name := range []string{"a", "b"} {
		s := capture(t)
		s.Name, s.ID = name, name+"-1"
		f.add(s, "passing")
	}
	services := registrytest.Watch(t, open(t, f.address())).Await("both", registrytest.HasNodes("a-1", "b-1"))
	if services[0].Endpoints[0] != services[1].Endpoints[0] {
		t.Error("two services announce the same endpoint, and hold it twice")
	}
}

// TestAgentFails: it is asked seldom, and the loss is told once.
func TestAgentFails(t *testing.T) {
	f := newFakeAgent(t)
	w := registrytest.Watch(t, open(t, f.address()))
	w.Await("the empty state", registrytest.HasNodes())
	f.set(func() { f.refuse = 500 })
	f.CloseClientConnections()
	if got, err := w.Next(bound(t)); !errors.Is(err, registry.ErrUnavailable) {
		t.Fatalf("Next() = %v, %v, want ErrUnavailable", got, err)
	}
	f.set(func() { f.refuse = 0; clear(f.asked); f.down = true })
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := w.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next() = %v, %v, want %v", got, err, context.DeadlineExceeded)
	}
	f.set(func() { f.down = false })
	w.Await("the same state", registrytest.HasNodes())
}

// TestHostileAnswers: what is no agent of Consul's is no registry.
func TestHostileAnswers(t *testing.T) {
	f := newFakeAgent(t)
	r := open(t, f.address())
	w := registrytest.Watch(t, r)
	f.add(&instance{Name: "a", ID: "1", Address: "h", Port: 80}, "")
	f.set(func() { f.index = 0 })
	if got, err := w.Next(bound(t)); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Next() of answers without an index = %v, %v, want ErrUnavailable", got, err)
	}
	if got, err := r.Get(t.Context(), "a"); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Get() = %v, %v, want ErrUnavailable", got, err)
	}
}
