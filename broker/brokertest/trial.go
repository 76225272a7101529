package brokertest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

const (
	// trials is how often a promise about time is tried, and longer how much
	// longer it is given each time.
	trials = 3
	longer = 4
	// steady is the part of a time that a machine may be late by, without what
	// happens after it being another thing than what is meant to.
	steady = 8
)

// timed is each for promises about time, of which f is given a measure that the
// broker can keep. A machine that is busy may be so late that f fails on a broker
// that keeps them; so f is tried again, with more time, if it failed and the
// machine was late. A broker that does not keep its promises fails however long
// they are.
func (c *check) timed(opts broker.SubscribeOptions, f func(s *subscription, wait time.Duration)) {
	c.Helper()
	opts.AckWait = c.opts.MinAckWait
	for n := 1; ; n++ {
		wait := opts.AckWait
		r := &recorder{TB: c.TB}
		trial := *c
		trial.TB, trial.latest = r, new(atomic.Int64)
		trial.try(opts, n, f)
		r.cleanup()
		late := time.Duration(trial.latest.Load())
		switch {
		case len(r.failures) == 0:
			return
		case n == trials || late < wait/steady:
			for _, failure := range r.failures {
				c.Errorf("%s", failure)
			}
			return
		}
		c.Logf("tried again with %v, since the machine was late by %v: %q", longer*wait, late, r.failures)
		opts.AckWait *= longer
	}
}

// try calls f for a subscription without a group, and for one with a group, in a
// goroutine that Fatalf may end.
func (c *check) try(opts broker.SubscribeOptions, n int, f func(s *subscription, wait time.Duration)) {
	ctx, stop := context.WithCancel(c.Context())
	watched, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with ctx
		defer close(watched)
		c.watch(ctx, opts.AckWait/steady/4)
	}()
	go func() {
		defer close(done)
		f(c.subscribe(fmt.Sprint("alone", n), &opts), opts.AckWait)
		if c.caps.Groups {
			opts.Group = "workers"
			f(c.subscribe(fmt.Sprint("shared", n), &opts), opts.AckWait)
		}
	}()
	<-done
	stop()
	<-watched
}

// watch measures how late the machine is, until ctx is done.
func (c *check) watch(ctx context.Context, step time.Duration) {
	for ctx.Err() == nil {
		due := time.Now().Add(step)
		select {
		case <-ctx.Done():
		case <-time.After(step):
			c.tookFrom(due)
		}
	}
}

// tookFrom notes how late the machine, or the system behind the broker, was with
// what could have been done at once.
func (c *check) tookFrom(due time.Time) {
	late := int64(time.Since(due))
	for old := c.latest.Load(); late > old && !c.latest.CompareAndSwap(old, late); old = c.latest.Load() {
	}
}

// A recorder is a test whose failures are not those of the whole yet.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// Helper implements [testing.TB].
func (r *recorder) Helper() {}

// Errorf implements [testing.TB].
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// Fatalf implements [testing.TB].
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// Cleanup implements [testing.TB].
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// cleanup is the end of the test.
func (r *recorder) cleanup() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}
