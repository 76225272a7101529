package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Do serves a request: it picks a node, calls attempt, and when that fails,
// tries again on another node what is safe to try again. Attempt is not called
// twice at a time. Its context is the try's: it ends when attempt returns, when
// the request's does, and when the try is given up without an answer, because
// the policy's TryTimeout, or what is left of its Timeout, has passed, or because
// the node is stuck. Its cause is then a context.DeadlineExceeded.
//
// What decides on an attempt that returns an error, in this order:
//
//   - the try is Answered, Failed or Opened: final; the error is returned as it
//     is.
//   - ctx is done: final; nothing is held against the node. The error returned
//     is also ctx.Err().
//   - the try is Blameless: final, as it is; nothing is held against the node.
//   - nothing was Sent: the node could not be reached. Another is tried,
//     whatever the request. The node is ejected at once, if it was not the
//     try's timeout that ended the attempt.
//   - Sent, and the call is Idempotent: tried again, on another node if there
//     is one, within a budget: retries are at most a fifth of the pool's requests,
//     or one each second.
//   - Sent, and it is not: final.
//
// A try on a stuck node is given up only if the call is Idempotent, no body was
// sent (Progress), another node is not stuck, and the budget allows it; and once
// for a request, since it may be the request that takes long.
//
// When tries, nodes, budget or the policy's Timeout are used up, Do returns a
// [*NodeError] that wraps the error of the last attempt. [ErrNoNodes] means that
// the Set has no node for the request, and [ErrOverloaded] that the policy's
// limits are reached: Do does not wait for that to end. Nil means that an attempt
// returned nil, which counts as Answered if the try is not Opened.
func (s *Set) Do(ctx context.Context, c Call, attempt func(context.Context, *Try) error) error {
	r := s.roster()
	if r == nil || len(r.nodes) == 0 {
		return ErrNoNodes
	}
	pool := s.pool
	pol := c.Policy.over(pool.policy.Load())
	now := pool.pools.now()
	pool.budget.deposit(now)
	end := now + pol.Timeout
	var (
		room  [4]*node
		last  error
		moved bool
		p     = pick{idempotent: c.Idempotent, limit: pol.MaxPerNode, adaptive: pol.Adaptive, fits: c.Fits, tried: room[:0]}
	)
	if pol.HashBy != "" {
		p.key, p.keyed = keyOf(pol.HashBy, c.Header)
	}
	for {
		n, probe, err := s.pick(&p, now, c.Header, pol.MaxInFlight)
		if n == nil {
			return cmp.Or(last, err)
		}
		p.tried = append(p.tried, n)
		t := &Try{
			Node: n.announced.Load(), N: len(p.tried), set: s, node: n, picked: now,
			timeout: min(pol.TryTimeout, end-now), probe: probe, fits: c.Fits, begun: p.begun,
		}
		t.prepare(moved, c.Idempotent && t.N < pol.Tries, pol.Adaptive)
		outcome, err := t.run(ctx, attempt)
		if err == nil {
			return nil
		}
		now = pool.pools.now()
		failed, err := t.judge(ctx, outcome, err, now)
		if failed == nil {
			return err
		}
		moved = outcome&wasAbandoned != 0
		safe := !failed.Sent || c.Idempotent
		if !safe || t.N == pol.Tries || now >= end || failed.Sent && !moved && !pool.budget.withdraw(now) {
			return failed
		}
		last = failed
	}
}

// pick returns the node for the next try, which counts as begun, and the
// ejection that the try probes; or else why there is none.
func (s *Set) pick(p *pick, now time.Duration, h http.Header, maxInFlight int) (*node, *ejection, error) {
	pool := s.pool
	pool.review(now)
	p.now, p.cold, p.slow = now, int64(now) < pool.warmUntil.Load(), pool.compared.limit()
	g, spare := s.roster().group(h)
	if p.fits != nil {
		g, spare = p.fitting(g), p.fitting(spare)
	}
	n, probe := p.from(g, spare)
	switch {
	case n == nil && len(g.nodes)+len(spare.nodes) > 0 && (p.limit > 0 || p.adaptive):
		return nil, nil, ErrOverloaded
	case n == nil:
		return nil, nil, ErrNoNodes
	case maxInFlight > 0 && pool.inFlight() > maxInFlight:
		p.dismiss(n)
		probe.release()
		return nil, nil, ErrOverloaded
	}
	return n, probe, nil
}

// inFlight counts the tries that have not ended.
func (p *Pool) inFlight() int {
	sum := 0
	for _, n := range p.all.list() {
		sum += n.load.inFlight()
	}
	return sum
}

// judge returns what a try that failed was: a failure of the node, which it
// holds against the node, or else an error that is final.
func (t *Try) judge(ctx context.Context, outcome uint32, err error, now time.Duration) (failed *NodeError, final error) {
	if outcome&(wasAnswered|wasOpened) != 0 {
		return nil, err
	}
	sent, timeout, stuck := outcome&wasSent != 0, outcome&hasExpired != 0, outcome&wasAbandoned != 0
	waited := now - t.since()
	timeout = timeout || waited >= t.timeout // as the attempt saw first, if it knew; see WithDeadline
	silent := t.node.silence(now) > 0        // and not only a call that waits
	if sent && waited >= telling && !t.isOvertaken(now) || stuck && silent {
		t.node.latency.atLeast(now, waited)
	}
	if done := ctx.Err(); done != nil {
		if !errors.Is(err, done) {
			err = fmt.Errorf("upstream: %w: %w", done, err)
		}
		return nil, err
	}
	if outcome&wasBlameless != 0 {
		return nil, err
	}
	pool, why := t.set.pool, Failing
	switch {
	case stuck:
		if e := t.node.ejection.Load(); e == nil && silent || e != nil && t.picked >= e.at {
			pool.ejectSlow(t.node, e, now, waited)
		}
	case !sent && !timeout:
		why = Unreachable
		fallthrough
	default:
		if wait := t.node.failed(t.picked, now, why); wait > 0 {
			pool.logEjection(t.node, why, wait, cause(err))
		}
	}
	return &NodeError{Service: pool.name, Node: t.Node.ID, Sent: sent, Timeout: timeout, Err: err}, nil
}
