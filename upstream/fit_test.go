package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// among returns a Call.Fits that holds for the nodes with these ids.
func among(ids ...string) func(*registry.Node) bool {
	set := make(map[string]bool)
	for _, id := range ids {
		set[id] = true
	}
	return func(n *registry.Node) bool { return set[n.ID] }
}

func TestFits(t *testing.T) {
	key := &upstream.Policy{HashBy: "header:User"}
	tests := []struct {
		name  string
		nodes []*registry.Node
		call  upstream.Call
		want  []string // that are tried
	}{
		{"some", nodes(4), upstream.Call{Fits: among("2", "3")}, []string{"2", "3"}},
		{"one of many", nodes(40), upstream.Call{Fits: among("7")}, []string{"7"}},
		{"by key", nodes(4), upstream.Call{Fits: among("2", "3"), Policy: key}, []string{"2", "3"}},
		{
			"by weight", []*registry.Node{with("1", "weight", "1000"), with("2", "weight", "1"), with("3", "weight", "1")},
			upstream.Call{Fits: among("2", "3")},
			[]string{"2", "3"},
		},
		{
			"only drained ones", []*registry.Node{node("1", "h:1"), with("2", "weight", "0"), with("3", "weight", "0")},
			upstream.Call{Fits: among("2", "3")},
			[]string{"2", "3"},
		},
		{
			"drained ones beside others", []*registry.Node{node("1", "h:1"), with("2", "weight", "0"), node("3", "h:3")},
			upstream.Call{Fits: among("2", "3")},
			[]string{"3"},
		},
		{
			"none that the header asks for", []*registry.Node{node("1", "h:1"), with("2", "canary", "true"), node("3", "h:3")},
			upstream.Call{Fits: among("3"), Header: http.Header{"X-Canary": {"true"}}},
			[]string{"3"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", tt.nodes...)}).All()
			f := &fleet{}
			for i := range 200 {
				if tt.call.Policy != nil {
					tt.call.Header = http.Header{"User": {strconv.Itoa(i)}}
				}
				if err := set.Do(t.Context(), tt.call, f.attempt); err != nil {
					t.Fatal(err)
				}
			}
			total := 0
			for _, id := range tt.want {
				total += f.count(id)
				if f.count(id) == 0 {
					t.Errorf("node %s was not tried, want all tried that fit", id)
				}
			}
			if total != 200 {
				t.Errorf("%d of 200 tries were on nodes %v, want all", total, tt.want)
			}
		})
	}
}

func TestFitsNone(t *testing.T) {
	set, tries := greeters(3), 0
	for _, pol := range []*upstream.Policy{nil, {MaxPerNode: 1}} {
		err := set.Do(t.Context(), upstream.Call{Fits: among("4"), Policy: pol}, func(context.Context, *upstream.Try) error {
			tries++
			return nil
		})
		if !errors.Is(err, upstream.ErrNoNodes) || tries != 0 {
			t.Errorf("Do = %v after %d tries, want ErrNoNodes", err, tries)
		}
	}
}

func TestFitsWhenLimitIsReached(t *testing.T) {
	set := greeters(3)
	call := upstream.Call{Fits: among("2"), Policy: &upstream.Policy{MaxPerNode: 1}}
	err := set.Do(t.Context(), call, func(context.Context, *upstream.Try) error {
		return set.Do(t.Context(), call, answer)
	})
	if !errors.Is(err, upstream.ErrOverloaded) {
		t.Errorf("Do while the only node that fits is at its limit = %v, want ErrOverloaded", err)
	}
}

func TestFitsTriesOthersThatFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := greeters(5), &fleet{does: attempts{"2": refuse, "3": refuse}}
		for range 3 { // the second time all that fit are ejected
			before := f.count("2") + f.count("3")
			err := set.Do(t.Context(), upstream.Call{Fits: among("2", "3")}, f.attempt)
			if got := f.count("2") + f.count("3") - before; !errors.Is(err, errRefused) || got != 2 {
				t.Errorf("Do = %v after %d tries, want 2 that are refused", err, got)
			}
		}
		if got := f.count("1") + f.count("4") + f.count("5"); got != 0 {
			t.Errorf("nodes that do not fit got %d tries", got)
		}
	})
}

func TestStuckRequestStaysWhereNoOtherNodeFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, _ := settled(t, 3)
		start, tries := time.Now(), 0
		err := set.Do(t.Context(), upstream.Call{Idempotent: true, Fits: among("2")}, func(ctx context.Context, try *upstream.Try) error {
			tries++
			return patient(time.Second)(ctx, try)
		})
		if took := time.Since(start); err != nil || tries != 1 || took != time.Second {
			t.Errorf("Do = %v after %v and %d tries, want one of 1s", err, took, tries)
		}
	})
}
