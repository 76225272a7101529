package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Do serves a request: it picks a node, calls attempt, and when that fails,
// tries again on another node what is safe to try again. Attempt is not called
// twice at a time. Its context is the try's: it ends when attempt returns, when
// the request's does, and when the policy's TryTimeout, or what is left of its
// Timeout, has passed without an answer (its cause is then a
// context.DeadlineExceeded).
//
// What decides on an attempt that returns an error, in this order:
//
//   - the try is Answered: final; the error is returned as it is.
//   - ctx is done: final; nothing is held against the node. The error returned
//     is also ctx.Err().
//   - the try is Blameless: final, as it is; nothing is held against the node.
//   - nothing was Sent: the node could not be reached. Another is tried,
//     whatever the request. The node is ejected at once, if it was not the
//     try's timeout that ended the attempt.
//   - Sent, and the call is Idempotent: tried again, on another node if there
//     is one, within a budget: retries are at most a fifth of the pool's recent
//     requests, and ten.
//   - Sent, and it is not: final.
//
// When tries, nodes, budget or the policy's Timeout are used up, Do returns a [*NodeError] that wraps
// the error of the last attempt. [ErrNoNodes] means that the Set is empty. Nil
// means that an attempt returned nil, which counts as Answered.
func (s *Set) Do(ctx context.Context, c Call, attempt func(context.Context, *Try) error) error {
	nodes := s.list()
	if len(nodes) == 0 {
		return ErrNoNodes
	}
	pol := c.Policy.orDefault()
	now := s.pool.pools.now()
	s.pool.budget.deposit(now)
	end := now + pol.Timeout
	var (
		room  [4]*node
		tried = room[:0]
		last  = ErrNoNodes
	)
	for {
		n, probe := pick(nodes, tried, now)
		if n == nil {
			return last
		}
		n.inFlight.Add(1) // at once: others pick at the same time
		tried = append(tried, n)
		t := &Try{Node: n.announced.Load(), N: len(tried), pool: s.pool, node: n, picked: now, timeout: min(pol.TryTimeout, end-now)}
		err := t.run(ctx, probe, attempt)
		if err == nil {
			return nil
		}
		now = s.pool.pools.now()
		failed, err := t.judge(ctx, err, now)
		if failed == nil {
			return err
		}
		safe := !failed.Sent || c.Idempotent
		if !safe || t.N == pol.Tries || now >= end || failed.Sent && !s.pool.budget.withdraw(now) {
			return failed
		}
		last, nodes = failed, s.list()
	}
}

// judge returns what a try that failed was: a failure of the node, which it
// holds against the node, or else an error that is final.
func (t *Try) judge(ctx context.Context, err error, now time.Duration) (failed *NodeError, final error) {
	if t.outcome&wasAnswered != 0 {
		return nil, err
	}
	sent, timeout := t.outcome&wasSent != 0, t.outcome&hasExpired != 0
	if waited := now - t.since(); sent && waited >= patience {
		t.node.latency.atLeast(now, waited)
	}
	if done := ctx.Err(); done != nil {
		if !errors.Is(err, done) {
			err = fmt.Errorf("upstream: %w: %w", done, err)
		}
		return nil, err
	}
	if t.outcome&wasBlameless != 0 {
		return nil, err
	}
	if wait := t.node.failed(t.picked, now, !sent && !timeout); wait > 0 {
		t.pool.pools.log.LogAttrs(ctx, slog.LevelWarn, "node ejected",
			slog.String("service", t.pool.name), slog.String("node", t.Node.ID),
			slog.Duration("for", wait), slog.Any("error", err))
	}
	return &NodeError{Service: t.pool.name, Node: t.Node.ID, Sent: sent, Timeout: timeout, Err: err}, nil
}
