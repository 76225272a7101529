package ratelimit

import (
	"hash/maphash"
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
	return Result{}
}
