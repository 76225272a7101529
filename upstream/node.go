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
	heard     atomic.Int64             // when it last answered, or was asked first or second since
	asked     atomic.Int64             // when it was asked last, of the times from the second
	overtaken atomic.Int64             // when the latest of the tries began that it has answered
	resting   atomic.Int32             // tries in flight that are no load
	failures  atomic.Int32             // in a row
	ejection  atomic.Pointer[ejection] // nil for a node that is well
	warming   atomic.Int64             // when its slow start began
	limiter   atomic.Pointer[limiter]  // nil as long as no policy wants one
	checkup   checkup
}

// load counts the tries of a node: those in flight, and of them those that
// began after the node's last answer. Both are one word, to be changed at once,
// together with a count of its answers, by which a try knows whether it is one
// of those.
type load struct{ word atomic.Uint64 }

const (
	newShift  = 22 // bits of those in flight, and of the new ones
	newOne    = 1 << newShift
	loadMask  = newOne - 1
	ageShift  = 2 * newShift
	ageOne    = 1 << ageShift
	knownBits = loadMask | ^uint64(ageOne-1) // all but the new ones
)

// inFlight counts the tries whose attempt has not returned.
func (l *load) inFlight() int { return int(l.word.Load() & loadMask) }

// unheard counts the tries that began after the last answer and have none:
// those that wait, and those that were abandoned.
func (l *load) unheard() int { return int(l.word.Load() >> newShift & loadMask) }

// begin counts a try. It returns the node's age, for which it is new, and the
// number in flight.
func (l *load) begin() (age uint32, inFlight int) {
	word := l.word.Add(newOne + 1)
	return uint32(word >> ageShift), int(word & loadMask)
}

// end counts a try no longer.
func (l *load) end() { l.word.Add(^uint64(0)) }

// settle counts a try of that age as new no longer.
func (l *load) settle(age uint32) {
	for {
		word := l.word.Load()
		if word>>ageShift != uint64(age) || word>>newShift&loadMask == 0 || l.word.CompareAndSwap(word, word-newOne) {
			return
		}
	}
}

// answer makes the node one age older: no try is new.
func (l *load) answer() {
	for {
		word := l.word.Load()
		if l.word.CompareAndSwap(word, (word+ageOne)&knownBits) {
			return
		}
	}
}

// begin counts a try, unless there are limit of them; 0 is no limit. It returns
// what the try's settle needs.
func (n *node) begin(now time.Duration, limit int) (age uint32, ok bool) {
	if n.load.unheard() < witnesses {
		n.heard.Store(int64(now)) // before it counts, or the node would seem to have been silent
	}
	age, inFlight := n.load.begin()
	if limit > 0 && inFlight > limit {
		n.dismiss(age)
		return 0, false
	}
	if n.load.unheard() >= witnesses { // only then it matters
		n.asked.Store(int64(now))
	}
	return age, true
}

// dismiss undoes begin.
func (n *node) dismiss(age uint32) {
	n.load.settle(age)
	n.load.end()
}

// hear notes that the node is heard of.
func (n *node) hear(now time.Duration) {
	n.heard.Store(int64(now))
	n.load.answer()
}

// begun notes when a try began that is answered.
func (n *node) begun(picked time.Duration) {
	for {
		latest := n.overtaken.Load()
		if latest >= int64(picked) || n.overtaken.CompareAndSwap(latest, int64(picked)) {
			return
		}
	}
}

// witnesses is how many tries must have begun since the node's last answer, and
// have none, for it to be silent: one may be a call that waits, as a long poll
// does. Those that others overtook say nothing.
const witnesses = 2

// waits is for how long the node has been asked and has given no answer, which
// says much only to a try that waits for one.
func (n *node) waits(now time.Duration) time.Duration {
	if n.load.unheard() == 0 {
		return 0
	}
	return max(0, now-time.Duration(n.heard.Load()))
}

// silence is for how long several tries have waited for the node, which has
// answered none. It shows that a node is stuck while requests still wait for it.
// A node that owes nothing is not silent, and neither is one that answers some.
func (n *node) silence(now time.Duration) time.Duration {
	if n.load.unheard() < witnesses {
		return 0
	}
	return max(0, now-time.Duration(n.heard.Load()))
}

// lookAgain is how long a silent node that is not ejected is left alone first;
// then for as long as it has been silent.
const lookAgain = time.Second

// shunned is the silence by which the node is passed over: all of it, but 0
// when it is time to see whether it answers.
func (n *node) shunned(now time.Duration) time.Duration {
	silent := n.silence(now)
	if silent < lookAgain {
		return silent
	}
	asked := time.Duration(n.asked.Load())
	if now-asked >= max(asked-time.Duration(n.heard.Load()), lookAgain) {
		return 0
	}
	return silent
}

// hush is how long a node without a latency may be silent before that
// counts for one.
const hush = 100 * time.Millisecond

// expect returns the latency to expect of the node, in nanoseconds: what it was,
// or how long it has been silent if that is longer. It is false for a node of
// which nothing is known.
func (n *node) expect(now time.Duration) (float64, bool) {
	est, known := n.latency.estimate(now)
	silent := n.shunned(now)
	return max(est, float64(silent), noise), known || silent >= hush
}

// busy counts the tries in flight that are something to do: calls that wait, as
// long polls do, are none.
func (n *node) busy() float64 {
	return float64(max(0, n.load.inFlight()-int(n.resting.Load())))
}

// lighter says that n has less to do than m.
func (n *node) lighter(m *node, now time.Duration) bool {
	a, b := n.busy()+1, m.busy()+1
	x, known := n.expect(now)
	y, both := m.expect(now)
	if known && both {
		a, b = a*x, b*y
	}
	return a < b // a new node, without a latency, is as good as the other
}
