package upstream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

var errBroken = errors.New("the stream broke off")

// opened returns an attempt at a stream that is open at once, and after an hour
// ends as then says.
func opened(then func(*upstream.Try) error) func(context.Context, *upstream.Try) error {
	return func(ctx context.Context, try *upstream.Try) error {
		try.Sent()
		try.Opened()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Hour):
			return then(try)
		}
	}
}

func TestOpened(t *testing.T) {
	answers := func(try *upstream.Try) error { try.Answered(); return nil }
	fails := func(try *upstream.Try) error { try.Failed(); return errBroken }
	ends := func(*upstream.Try) error { return nil }
	breaks := func(*upstream.Try) error { return errBroken }
	tests := []struct {
		name     string
		then     func(*upstream.Try) error
		err      error
		failures int // of a node that had three
	}{
		{"answered", answers, nil, 0},
		{"answered and failed", func(try *upstream.Try) error { _ = answers(try); return fails(try) }, errBroken, 0},
		{"failed", fails, errBroken, 4},
		{"opened again", func(try *upstream.Try) error { try.Opened(); return fails(try) }, errBroken, 4},
		{"ends without a message", ends, nil, 3},
		{"breaks off without a word", breaks, errBroken, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := greeters(1)
				for range 3 {
					_ = set.Do(t.Context(), upstream.Call{}, breakOff)
				}
				start, tries := time.Now(), 0
				err := set.Do(t.Context(), upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
					tries++
					return opened(tt.then)(ctx, try)
				})
				if took := time.Since(start); took != time.Hour || tries != 1 || !errors.Is(err, tt.err) || tt.err == nil && err != nil {
					t.Errorf("Do = %v after %v and %d tries, want %v after one of 1h", err, took, tries, tt.err)
				}
				if st := state(t, set, "1"); st.Failures != tt.failures || st.Latency != 0 || st.InFlight != 0 || st.Silent != 0 {
					t.Errorf("the node is %+v, want %d failures, no latency, and nothing in flight", st, tt.failures)
				}
			})
		})
	}
}

func TestOpenedOwesNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		ctx, cancel := context.WithCancel(t.Context())
		for range 30 {
			go func() { _ = set.Do(ctx, upstream.Call{}, opened(nil)) }()
		}
		time.Sleep(time.Minute)
		for range 100 {
			requests(t, 1, set, f)
			time.Sleep(50 * ms)
		}
		open := 0
		for _, st := range set.Nodes() {
			open += st.InFlight
			if st.Ejected != "" || st.Silent != 0 {
				t.Errorf("a node with open streams is %+v, want it well", st)
			}
		}
		if open != 30 {
			t.Errorf("%d attempts are in flight, want the 30 streams", open)
		}
		cancel()
		synctest.Wait()
	})
}

func TestOpenedIsNoReturn(t *testing.T) { // a node that has stopped takes streams, as its kernel does
	synctest.Test(t, func(t *testing.T) {
		set, f := greeters(2), &fleet{does: attempts{"1": refuse}}
		untilTried(t, "1", set, f)
		f.set("1", func(ctx context.Context, try *upstream.Try) error {
			return opened(func(try *upstream.Try) error { try.Answered(); return nil })(ctx, try)
		})
		before := f.count("1")
		ctx, cancel := context.WithCancel(t.Context())
		for range 1000 {
			go func() { _ = set.Do(ctx, upstream.Call{}, f.attempt) }()
			time.Sleep(10 * ms)
		}
		if got := f.count("1") - before; got < 2 || got > 10 {
			t.Errorf("a node of which nothing is heard got %d of 1000 streams in 10s, want one each second", got)
		}
		if st := state(t, set, "1"); st.Ejected != upstream.Unreachable {
			t.Errorf("a node on which streams are open is %+v, want it ejected until one is answered", st)
		}
		time.Sleep(time.Hour)
		if st := state(t, set, "1"); st.Ejected != "" {
			t.Errorf("a node that has answered a stream is %+v, want it well", st)
		}
		cancel()
		synctest.Wait()
	})
}

func TestOpenedProbesASlowNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := settled(t, 3)
		f.set("1", hang)
		for range 200 {
			_ = set.Do(t.Context(), upstream.Call{Idempotent: true}, f.attempt)
		}
		if st := state(t, set, "1"); st.Ejected != upstream.Slow {
			t.Fatalf("a node that has stopped is %+v, want it ejected", st)
		}
		time.Sleep(10 * time.Second)
		f.set("1", func(_ context.Context, try *upstream.Try) error {
			try.Opened()
			time.Sleep(20 * time.Second)
			try.Answered() // late, but when it comes says nothing
			return nil
		})
		untilTried(t, "1", set, f)
		f.set("1", takes(10*ms))
		untilTried(t, "1", set, f)
		if st := state(t, set, "1"); st.Ejected != "" {
			t.Errorf("a node that has answered is %+v, want it well", st)
		}
	})
}

func TestOpenedWhenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := greeters(2).Do(t.Context(), upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
			tries++
			err := hang(ctx, try)
			try.Opened()
			return err
		})
		if tries != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v after %d tries, want one: it is open", err, tries)
		}
	})
	(&upstream.Try{}).Opened() // as a test of an attempt has it
}
