package upstream

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// minEjection is how long a node is ejected first; each further time in a
	// row doubles it, up to maxEjection.
	minEjection = time.Second
	maxEjection = 30 * time.Second
	// maxFailures in a row eject a node that can be reached.
	maxFailures = 5
	// noise is the latency below which differences mean nothing.
	noise = float64(time.Millisecond)
	// draws is how often a free node is drawn at random before all are looked
	// at.
	draws = 4
)

// node is the load and the health of one node. The Sets of a Pool share it.
// Times are since the start of its Pools.
type node struct {
	announced atomic.Pointer[registry.Node] // as last announced
	latency   latency
	inFlight  atomic.Int32
	failures  atomic.Int32             // in a row
	ejection  atomic.Pointer[ejection] // nil for a node that is well
}

// ejection is the state of a node that was ejected and has not answered since.
type ejection struct {
	at, until time.Duration
	wait      time.Duration
	probing   atomic.Bool // a request probes the node
}

// available says that the node may be given a request.
func (n *node) available(now time.Duration) bool {
	e := n.ejection.Load()
	return e == nil || now >= e.until && !e.probing.Load()
}

// claim is available for the one who goes on to use the node: of those who
// want to probe it, one gets the ejection, which it releases.
func (n *node) claim(now time.Duration) (probe *ejection, ok bool) {
	e := n.ejection.Load()
	if e == nil {
		return nil, true
	}
	if now >= e.until && e.probing.CompareAndSwap(false, true) {
		return e, true
	}
	return nil, false
}

// lighter says that n has less to do than m.
func (n *node) lighter(m *node, now time.Duration) bool {
	a, b := float64(n.inFlight.Load()+1), float64(m.inFlight.Load()+1)
	x, known := n.latency.estimate(now)
	y, both := m.latency.estimate(now)
	if known && both {
		a, b = a*max(x, noise), b*max(y, noise)
	}
	return a < b // a new node, without a latency, is as good as the other
}

// answered ends what is held against the node. It says whether that ended an
// ejection. An answer of a try from before the ejection says nothing.
func (n *node) answered(picked time.Duration) bool {
	if n.failures.Load() != 0 {
		n.failures.Store(0)
	}
	e := n.ejection.Load()
	return e != nil && picked >= e.at && n.ejection.CompareAndSwap(e, nil)
}

// failed holds a failure against the node. It returns for how long that ejects
// the node, 0 if it does not or the node was ejected already.
func (n *node) failed(picked, now time.Duration, unreached bool) time.Duration {
	e := n.ejection.Load()
	if e != nil && picked < e.at {
		return 0 // the ejection knows
	}
	if n.failures.Add(1) < maxFailures && e == nil && !unreached {
		return 0
	}
	next := &ejection{at: now, wait: minEjection}
	if e != nil {
		next.wait = min(2*e.wait, maxEjection)
	}
	next.until = now + next.wait
	again := e != nil && now < e.until // tried though ejected: no longer for it, but behind the others
	if again {
		next.until, next.wait = e.until, e.wait
	}
	if !n.ejection.CompareAndSwap(e, next) || again {
		return 0
	}
	return next.wait
}

// pick returns the node for a request that was tried on some already, or nil.
// A node that the request has not tried comes first, then one that it has, then
// one that is ejected.
func pick(nodes, tried []*node, now time.Duration) (n *node, probe *ejection) {
	if len(nodes) == 0 {
		return nil, nil
	}
	if n, probe = pickAvailable(nodes, tried, now); n != nil {
		return n, probe
	}
	if len(tried) > 0 {
		if n, probe = pickAvailable(nodes, nil, now); n != nil {
			return n, probe
		}
	}
	return oldestEjected(nodes, tried), nil
}

// pickAvailable returns the lighter of two available nodes drawn at random.
func pickAvailable(nodes, tried []*node, now time.Duration) (*node, *ejection) {
	for {
		n := draw(nodes, tried, nil, now)
		if n == nil {
			return nil, nil
		}
		if len(nodes) > 1 {
			if m := draw(nodes, tried, n, now); m != nil && m.lighter(n, now) {
				n = m
			}
		}
		if probe, ok := n.claim(now); ok {
			return n, probe
		}
	}
}

// draw returns an available node at random that is neither tried nor not.
func draw(nodes, tried []*node, not *node, now time.Duration) *node {
	free := func(n *node) bool {
		return n != not && n.available(now) && !slices.Contains(tried, n)
	}
	for range draws {
		if n := nodes[rand.IntN(len(nodes))]; free(n) { //nolint:gosec // balance is no secret
			return n
		}
	}
	var found *node
	seen := 0
	for _, n := range nodes {
		if !free(n) {
			continue
		}
		seen++
		if rand.IntN(seen) == 0 { //nolint:gosec // balance is no secret
			found = n
		}
	}
	return found
}

// oldestEjected returns the node that was ejected before all others, of those
// that are not tried.
func oldestEjected(nodes, tried []*node) *node {
	var (
		oldest *node
		at     time.Duration
	)
	for _, n := range nodes {
		if slices.Contains(tried, n) {
			continue
		}
		e := n.ejection.Load()
		if e == nil {
			return n // it came back this instant
		}
		if oldest == nil || e.at < at {
			oldest, at = n, e.at
		}
	}
	return oldest
}
