package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

func TestDoTriesAgainOnlyWhatIsSafe(t *testing.T) {
	tests := []struct {
		sent, idempotent, answered, blameless bool
		want                                  int
	}{
		{want: 3},
		{idempotent: true, want: 3},
		{sent: true, want: 1},
		{sent: true, idempotent: true, want: 3},
		{answered: true, want: 1},
		{answered: true, idempotent: true, want: 1},
		{answered: true, sent: true, want: 1},
		{answered: true, sent: true, idempotent: true, want: 1},
		{blameless: true, want: 1},
		{blameless: true, idempotent: true, want: 1},
		{blameless: true, sent: true, want: 1},
		{blameless: true, sent: true, idempotent: true, want: 1},
		{blameless: true, answered: true, want: 1},
		{blameless: true, answered: true, idempotent: true, want: 1},
		{blameless: true, answered: true, sent: true, want: 1},
		{blameless: true, answered: true, sent: true, idempotent: true, want: 1},
	}
	for _, tt := range tests {
		name := fmt.Sprintf("sent=%t idempotent=%t answered=%t blameless=%t", tt.sent, tt.idempotent, tt.answered, tt.blameless)
		t.Run(name, func(t *testing.T) {
			var tried []string
			set := greeters(5)
			err := set.Do(t.Context(), upstream.Call{Idempotent: tt.idempotent}, func(_ context.Context, try *upstream.Try) error {
				tried = append(tried, try.Node.ID)
				if try.N != len(tried) {
					t.Errorf("N of try %d = %d", len(tried), try.N)
				}
				if tt.sent {
					try.Sent()
				}
				if tt.answered {
					try.Answered()
				}
				if tt.blameless {
					try.Blameless()
				}
				return io.ErrUnexpectedEOF
			})
			if len(tried) != tt.want {
				t.Errorf("Do tried %d nodes, want %d", len(tried), tt.want)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Do = %v, want one that is %v", err, io.ErrUnexpectedEOF)
			}
			seen := make(map[string]bool)
			for _, id := range tried {
				if seen[id] {
					t.Errorf("Do tried %v, want different nodes", tried)
				}
				seen[id] = true
			}
			var failed *upstream.NodeError
			if isNode, want := errors.As(err, &failed), !tt.answered && !tt.blameless; isNode != want {
				t.Errorf("Do = %T, want a NodeError: %t", err, want)
			}
			if failed != nil && (failed.Service != "greeter" || failed.Node != tried[len(tried)-1] || failed.Sent != tt.sent || failed.Timeout) {
				t.Errorf("Do = %+v, want service greeter, node %s, sent %t, no timeout", failed, tried[len(tried)-1], tt.sent)
			}
		})
	}
}

func TestDoReturns(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name    string
		ctx     context.Context
		set     *upstream.Set
		attempt func(context.Context, *upstream.Try) error
		is, not error
		tries   int
	}{
		{name: "answer", set: upstream.Static("a:1"), attempt: answer, tries: 1},
		{name: "nil is an answer", set: upstream.Static("a:1"), attempt: func(context.Context, *upstream.Try) error { return nil }, tries: 1},
		{name: "nil set", attempt: answer, is: upstream.ErrNoNodes},
		{name: "no nodes", set: upstream.Static(), attempt: answer, is: upstream.ErrNoNodes},
		{name: "no address", set: upstream.Static(""), attempt: answer, is: upstream.ErrNoNodes},
		{name: "one node refuses", set: upstream.Static("a:1"), attempt: refuse, is: errRefused, not: upstream.ErrNoNodes, tries: 1},
		{name: "two nodes refuse", set: upstream.Static("a:1", "b:1"), attempt: refuse, is: errRefused, not: upstream.ErrNoNodes, tries: 2},
		{name: "many nodes refuse", set: upstream.Static(addresses(20)...), attempt: refuse, is: errRefused, tries: 3},
		{name: "client went away", ctx: canceled, set: upstream.Static("a:1", "b:1"), attempt: refuse, is: context.Canceled, tries: 1},
		{name: "client went away, cause kept", ctx: canceled, set: upstream.Static("a:1", "b:1"), attempt: refuse, is: errRefused, tries: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			tries := 0
			err := tt.set.Do(ctx, upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
				tries++
				return tt.attempt(ctx, try)
			})
			if !errors.Is(err, tt.is) {
				t.Errorf("Do = %v, want one that is %v", err, tt.is)
			}
			if tt.not != nil && errors.Is(err, tt.not) {
				t.Errorf("Do = %v, want none that is %v", err, tt.not)
			}
			if tries != tt.tries {
				t.Errorf("Do tried %d times, want %d", tries, tt.tries)
			}
		})
	}
}

func TestDoObeysPolicyTries(t *testing.T) {
	for _, want := range []int{1, 2, 7} {
		tries := 0
		_ = greeters(10).Do(t.Context(), upstream.Call{Policy: &upstream.Policy{Tries: want}}, func(context.Context, *upstream.Try) error {
			tries++
			return errRefused
		})
		if tries != want {
			t.Errorf("Do with Tries %d tried %d times", want, tries)
		}
	}
}

