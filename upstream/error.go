package upstream

import (
	"context"
	"errors"
)

var (
	// ErrNoNodes is returned by [Set.Do] for a Set that has no nodes: nothing
	// was attempted.
	ErrNoNodes = errors.New("upstream: no nodes")
	// ErrOverloaded is returned by [Set.Do] when the limits of the service or
	// of all its nodes are reached: nothing was attempted (503 with
	// Retry-After).
	ErrOverloaded = errors.New("upstream: overloaded")
	// ErrForbiddenAddress is returned by a [Guard] for an address that no node
	// may have.
	ErrForbiddenAddress = errors.New("upstream: forbidden address")
)

// A NodeError is returned by [Set.Do] when the last attempt failed before the
// head of an answer, and neither the client nor the request is to blame. Its
// text and its cause are for logs: they may hold addresses.
//
// What to tell the client: with Timeout, that the service did not answer in
// time (504; errors.Is(err, context.DeadlineExceeded) holds); otherwise that it
// could not be reached, or with Sent that it broke off (502).
type NodeError struct {
	// Service is the name of the service, and Node the id of its node that was
	// tried last.
	Service, Node string
	// Sent says that bytes of the request may have left.
	Sent bool
	// Timeout says that the try took longer than its policy allows.
	Timeout bool
	// Err is what the attempt returned.
	Err error
}

// Error implements error.
func (e *NodeError) Error() string {
	what := "could not be reached"
	switch {
	case e.Timeout:
		what = "did not answer in time"
	case e.Sent:
		what = "broke off"
	}
	return "upstream: node " + e.Node + " of " + e.Service + " " + what + ": " + e.Err.Error()
}

// Unwrap returns what the attempt returned.
func (e *NodeError) Unwrap() error { return e.Err }

// Is makes a timeout a context.DeadlineExceeded, whatever the attempt made of
// it.
func (e *NodeError) Is(target error) bool {
	return e.Timeout && target == context.DeadlineExceeded
}

// timeoutError is the cause of a context that a try's timeout ended.
type timeoutError struct{}

// Error implements error.
func (timeoutError) Error() string { return "upstream: no answer within the try's timeout" }

// Timeout implements net.Error.
func (timeoutError) Timeout() bool { return true }

// Temporary implements net.Error.
func (timeoutError) Temporary() bool { return true }

// Is makes it a context.DeadlineExceeded.
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
