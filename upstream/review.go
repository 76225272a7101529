package upstream

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

const (
	// reviewEvery is how often the nodes of a pool are compared while there are
	// requests.
	reviewEvery = 100 * time.Millisecond
	// A node is slow that takes slowFactor times as long as the others, and more
	// than slowFloor.
	slowFactor = 5
	slowFloor  = 100 * time.Millisecond
	// maxCause bounds what the log says of an error: a node may have a word in it.
	maxCause = 200
)

// review compares the nodes of a pool. A node is measured by what it takes to
// answer, or by its silence if that is longer, against the median of the pool:
// when the whole service is slow or silent, no node is. Silence must also be
// longer than the slow ones of recent requests took, since it may be one of
// those that a node is at.
type review struct {
	due    atomic.Int64 // when the next is
	median atomic.Int64 // of the last; 0 for none
}

// limit is the latency from which a node is slow. It is 0 while nothing is
// known.
func (r *review) limit() time.Duration {
	m := time.Duration(r.median.Load())
	if m == 0 {
		return 0
	}
	return max(slowFactor*m, slowFloor)
}

// review compares the nodes, if that is due, and ejects those that are slow.
func (p *Pool) review(now time.Duration) {
	due := p.compared.due.Load()
	if int64(now) < due || !p.compared.due.CompareAndSwap(due, int64(now+reviewEvery)) {
		return
	}
	nodes := p.all.list()
	var room [16]time.Duration
	measures := room[:0]
	for _, n := range nodes {
		if m := n.measure(now); m > 0 && n.ejection.Load() == nil {
			measures = append(measures, m)
		}
	}
	if len(measures) == 0 {
		return
	}
	slices.Sort(measures)
	p.compared.median.Store(int64(measures[(len(measures)-1)/2])) // of two, the faster
	limit := p.compared.limit()
	if measures[len(measures)-1] <= limit {
		return
	}
	quiet := p.all.limit(now)
	for _, n := range nodes {
		if n.ejection.Load() != nil {
			continue
		}
		if m := n.typical.value(); m > limit {
			p.ejectSlow(n, nil, now, m)
		} else if m := n.silence(now); m > quiet {
			p.ejectSlow(n, nil, now, m)
		}
	}
}

// measure is what the node takes to answer, or for how long it has been silent.
// It is 0 if nothing is known.
func (n *node) measure(now time.Duration) time.Duration {
	return max(n.typical.value(), n.silence(now))
}

// limit is how long an answer may take until the node seems stuck: longer than
// a slow node takes, and longer than the slow ones of recent requests took. It
// is 0 while nothing is known.
func (s *Set) limit(now time.Duration) time.Duration {
	limit := s.pool.compared.limit()
	if limit == 0 {
		return 0
	}
	return max(limit, 2*s.longest.value(now))
}

// ejectSlow ejects a node for being slow, as m shows; e is its ejection so far.
// At most half of a pool's nodes are ejected for that: they answer, after all.
func (p *Pool) ejectSlow(n *node, e *ejection, now, m time.Duration) {
	if e == nil {
		nodes, ejected := p.all.list(), 1
		for _, other := range nodes {
			if other.ejection.Load() != nil {
				ejected++
			}
		}
		if ejected > len(nodes)/2 {
			return
		}
	}
	if wait := n.eject(e, Slow, now); wait > 0 {
		p.logEjection(n, Slow, wait, slog.Duration("latency", m))
	}
}

// logEjection tells of an ejection; because is what led to it.
func (p *Pool) logEjection(n *node, why Reason, wait time.Duration, because slog.Attr) {
	if told := p.pools.opts.Ejected; told != nil {
		told(p.name, why)
	}
	p.pools.log.LogAttrs(context.Background(), slog.LevelWarn, "node ejected",
		slog.String("service", p.name), slog.String("node", n.announced.Load().ID),
		slog.String("why", string(why)), slog.Duration("for", wait), because)
}

// cause returns an error as logs may have it, which is a short line.
func cause(err error) slog.Attr {
	text := err.Error()
	text, cut := text[:min(len(text), maxCause)], len(text) > maxCause
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
	if cut {
		text += "…"
	}
	return slog.String("error", text)
}

// back tells of a node whose ejection has ended, which begins its slow start.
// If no other is well, the outage of the service may be over: all are probed.
func (p *Pool) back(n *node, now time.Duration) {
	p.warm(now)
	p.pools.log.LogAttrs(context.Background(), slog.LevelInfo, "node is back",
		slog.String("service", p.name), slog.String("node", n.announced.Load().ID))
	nodes := p.all.list()
	for _, other := range nodes {
		if other != n && other.ejection.Load() == nil {
			return
		}
	}
	for _, other := range nodes {
		if e := other.ejection.Load(); e != nil {
			e.invite(now)
		}
	}
}

// warm notes that a slow start begins.
func (p *Pool) warm(now time.Duration) { p.warmUntil.Store(int64(now + slowStart)) }
