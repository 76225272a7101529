package upstream

import (
	"math"
	"time"
)

// An alarm wakes a try when its timeout has passed, and before that to see
// whether its node is stuck, or the try one that waits. Alarms that have not
// rung are used again, since a timer is a large part of what a try costs.
type alarm struct {
	timer *time.Timer
	try   *Try
}

// arm sets an alarm.
func (t *Try) arm() {
	pools := t.set.pool.pools
	a, ok := pools.alarms.Get().(*alarm)
	if !ok {
		a = new(alarm)
		a.timer = time.AfterFunc(math.MaxInt64, a.ring)
	}
	a.try, t.alarm = t, a
	wait := min(t.timeout, telling)
	if t.state.Load()&mayMove != 0 {
		if limit := t.set.limit(t.picked); limit > 0 {
			wait = min(wait, limit)
		}
	}
	a.timer.Reset(wait)
}

// disarm stops the alarm. It is called once: by what ends the try's timeout.
func (t *Try) disarm() {
	a := t.alarm
	if a.timer.Stop() && t.state.Load()&hasRung == 0 {
		a.try = nil
		t.set.pool.pools.alarms.Put(a)
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

// expire ends the try's context if there is no answer, and either no progress
// for the timeout or a node that is stuck. It returns for how long to wait on, 0
// if not at all.
func (t *Try) expire() time.Duration {
	var bits uint32
	for {
		state := t.state.Load()
		if state&(wasAnswered|wasOpened|isOver) != 0 {
			return 0
		}
		now := t.now()
		waited := now - t.since()
		left := t.timeout - waited
		switch {
		case left <= 0:
			bits |= hasExpired
		case bits == 0 && t.stuck(now, waited): // once: it is paid for
			bits = hasExpired | wasAbandoned
		}
		if bits == 0 {
			t.rest(now, waited)
			return min(left, max(waited, slowFloor))
		}
		if t.state.CompareAndSwap(state, state|bits) {
			t.cancel(timeoutError{})
			return 0
		}
	}
}

// rest notes that the try is no load for the node, if it has waited for so much
// longer than answers take there that it is no matter of load.
func (t *Try) rest(now, waited time.Duration) {
	if est, _ := t.node.latency.estimate(now); waited < telling || float64(waited) < slowFactor*est {
		return
	}
	for {
		state := t.state.Load()
		if state&(isResting|isOver) != 0 {
			return
		}
		if t.state.CompareAndSwap(state, state|isResting) {
			t.node.resting.Add(1)
			t.leave()
			return
		}
	}
}

// stuck says that the try is better made on another node: this one has been
// silent for longer than answers take, and another is not. It takes from the
// budget of retries for that.
func (t *Try) stuck(now, waited time.Duration) bool {
	if t.state.Load()&mayMove == 0 || t.waiting.Load() != 0 {
		return false
	}
	t.set.pool.review(now)
	limit := t.set.limit(now)
	if limit == 0 || waited < limit || t.node.waits(now) < limit {
		return false
	}
	for _, n := range t.set.list() {
		if n != t.node && n.ejection.Load() == nil && n.silence(now) < limit && (t.fits == nil || t.fits(n.announced.Load())) {
			return t.set.pool.budget.withdraw(now)
		}
	}
	return false
}
