package upstream_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// An outcome is what an attempt does.
type outcome struct {
	sent, answered, blameless, ok bool
	twice                         bool // says all of it twice
	hangs                         bool // until its context ends
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
		if o.blameless {
			t.Blameless()
		}
	}
	if o.hangs && !o.answered {
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
			if st.InFlight != 0 {
				t.Fatalf("InFlight of %s = %d when all is over", st.Node.ID, st.InFlight)
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
		if o.answered || o.blameless || o.sent && !call.Idempotent || o.ok && !o.hangs {
			t.Fatalf("Do tried again after %+v (idempotent %t)", o, call.Idempotent)
		}
	}
	last := done[len(done)-1]
	if ok := last.ok && (!last.hangs || last.answered); ok != (err == nil) {
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
