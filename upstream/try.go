package upstream

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// telling is how long an unanswered try must have waited to say anything of
	// the node's latency.
	telling = time.Second
	// quickly is how long a request may be on its way to the node without being
	// the client's to hurry up: afterwards the node owes no answer yet.
	quickly = 100 * time.Millisecond
)

// What has become of a try, as bits of its state.
const (
	wasSent uint32 = 1 << iota
	wasOpened
	wasAnswered
	wasBlameless
	wasAbandoned // hasExpired because the node is stuck
	hasExpired   // the timeout has passed
	hasRung      // the alarm has, and is not used again
	isSettled    // the node does not owe an answer
	isResting    // it waits, and is no load
	isOver       // attempt has returned
	mayMove      // it may be abandoned; set from the start
	hasMoved     // the try before was; set from the start
	isCounted    // by the node's limiter; set from the start
)

// A Try is one attempt at a request on one node. Its methods may be called
// from any goroutine, more than once, and at any time: what comes after the
// attempt has returned is of no effect.
type Try struct {
	Node *registry.Node
	N    int // 1 for the first

	set     *Set
	node    *node
	picked  time.Duration
	timeout time.Duration
	probe   *ejection // that the try probes, or nil
	fits    func(*registry.Node) bool
	cancel  context.CancelCauseFunc
	alarm   *alarm
	waiting atomic.Int64 // since when an answer is waited for, after picked
	state   atomic.Uint32
	begun   begun
}

// prepare sets what the try is from the start.
func (t *Try) prepare(moved, mayMoveOn, counted bool) {
	var state uint32
	switch {
	case moved:
		state = hasMoved
	case mayMoveOn:
		state = mayMove
	}
	if counted {
		state |= isCounted
	}
	t.state.Store(state)
}

// leave ends that the try counts for the limiter of its node. It says whether it
// did.
func (t *Try) leave() bool {
	if t.state.Load()&isCounted == 0 || t.state.And(^isCounted)&isCounted == 0 {
		return false
	}
	t.node.limiter.Load().leave()
	return true
}

// now returns the time since the start of the Pools.
func (t *Try) now() time.Duration { return t.set.pool.pools.now() }

// since returns the time from which an answer is waited for.
func (t *Try) since() time.Duration { return t.picked + time.Duration(t.waiting.Load()) }

// Sent says that bytes of the request may have left: from here only idempotent
// requests are tried again. It must be called before they can leave, and so
// when a connection is there rather than when something was written to it.
func (t *Try) Sent() { t.state.Or(wasSent) }

// Progress says that the request is still on its way: the timeout and the
// latency of the try are counted from here. It is for bodies that take as long
// as the client does to send them, and cheap enough for every read of one. A
// try that made progress is not abandoned: its body may not be there again.
func (t *Try) Progress() {
	if t.set == nil {
		return
	}
	waited := t.now() - t.picked
	t.waiting.Store(int64(max(waited, 1)))
	if waited > quickly && t.state.Load()&isSettled == 0 {
		t.settle(t.state.Or(isSettled))
		t.leave()
	}
}

// settle ends the node's owing of an answer, if it did by the state before.
func (t *Try) settle(before uint32) {
	if before&isSettled == 0 {
		t.node.load.settle(t.begun.age)
	}
}

// Opened says that a stream to the node is open, of which nobody knows when its
// first message comes, or whether any does: it ends the per-try timeout and
// forbids another try. It says nothing of the node, which owes no answer from
// here: bytes of an opening stay in the kernel of a node that has stopped.
//
// Answered afterwards, for the first message or the good end of a stream that
// has none, says that the node is alive, and records no latency; Failed, for a
// stream that breaks off before, that it failed. If the attempt returns
// without either, nothing is recorded: nil is not taken for an answer, and an
// error is final, as it is.
//
// A try that was given up this instant is opened nevertheless; see Answered.
func (t *Try) Opened() {
	if t.node == nil {
		return
	}
	before := t.state.Load()
	for {
		if before&(wasOpened|wasAnswered|isOver) != 0 {
			return
		}
		if t.state.CompareAndSwap(before, before|wasOpened|isSettled) {
			break
		}
		before = t.state.Load()
	}
	t.disarm()
	t.settle(before)
	t.leave()
	if t.probe != nil {
		t.probe.postpone(t.now())
	}
}

// Answered says that the head of the answer is here: it ends the per-try
// timeout, records the latency and forbids another try.
//
// A try that was given up this instant is answered nevertheless, but its
// context has ended: who has not begun to answer the client looks at it first.
func (t *Try) Answered() {
	now, opened, first := t.answer()
	if !first {
		return
	}
	if t.leave() {
		t.node.limiter.Load().answered(t.begun.entry, t.picked, now, now-t.since())
	}
	if !opened {
		t.learn(now)
	}
	t.lives(now, opened)
}

