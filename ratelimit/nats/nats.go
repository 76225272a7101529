// Package nats shares rate limits between gateways over NATS.
//
// Each gateway has a bucket for each key of its own, and so no request waits for
// the network. What passed is told to the others a few times a second, in a
// message of core NATS that is neither stored nor acknowledged, and they take it
// off theirs. Before that is there, more may pass than the rate: as much as
// gateways let through within that time. It is made up for afterwards, up to
// one burst. A gateway without contact limits alone, and what it did meanwhile is
// not told: it is old by then.
//
// Keys travel as hashes, since they may be secret, but so that everybody can
// try what key has a hash. Messages of others are held to bounds, and a message
// can at most use up keys for as long as two bursts take to come back; whoever
// may publish on the subject can do that. No topic of a broker is that subject.
package nats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/ratelimit"
)

const (
	defaultSubject = "$GOAPI.ratelimit" // topics do not begin with "$"
	defaultEvery   = 50 * time.Millisecond

	// maxWaiting and maxWaitingBytes bound what others have told and this
	// gateway has not read yet. What is more is lost.
	maxWaiting      = 1 << 10
	maxWaitingBytes = 8 << 20
	// complainEvery is how often the log gets to know that something is lost.
	complainEvery = time.Minute
)

// Options adjust a Group. A nil *Options means all defaults.
type Options struct {
	// Subject is where the gateways tell each other what has passed; those of
	// one group have the same. Default: $GOAPI.ratelimit.
	Subject string
	// Every is how often they do. Default: 50 ms.
	Every time.Duration
	// Keys is the most keys that a limiter knows at a time.
	// Default: as ratelimit.Options has it.
	Keys int
	// Logger gets what is lost. Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Subject == "" {
		d.Subject = defaultSubject
	}
	if d.Every <= 0 {
		d.Every = defaultEvery
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// A Group is a gateway among those that share their limits. It may be used
// concurrently.
type Group struct {
	conn *natsgo.Conn
	opts Options
	self memberID

	told, taken, lost atomic.Int64
	complained        time.Time // belongs to Run

	mu       sync.RWMutex
	limiters map[limiterID]*Shared
}

// memberID tells the messages of one member from those of others.
type memberID [8]byte

// limiterID is the hash of a limiter's name.
type limiterID [8]byte

// keyID is the hash of a key.
type keyID [16]byte

// New returns a member of the group that uses this connection, which stays the
// caller's. Run is what makes it share.
func New(conn *natsgo.Conn, opts *Options) *Group {
	g := &Group{conn: conn, opts: opts.orDefault(), limiters: make(map[limiterID]*Shared)}
	_, _ = rand.Read(g.self[:]) // never fails
	return g
}

// Limiter returns the limiter of a name, which is shared with the limiters of
// that name on other gateways. As long as the rate is the same it is the same
// limiter, which knows what has passed; with another rate it begins anew, and is
// shared once Use has it.
func (g *Group) Limiter(name string, rate ratelimit.Rate) *Shared {
	sum := sha256.Sum256([]byte(name))
	id := limiterID(sum[:8])
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.limiters[id]
	if was != nil && was.Rate() == rate.OrDefault() {
		return was
	}
	s := &Shared{id: id, memory: ratelimit.NewMemory(rate, &ratelimit.Options{Keys: g.opts.Keys})}
	if was == nil {
		g.limiters[id] = s
	}
	return s
}

// Use shares these limiters, and those alone.
func (g *Group) Use(limiters ...*Shared) {
	inUse := make(map[limiterID]*Shared, len(limiters))
	for _, s := range limiters {
		inUse[s.id] = s
	}
	g.mu.Lock()
	g.limiters = inUse
	g.mu.Unlock()
}

// A Shared is a Limiter whose buckets others draw from, too.
type Shared struct {
	id     limiterID
	memory *ratelimit.Memory
	passed [tallies]tally
}

var _ ratelimit.Limiter = (*Shared)(nil)

// Rate implements ratelimit.Limiter.
func (s *Shared) Rate() ratelimit.Rate { return s.memory.Rate() }

// Allow implements ratelimit.Limiter.
func (s *Shared) Allow(key string, now time.Time) ratelimit.Result {
	sum := sha256.Sum256([]byte(key))
	id := keyID(sum[:16])
	r := s.memory.Allow(string(id[:]), now)
	if r.OK {
		s.passed[id[0]%tallies].add(id)
	}
	return r
}

// Run tells the others what has passed here, and takes off what has passed
// there, until ctx is done. It fails if it cannot subscribe.
func (g *Group) Run(ctx context.Context) error {
	sub, err := g.conn.Subscribe(g.opts.Subject, func(m *natsgo.Msg) { g.take(m.Data, time.Now()) })
	if err != nil {
		return fmt.Errorf("ratelimit: subscribe to %s: %w", g.opts.Subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // of a connection that may be closed by now
	if err := sub.SetPendingLimits(maxWaiting, maxWaitingBytes); err != nil {
		return fmt.Errorf("ratelimit: subscribe to %s: %w", g.opts.Subject, err)
	}
	tick := time.NewTicker(g.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			g.tell()
		}
	}
}

// tell publishes what has passed since the last time. Without contact it is
// dropped: when there is contact again it is old.
func (g *Group) tell() {
	m := newMessage(g.self, (g.conn.MaxPayload()-headSize)/entrySize)
	reached, lost := g.conn.IsConnected(), 0
	send := func() {
		if n := m.entries(); !reached || g.conn.Publish(g.opts.Subject, m.data) != nil {
			lost += n
		} else {
			g.told.Add(int64(n))
		}
		m.clear()
	}
	for id, s := range g.all() {
		for i := range s.passed {
			lost += s.passed[i].drain(func(key keyID, n uint32) {
				if m.add(entry{id, key, n}); m.isFull() {
					send()
				}
			})
		}
	}
	if m.entries() > 0 {
		send()
	}
	g.lost.Add(int64(lost))
	if lost > 0 && time.Since(g.complained) > complainEvery {
		g.complained = time.Now()
		g.opts.Logger.Warn("rate limits: not all that passes is told to the other gateways", slog.Int("keys", lost), slog.Bool("connected", reached))
	}
}

// all returns the limiters as they are now.
func (g *Group) all() map[limiterID]*Shared {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return maps.Clone(g.limiters)
}

// take takes off what another member has let through. What is no message of
// another member is passed over.
func (g *Group) take(data []byte, now time.Time) {
	for e := range entries(data, g.self) {
		g.mu.RLock()
		s := g.limiters[e.limiter]
		g.mu.RUnlock()
		if s != nil {
			s.memory.Spend(string(e.key[:]), int(e.n), now)
			g.taken.Add(1)
		}
	}
}

// Counts is what a Group has told and been told. A key counts once for each
// message that it is in.
type Counts struct {
	// Told is the keys of which the others were told, Taken those of which
	// others told, and Lost those of which the others could not be told.
	Told, Taken, Lost int64
}

// Counts returns what has been counted so far.
func (g *Group) Counts() Counts {
	return Counts{Told: g.told.Load(), Taken: g.taken.Load(), Lost: g.lost.Load()}
}
