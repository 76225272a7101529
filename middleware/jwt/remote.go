package jwt

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/goapi-dev/goapi"
)

const (
	// unknownEvery is how often a key that is not known has the keys asked for.
	unknownEvery = 5 * time.Second
	// maxWait bounds how long a request waits for keys, and maxWaiting how many
	// do.
	maxWait    = 2 * time.Second
	maxWaiting = 256
	// firstRetry is the pause after the first failure. It doubles up to Refresh.
	firstRetry = time.Second
)

// remote is keys from a URL. Its run alone asks for them; a request that misses
// a key has run do so earlier, seldom, and waits for a moment. When the keys
// cannot be had, the last ones serve.
type remote struct {
	url     string
	fetch   func(ctx context.Context) (*keySet, []error, error)
	refresh time.Duration
	log     *slog.Logger
	keys    atomic.Pointer[keySet]
	wanted  chan struct{} // wakes run

	mu      sync.Mutex
	limiter *rate.Limiter // of what requests want
	round   *round        // wanted or under way; nil is none
	failed  error         // why the last round brought no keys
}

// A round is one try to have the keys.
type round struct {
	done    chan struct{}
	err     error // once done
	waiting int
}

var _ source = (*remote)(nil)

func newRemote(o *Options) (*remote, error) {
	f, err := newFetcher(o.JWKS, o.Transport)
	if err != nil {
		return nil, err
	}
	return &remote{
		url: f.url, fetch: f.fetch, refresh: o.Refresh, log: o.Logger, wanted: make(chan struct{}, 1),
		limiter: rate.NewLimiter(rate.Every(unknownEvery), 1), failed: errNotYet,
	}, nil
}

var errNotYet = errors.New("jwt: nobody has asked for the keys yet")

func (s *remote) current() *keySet { return s.keys.Load() }

func (s *remote) get(ctx context.Context) (*keySet, error) {
	if keys := s.keys.Load(); keys != nil {
		return keys, nil
	}
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	if keys := s.keys.Load(); keys != nil {
		return keys, nil
	}
	return nil, unavailable(errNotYet)
}

func (s *remote) refreshed(ctx context.Context, old *keySet) (*keySet, error) {
	if keys := s.keys.Load(); keys != old {
		return keys, nil
	}
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.keys.Load(), nil
}

// unavailable answers a request whose token cannot be verified now.
func unavailable(cause error) error {
	e := goapi.NewError(http.StatusServiceUnavailable, "the keys that tokens are verified with cannot be had: try again", cause)
	e.Header = http.Header{"Retry-After": {"1"}}
	return e
}

// wait has the keys asked for, unless that was just done, and waits until they
// are there.
func (s *remote) wait(ctx context.Context) error {
	rd, err := s.join()
	if rd == nil {
		return err
	}
	defer s.leave(rd)
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-rd.done:
		if rd.err != nil {
			return unavailable(rd.err)
		}
		return nil
	case <-timer.C:
		return unavailable(errors.New("jwt: the keys take too long"))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the round to wait for: the one that there is, or a new one if
// it is time for that. If not, it returns what became of the last.
func (s *remote) join() (*round, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round == nil {
		if !s.limiter.Allow() {
			if s.failed != nil {
				return nil, unavailable(s.failed)
			}
			return nil, nil //nolint:nilnil // there is nothing to wait for, and that is no error
		}
		s.round = &round{done: make(chan struct{})}
		select {
		case s.wanted <- struct{}{}:
		default: // run is awake already
		}
	}
	if s.round.waiting >= maxWaiting {
		return nil, unavailable(errors.New("jwt: too many wait for the keys"))
	}
	s.round.waiting++
	return s.round, nil
}

func (s *remote) leave(rd *round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rd.waiting--
}

func (s *remote) run(ctx context.Context) error {
	pause := firstRetry
	for {
		next := s.refresh
		if err := s.ask(ctx); err != nil {
			next = min(pause, s.refresh)
			pause = min(pause*2, s.refresh)
		} else {
			pause = firstRetry
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-s.wanted:
			timer.Stop()
		}
	}
}

// ask asks for the keys, once.
func (s *remote) ask(ctx context.Context) error {
	s.mu.Lock()
	if s.round == nil {
		s.round = &round{done: make(chan struct{})}
	}
	rd := s.round
	select {
	case <-s.wanted: // this is what was wanted
	default:
	}
	s.mu.Unlock()

	keys, skipped, err := s.fetch(ctx)
	if err == nil {
		s.take(keys, skipped)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.failed == nil || errors.Is(s.failed, errNotYet)
	switch {
	case err == nil && !first:
		s.log.Info("keys of tokens can be had again")
	case err != nil && first && ctx.Err() == nil:
		s.log.Warn("keys of tokens cannot be had; the last ones serve", "error", err)
	}
	s.failed, rd.err, s.round = err, err, nil
	close(rd.done)
	return err
}

// take replaces the keys, if they differ: who was verified with the old ones
// has to be again.
func (s *remote) take(keys *keySet, skipped []error) {
	if old := s.keys.Load(); old != nil && old.equal(keys) {
		return
	}
	s.keys.Store(keys)
	s.log.Info("keys of tokens have changed", "keys", len(keys.keys))
	for _, err := range skipped {
		s.log.Warn("a key of tokens is left out", "error", err)
	}
	if len(keys.keys) == 0 {
		s.log.Warn("the issuer has no keys: no token is valid")
	}
}
