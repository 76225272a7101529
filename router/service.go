package router

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// maxReports bounds the reports about one service.
const maxReports = 100

// service is what a table holds of the services of one name. It does not
// change.
type service struct {
	name     string
	versions int  // how many registry.Services it is made of
	absent   bool // nothing of it can be used, or is to be exposed

	claims []*claim // one for each slot

	// The following serve what the resolver finds, and are nil where the
	// service is not to be reached like that: calls, calls that are relayed as
	// gRPC, and requests as they are. The first two are mostly one.
	calls, relays *calls
	proxy         *goapi.Route

	reports []Report
}

// calls are the routes of a service's methods. They do not change.
type calls struct {
	methods []*goapi.Route // those announced, by name
	closed  bool           // a method is hidden: no other is to be called
	other   *goapi.Route   // for all others; its endpoint has no name
}

// method returns the route of an announced method, or nil.
func (c *calls) method(name string) *goapi.Route {
	if c == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(c.methods, name, func(rt *goapi.Route, name string) int {
		return strings.Compare(rt.Endpoint.Name, name)
	})
	if !found {
		return nil
	}
	return c.methods[i]
}

// equal says whether two services have the same routes. Either may be nil.
func (c *calls) equal(o *calls) bool {
	if c == nil || o == nil || c == o {
		return c == o
	}
	return c.other == o.other && c.closed == o.closed && slices.Equal(c.methods, o.methods)
}

// equal says whether two services are the same to a table.
func (s *service) equal(o *service) bool {
	return s.versions == o.versions && s.absent == o.absent &&
		slices.Equal(s.claims, o.claims) &&
		s.calls.equal(o.calls) && s.relays.equal(o.relays) && s.proxy == o.proxy &&
		slices.Equal(s.reports, o.reports)
}

// bounded returns reports about a service, each once, and not more than are of
// use.
func bounded(name string, reports []Report) []Report {
	var list []Report
	seen := make(map[Report]bool, len(reports))
	for _, r := range reports {
		r.Service = printable(name, maxName)
		if seen[r] {
			continue
		}
		seen[r] = true
		if len(list) < maxReports {
			list = append(list, r)
		}
	}
	if more := len(seen) - maxReports; more > 0 {
		list = append(list, Report{
			Kind: LeftOut, Service: printable(name, maxName), Reason: fmt.Sprintf("%d more are left out or wait", more),
		})
	}
	return list
}
