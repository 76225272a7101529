package upstream

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// patience is how long an unanswered try must have waited to say anything of
// the node's latency.
const patience = time.Second

// What has become of a try, as bits of its state.
const (
	wasSent uint32 = 1 << iota
	wasAnswered
	wasBlameless
	hasExpired // the timeout has passed
	hasRung    // the alarm has, and is not used again
	isOver     // attempt has returned
)

// A Try is one attempt at a request on one node. Its methods may be called
// from any goroutine, more than once, and at any time: what comes after the
// attempt has returned is of no effect.
type Try struct {
	Node *registry.Node
	N    int // 1 for the first

	pool    *Pool
	node    *node
	picked  time.Duration
	timeout time.Duration
	cancel  context.CancelCauseFunc
	alarm   *alarm
	waiting atomic.Int64 // since when an answer is waited for, after picked
	state   atomic.Uint32
	outcome uint32 // the state when attempt had returned
}

// now returns the time since the start of the Pools.
func (t *Try) now() time.Duration { return t.pool.pools.now() }

// since returns the time from which an answer is waited for.
func (t *Try) since() time.Duration { return t.picked + time.Duration(t.waiting.Load()) }

// Sent says that bytes of the request may have left: from here only idempotent
// requests are tried again. It must be called before they can leave, and so
// when a connection is there rather than when something was written to it.
func (t *Try) Sent() { t.state.Or(wasSent) }

// Progress says that the request is still on its way: the timeout and the
// latency of the try are counted from here. It is for bodies that take as long
// as the client does to send them, and cheap enough for every read of one.
func (t *Try) Progress() {
	if t.pool != nil {
		t.waiting.Store(int64(t.now() - t.picked))
	}
}

// Answered says that the head of the answer is here: it ends the per-try
// timeout, records the latency and forbids another try.
func (t *Try) Answered() {
	if old := t.state.Or(wasAnswered); old&(wasAnswered|isOver) != 0 || t.node == nil {
		return
	}
	t.disarm()
	now := t.now()
	t.node.latency.observe(now, now-t.since())
	if t.node.answered(t.picked) {
		t.pool.pools.log.LogAttrs(context.Background(), slog.LevelInfo, "node is back",
			slog.String("service", t.pool.name), slog.String("node", t.Node.ID))
	}
}

// Blameless says that the failure is not the node's, and final: that the body
// of the request broke off, for example.
func (t *Try) Blameless() { t.state.Or(wasBlameless) }

// run calls attempt once.
func (t *Try) run(ctx context.Context, probe *ejection, attempt func(context.Context, *Try) error) error {
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.arm()
	defer t.end(probe) // also when attempt panics
	err := attempt(ctx, t)
	if err == nil {
		t.Answered()
	}
	return err
}

// end releases what the try holds.
func (t *Try) end(probe *ejection) {
	t.outcome = t.state.Or(isOver)
	if t.outcome&wasAnswered == 0 { // else Answered does it
		t.disarm()
	}
	t.cancel(nil)
	t.node.inFlight.Add(-1)
	if probe != nil {
		probe.probing.Store(false)
	}
}

// expire ends the try's context if there is no answer and no progress. It
// returns for how long to wait on, 0 if not at all.
func (t *Try) expire() time.Duration {
	for {
		state := t.state.Load()
		if state&(wasAnswered|isOver) != 0 {
			return 0
		}
		if left := t.since() + t.timeout - t.now(); left > 0 {
			return left
		}
		if t.state.CompareAndSwap(state, state|hasExpired) {
			t.cancel(timeoutError{})
			return 0
		}
	}
}

// An alarm wakes a try when its timeout has passed. Alarms that have not rung
// are used again, since a timer is a large part of what a try costs.
type alarm struct {
	timer *time.Timer
	try   *Try
}

// arm sets an alarm.
func (t *Try) arm() {
	a, ok := t.pool.pools.alarms.Get().(*alarm)
	if !ok {
		a = new(alarm)
		a.timer = time.AfterFunc(math.MaxInt64, a.ring)
	}
	a.try, t.alarm = t, a
	a.timer.Reset(t.timeout)
}

// disarm stops the alarm. It is called once.
func (t *Try) disarm() {
	a := t.alarm
	if a.timer.Stop() && t.state.Load()&hasRung == 0 {
		a.try = nil
		t.pool.pools.alarms.Put(a)
	}
}

// ring is called by the timer.
func (a *alarm) ring() {
	t := a.try
	t.state.Or(hasRung)
	if wait := t.expire(); wait > 0 {
		a.timer.Reset(wait)
	}
}
