package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// probeTick is how often Run looks for probes that are due.
	probeTick = 200 * time.Millisecond
	// inUse is how long after its last request a service is probed.
	inUse = 5 * time.Minute
)

// A Prober asks a node whether it can serve. Nil means that it can. The context
// ends when the probe's timeout has passed. It is called for many nodes at a
// time, but for each once at a time.
type Prober func(ctx context.Context, n *registry.Node) error

// A Probe says how the nodes of a service are probed. A zero field means the
// default.
type Probe struct {
	// Prober is required.
	Prober Prober
	// Interval is the time between two probes of a node, give or take a tenth.
	// Less than 200 ms is taken for that. Default: 10 s.
	Interval time.Duration
	// Timeout bounds a probe. Default: 2 s.
	Timeout time.Duration
	// Failures in a row eject a node. Default: 3.
	Failures int
	// Successes in a row let it return. Default: 2.
	Successes int
}

// orDefault returns p with every zero field at its default.
func (p *Probe) orDefault() *Probe {
	d := *p
	if d.Interval <= 0 {
		d.Interval = 10 * time.Second
	}
	if d.Timeout <= 0 {
		d.Timeout = 2 * time.Second
	}
	if d.Failures <= 0 {
		d.Failures = 3
	}
	if d.Successes <= 0 {
		d.Successes = 2
	}
	return &d
}

// checkup is what probes found of a node.
type checkup struct {
	due            time.Duration // of the next probe, 0 for unknown; only Run's
	running        atomic.Bool
	passed, failed int // probes in a row; only of the probe that runs
}

// Run probes the nodes of services that have a Probe and are in use: that had a
// request within the last 5 minutes. It returns when ctx is done, and no probe
// runs then. It is called once. Without it, and without probes, the health of a
// node is what requests learn.
func (p *Pools) Run(ctx context.Context) error {
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	slots := make(chan struct{}, p.opts.maxProbes())
	var probes sync.WaitGroup
	defer probes.Wait()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for _, pool := range p.due() {
			for _, n := range pool.all.list() {
				if !n.checkup.begin(p.now(), pool.how.Interval) {
					continue
				}
				select {
				case slots <- struct{}{}:
				default: // at the next tick
					n.checkup.running.Store(false)
					continue
				}
				n.checkup.next(p.now(), pool.how.Interval)
				probes.Go(func() {
					defer func() { <-slots }()
					defer n.checkup.running.Store(false)
					pool.check(ctx, n)
				})
			}
		}
	}
}

// probed is a pool, and how its nodes are probed.
type probed struct {
	*Pool

	how *Probe
}

// due returns the pools whose nodes are to be probed.
func (p *Pools) due() []probed {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []probed
	for _, pool := range p.probed {
		if pool.budget.usedWithin(p.now(), inUse) {
			list = append(list, pool)
		}
	}
	return list
}

// begin says that a probe is due, which has begun then. The first is put off by
// some part of the interval, or all nodes would be probed at once.
func (c *checkup) begin(now, interval time.Duration) bool {
	if c.due == 0 {
		c.due = now + rand.N(interval) //nolint:gosec // spreads load
	}
	return now >= c.due && c.running.CompareAndSwap(false, true)
}

// next sets the time of the next probe.
func (c *checkup) next(now, interval time.Duration) {
	c.due = now + interval - interval/10 + rand.N(interval/5+1) //nolint:gosec // spreads load
}

// check probes a node once and draws its conclusions.
func (p probed) check(ctx context.Context, n *node) {
	probing, cancel := context.WithTimeout(ctx, p.how.Timeout)
	defer cancel()
	err := p.how.Prober(probing, n.announced.Load())
	c, now := &n.checkup, p.pools.now()
	switch {
	case ctx.Err() != nil: // nothing was learnt
	case err == nil:
		c.failed = 0
		if c.passed++; c.passed == p.how.Successes {
			p.healthy(n, now)
		}
	default:
		c.passed = 0
		if c.failed++; c.failed >= p.how.Failures {
			p.unhealthy(n, now, err)
		}
	}
}

// healthy ends an ejection that probes led to. What requests led to, the next
// request may end.
func (p *Pool) healthy(n *node, now time.Duration) {
	e := n.ejection.Load()
	switch {
	case e == nil:
	case e.why != Unhealthy:
		e.invite(now)
	case n.ejection.CompareAndSwap(e, nil):
		n.warming.Store(int64(now))
		n.hear(now)
		p.back(n, now)
	}
}

// unhealthy ejects a node until probes say otherwise, or are no longer made.
func (p probed) unhealthy(n *node, now time.Duration, err error) {
	wait := 3 * (p.how.Interval + p.how.Timeout)
	old := n.ejection.Load()
	if old != nil && old.why == Unhealthy {
		old.until.Store(int64(now + wait))
		return
	}
	e := &ejection{why: Unhealthy, at: now, wait: minEjection}
	if old != nil {
		e.wait = old.wait
	}
	e.until.Store(int64(now + wait))
	if n.ejection.CompareAndSwap(old, e) && old == nil {
		p.logEjection(n, Unhealthy, wait, cause(err))
	}
}
