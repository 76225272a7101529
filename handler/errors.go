package handler

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/upstream"
)

// upstreamError returns the error that answers a request for which Set.Do of
// the service's nodes returned err. What says nothing of its status is a node
// that could not be reached.
func upstreamError(service string, err error) error {
	var (
		known   *goapi.Error
		tooLong *http.MaxBytesError
		foreign *client.ProtocolError
		node    *upstream.NodeError
	)
	switch {
	case errors.As(err, &known), errors.As(err, &tooLong):
		return err
	case errors.As(err, &foreign):
		return goapi.NewError(http.StatusBadGateway,
			"service "+service+" speaks the protocol "+quote(foreign.Protocol)+", in which this gateway makes no calls", err)
	case errors.Is(err, upstream.ErrNoNodes):
		return goapi.NewError(http.StatusServiceUnavailable, "service "+service+" has no node that can serve", err)
	case errors.Is(err, upstream.ErrOverloaded):
		return unavailable("service "+service+" has as many requests as it can serve", err)
	case errors.Is(err, context.DeadlineExceeded):
		return goapi.NewError(http.StatusGatewayTimeout, "service "+service+" did not answer in time", err)
	case errors.As(err, &node) && node.Sent:
		if why := wrongAnswer(node.Err); why != "" {
			return goapi.NewError(http.StatusBadGateway, "service "+service+" gave no valid answer: "+why, err)
		}
		return goapi.NewError(http.StatusBadGateway, "service "+service+" broke off before it answered", err)
	case node == nil && errors.Is(err, context.Canceled):
		return err // the client went away
	}
	return goapi.NewError(http.StatusBadGateway, "service "+service+" could not be reached", err)
}

// wrongAnswer returns what is wrong with the head of an answer; nothing if what
// failed is the connection. The errors of net/http for heads have no types, and
// one beginning, which those of connections have, too.
func wrongAnswer(err error) string {
	var broken net.Error
	text := err.Error()
	switch {
	case errors.Is(err, errInterim):
		return "it has more interim answers than there may be"
	case !strings.Contains(text, "net/http: HTTP/1.x transport connection broken"),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &broken):
		return ""
	case strings.Contains(text, "server response headers exceeded"):
		return "its header is too large"
	}
	return "it is malformed"
}
