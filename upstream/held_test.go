package upstream_test

import (
	"context"
	"errors"
	"testing"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// TestHeldNodes sends requests to nodes of which the registry does not have two any
// more: those serve what can be tried again, and the rest only if no other can.
func TestHeldNodes(t *testing.T) {
	nodes := nodes(3)
	for _, n := range nodes[1:] {
		n.Metadata = map[string]string{registry.MetaHeld: "true"}
	}
	set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", nodes...)}).All()
	send := func(f *fleet, n int, call upstream.Call) {
		t.Helper()
		for range n {
			if err := set.Do(t.Context(), call, f.attempt); err != nil {
				t.Errorf("Do = %v, want nil", err)
			}
		}
	}

	posts := new(fleet)
	send(posts, 100, upstream.Call{})
	if posts.count("1") != 100 {
		t.Errorf("the node that the registry has got %d of 100 requests that are sent once, want all", posts.count("1"))
	}
	gets := new(fleet)
	send(gets, 300, upstream.Call{Idempotent: true})
	if gets.count("1") > 200 || gets.count("2") == 0 || gets.count("3") == 0 {
		t.Errorf("the nodes got %d, %d and %d of 300 requests that may be tried again, want each its share", gets.count("1"), gets.count("2"), gets.count("3"))
	}
	last := &fleet{does: map[string]func(context.Context, *upstream.Try) error{"1": refuse}}
	send(last, 100, upstream.Call{})
	if last.count("2")+last.count("3") != 100 {
		t.Errorf("the nodes that are held got %d of 100 requests that no other could serve, want all", last.count("2")+last.count("3"))
	}
	if err := set.Do(t.Context(), upstream.Call{Fits: func(n *registry.Node) bool { return n.ID == "9" }}, refuse); !errors.Is(err, upstream.ErrNoNodes) {
		t.Errorf("Do = %v, want ErrNoNodes", err)
	}
}
