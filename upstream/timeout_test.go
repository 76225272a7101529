package upstream_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

// hang is an attempt on a node that takes the request and never answers.
func hang(ctx context.Context, t *upstream.Try) error {
	t.Sent()
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestTryTimeout(t *testing.T) {
	tests := []struct {
		name    string
		policy  *upstream.Policy
		ctx     time.Duration // 0: no deadline of the request
		attempt func(context.Context, *upstream.Try) error
		call    upstream.Call
		took    time.Duration
		timeout bool // of the try
	}{
		{name: "by default", attempt: hang, took: 30 * time.Second, timeout: true},
		{name: "of the policy", policy: &upstream.Policy{TryTimeout: time.Second}, attempt: hang, took: time.Second, timeout: true},
		{
			name: "of each try", policy: &upstream.Policy{TryTimeout: time.Second}, attempt: hang,
			call: upstream.Call{Idempotent: true}, took: 3 * time.Second, timeout: true,
		},
		{name: "before anything was sent", attempt: func(ctx context.Context, _ *upstream.Try) error {
			<-ctx.Done()
			return ctx.Err()
		}, took: 30 * time.Second, timeout: true},
		{
			name: "of all tries", policy: &upstream.Policy{TryTimeout: 2 * time.Second, Timeout: 3 * time.Second}, attempt: hang,
			call: upstream.Call{Idempotent: true}, took: 3 * time.Second, timeout: true,
		},
		{name: "hidden by the attempt", attempt: func(ctx context.Context, try *upstream.Try) error {
			_ = hang(ctx, try)
			return errRefused
		}, took: 30 * time.Second, timeout: true},
		{name: "after the request's deadline", ctx: 10 * time.Second, attempt: hang, took: 10 * time.Second},
		{name: "progress", attempt: func(ctx context.Context, try *upstream.Try) error {
			for range 10 {
				time.Sleep(29 * time.Second)
				try.Progress()
			}
			return hang(ctx, try)
		}, took: 320 * time.Second, timeout: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.ctx != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				tt.call.Policy = tt.policy
				start := time.Now()
				err := greeters(3).Do(ctx, tt.call, tt.attempt)
				if got := time.Since(start); got != tt.took {
					t.Errorf("Do took %v, want %v", got, tt.took)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Do = %v, want a DeadlineExceeded", err)
				}
				var failed *upstream.NodeError
				if errors.As(err, &failed) && failed.Timeout != tt.timeout || (failed != nil) != tt.timeout {
					t.Errorf("Do = %#v, want a timeout of the try: %t", err, tt.timeout)
				}
			})
		})
	}
}

func TestTryTimeoutIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_ = greeters(1).Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
			err := hang(ctx, try)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("cause = %v, want a timeout as of package net", err)
			}
			return err
		})
	})
}

func TestAnsweredEndsTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		err := set.Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
			time.Sleep(29 * time.Second)
			try.Answered()
			try.Answered()
			time.Sleep(time.Hour)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("Do of a long answer = %v, want nil", err)
		}
		if got := state(t, set, "1").Latency.Round(time.Second); got != 29*time.Second {
			t.Errorf("Latency = %v, want 29s", got)
		}
	})
}

func TestAlarmsAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		for i := range 100 {
			start := time.Now()
			err := set.Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
				if i%3 == 0 {
					return hang(ctx, try)
				}
				time.Sleep(20 * time.Second)
				if i%3 == 1 {
					try.Progress()
					time.Sleep(20 * time.Second) // the alarm rings within, for nothing
				}
				return answer(ctx, try)
			})
			want := []time.Duration{30 * time.Second, 40 * time.Second, 20 * time.Second}[i%3]
			if got := time.Since(start); got != want || (err == nil) != (i%3 != 0) {
				t.Fatalf("request %d = %v after %v, want %v", i, err, got, want)
			}
		}
	})
}