// Failed is Answered for an answer by which the node says that it cannot serve
// (502, 503, 504, or the same in a protocol of its own). It counts as a failure
// of the node, as if there were no answer, but no other is tried.
func (t *Try) Failed() {
	now, opened, first := t.answer()
	if !first {
		return
	}
	t.leave()
	if !opened { // else it is silent, perhaps
		t.node.hear(now)
	}
	if wait := t.node.failed(t.picked, now, Failing); wait > 0 {
		t.set.pool.logEjection(t.node, Failing, wait, slog.String("error", "answers that it cannot serve"))
	}
}

// answer notes an answer, and says whether the try was Opened before. It is not
// first if it is of no effect.
func (t *Try) answer() (now time.Duration, opened, first bool) {
	before := t.state.Or(wasAnswered | isSettled)
	if t.node == nil || before&(wasAnswered|isOver) != 0 {
		return 0, false, false
	}
	if before&hasExpired != 0 { // the alarm is about to; who looks at the context now sees it
		t.cancel(timeoutError{})
	}
	opened = before&wasOpened != 0
	if !opened { // else Opened did it
		t.disarm()
	}
	return t.now(), opened, true
}

// isOvertaken says that the node has answered a try that began when this one had
// waited for half of its time: this one waits for something else.
func (t *Try) isOvertaken(now time.Duration) bool {
	return time.Duration(t.node.overtaken.Load())-t.since() > (now-t.since())/2
}

// learn draws from an answer what is to be known of the node's latency.
func (t *Try) learn(now time.Duration) {
	n, p := t.node, t.set.pool
	since := t.since()
	took := now - since
	state := t.state.Load()
	waited := took > slowFloor && took > p.compared.limit() && t.isOvertaken(now) // which is not the node's doing
	n.begun(t.picked)
	if waited && state&(mayMove|hasMoved) == 0 {
		return
	}
	if took > slowFloor/2 && (n.ejection.Load() == nil || state&hasMoved != 0) { // else the node was slow, and not the request
		t.set.longest.observe(now, took)
		if t.set != &p.all {
			p.all.longest.observe(now, took)
		}
	}
	if int64(since) >= n.warming.Load() && !waited { // else it says what ended when the node came back
		n.latency.observe(now, took)
		n.typical.observe(took, time.Duration(p.compared.median.Load()))
	}
}

// lives draws from an answer what it says of the node's health. When the first
// message of a stream comes says nothing of how fast the node is: one that is
// ejected for being slow is probed again.
func (t *Try) lives(now time.Duration, opened bool) {
	n, p := t.node, t.set.pool
	n.hear(now)
	if n.failures.Load() != 0 {
		n.failures.Store(0)
	}
	e := n.ejection.Load()
	switch {
	case e == nil:
	case opened && e.why == Slow:
		e.invite(now)
	case n.answered(e, t.picked, now, now-t.since() > t.set.limit(now)):
		p.back(n, now)
	}
}

// Blameless says that the failure is not the node's, and final: that the body
// of the request broke off, for example.
func (t *Try) Blameless() { t.state.Or(wasBlameless) }

// WithDeadline returns the context of the attempt with the time as its deadline
// at which the try is given up if there is no answer: when its timeout has
// passed, or the request's context ends, whichever is first. It is for callers
// that tell the node. The context has no such deadline by itself, since what
// follows the head of an answer may take longer: so this is for answers that are
// complete when the try is Answered, and not for streams. It costs no timer.
func (t *Try) WithDeadline(ctx context.Context) context.Context {
	if t.set == nil {
		return ctx
	}
	at := t.set.pool.pools.start.Add(t.since() + t.timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(at) {
		return ctx
	}
	return &deadlined{ctx, at}
}

// deadlined is a context that says when it will end.
type deadlined struct {
	context.Context //nolint:containedctx // it is one

	at time.Time
}

// Deadline implements context.Context.
func (d *deadlined) Deadline() (time.Time, bool) { return d.at, true }

// run calls attempt once, and returns the state when it has returned.
func (t *Try) run(ctx context.Context, attempt func(context.Context, *Try) error) (outcome uint32, err error) {
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.arm()
	defer func() { outcome = t.end() }() // also when attempt panics
	err = attempt(ctx, t)
	if err == nil && t.state.Load()&wasOpened == 0 {
		t.Answered()
	}
	return 0, err
}

// end releases what the try holds. That it was abandoned speaks against the
// node until its next answer.
func (t *Try) end() (outcome uint32) {
	outcome = t.state.Or(isOver | isSettled)
	t.leave()
	if outcome&wasAbandoned == 0 {
		t.settle(outcome)
	}
	if outcome&(wasAnswered|wasOpened) == 0 { // else they do it
		t.disarm()
	}
	t.cancel(nil)
	if outcome&isResting != 0 {
		t.node.resting.Add(-1)
	}
	t.node.load.end()
	if outcome&wasOpened == 0 { // as above
		t.probe.release()
	}
	return outcome
}
