package handler

import (
	"context"
	"errors"
	"net/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// upstreamError returns the error that answers a request which the nodes of
// service did not: err is what Set.Do returned. The caller must have marked
// what is the client's doing, such as a body too large; all else that is not
// known is a node that could not be reached.
func upstreamError(service string, err error) error {
	var (
		known   *goapi.Error
		tooLong *http.MaxBytesError
	)
	switch {
	case errors.As(err, &known), errors.As(err, &tooLong):
		return err
	case errors.Is(err, upstream.ErrNoNodes):
		return goapi.NewError(http.StatusServiceUnavailable, "no node of service "+service+" can serve", err)
	case errors.Is(err, context.DeadlineExceeded):
		return goapi.NewError(http.StatusGatewayTimeout, "service "+service+" did not answer in time", err)
	case errors.Is(err, context.Canceled):
		return err // the client went away
	}
	return goapi.NewError(http.StatusBadGateway, "service "+service+" could not be reached", err)
}