func TestDoTriesTheOnlyNodeAgain(t *testing.T) {
	tries := 0
	err := greeters(1).Do(t.Context(), upstream.Call{Idempotent: true}, func(ctx context.Context, try *upstream.Try) error {
		if tries++; tries == 1 {
			try.Sent()
			return io.EOF // an idle connection that the node had closed
		}
		return answer(ctx, try)
	})
	if err != nil || tries != 2 {
		t.Errorf("Do = %v after %d tries, want nil after 2", err, tries)
	}
}

func TestDoHasABudgetOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(3)
		load := func(requests int) (retries int) {
			for range requests {
				_ = set.Do(t.Context(), upstream.Call{Idempotent: true}, func(_ context.Context, try *upstream.Try) error {
					if try.N > 1 {
						retries++
					}
					try.Sent()
					return io.ErrUnexpectedEOF
				})
			}
			return retries
		}
		if got := load(1); got != 2 {
			t.Errorf("1 request was tried again %d times, want 2", got)
		}
		if got := load(1000); got < 185 || got > 189 {
			t.Errorf("1000 requests were tried again %d times, want 180 and the 8 in reserve", got)
		}
		time.Sleep(time.Minute)
		if got := load(5); got < 9 || got > 10 {
			t.Errorf("after a minute, 5 requests were tried again %d times, want nearly each of them twice", got)
		}
	})
}

func TestDoTriesUnreachedNodesOutsideTheBudget(t *testing.T) {
	tries := 0
	set := greeters(3)
	for range 1000 {
		_ = set.Do(t.Context(), upstream.Call{}, func(context.Context, *upstream.Try) error {
			tries++
			return errRefused
		})
	}
	if tries != 3000 {
		t.Errorf("1000 requests to 3 dead nodes = %d tries, want 3000", tries)
	}
}

func TestDoReleasesTheNodeWhenAttemptPanics(t *testing.T) {
	set := greeters(1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Do swallowed the panic")
			}
		}()
		_ = set.Do(t.Context(), upstream.Call{}, func(context.Context, *upstream.Try) error { panic("abort") }) //nolint:forbidigo // as http.ErrAbortHandler
	}()
	if st := state(t, set, "1"); st.InFlight != 0 || !st.EjectedUntil.IsZero() {
		t.Errorf("after a panic the node is %+v, want it idle and well", st)
	}
}

func TestDoCountsInFlightUntilAttemptReturns(t *testing.T) {
	set := greeters(1)
	err := set.Do(t.Context(), upstream.Call{}, func(_ context.Context, try *upstream.Try) error {
		try.Answered()
		if got := state(t, set, "1").InFlight; got != 1 {
			t.Errorf("InFlight of an answer under way = %d, want 1", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := state(t, set, "1").InFlight; got != 0 {
		t.Errorf("InFlight afterwards = %d, want 0", got)
	}
}

func TestDoEndsTheContextOfATry(t *testing.T) {
	var ended []<-chan struct{}
	err := greeters(3).Do(t.Context(), upstream.Call{}, func(ctx context.Context, try *upstream.Try) error {
		for _, done := range ended {
			<-done // else the test hangs
		}
		ended = append(ended, ctx.Done())
		if try.N < 3 {
			return errRefused
		}
		return answer(ctx, try)
	})
	if err != nil || len(ended) != 3 {
		t.Errorf("Do = %v after %d tries, want nil after 3", err, len(ended))
	}
	<-ended[2]
}

func TestTryIsOverWhenAttemptReturns(t *testing.T) {
	set := greeters(1)
	var late *upstream.Try
	_ = set.Do(t.Context(), upstream.Call{}, func(_ context.Context, try *upstream.Try) error {
		late = try
		return errRefused
	})
	late.Sent()
	late.Progress()
	late.Answered()
	late.Blameless()
	if st := state(t, set, "1"); st.Latency != 0 || st.EjectedUntil.IsZero() {
		t.Errorf("after a late Answered the node is %+v, want it ejected, without a latency", st)
	}
}

func TestTryWithoutAPool(_ *testing.T) {
	var try upstream.Try // as tests of others make it
	try.Sent()
	try.Progress()
	try.Answered()
	try.Blameless()
}

func TestNodeErrorText(t *testing.T) {
	tests := []struct {
		err  upstream.NodeError
		want string
	}{
		{upstream.NodeError{}, "upstream: node greeter-1 of greeter could not be reached: EOF"},
		{upstream.NodeError{Sent: true}, "upstream: node greeter-1 of greeter broke off: EOF"},
		{upstream.NodeError{Sent: true, Timeout: true}, "upstream: node greeter-1 of greeter did not answer in time: EOF"},
	}
	for _, tt := range tests {
		tt.err.Service, tt.err.Node, tt.err.Err = "greeter", "greeter-1", io.EOF
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
		if errors.Is(&tt.err, context.DeadlineExceeded) != tt.err.Timeout {
			t.Errorf("%+v is a DeadlineExceeded: %t", tt.err, !tt.err.Timeout)
		}
		if strings.ContainsAny(tt.err.Error(), "\n") {
			t.Errorf("Error() = %q, want one line", tt.err.Error())
		}
	}
}
