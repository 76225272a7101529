package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/internal/mucp"
)

// Check returns an error for a call that must not be made: its context is done
// already, or its names cannot stand in a header.
func Check(ctx context.Context, req *Request) error {
	if ctx.Err() != nil {
		return CallError(ctx, req, ctx.Err())
	}
	if req.Service == "" || req.Endpoint == "" ||
		!httpguts.ValidHeaderFieldValue(req.Service) || !httpguts.ValidHeaderFieldValue(req.Endpoint) {
		return goapi.NewError(http.StatusBadRequest,
			fmt.Sprintf("%q of service %q is no name of a method", req.Endpoint, req.Service), nil)
	}
	return nil
}

// CallError returns the error of a call that was not answered. When the
// context is done, that is the reason, whatever err says.
func CallError(ctx context.Context, req *Request, err error) error {
	var known *goapi.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return goapi.NewError(http.StatusGatewayTimeout, "service "+req.Service+" did not answer in time", ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("client: calling %s of %s: %w", req.Endpoint, req.Service, err)
}

// serviceError returns the error that a service answered with. One without an
// id gets the service's name.
func serviceError(service, text string) *goapi.Error {
	e := mucp.ParseError(text)
	return &goapi.Error{Code: e.HTTPStatus(), ID: cmp.Or(e.ID, service), Detail: e.Detail}
}