func TestDeadlineOfTheRequestIsNotHeldAgainstTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			_ = set.Do(ctx, upstream.Call{}, hang)
			cancel()
		}
		if st := state(t, set, "1"); st.Failures != 0 || !st.EjectedUntil.IsZero() || st.Latency != 0 {
			t.Errorf("after 20 clients that went away the node is %+v, want it well", st)
		}
	})
}

func TestClientsThatGiveUpMakeANodeSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		f := fleet{does: map[string]func(context.Context, *upstream.Try) error{"1": hang}}
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_ = set.Do(ctx, upstream.Call{}, f.attempt)
			cancel()
		}
		if got := f.count("1"); got > 30 {
			t.Errorf("a node that never answers got %d of 100 impatient requests, want few", got)
		}
	})
}

func TestAlarmBelongsToOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(1)
		start := time.Now()
		var wg sync.WaitGroup
		err := set.Do(t.Context(), upstream.Call{}, func(_ context.Context, try *upstream.Try) error {
			try.Answered() // the alarm is free
			wg.Go(func() { _ = set.Do(t.Context(), upstream.Call{}, hang) })
			synctest.Wait()
			return nil
		})
		wg.Wait()
		if took := time.Since(start); err != nil || took != 30*time.Second {
			t.Errorf("Do = %v, and the one within it ended after %v, want 30s", err, took)
		}
	})
}

func TestWithDeadline(t *testing.T) {
	tests := []struct {
		name   string
		policy upstream.Policy
		ctx    time.Duration // 0: no deadline of the request
		want   []time.Duration
	}{
		{"by default", upstream.Policy{}, 0, []time.Duration{30 * time.Second, 20 * time.Second, 10 * time.Second}},
		{"of the policy", upstream.Policy{TryTimeout: 15 * time.Second}, 0, []time.Duration{15 * time.Second, 15 * time.Second, 10 * time.Second}},
		{"of the request", upstream.Policy{}, 25 * time.Second, []time.Duration{25 * time.Second, 15 * time.Second, 5 * time.Second}},
		{"of all tries", upstream.Policy{Timeout: 21 * time.Second}, 0, []time.Duration{21 * time.Second, 11 * time.Second, time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.ctx != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				var got []time.Duration
				_ = greeters(3).Do(ctx, upstream.Call{Policy: &tt.policy}, func(ctx context.Context, try *upstream.Try) error {
					at, ok := try.WithDeadline(ctx).Deadline()
					if !ok {
						t.Error("WithDeadline has no deadline")
					}
					got = append(got, time.Until(at))
					time.Sleep(10 * time.Second)
					return errRefused
				})
				if !slices.Equal(got, tt.want) {
					t.Errorf("deadlines of the tries are %v away, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestWithDeadlineEndsWithTheTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := greeters(1).Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
			ctx, cancel := context.WithTimeout(try.WithDeadline(ctx), time.Hour) // as a caller may
			defer cancel()
			return hang(ctx, try)
		})
		if took := time.Since(start); took != 30*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v after %v, want the try's timeout", err, took)
		}
		var try upstream.Try // as tests of others make it
		if _, ok := try.WithDeadline(t.Context()).Deadline(); ok {
			t.Error("a Try that Do did not make has a deadline")
		}
	})
}

func TestWithDeadlineIsTheTrysTimeout(t *testing.T) { // whichever of the two is seen first
	synctest.Test(t, func(t *testing.T) {
		set := greeters(2)
		for range 20 {
			err := set.Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
				at, _ := try.WithDeadline(ctx).Deadline()
				time.Sleep(time.Until(at)) // as a deadline of a connection
				return errRefused
			})
			var failed *upstream.NodeError
			if !errors.As(err, &failed) || !failed.Timeout {
				t.Fatalf("Do = %v, want a timeout of the try", err)
			}
		}
		for _, st := range set.Nodes() {
			if st.Ejected == upstream.Unreachable {
				t.Errorf("a node that did not answer in time is %+v, want it not unreachable", st)
			}
		}
	})
}
