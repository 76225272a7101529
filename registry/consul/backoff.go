package consul

import (
	"math/rand/v2"
	"time"
)

// A backoff says how long to wait before another attempt. The zero value is
// that of who has not failed.
type backoff struct{ last time.Duration }

// next returns the wait after another failure.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, minRetry), maxRetry)
	return b.last/2 + rand.N(b.last/2) //nolint:gosec // jitter is no secret
}

// failed says whether there was a failure since the last success.
func (b *backoff) failed() bool { return b.last > 0 }

// reset is for a success.
func (b *backoff) reset() { b.last = 0 }
