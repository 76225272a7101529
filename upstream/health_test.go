package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

type attempts = map[string]func(context.Context, *upstream.Try) error

// breakOff is an attempt on a node that takes the request and breaks off.
func breakOff(_ context.Context, t *upstream.Try) error {
	t.Sent()
	return io.ErrUnexpectedEOF
}

// requests makes n requests, one after the other, and returns how many failed.
func requests(t *testing.T, n int, set *upstream.Set, f *fleet) (failed int) {
	t.Helper()
	for range n {
		if set.Do(t.Context(), upstream.Call{}, f.attempt) != nil {
			failed++
		}
	}
	return failed
}

// untilTried makes requests until a node is tried once more.
func untilTried(t *testing.T, id string, set *upstream.Set, f *fleet) {
	t.Helper()
	before := f.count(id)
	for range 10_000 {
		requests(t, 1, set, f)
		if f.count(id) > before {
			return
		}
	}
	t.Fatalf("10000 requests did not try node %s", id)
}

func TestRefusalEjectsForTwiceAsLongEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		f := &fleet{does: attempts{"1": refuse}}
		for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
			want := time.Duration(seconds) * time.Second
			untilTried(t, "1", set, f)
			until := state(t, set, "1").EjectedUntil
			if got := time.Until(until); got != want {
				t.Fatalf("node is ejected for %v, want %v", got, want)
			}
			time.Sleep(want - time.Millisecond)
			tries := f.count("1")
			if failed := requests(t, 1000, set, f); failed != 0 {
				t.Errorf("%d requests failed beside a healthy node", failed)
			}
			if f.count("1") != tries {
				t.Errorf("node was tried while it was ejected for %v", want)
			}
			time.Sleep(time.Millisecond)
		}
		f.set("1", answer)
		untilTried(t, "1", set, f)
		if st := state(t, set, "1"); !st.EjectedUntil.IsZero() || st.Failures != 0 {
			t.Errorf("node that answers again is %+v, want it well", st)
		}
		f.set("1", refuse)
		untilTried(t, "1", set, f)
		if got := time.Until(state(t, set, "1").EjectedUntil); got != time.Second {
			t.Errorf("node that was well is ejected for %v, want 1s", got)
		}
	})
}

func TestRefusalOfManyAtOnceIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		f := &fleet{does: attempts{"1": func(context.Context, *upstream.Try) error {
			time.Sleep(10 * time.Millisecond)
			return errRefused
		}, "2": takes(10 * time.Millisecond)}}
		failure := time.Now().Add(10 * time.Millisecond)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { requests(t, 1, set, f) })
		}
		wg.Wait()
		if f.count("1") < 10 {
			t.Fatalf("node was tried %d times, want about 50", f.count("1"))
		}
		if got := state(t, set, "1").EjectedUntil.Sub(failure); got != time.Second {
			t.Errorf("node is ejected for %v, want 1s", got)
		}
	})
}

func TestFailuresInARowEject(t *testing.T) {
	tests := []struct {
		name    string
		attempt func(context.Context, *upstream.Try) error
	}{
		{"broken off", breakOff},
		{"timeout", hang},
		{"timeout before anything was sent", func(ctx context.Context, _ *upstream.Try) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := greeters(1)
				call := upstream.Call{Policy: &upstream.Policy{Tries: 1}}
				do := func(n int, attempt func(context.Context, *upstream.Try) error) {
					for range n {
						_ = set.Do(t.Context(), call, attempt)
					}
				}
				do(4, tt.attempt)
				do(1, answer)
				do(4, tt.attempt)
				if st := state(t, set, "1"); !st.EjectedUntil.IsZero() || st.Failures != 4 {
					t.Errorf("after 4 failures in a row the node is %+v, want it well", st)
				}
				do(1, tt.attempt)
				if got := time.Until(state(t, set, "1").EjectedUntil); got != time.Second {
					t.Errorf("after 5 failures in a row the node is ejected for %v, want 1s", got)
				}
				time.Sleep(time.Second)
				do(1, tt.attempt)
				if got := time.Until(state(t, set, "1").EjectedUntil); got != 2*time.Second {
					t.Errorf("after a probe that failed the node is ejected for %v, want 2s", got)
				}
			})
		})
	}
}

func TestOneProbeAtATime(t *testing.T) {
	tests := []struct {
		name   string
		end    func(*upstream.Try) error
		well   bool // after the probe
		ejects bool
	}{
		{name: "answered", end: func(try *upstream.Try) error { try.Answered(); return nil }, well: true},
		{name: "refused", end: func(*upstream.Try) error { return errRefused }, ejects: true},
		{name: "broken off", end: func(try *upstream.Try) error { try.Sent(); return io.EOF }, ejects: true},
		{name: "client's fault", end: func(try *upstream.Try) error { try.Blameless(); return io.EOF }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := greeters(2)
				f := &fleet{does: attempts{"1": refuse}}
				untilTried(t, "1", set, f)
				time.Sleep(time.Second)

				blocked, other := make(chan struct{}), make(chan struct{})
				f.set("1", func(_ context.Context, try *upstream.Try) error { <-blocked; return tt.end(try) })
				f.set("2", func(ctx context.Context, try *upstream.Try) error { <-other; return answer(ctx, try) })
				var wg sync.WaitGroup
				burst := func() {
					for range 50 {
						wg.Go(func() { requests(t, 1, set, f) })
					}
					synctest.Wait()
				}
				before := f.count("1")
				burst()
				if got := f.count("1") - before; got != 1 {
					t.Errorf("50 requests at once probed the node %d times, want once", got)
				}
				close(blocked)
				synctest.Wait()
				e := state(t, set, "1").EjectedUntil
				if e.IsZero() != tt.well || e.After(time.Now()) != tt.ejects {
					t.Errorf("after the probe the node is ejected until %v (now %v), want well %t, ejected again %t", e, time.Now(), tt.well, tt.ejects)
				}
				before = f.count("1")
				burst()
				if got := f.count("1") - before; got == 0 != tt.ejects {
					t.Errorf("after the probe the node got %d of 50 requests, want ejected %t", got, tt.ejects)
				}
				close(other)
				wg.Wait()
			})
		})
	}
}

func TestLastNodesAreNeverGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(3)
		f := &fleet{does: attempts{"1": refuse, "2": refuse, "3": refuse}}
		call := upstream.Call{Policy: &upstream.Policy{Tries: 1}}
		var order []string
		for range 9 {
			_ = set.Do(t.Context(), call, func(ctx context.Context, try *upstream.Try) error {
				order = append(order, try.Node.ID)
				return f.attempt(ctx, try)
			})
			time.Sleep(time.Millisecond)
		}
		if first := slices.Clone(order[:3]); !slices.Equal(append(first, first...), order[3:]) {
			t.Errorf("nodes were tried in the order %v, want the oldest ejection first", order)
		}
		for _, st := range set.Nodes() {
			if got := time.Until(st.EjectedUntil); got > time.Second {
				t.Errorf("node %s is ejected for %v by requests that had no other, want at most 1s", st.Node.ID, got)
			}
		}
		f.set("2", answer)
		if failed := requests(t, 10, set, f); failed != 0 {
			t.Errorf("%d of 10 requests failed though a node answers again", failed)
		}
	})
}

func TestAnswersFromBeforeAnEjectionDoNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		go func() { // a node that shuts down serves to the end what it has
			_ = set.Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
				time.Sleep(100 * time.Millisecond)
				return answer(ctx, try)
			})
		}()
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		_ = set.Do(t.Context(), upstream.Call{}, refuse)
		time.Sleep(time.Second / 2)
		if state(t, set, "1").EjectedUntil.IsZero() {
			t.Error("node is well, want it ejected")
		}
	})
}

func TestHealthSurvivesUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pools := upstream.NewPools(nil)
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(2)...)}).All()
		f := &fleet{does: attempts{"1": refuse}}
		untilTried(t, "1", set, f)
		want := state(t, set, "1").EjectedUntil

		pools.Update("greeter", []*registry.Service{service("2", nodes(3)...)})
		if got := state(t, set, "1").EjectedUntil; got != want {
			t.Errorf("after an Update the node is ejected until %v, want %v", got, want)
		}
		moved := nodes(3)
		moved[0].Address = "10.0.1.1:80"
		pools.Update("greeter", []*registry.Service{service("2", moved...)})
		if got := state(t, set, "1").EjectedUntil; !got.IsZero() {
			t.Errorf("after it moved, the node is ejected until %v, want it well", got)
		}
	})
}

func TestEjectionsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		pools := upstream.NewPools(&upstream.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		set := pools.Update("greeter", []*registry.Service{service("1", nodes(1)...)}).All()
		for range 3 {
			_ = set.Do(t.Context(), upstream.Call{}, refuse)
		}
		_ = set.Do(t.Context(), upstream.Call{}, answer)
		_ = set.Do(t.Context(), upstream.Call{}, answer)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		want := []string{
			`level=WARN msg="node ejected" service=greeter node=1 why=unreachable for=1s error="connection refused"`,
			`level=INFO msg="node is back" service=greeter node=1`,
		}
		if len(lines) != len(want) {
			t.Fatalf("log = %q, want %d lines", lines, len(want))
		}
		for i, line := range lines {
			if !strings.HasSuffix(line, want[i]) {
				t.Errorf("line %d = %q, want it to end in %q", i, line, want[i])
			}
		}
	})
}

func TestFailuresFromBeforeAnEjectionDoNotProlongIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _ = set.Do(t.Context(), upstream.Call{}, hang) })
		}
		time.Sleep(time.Millisecond)
		_ = set.Do(t.Context(), upstream.Call{}, refuse)
		want := state(t, set, "1").EjectedUntil
		wg.Wait() // 29 s after the ejection has ended
		if got := state(t, set, "1").EjectedUntil; got != want {
			t.Errorf("node is ejected until %v, want %v", got, want)
		}
	})
}

// TestWhatANodeSaysIsCutInTheLog has a node that answers with nonsense, which
// the error is about.
func TestWhatANodeSaysIsCutInTheLog(t *testing.T) {
	for name, tt := range map[string]struct{ says, want string }{
		"long":      {"malformed: " + strings.Repeat("x", 60<<10), `"malformed: ` + strings.Repeat("x", 189) + `…"`},
		"terminal":  {"malformed: \x1b[2J\nlevel=INFO", `"malformed:  [2J level=INFO"`},
		"half rune": {strings.Repeat("x", 199) + "ü", strings.Repeat("x", 199) + " …"},
		"no text":   {"malformed: \xff", `"malformed:  "`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			pools := upstream.NewPools(&upstream.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
			set := pools.Update("greeter", []*registry.Service{service("1", nodes(1)...)}).All()
			err := set.Do(t.Context(), upstream.Call{}, func(context.Context, *upstream.Try) error { return errors.New(tt.says) })
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Error("Do() error is not that of the attempt")
			}
			if got := out.String(); !strings.Contains(got, tt.want) || len(got) > 500 {
				t.Errorf("log = %.600q, want %q in it", got, tt.want)
			}
		})
	}
}
