package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// An outcome is what an attempt does.
type outcome struct {
	sent, answered, failed, blameless, ok bool

	twice bool // says all of it twice
	hangs bool // until its context ends
}

func (o outcome) attempt(ctx context.Context, t *upstream.Try) error {
	times := 1
	if o.twice {
		times = 2
	}
	for range times {
		if o.sent {
			t.Sent()
			t.Progress()
		}
		if o.answered {
			t.Answered()
		}
		if o.failed {
			t.Failed()
		}
		if o.blameless {
			t.Blameless()
		}
	}
	if o.hangs && !o.answered && !o.failed {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if o.ok {
		return nil
	}
	return io.ErrUnexpectedEOF
}

var outcomes = rapid.Custom(func(t *rapid.T) outcome {
	rare := rapid.IntRange(0, 20)
	return outcome{
		sent: rapid.Bool().Draw(t, "sent"), answered: rare.Draw(t, "answered") == 0,
		failed:    rare.Draw(t, "failed") == 0,
		blameless: rare.Draw(t, "blameless") == 0, ok: rare.Draw(t, "ok") == 0,
		twice: rapid.Bool().Draw(t, "twice"), hangs: rare.Draw(t, "hangs") == 0,
	}
})

func TestDoNeverDoesWhatIsNotSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := upstream.NewPools(nil)
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(3)...)}).All()
		for range rapid.IntRange(1, 10).Draw(t, "requests") {
			n := rapid.IntRange(0, 5).Draw(t, "nodes")
			pools.Update("greeter", []*registry.Service{service("1", nodes(n)...)})
			checkRequest(t, set, n)
		}
		for _, st := range set.Nodes() {
			if st.InFlight != 0 || st.Silent != 0 {
				t.Fatalf("when all is over node %s is %+v", st.Node.ID, st)
			}
		}
	})
}

// checkRequest makes one request of random fate to a Set of n nodes.
func checkRequest(t *rapid.T, set *upstream.Set, n int) {
	tries := rapid.IntRange(1, 6).Draw(t, "tries")
	call := upstream.Call{
		Idempotent: rapid.Bool().Draw(t, "idempotent"),
		Policy:     &upstream.Policy{Tries: tries, TryTimeout: 200 * time.Microsecond},
	}
	var done []outcome
	ids := make(map[string]int)
	err := set.Do(context.Background(), call, func(ctx context.Context, try *upstream.Try) error {
		o := outcomes.Draw(t, "outcome")
		done = append(done, o)
		ids[try.Node.ID]++
		if try.N != len(done) {
			t.Fatalf("N = %d at try %d", try.N, len(done))
		}
		return o.attempt(ctx, try)
	})
	if n == 0 {
		if len(done) != 0 || !errors.Is(err, upstream.ErrNoNodes) {
			t.Fatalf("Do without nodes = %v after %d tries", err, len(done))
		}
		return
	}
	if len(done) == 0 || len(done) > tries {
		t.Fatalf("Do tried %d times, want 1 to %d", len(done), tries)
	}
	for _, o := range done[:len(done)-1] {
		if o.answered || o.failed || o.blameless || o.sent && !call.Idempotent || o.ok && !o.hangs {
			t.Fatalf("Do tried again after %+v (idempotent %t)", o, call.Idempotent)
		}
	}
	last := done[len(done)-1]
	if ok := last.ok && (!last.hangs || last.answered || last.failed); ok != (err == nil) {
		t.Fatalf("Do = %v, want what its last attempt came to, %+v", err, last)
	}
	if errors.Is(err, upstream.ErrNoNodes) {
		t.Fatalf("Do = %v with %d nodes", err, n)
	}
	if len(done) <= n && len(ids) != len(done) && !anyEjected(set) {
		t.Fatalf("Do tried %v, want different nodes", ids)
	}
}

// anyEjected says that some node was ejected: then a node that was tried may
// come before it.
func anyEjected(set *upstream.Set) bool {
	for _, st := range set.Nodes() {
		if !st.EjectedUntil.IsZero() {
			return true
		}
	}
	return false
}

// metadata draws what nodes announce, some of it malformed.
var metadata = rapid.Custom(func(t *rapid.T) map[string]string {
	m := make(map[string]string)
	for key, values := range map[string][]string{
		"weight": {"", "0", "1", "2.5", "x"},
		"canary": {"", "", "", "true", "100%", "no"},
		"match":  {"", "", "", "X-A:1", "X-A:2", "X-B"},
	} {
		if v := rapid.SampledFrom(values).Draw(t, key); v != "" {
			m[key] = v
		}
	}
	return m
})

