package router

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/resolver"
)

// maxNames bounds the names of services in an error.
const maxNames = 4

// resolve returns the route to the first service that the resolver names, that
// exists, and that can be reached as the resolver says.
func (t *Table) resolve(r *http.Request, s *search) (*goapi.Route, error) {
	if t.opts.Resolver == nil {
		return nil, noRoute(r, s.path, "", nil)
	}
	asked := r
	if s.method != r.Method { // a preflight
		asked = new(*r)
		asked.Method = s.method
	}
	targets, err := t.opts.Resolver(asked)
	if err != nil {
		if errors.Is(err, resolver.ErrNoTarget) {
			return nil, noRoute(r, s.path, "", err)
		}
		return nil, goapi.NewError(http.StatusBadRequest, "no service can be named for "+what(r, s.path), err)
	}
	var names, unfit []string
	for _, target := range targets {
		svc := t.services.get(t.hasher, target.Service)
		if svc == nil || svc.absent {
			names = append(names, target.Service)
			continue
		}
		rt, err := svc.resolve(target, t.opts.Handler)
		if rt != nil || err != nil {
			return rt, err
		}
		unfit = append(unfit, target.Service)
	}
	return nil, noRoute(r, s.path, lookedUp(names, unfit), nil)
}

// resolve returns the route for a target, or nil if the service is not to be
// reached like that. A method that is not announced, where others are, is an
// error; not so for handlers that the router does not know.
func (s *service) resolve(target resolver.Target, handler string) (*goapi.Route, error) {
	known := isKnown(handler)
	calls := s.calls
	switch {
	case target.Kind == resolver.Relay:
		calls, known = s.relays, true
	case target.Kind == resolver.Proxy && known:
		return s.proxy, nil
	}
	if calls == nil {
		return nil, nil //nolint:nilnil // neither: the next target may do
	}
	if rt := calls.method(target.Method); rt != nil {
		return rt, nil
	}
	if calls.closed || known && len(calls.methods) > 0 {
		return nil, goapi.NewError(http.StatusNotFound,
			fmt.Sprintf("service %s has no method %s", printable(s.name, maxName), printable(target.Method, 100)), goapi.ErrNoRoute)
	}
	return calls.other.Like(&goapi.Endpoint{Name: target.Method, Handler: calls.other.Endpoint.Handler}), nil
}

// noRoute returns the error for a request that nothing claims. More says what
// else was tried.
func noRoute(r *http.Request, path, more string, cause error) error {
	err := goapi.ErrNoRoute
	if cause != nil {
		err = fmt.Errorf("%w: %w", goapi.ErrNoRoute, cause)
	}
	return goapi.NewError(http.StatusNotFound, "no route for "+what(r, path)+more, err)
}

// lookedUp says which services a resolver named: those that do not exist, and
// those that are not to be reached as it said.
func lookedUp(names, unfit []string) string {
	var b strings.Builder
	if names = distinct(names); len(names) > 0 {
		b.WriteString(`, and no service "` + strings.Join(names, `" or "`) + `"`)
	}
	for _, name := range distinct(unfit) {
		b.WriteString("; service " + name + " is not reached like that")
	}
	return b.String()
}

// distinct returns each name once, as an answer may show it, and not too many.
func distinct(names []string) []string {
	var list []string
	for _, name := range names {
		if name = printable(name, 100); len(list) < maxNames && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
