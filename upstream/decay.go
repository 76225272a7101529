package upstream

import (
	"math"
	"sync/atomic"
	"time"
)

// decayTime is the time in which what is remembered shrinks to 1/e.
const (
	decayTime = 10 * time.Second
	longDecay = time.Minute // of what is seen rarely
)

// decaying is a number that shrinks as time passes, with the millisecond it was
// last set in: one word, so that it changes as a whole without a lock. The word
// 0 is a number that was never set.
type decaying struct{ word atomic.Uint64 }

// pack returns v as it is at now.
func pack(v float64, now time.Duration) uint64 {
	return uint64(stamp(now))<<32 | uint64(math.Float32bits(float32(v)))
}

// stamp returns now in milliseconds, on a clock that goes round in 50 days.
func stamp(now time.Duration) uint32 {
	return uint32(now.Milliseconds() & math.MaxUint32)
}

// unpack returns the number as it was set, and the part of it that is left at
// now, when it shrinks to 1/e in decay. What seems to lie in the future is taken
// for new.
func unpack(word uint64, now, decay time.Duration) (v, left float64) {
	v = float64(math.Float32frombits(uint32(word & math.MaxUint32)))
	age := stamp(now) - uint32(word>>32)
	if age == 0 || age > math.MaxInt32 {
		return v, 1
	}
	x := float64(age) / float64(decay/time.Millisecond)
	if x < 0.1 { // nearly always, and Exp takes long
		return v, 1 - x + x*x/2
	}
	return v, math.Exp(-x)
}

// latency is a peak-sensitive moving average: it follows a rise at once and a
// fall slowly, and forgets a node that serves nothing.
type latency struct{ decaying }

// observe adds a sample.
func (l *latency) observe(now, sample time.Duration) {
	s := float64(max(sample, 1)) // 0 is no sample
	for {
		word := l.word.Load()
		v, left := unpack(word, now, decayTime)
		if l.word.CompareAndSwap(word, pack(max(s, v*left+s*(1-left)), now)) {
			return
		}
	}
}

// atLeast adds what a try without an answer tells: that one would have taken
// longer than this.
func (l *latency) atLeast(now, waited time.Duration) {
	if est, _ := l.estimate(now); est < float64(waited) {
		l.observe(now, waited)
	}
}

// estimate returns the latency to expect, in nanoseconds. It is false for a
// node that has not answered yet.
func (l *latency) estimate(now time.Duration) (float64, bool) {
	word := l.word.Load()
	v, left := unpack(word, now, decayTime)
	return v * left, word != 0
}

// last returns the average as of the last sample, 0 without one.
func (l *latency) last() time.Duration {
	return time.Duration(math.Float32frombits(uint32(l.word.Load() & math.MaxUint32)))
}

// forget makes the node one of which nothing is known.
func (n *node) forget() {
	n.latency.word.Store(0)
	n.typical.word.Store(0)
}

// typical is the mean latency of about the last 16 answers, in which none counts
// for more than four times the mean: a few that take long, as some requests do,
// hardly change it. The word is a number of nanoseconds, 0 for none.
type typical struct{ word atomic.Uint32 }

// observe adds a sample. The mean begins at start, or at the first sample if
// that is 0.
func (t *typical) observe(sample, start time.Duration) {
	s := float32(max(sample, 1))
	for {
		word := t.word.Load()
		v := math.Float32frombits(word)
		switch {
		case word != 0:
		case start > 0:
			v = float32(start)
		default:
			v = s
		}
		if t.word.CompareAndSwap(word, math.Float32bits(v+(min(s, 4*v)-v)/16)) {
			return
		}
	}
}

// value returns the mean, 0 for none.
func (t *typical) value() time.Duration {
	return time.Duration(math.Float32frombits(t.word.Load()))
}

// longest is how long the slow ones of recent requests took.
type longest struct{ decaying }

// observe adds a sample.
func (l *longest) observe(now, sample time.Duration) {
	for {
		word := l.word.Load()
		v, left := unpack(word, now, longDecay)
		if word != 0 && v*left >= float64(sample) || l.word.CompareAndSwap(word, pack(float64(sample), now)) {
			return
		}
	}
}

// value returns it as it is at now, 0 for none.
func (l *longest) value(now time.Duration) time.Duration {
	v, left := unpack(l.word.Load(), now, longDecay)
	return time.Duration(v * left)
}

const (
	// retryShare is how many retries a recent request pays for.
	retryShare = 0.18
	// retryReserve is how many retries may go beyond that, so that a service
	// with few requests has some. As it is forgotten, it comes again: that is one
	// each second. With 50 requests a second both are a fifth of them.
	retryReserve = 10
)

// budget bounds the retries of a pool, so that a service in trouble is not
// buried under them. Its number is retryShare for each recent request less the
// recent retries.
type budget struct{ decaying }

// deposit counts a request.
func (b *budget) deposit(now time.Duration) {
	for {
		word := b.word.Load()
		v, left := unpack(word, now, decayTime)
		if b.word.CompareAndSwap(word, pack(v*left+retryShare, now)) {
			return
		}
	}
}

// withdraw counts a retry, if there may be one.
func (b *budget) withdraw(now time.Duration) bool {
	for {
		word := b.word.Load()
		v, left := unpack(word, now, decayTime)
		v = v*left - 1
		if v < -retryReserve {
			return false
		}
		if b.word.CompareAndSwap(word, pack(v, now)) {
			return true
		}
	}
}

// usedWithin says that there was a request not longer ago than d.
func (b *budget) usedWithin(now, d time.Duration) bool {
	word := b.word.Load()
	return word != 0 && time.Duration(stamp(now)-uint32(word>>32))*time.Millisecond <= d
}