// allowed returns the ids of the nodes that may serve a request with the given
// header, as the package comment has it, when all are well.
func allowed(nodes []*registry.Node, h http.Header) map[string]bool {
	matches := func(n *registry.Node) string {
		if m := n.Metadata["match"]; strings.Contains(m, ":") {
			return m
		}
		return ""
	}
	canary := func(n *registry.Node) bool {
		return matches(n) == "" && (n.Metadata["canary"] == "true" || n.Metadata["canary"] == "100%")
	}
	for _, kind := range []func(*registry.Node) bool{
		func(n *registry.Node) bool { m := matches(n); return m != "" && m == "X-A:"+h.Get("X-A") },
		func(n *registry.Node) bool {
			return canary(n) && (h.Get("X-Canary") == "true" || h.Get("X-Canary") == "" &&
				slices.ContainsFunc(nodes, func(n *registry.Node) bool { return canary(n) && n.Metadata["canary"] == "100%" }))
		},
		func(n *registry.Node) bool { return matches(n) == "" && !canary(n) },
	} {
		all, some := make(map[string]bool), make(map[string]bool)
		for _, n := range nodes {
			if kind(n) {
				all[n.ID] = true
				if n.Metadata["weight"] != "0" {
					some[n.ID] = true
				}
			}
		}
		if len(some) > 0 {
			return some
		}
		if len(all) > 0 {
			return all
		}
	}
	return nil
}

func TestRequestsGoWhereTheyMay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools := upstream.NewPools(nil)
		var set *upstream.Set
		for range rapid.IntRange(1, 5).Draw(t, "updates") {
			list := nodes(rapid.IntRange(1, 6).Draw(t, "nodes"))
			for _, n := range list {
				n.Metadata = metadata.Draw(t, "metadata")
			}
			set = pools.Update("greeter", []*registry.Service{service("1", list...)}).All()
			for range 10 {
				h := http.Header{}
				for name, values := range map[string][]string{"X-A": {"", "1", "2", "3"}, "X-Canary": {"", "true", "false"}} {
					if v := rapid.SampledFrom(values).Draw(t, name); v != "" {
						h.Set(name, v)
					}
				}
				call := upstream.Call{Header: h, Policy: &upstream.Policy{HashBy: rapid.SampledFrom([]string{"", "header:X-A"}).Draw(t, "by")}}
				want, id := allowed(list, h), ""
				err := set.Do(context.Background(), call, func(ctx context.Context, try *upstream.Try) error {
					id = try.Node.ID
					return answer(ctx, try)
				})
				if len(want) == 0 != errors.Is(err, upstream.ErrNoNodes) || len(want) > 0 && !want[id] {
					t.Fatalf("Do with %v = %v on node %q, want one of %v", h, err, id, want)
				}
			}
		}
	})
}

func TestChaosLeavesNothingBehind(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var wrong []string
		synctest.Test(t, func(*testing.T) { wrong = chaos(rt) })
		if len(wrong) > 0 {
			rt.Fatal(strings.Join(wrong, "; "))
		}
	})
}

// chaos makes requests of random fate at random times, and returns what is
// wrong with what became of them.
func chaos(t *rapid.T) (wrong []string) {
	set := greeters(rapid.IntRange(1, 5).Draw(t, "nodes"))
	limit := rapid.IntRange(1, 20).Draw(t, "limit")
	pol := &upstream.Policy{MaxPerNode: limit, TryTimeout: time.Second}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		busy = make(map[string]int)
		sent = make(map[int]int)
	)
	for id := range rapid.IntRange(1, 60).Draw(t, "requests") {
		o := outcomes.Draw(t, "outcome")
		call := upstream.Call{Policy: pol, Idempotent: rapid.Bool().Draw(t, "idempotent")}
		wait := time.Duration(rapid.IntRange(0, 300).Draw(t, "wait")) * ms
		wg.Go(func() {
			_ = set.Do(context.Background(), call, func(ctx context.Context, try *upstream.Try) error {
				mu.Lock()
				if busy[try.Node.ID]++; busy[try.Node.ID] > limit {
					wrong = append(wrong, fmt.Sprintf("%d in flight on a node, limit %d", busy[try.Node.ID], limit))
				}
				if o.sent && !call.Idempotent {
					sent[id]++
				}
				mu.Unlock()
				defer func() { mu.Lock(); busy[try.Node.ID]--; mu.Unlock() }()
				time.Sleep(wait)
				return o.attempt(ctx, try)
			})
		})
		time.Sleep(wait / 10)
	}
	wg.Wait()
	for id, n := range sent {
		if n > 1 {
			wrong = append(wrong, fmt.Sprintf("request %d, which is not idempotent, was sent %d times", id, n))
		}
	}
	for _, st := range set.Nodes() {
		if st.InFlight != 0 || st.Silent != 0 {
			wrong = append(wrong, fmt.Sprintf("when all is over a node is %+v", st))
		}
	}
	return wrong
}
