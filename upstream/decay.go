package upstream

import (
	"math"
	"sync/atomic"
	"time"
)

// decayTime is the time in which what is remembered shrinks to 1/e.
const decayTime = 10 * time.Second

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
// now. What seems to lie in the future is taken for new.
func unpack(word uint64, now time.Duration) (v, left float64) {
	v = float64(math.Float32frombits(uint32(word & math.MaxUint32)))
	age := stamp(now) - uint32(word>>32)
	if age == 0 || age > math.MaxInt32 {
		return v, 1
	}
	return v, math.Exp(-float64(age) / float64(decayTime/time.Millisecond))
}

// latency is a peak-sensitive moving average: it follows a rise at once and a
// fall slowly, and forgets a node that serves nothing.
type latency struct{ decaying }

// observe adds a sample.
func (l *latency) observe(now, sample time.Duration) {
	s := float64(max(sample, 1)) // 0 is no sample
	for {
		word := l.word.Load()
		v, left := unpack(word, now)
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
	v, left := unpack(word, now)
	return v * left, word != 0
}

// last returns the average as of the last sample, 0 without one.
func (l *latency) last() time.Duration {
	return time.Duration(math.Float32frombits(uint32(l.word.Load() & math.MaxUint32)))
}

const (
	// retryShare is how many retries a recent request pays for.
	retryShare = 0.2
	// retryReserve is how many retries may go beyond that.
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
		v, left := unpack(word, now)
		if b.word.CompareAndSwap(word, pack(v*left+retryShare, now)) {
			return
		}
	}
}

// withdraw counts a retry, if there may be one.
func (b *budget) withdraw(now time.Duration) bool {
	for {
		word := b.word.Load()
		v, left := unpack(word, now)
		v = v*left - 1
		if v < -retryReserve {
			return false
		}
		if b.word.CompareAndSwap(word, pack(v, now)) {
			return true
		}
	}
}
