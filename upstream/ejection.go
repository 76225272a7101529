package upstream

import (
	"sync/atomic"
	"time"
)

const (
	// minEjection is how long a node is ejected first; each further time in a
	// row doubles it, up to maxEjection.
	minEjection = time.Second
	maxEjection = 30 * time.Second
	// maxSlow is the same for a node that is slow: finding out whether it still
	// is costs a request that can be abandoned, and little time.
	maxSlow = 4 * time.Second
	// maxFailures in a row eject a node that can be reached.
	maxFailures = 5
)

// A Reason is why a node is ejected.
type Reason string

// The reasons of ejections.
const (
	Unreachable Reason = "unreachable" // a request could not be sent to it
	Failing     Reason = "failing"     // five requests in a row failed on it
	Slow        Reason = "slow"        // it is much slower than the others, or silent
	Unhealthy   Reason = "unhealthy"   // probes failed
)

// ejection is the state of a node that was ejected and has not answered since.
// It changes in nothing but until and probing.
type ejection struct {
	why     Reason
	at      time.Duration
	wait    time.Duration
	until   atomic.Int64 // from then on, requests probe the node
	probing atomic.Bool  // one does
}

// due says that a request may probe the node. One that cannot be abandoned
// probes a slow node only if none came that can.
func (e *ejection) due(now time.Duration, idempotent bool) bool {
	until := time.Duration(e.until.Load())
	if e.why == Slow && !idempotent {
		until += e.wait
	}
	return now >= until && !e.probing.Load()
}

// invite lets any request probe the node, from now on, if probes do not.
func (e *ejection) invite(now time.Duration) {
	if e.why == Unhealthy {
		return
	}
	if until := now - e.wait; e.until.Load() > int64(until) {
		e.until.Store(int64(until))
	}
}

// postpone ends a probe that shows nothing, and puts off the next.
func (e *ejection) postpone(now time.Duration) {
	e.until.Store(int64(now + e.wait))
	e.release()
}

// available says that the node may be given a request.
func (n *node) available(now time.Duration, idempotent bool) bool {
	e := n.ejection.Load()
	return e == nil || e.due(now, idempotent)
}

// claim is available for the one who goes on to use the node: of those who
// want to probe it, one gets the ejection, which it releases.
func (n *node) claim(now time.Duration, idempotent bool) (probe *ejection, ok bool) {
	e := n.ejection.Load()
	if e == nil {
		return nil, true
	}
	if e.due(now, idempotent) && e.probing.CompareAndSwap(false, true) {
		return e, true
	}
	return nil, false
}

// release ends a probe; e may be nil, for none.
func (e *ejection) release() {
	if e != nil {
		e.probing.Store(false)
	}
}

// answered ends the node's ejection e, unless the answer was slow and so was the
// node, or probes are to end it. It says whether it did.
//
// An answer of a try from before the ejection says nothing, but of a slow node:
// that it is alive, and to be probed.
func (n *node) answered(e *ejection, picked, now time.Duration, slow bool) (back bool) {
	switch {
	case picked < e.at:
		if e.why == Slow {
			e.invite(now)
		}
		return false
	case e.why == Unhealthy && now < time.Duration(e.until.Load()): // else they are no longer made
		return false
	case e.why == Slow && slow:
		n.eject(e, Slow, now)
		return false
	}
	if !n.ejection.CompareAndSwap(e, nil) {
		return false
	}
	if e.why == Slow {
		n.forget()
	}
	n.warming.Store(int64(now))
	return true
}

// failed holds a failure against the node. It returns for how long that ejects
// the node, 0 if it does not or the node was ejected already.
func (n *node) failed(picked, now time.Duration, why Reason) time.Duration {
	e := n.ejection.Load()
	if e != nil && picked < e.at {
		return 0 // the ejection knows
	}
	if n.failures.Add(1) < maxFailures && e == nil && why == Failing {
		return 0
	}
	return n.eject(e, why, now)
}

// eject replaces the node's ejection e, nil for none. It returns for how long
// that ejects the node, 0 if it was ejected meanwhile or is tried though
// ejected.
func (n *node) eject(e *ejection, why Reason, now time.Duration) time.Duration {
	next := &ejection{why: why, at: now, wait: minEjection}
	if e != nil {
		next.wait = 2 * e.wait
	}
	if why == Slow {
		next.wait = min(next.wait, maxSlow)
	}
	next.wait = min(next.wait, maxEjection)
	until := now + next.wait
	again := e != nil && now < time.Duration(e.until.Load()) // tried though ejected: no longer for it, but behind the others
	if again {
		until, next.wait, next.why = time.Duration(e.until.Load()), e.wait, e.why
	}
	next.until.Store(int64(until))
	if !n.ejection.CompareAndSwap(e, next) || again {
		return 0
	}
	return next.wait
}
