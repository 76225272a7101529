package middleware

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
)

const (
	// lookEvery is how often the memory is looked at.
	lookEvery = 100 * time.Millisecond
	// collectEvery is how often at most garbage is collected to see what is in use.
	collectEvery = time.Second

	clientShards = 64
)

// LimitsOptions adjust Limits. A nil *LimitsOptions, and a zero field, mean no
// limit.
type LimitsOptions struct {
	// InFlight is the most requests that are served at a time.
	InFlight int
	// Streams is the most streams that are served at a time; see Limits.
	// Default: as InFlight.
	Streams int
	// PerClient is the most requests and streams that are served at a time for
	// one address, or for one network of 64 bits of IPv6.
	PerClient int
	// Memory is how many bytes of heap may be in use. Beyond that no request is
	// served, until there are less.
	Memory int64
}

// Limits bounds what is served at a time, so that an overload is shed early and
// costs little: what is too much is answered with 503, or with 429 if one client
// has too much of it, and with Retry-After.
//
// A stream is a request that asks for an upgrade (a WebSocket) or for an event
// stream. Streams last for hours and cost memory but hardly any work, so that they
// have a bound of their own: many that are idle do not keep requests out, and
// a limit of the work at a time stays one. A stream counts for as long as it
// lasts. What only turns out to be long, such as a stream of gRPC, counts as a
// request for as long as it lasts.
type Limits struct {
	opts LimitsOptions
	seed maphash.Seed

	inFlight, streams                     atomic.Int64
	shedInFlight, shedStreams, shedMemory atomic.Int64
	shedPerClient                         atomic.Int64

	full      atomic.Bool // there is too much in memory
	collected time.Time   // belongs to Run

	clients [clientShards]clientShard
}

// clientShard counts what is in flight for some of the clients. Those who have
// nothing in flight are not there, and so there are no more than requests.
type clientShard struct {
	mu    sync.Mutex
	count map[[16]byte]int

	_ [48]byte // a cache line for each shard
}

// LimitsCounts is what Limits has counted.
type LimitsCounts struct {
	// InFlight and Streams are how many are served now.
	InFlight, Streams int64
	// Shed counts requests that were refused since the start, by the limit.
	Shed struct{ InFlight, Streams, PerClient, Memory int64 }
}

// NewLimits returns limits. Run looks after the memory.
func NewLimits(opts *LimitsOptions) (*Limits, error) {
	l := &Limits{seed: maphash.MakeSeed()}
	if opts != nil {
		l.opts = *opts
	}
	if o := l.opts; o.InFlight < 0 || o.Streams < 0 || o.PerClient < 0 || o.Memory < 0 {
		return nil, errors.New("limits: a limit is negative: write 0 for none")
	}
	if l.opts.Streams == 0 {
		l.opts.Streams = l.opts.InFlight
	}
	return l, nil
}

// Wrap returns next within the limits. What is wrapped by one Limits shares them.
func (l *Limits) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := l.enter(r)
		if err != nil {
			goapi.WriteError(w, r, err)
			return
		}
		defer l.leave(p)
		next.ServeHTTP(w, r)
	})
}

// place is what a request takes up.
type place struct {
	all    *atomic.Int64
	client [16]byte
}

// enter takes a place for a request, or says why there is none.
func (l *Limits) enter(r *http.Request) (place, error) {
	if l.full.Load() {
		l.shedMemory.Add(1)
		return place{}, shed(http.StatusServiceUnavailable, "the gateway has no memory left for more requests")
	}
	var p place
	if l.opts.PerClient > 0 {
		p.client = network(clientAddress(r)).As16()
		if !l.shard(p.client).enter(p.client, l.opts.PerClient) {
			l.shedPerClient.Add(1)
			return place{}, shed(http.StatusTooManyRequests, "too many requests of this client are in flight")
		}
	}
	limit, refused := l.opts.InFlight, &l.shedInFlight
	p.all = &l.inFlight
	if isStream(r) {
		limit, refused = l.opts.Streams, &l.shedStreams
		p.all = &l.streams
	}
	if n := p.all.Add(1); limit > 0 && n > int64(limit) {
		l.leave(p)
		refused.Add(1)
		return place{}, shed(http.StatusServiceUnavailable, "the gateway has too many requests in flight")
	}
	return p, nil
}

// leave gives a place back.
func (l *Limits) leave(p place) {
	p.all.Add(-1)
	if l.opts.PerClient > 0 {
		l.shard(p.client).leave(p.client)
	}
}

// shed is the error for a request that is too much.
func shed(status int, detail string) error {
	e := goapi.NewError(status, detail+": try again in 1 s", nil)
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}

// isStream says that a request asks for what may last for hours.
func isStream(r *http.Request) bool {
	if r.Header["Upgrade"] != nil && r.ProtoMajor == 1 {
		return true
	}
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/event-stream") {
			return true
		}
	}
	return false
}

func (l *Limits) shard(client [16]byte) *clientShard {
	return &l.clients[maphash.Comparable(l.seed, client)%clientShards]
}

// enter counts a request of a client, unless there are too many.
func (s *clientShard) enter(client [16]byte, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.count[client]
	if n >= limit {
		return false
	}
	if s.count == nil {
		s.count = make(map[[16]byte]int)
	}
	s.count[client] = n + 1
	return true
}

func (s *clientShard) leave(client [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[client]--; s.count[client] == 0 {
		delete(s.count, client)
	}
}

// Counts returns what has been counted so far.
func (l *Limits) Counts() LimitsCounts {
	c := LimitsCounts{InFlight: l.inFlight.Load(), Streams: l.streams.Load()}
	c.Shed.InFlight, c.Shed.Streams = l.shedInFlight.Load(), l.shedStreams.Load()
	c.Shed.PerClient, c.Shed.Memory = l.shedPerClient.Load(), l.shedMemory.Load()
	return c
}

// Run looks after the memory until ctx is done. Requests do not: they ask a flag.
func (l *Limits) Run(ctx context.Context) error {
	if l.opts.Memory == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer l.full.Store(false)
	for {
		l.full.Store(l.look(time.Now()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// look says whether more memory is in use than may be. Garbage is not in use:
// where there is more than may be with it, it is collected first, which would
// not happen by itself while no request is served.
func (l *Limits) look(now time.Time) bool {
	if readMetric("/memory/classes/heap/objects:bytes") <= uint64(l.opts.Memory) { //nolint:gosec // not negative
		return false
	}
	if now.Sub(l.collected) < collectEvery {
		return l.full.Load()
	}
	l.collected = now
	runtime.GC()
	return readMetric("/gc/heap/live:bytes") > uint64(l.opts.Memory) //nolint:gosec // not negative
}

// readMetric returns a number of bytes of the runtime.
func readMetric(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0 // of a runtime that does not know it
	}
	return sample[0].Value.Uint64()
}
