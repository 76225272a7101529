package metrics

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// The labels that several metrics have.
const (
	labelRoute   = "route"
	labelService = "service"
	labelHandler = "handler"
	labelMethod  = "method"
	labelCode    = "code"
)

// The routes that have no pattern.
const (
	routeNone     = "(none)"
	routeOther    = "(other)"
	routeResolved = "(resolved)"
)

// Who may break off an answer.
const (
	cutByClient = "client"
	cutBySelf   = "server"
)

// maxLabel bounds the values of labels that services announce, in bytes.
const maxLabel = 200

// text returns s as the value of a label: UTF-8, and not too long.
func text(s string) string {
	if len(s) > maxLabel {
		s = s[:maxLabel] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// methods are the values of the label method. The last is for all others.
func methods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect, "other",
	}
}

// numMethods is how many there are.
const numMethods = 10

// methodIndex returns which of methods a method is.
func methodIndex(method string) int {
	switch method {
	case http.MethodGet:
		return 0
	case http.MethodHead:
		return 1
	case http.MethodPost:
		return 2
	case http.MethodPut:
		return 3
	case http.MethodPatch:
		return 4
	case http.MethodDelete:
		return 5
	case http.MethodOptions:
		return 6
	case http.MethodTrace:
		return 7
	case http.MethodConnect:
		return 8
	}
	return numMethods - 1
}

// codes are the values of the label code.
type codes struct {
	names []string
	index [600]uint8 // in names, by status
}

// maxCodes is more than there are.
const maxCodes = 96

// newCodes returns the statuses that have a name, a value for the others of each
// class, and one for what is no status.
func newCodes() *codes {
	c := &codes{names: []string{"none", "other"}}
	for class := 1; class <= 5; class++ {
		c.names = append(c.names, strconv.Itoa(class)+"xx")
	}
	for status := 100; status < len(c.index); status++ {
		c.index[status] = uint8(1 + status/100) // of the class
		if http.StatusText(status) != "" || status == goapi.StatusClientClosedRequest {
			c.index[status] = uint8(len(c.names)) //nolint:gosec // fewer than maxCodes
			c.names = append(c.names, strconv.Itoa(status))
		}
	}
	return c
}

// of returns the index of a status; 0 is none.
func (c *codes) of(status int) int {
	switch {
	case status == 0:
		return 0
	case status < 100 || status >= len(c.index):
		return 1
	}
	return int(c.index[status])
}

// The reasons for which requests fail.
const (
	reasonService    = "service" // an error of its own
	reasonOverloaded = "service_overloaded"
	reasonNoNodes    = "no_nodes"
	reasonShed       = "shed" // before it was routed
	reasonNobody     = "unauthorized"
	reasonForbidden  = "forbidden"
	reasonNoRoute    = "no_route"
	reasonSlow       = "slow_client"
	reasonTooLarge   = "too_large"
	reasonRate       = "rate_limited"
	reasonGone       = "client_gone"
	reasonGateway    = "bad_gateway"
	reasonAway       = "unavailable"
	reasonTimeout    = "timeout"
	reasonFailed     = "failed"
	reasonRequest    = "bad_request"
)

// errorReasons returns all of them.
func errorReasons() []string {
	return []string{
		reasonService, reasonOverloaded, reasonNoNodes, reasonShed, reasonNobody, reasonForbidden, reasonNoRoute, reasonSlow,
		reasonTooLarge, reasonRate, reasonGone, reasonGateway, reasonAway, reasonTimeout, reasonFailed, reasonRequest,
	}
}

// reason says why a request failed.
func reason(ex *goapi.Exchange) string {
	var known *goapi.Error
	errors.As(ex.Err, &known)
	status := goapi.Status(ex.Err)
	switch {
	case known != nil && known.ID != goapi.OwnID:
		return reasonService
	case errors.Is(ex.Err, upstream.ErrOverloaded):
		return reasonOverloaded
	case errors.Is(ex.Err, upstream.ErrNoNodes):
		return reasonNoNodes
	case ex.Route == nil && known != nil && status == http.StatusServiceUnavailable && known.Header.Get("Retry-After") != "":
		return reasonShed
	}
	switch status {
	case http.StatusUnauthorized:
		return reasonNobody
	case http.StatusForbidden:
		return reasonForbidden
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return reasonNoRoute
	case http.StatusRequestTimeout:
		return reasonSlow
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return reasonTooLarge
	case http.StatusTooManyRequests:
		return reasonRate
	case goapi.StatusClientClosedRequest:
		return reasonGone
	case http.StatusBadGateway:
		return reasonGateway
	case http.StatusServiceUnavailable:
		return reasonAway
	case http.StatusGatewayTimeout:
		return reasonTimeout
	}
	if status >= http.StatusInternalServerError {
		return reasonFailed
	}
	return reasonRequest
}
