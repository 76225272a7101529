package handler

import (
	"fmt"
	"net/http"

	"github.com/goapi-dev/goapi"
)

// StreamOptions bound and guard the streams of an RPC handler.
type StreamOptions struct{}

// stream serves a request for an endpoint with stream=true.
func (h *rpc) stream(_ http.ResponseWriter, _ *http.Request, rt *goapi.Route) error {
	return goapi.NewError(http.StatusNotImplemented,
		fmt.Sprintf("%s of service %s is a stream, which this gateway does not serve", rt.Endpoint.Name, rt.Service), nil)
}
