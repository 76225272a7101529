package ratelimit

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

const (
	shards      = 64
	defaultKeys = 1 << 16
	// looked is how many buckets are looked at for one that can go.
	looked = 16
)

// Options adjust a Memory. A nil *Options means all defaults.
type Options struct {
	// Keys is the most keys that are known at a time; a key takes about 32
	// bytes. Default: 65,536.
	Keys int
}

// A Memory is a Limiter that keeps its buckets in memory.
//
// A bucket is one time: when it will be full. A key whose bucket is full need
// not be known, since an unknown key has a full bucket as well, and so forgetting
// it costs nothing. When more keys than Options.Keys have spent something, the
// one that is forgotten is, of a few that are picked by chance, the one that has
// spent the least. So a flood of new keys displaces itself, and not those who
// have used up their share: to free one request of a spent key takes about as
// many requests of others as there are keys.
//
// Keys are known by a hash whose seed is this process's own: their length does
// not matter, and nobody can choose two that are taken for one.
type Memory struct {
	rate  Rate
	each  time.Duration // that a request takes to come back
	full  time.Duration // that an empty bucket takes to be full
	most  int           // keys of a shard
	epoch time.Time
	seed  maphash.Seed

	shards [shards]shard
}

// A shard is the buckets of some of the keys.
type shard struct {
	mu   sync.Mutex
	full map[uint64]time.Duration // when the bucket of a key is full, from the epoch on

	_ [48]byte // a cache line for each shard
}

var _ Limiter = (*Memory)(nil)

// NewMemory returns a limiter. A rate that [Rate.Check] refuses is kept as
// far as it goes; one of no requests lets nothing through.
func NewMemory(rate Rate, opts *Options) *Memory {
	keys := defaultKeys
	if opts != nil && opts.Keys > 0 {
		keys = opts.Keys
	}
	m := &Memory{rate: rate.OrDefault(), most: (keys + shards - 1) / shards, epoch: time.Now(), seed: maphash.MakeSeed()}
	if m.rate.Check() == nil {
		m.each = max(1, m.rate.Per/time.Duration(m.rate.Requests))
		m.full = m.each * time.Duration(m.rate.Burst)
	}
	return m
}

// Rate implements Limiter.
func (m *Memory) Rate() Rate { return m.rate }

// Allow implements Limiter.
func (m *Memory) Allow(key string, now time.Time) Result {
	at, sum := now.Sub(m.epoch), maphash.String(m.seed, key)
	s := &m.shards[sum%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, known := s.whole(sum, at)
	ok := m.full > 0 && whole+m.each-at <= m.full
	if ok {
		whole += m.each
		s.set(sum, whole, at, known, m.most)
	}
	return m.result(ok, whole-at)
}

// Spend counts n requests of key that have passed elsewhere, as on another
// gateway. They may leave the bucket with less than nothing, but with no more
// than another Burst to make up for, whatever n is.
func (m *Memory) Spend(key string, n int, now time.Time) {
	if n <= 0 || m.full == 0 {
		return
	}
	at, sum := now.Sub(m.epoch), maphash.String(m.seed, key)
	s := &m.shards[sum%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, known := s.whole(sum, at)
	n = min(n, 2*m.rate.Burst)
	s.set(sum, min(whole+m.each*time.Duration(n), at+2*m.full), at, known, m.most)
}

// result says what is left in a bucket that will be full in a while.
func (m *Memory) result(ok bool, toFull time.Duration) Result {
	if m.full == 0 {
		return Result{RetryAfter: time.Minute} // as good as any
	}
	r := Result{OK: ok, Limit: m.rate.Burst, Remaining: int(max(0, m.full-toFull) / m.each), Reset: toFull}
	if !ok {
		r.RetryAfter = toFull + m.each - m.full
	}
	return r
}

// whole returns when the bucket of a key is full, which is never before at.
func (s *shard) whole(sum uint64, at time.Duration) (whole time.Duration, known bool) {
	whole, known = s.full[sum]
	return max(whole, at), known
}

// set keeps when the bucket of a key is full.
func (s *shard) set(sum uint64, whole, at time.Duration, known bool, most int) {
	if !known {
		if s.full == nil {
			s.full = make(map[uint64]time.Duration)
		}
		if len(s.full) >= most {
			s.forget(at)
		}
	}
	s.full[sum] = whole
}

// forget makes room: it takes out the buckets that are full of a few that the
// map gives by chance, or else the one that will be full before the others.
func (s *shard) forget(at time.Duration) {
	var first uint64
	least, left := time.Duration(math.MaxInt64), looked
	before := len(s.full)
	for sum, whole := range s.full {
		if whole <= at {
			delete(s.full, sum)
		} else if whole < least {
			first, least = sum, whole
		}
		if left--; left == 0 {
			break
		}
	}
	if len(s.full) == before {
		delete(s.full, first)
	}
}
