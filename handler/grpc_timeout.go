package handler

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/goapi-dev/goapi"
)

// maxTimeoutValue is the largest number that a grpc-timeout holds.
const maxTimeoutValue = 99_999_999

// timeoutUnits are the units of a grpc-timeout, finest first.
const timeoutUnits = "numSMH"

func timeoutUnit(letter byte) time.Duration {
	switch letter {
	case 'n':
		return time.Nanosecond
	case 'u':
		return time.Microsecond
	case 'm':
		return time.Millisecond
	case 'S':
		return time.Second
	case 'M':
		return time.Minute
	case 'H':
		return time.Hour
	}
	return 0
}

// parseTimeout reads a grpc-timeout. One that is longer than a Duration can be
// is the longest.
func parseTimeout(s string) (d time.Duration, ok bool) {
	last := len(s) - 1
	if last < 1 || last > 8 || !isDigits(s[:last]) {
		return 0, false
	}
	unit := timeoutUnit(s[last])
	n, err := strconv.ParseInt(s[:last], 10, 64)
	if unit == 0 || err != nil {
		return 0, false
	}
	if n > math.MaxInt64/int64(unit) {
		return math.MaxInt64, true
	}
	return time.Duration(n) * unit, true
}

// formatTimeout writes a grpc-timeout that is not longer than d, except that
// there is none of 0.
func formatTimeout(d time.Duration) string {
	d = max(d, 1)
	for _, letter := range []byte(timeoutUnits) {
		if n := int64(d / timeoutUnit(letter)); n <= maxTimeoutValue {
			return strconv.FormatInt(n, 10) + string(letter)
		}
	}
	return strconv.Itoa(maxTimeoutValue) + "H"
}

// withDeadline returns ctx with the deadline of the call, if it has one.
func (s *grpcStream) withDeadline(ctx context.Context) (context.Context, context.CancelFunc, error) {
	timeout := time.Duration(math.MaxInt64)
	if values := s.header[headerTimeout]; len(values) > 0 {
		var ok bool
		if timeout, ok = parseTimeout(values[0]); !ok || len(values) > 1 {
			return nil, nil, goapi.NewError(http.StatusBadRequest, "grpc-timeout is malformed: it is up to 8 digits and one of n, u, m, S, M, H", nil)
		}
	}
	if p := s.ex.Route.Policy; p != nil && p.Timeout > 0 && s.ex.Route.Endpoint.IsAnnounced() && !s.ex.Route.Endpoint.Stream {
		timeout = min(timeout, p.Timeout)
	}
	delete(s.header, headerTimeout) // each attempt has its own
	s.deadline = s.start.Add(timeout)
	if s.deadline.Before(s.start) || timeout == math.MaxInt64 { // past what a Time can be compared with
		s.deadline = time.Time{}
		return ctx, func() {}, nil
	}
	ctx, cancel := context.WithDeadline(ctx, s.deadline)
	return ctx, cancel, nil
}
