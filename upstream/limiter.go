package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// few requests at a time are never too many for a node: its limit is not less.
	few = 4
	// inRow is how many answers in a row must be late for a node to be overloaded:
	// one that serves quick and slow requests, and is not, has a quick one among
	// them.
	inRow = 16
	// An answer is late that takes half as long again as usual, and lateBy beyond
	// that, below which differences mean nothing.
	lateBy = 10 * time.Millisecond
	// remembered is for how long it counts what a node has served in time: at
	// least that, and less than twice as long. A limit that nothing came near to
	// for so long is lifted.
	remembered = 10 * time.Second
)

// A limiter finds how many requests at a time a node can answer in time. There
// is no limit until it is exceeded: until answers are late, one and all, to
// requests that met more others than any did of late that was answered in time.
// It is then lowered until some are in time, and raised when requests near to it
// are, so that the node has always enough to do.
//
// What is late for another reason makes no limit, but is usual from then on. To
// tell them apart nothing is tried out with requests: it shows in what each request
// met, and in how many answers passed by. A limit was a mistake if half as many
// requests are answered as late.
//
// What counts is tries that wait for the head of an answer. Those that wait for
// their client, for what does not come for long, or for the rest of the answer, do
// not.
type limiter struct {
	waiting atomic.Int32  // tries without an answer
	limit   atomic.Int32  // of these; 0 for none
	answers atomic.Uint32 // that have come
	near    atomic.Int64  // when a request was last answered that had come near to the limit

	mu      sync.Mutex    // is never waited for: an answer that finds it held does not count
	usual   time.Duration // what an answer takes to a request that met few
	served  [2]int        // the most that a request met which was answered in time, of late and before
	turned  time.Duration // when "of late" began
	changed time.Duration // when the limit was
	room    int           // answers in time, near the limit, since then: twice those less the late ones
	late    late
	quick   quick
	before  late          // what made the limit what it is, or twice as much
	crept   time.Duration // when what is usual grew without a reason
}

// late is late answers in a row.
type late struct {
	n      int
	least  time.Duration // that one of them took
	met    int           // by the request of that one
	passed int           // answers that came while it waited
	low    int           // requests that had met few
	known  int           // requests that had met no more than were served in time
}

// quick is answers in a row that took less than half of what is usual.
type quick struct {
	n    int
	most time.Duration // that one of them took
}

// entry is what a try finds when it begins: how many wait with it, and how many
// answers have come.
type entry struct {
	met     int32
	answers uint32
}

// limited returns the node's limiter, which it makes.
func (n *node) limited() *limiter {
	if l := n.limiter.Load(); l != nil {
		return l
	}
	n.limiter.CompareAndSwap(nil, new(limiter))
	return n.limiter.Load()
}

// enter counts a try, unless it is beyond the limit.
func (l *limiter) enter(now time.Duration) (e entry, ok bool) {
	met := l.waiting.Add(1)
	if limit := l.limit.Load(); limit > 0 && met > limit && !l.forgotten(now) {
		l.leave()
		return entry{}, false
	}
	return entry{met: met, answers: l.answers.Load()}, true
}

// leave counts a try no longer.
func (l *limiter) leave() { l.waiting.Add(-1) }

// admits says that another try is not beyond the limit. A nil limiter has none.
func (l *limiter) admits(now time.Duration) bool {
	if l == nil {
		return true
	}
	limit := l.limit.Load()
	return limit == 0 || l.waiting.Load() < limit || l.forgotten(now)
}

// forgotten says that the limit is of another time.
func (l *limiter) forgotten(now time.Duration) bool {
	return now-time.Duration(l.near.Load()) > remembered
}

// answered counts an answer that took so long, to a try that began at picked.
func (l *limiter) answered(e entry, picked, now, took time.Duration) {
	passed := int(l.answers.Add(1) - e.answers)
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	limit, met := int(l.limit.Load()), int(e.met)
	if limit > 0 && l.forgotten(now) {
		limit = 0
		l.set(0, now)
	}
	if picked < l.changed {
		return // what it met was of another limit
	}
	if limit > 0 && isNear(met, limit) {
		l.near.Store(int64(now))
	}
	if now-l.turned >= remembered {
		l.served[1], l.served[0], l.turned = l.served[0], 0, now
	}
	isLate := l.usual > 0 && took > l.tolerated()
	l.learn(took, met)
	if !isLate {
		l.inTime(now, met, limit)
		return
	}
	if isNear(met, limit) {
		l.room = max(0, l.room-1)
	}
	l.late.add(took, met, passed, l)
	l.judge(now, limit)
}

