// Package ratelimit says how often something may happen for each of many keys.
//
// A limit is a token bucket for each key: it holds up to [Rate.Burst] requests
// and is refilled at the pace of the [Rate]. [Memory] keeps the buckets of this
// process. Package ratelimit/nats shares what is spent among several gateways.
package ratelimit

import (
	"fmt"
	"time"
)

// The bounds of a Rate. A bucket that takes longer to fill than a year would
// not be a limit but a quota, which wants a store that outlives the process.
const (
	maxRequests = 1_000_000_000
	minPer      = time.Millisecond
	maxFill     = 366 * 24 * time.Hour
)

// A Rate is how many requests are let through for a key.
type Rate struct {
	// Requests are let through in each Per, on average. 0 lets nothing through.
	Requests int
	// Per is the time that Requests are counted over. Default: 1 s.
	Per time.Duration
	// Burst is how many may come at once. Default: Requests.
	Burst int
}

// OrDefault returns r with zero fields at their defaults.
func (r Rate) OrDefault() Rate {
	if r.Per == 0 {
		r.Per = time.Second
	}
	if r.Burst == 0 {
		r.Burst = r.Requests
	}
	return r
}

// Check returns what is wrong with a rate, or nil.
func (r Rate) Check() error {
	d := r.OrDefault()
	switch {
	case d.Requests < 1 || d.Requests > maxRequests:
		return fmt.Errorf("ratelimit: %d requests are no rate: write 1 to %d", r.Requests, maxRequests)
	case d.Per < minPer || d.Per > maxFill:
		return fmt.Errorf("ratelimit: a rate per %v cannot be kept: write %v to %v", r.Per, minPer, maxFill)
	case d.Burst < 1 || d.Burst > maxRequests:
		return fmt.Errorf("ratelimit: a burst of %d cannot be kept: write 1 to %d", r.Burst, maxRequests)
	case float64(d.Burst)*float64(d.Per)/float64(d.Requests) > float64(maxFill):
		return fmt.Errorf("ratelimit: a burst of %d at %d per %v takes more than %v to come back: write a smaller burst",
			d.Burst, d.Requests, d.Per, maxFill)
	}
	return nil
}

// A Result is what a Limiter says of one request.
type Result struct {
	// OK says that the request may pass.
	OK bool
	// Limit is how many requests the bucket holds.
	Limit int
	// Remaining is how many of them are left.
	Remaining int
	// Reset is the time in which the bucket is full again if nothing comes.
	Reset time.Duration
	// RetryAfter is the time in which a request may pass that did not. 0 if OK.
	RetryAfter time.Duration
}

// A Limiter counts the requests of each key. It may be used concurrently.
type Limiter interface {
	// Allow counts a request of key at now, if it may pass. It neither blocks
	// nor keeps key.
	Allow(key string, now time.Time) Result
	// Rate is the rate that the limiter keeps, with its defaults.
	Rate() Rate
}
