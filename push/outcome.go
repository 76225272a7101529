package push

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/goapi-dev/goapi/upstream"
)

// A verdict says what becomes of a message after an attempt.
type verdict int

const (
	taken verdict = iota
	again         // after a while
	later         // the same, and the attempt does not count
	never
)

// An outcome is a verdict and what it rests on.
type outcome struct {
	verdict verdict
	reason  string        // a line for operators; "" if taken
	after   time.Duration // not before, the service says
}

// A refusal is an answer of a service that does not take a message.
type refusal struct {
	status int
	plain  bool // an error of go-micro without a code
	after  time.Duration
	reason string
}

// Error implements error.
func (e *refusal) Error() string { return e.reason }

// judge returns the outcome of an attempt. Reasons hold no text of a library,
// which could name an address.
func judge(err error) outcome {
	var (
		answer *refusal
		node   *upstream.NodeError
	)
	switch {
	case err == nil:
		return outcome{verdict: taken}
	case errors.As(err, &answer):
		return outcome{verdict: answer.verdict(), reason: answer.reason, after: answer.after}
	case errors.Is(err, upstream.ErrNoNodes):
		return outcome{verdict: later, reason: "no node of the service can be pushed to"}
	case errors.Is(err, upstream.ErrOverloaded):
		return outcome{verdict: later, reason: "the limits of the service are reached"}
	case errors.Is(err, context.DeadlineExceeded):
		return outcome{verdict: again, reason: "the service did not answer in time"}
	case errors.As(err, &node) && node.Sent:
		return outcome{verdict: again, reason: "the service broke off before it answered"}
	case errors.As(err, &node):
		return outcome{verdict: again, reason: "the service could not be reached"}
	}
	return outcome{verdict: again, reason: "the gateway failed; its log says why"}
}

// verdict returns what an answer means, as the data plane of Knative has it.
func (e *refusal) verdict() verdict {
	switch {
	case e.plain, e.status >= 500:
		return again
	case e.status == http.StatusNotFound, e.status == http.StatusRequestTimeout,
		e.status == http.StatusConflict, e.status == http.StatusTooManyRequests:
		return again
	}
	return never
}

// retryAfter returns how long an answer asks to wait, or 0.
func retryAfter(res *http.Response) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := res.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// backoff returns how long a message waits after its n-th attempt: the more, the
// longer, and not all as long.
func (p *Pusher) backoff(n int) time.Duration {
	delay := p.opts.Delay
	for ; n > 1 && delay < p.opts.MaxDelay; n-- {
		delay *= 2
	}
	delay = min(delay, p.opts.MaxDelay)
	return delay - rand.N(delay/2+1) //nolint:gosec // jitter is no secret
}