// isNear says that a request that met so many came near to the limit.
func isNear(met, limit int) bool { return 4*met >= 3*limit }

// tolerated is how long an answer may take that is in time.
func (l *limiter) tolerated() time.Duration { return l.usual + l.usual/2 + lateBy }

// most is how many requests at a time were answered in time.
func (l *limiter) most() int { return max(few, l.served[0], l.served[1]) }

// few is how many of these are so few that none waits for another.
func (l *limiter) few() int { return max(few, l.most()/2) }

// learn follows what answers take to requests that met few. Some that take long
// hardly change it, and nor do some that are quick; but if all are, whatever they
// met, it is no more than that.
func (l *limiter) learn(took time.Duration, met int) {
	if l.usual == 0 {
		l.usual = max(took, 1)
		return
	}
	if took >= l.usual/2 {
		l.quick = quick{}
	} else {
		l.quick.n, l.quick.most = l.quick.n+1, max(l.quick.most, took)
	}
	switch {
	case l.quick.n == inRow:
		l.usual, l.quick = max(l.quick.most, 1), quick{}
	case met <= l.few():
		l.usual += (min(took, 4*l.usual) - l.usual) / 16
	}
}

// inTime counts an answer in time.
func (l *limiter) inTime(now time.Duration, met, limit int) {
	l.late.n = 0
	l.served[0] = max(l.served[0], met)
	if limit == 0 || !isNear(met, limit) {
		return
	}
	if l.room += 2; l.room >= 2*inRow {
		l.set(limit+max(1, limit/8), now)
	}
}

// add counts a late answer.
func (r *late) add(took time.Duration, met, passed int, l *limiter) {
	if r.n == 0 {
		*r = late{least: took, met: met, passed: passed}
	}
	if took < r.least {
		r.least, r.met, r.passed = took, met, passed
	}
	if met <= l.few() {
		r.low++
	}
	if met <= l.most() {
		r.known++
	}
	r.n++
}

// judge draws from late answers in a row what they show.
func (l *limiter) judge(now time.Duration, limit int) {
	r := &l.late
	switch {
	case limit > 0 && limit <= l.before.met/2 && r.n == inRow/4 && r.isLike(&l.before): // half as many take as long
		l.usual = r.least
		l.set(0, now)
	case r.n < inRow:
	case limit > 0:
		l.lower(limit, now)
	case !l.byNumber():
		l.usual = r.least
		l.set(0, now)
	case r.known >= inRow/2: // it may be either: what is usual grows, if this lasts
		l.usual += time.Duration(float64(l.usual) * float64(min(now-l.crept, remembered/8)) / float64(remembered))
		l.crept = now
		l.set(0, now)
	default:
		l.before = *r
		l.near.Store(int64(now))
		l.lower(max(r.met, l.most()), now)
	}
}

// isLike says that answers were about as late as others, and not for another reason,
// as when the machine stands still.
func (r *late) isLike(other *late) bool {
	return r.least > other.least/4*3 && r.least < 2*other.least
}

// byNumber says that answers may be late because there are too many requests: not
// those, too, that met few; not much, if as many were answered in time before;
// and while a request waited, about as many were answered as it had met.
func (l *limiter) byNumber() bool {
	r := &l.late
	switch {
	case r.met <= l.few() || r.low >= inRow/4,
		r.known >= inRow/2 && r.least > l.tolerated()/10*11,
		r.met > 2*r.passed || r.passed > 2*r.met:
		return false
	}
	return true
}

// lower lowers the limit to what is answered in time, if fewer requests take less
// in proportion; at most to half, to see whether they do.
func (l *limiter) lower(limit int, now time.Duration) {
	r := l.late
	if limit <= l.before.met/2 {
		l.before = r
	}
	inTime := int(float64(r.met) * float64(l.tolerated()) / float64(r.least))
	l.set(max(few, limit/2, min(inTime, limit-1)), now)
}

// set sets the limit, 0 for none, and begins to count anew.
func (l *limiter) set(limit int, now time.Duration) {
	if l.limit.Swap(int32(limit)) != int32(limit) { //nolint:gosec // it is made of numbers of tries, which are int32
		l.changed = now
	}
	l.late.n, l.room = 0, 0
}
