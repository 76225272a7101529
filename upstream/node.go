package upstream

import (
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// noise is the latency below which differences mean nothing.
const noise = float64(time.Millisecond)

// node is the load and the health of one node. The Sets of a Pool share it.
// Times are since the start of its Pools.
type node struct {
	seed      uint64                        // its id, hashed
	announced atomic.Pointer[registry.Node] // as last announced
	traits    atomic.Pointer[traits]        // what its metadata asks for; nil for nothing
	latency   latency
	typical   typical
	load      load
	heard     atomic.Int64             // when it last answered, or came to owe an answer
	failures  atomic.Int32             // in a row
	ejection  atomic.Pointer[ejection] // nil for a node that is well
	warming   atomic.Int64             // when its slow start began
	checkup   checkup
}

// load counts the tries of a node: those in flight, and of them those whose
// answer the node owes. Both are one word, to be changed at once.
type load struct{ word atomic.Int64 }

const owedOne = 1 << 32

// inFlight counts the tries whose attempt has not returned.
func (l *load) inFlight() int { return int(int32(l.word.Load() & (owedOne - 1))) } //nolint:gosec // the lower half

// owed counts the tries in flight that wait for an answer.
func (l *load) owed() int { return int(l.word.Load() >> 32) }

// begin counts a try, unless there are limit of them; 0 is no limit.
func (n *node) begin(now time.Duration, limit int) bool {
	if n.load.owed() == 0 {
		n.heard.Store(int64(now)) // before it owes, or it would seem to have been silent
	}
	if after := n.load.word.Add(owedOne + 1); limit > 0 && int(int32(after&(owedOne-1))) > limit { //nolint:gosec // the lower half
		n.load.word.Add(-owedOne - 1)
		return false
	}
	return true
}

// silence is for how long the node has owed answers and given none. It shows
// that a node is stuck while requests still wait for it. A node that owes
// nothing is not silent, and neither is one that answers some.
func (n *node) silence(now time.Duration) time.Duration {
	if n.load.owed() == 0 {
		return 0
	}
	return max(0, now-time.Duration(n.heard.Load()))
}

// hush is how long a node without a latency may be silent before that
// counts for one.
const hush = 100 * time.Millisecond

// expect returns the latency to expect of the node, in nanoseconds: what it was,
// or how long it has been silent if that is longer. It is false for a node of
// which nothing is known.
func (n *node) expect(now time.Duration) (float64, bool) {
	est, known := n.latency.estimate(now)
	silent := n.silence(now)
	return max(est, float64(silent), noise), known || silent >= hush
}

// lighter says that n has less to do than m.
func (n *node) lighter(m *node, now time.Duration) bool {
	a, b := float64(n.load.inFlight()+1), float64(m.load.inFlight()+1)
	x, known := n.expect(now)
	y, both := m.expect(now)
	if known && both {
		a, b = a*x, b*y
	}
	return a < b // a new node, without a latency, is as good as the other
}
