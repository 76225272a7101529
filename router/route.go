package router

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi"
)

// Route implements goapi.Router.
//
// A CORS preflight gets the route of the method that it asks for, unless a
// route names OPTIONS. A path that is routed for other methods only is 405, and
// the resolver is not asked.
func (t *Table) Route(r *http.Request) (*goapi.Route, error) {
	switch {
	case r.Method == http.MethodConnect:
		return nil, notAllowed("CONNECT is refused: this is no tunnel", "")
	case r.URL.Path == "*":
		return nil, goapi.NewError(http.StatusNotFound, "no route for the gateway as a whole (*)", goapi.ErrNoRoute)
	}
	if strings.IndexByte(r.RequestURI, '#') >= 0 { // net/http takes it for a part of the path, and others do not
		return nil, goapi.NewError(http.StatusBadRequest, "the request's target has a fragment (#), which is for clients alone: write %23 for the character", nil)
	}
	h, err := requestHost(r.Host)
	if err != nil {
		return nil, goapi.NewError(http.StatusBadRequest, "the Host header is not a host", err)
	}
	path, err := requestPath(r.URL)
	if err != nil {
		return nil, err
	}
	s := search{table: t, request: r, path: path, method: r.Method}
	c := t.find(&s, h, preflight(r))
	switch {
	case c != nil:
		c.pattern.setVariables(r, path)
		return c.route, nil
	case s.missed:
		allow := s.allowed(h)
		return nil, notAllowed(fmt.Sprintf("no route for %s; its methods are %s", what(r, path), allow), allow)
	}
	rt, err := t.resolve(r, &s)
	if s.ended && errors.Is(err, goapi.ErrNoRoute) {
		err = goapi.NewError(http.StatusNotFound, "too many patterns are alike to find a route for "+what(r, path),
			fmt.Errorf("%w: %w", err, errTooAlike))
	}
	return rt, err
}

// find returns the claim for a request, or nil. The search of a preflight ends
// up with the method that the preflight asks for.
func (t *Table) find(s *search, h host, asked string) *claim {
	if asked == "" {
		return s.claim(h)
	}
	s.named = true
	if c := s.claim(h); c != nil {
		return c
	}
	s.named, s.missed, s.method = false, false, asked
	return s.claim(h)
}

// preflight returns the method that a CORS preflight asks for, or "".
func preflight(r *http.Request) string {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" {
		return ""
	}
	return r.Header.Get("Access-Control-Request-Method")
}

// allowed returns the methods that the path is routed for.
func (s *search) allowed(h host) string {
	var methods []string
	again := search{table: s.table, request: s.request, path: s.path, others: &methods}
	again.claim(h)
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	return strings.Join(slices.Compact(methods), ", ")
}

// notAllowed returns the error for a method, with those that are.
func notAllowed(detail, allow string) error {
	err := goapi.NewError(http.StatusMethodNotAllowed, detail, nil)
	err.Header = http.Header{"Allow": {allow}}
	return err
}

// what returns method and path of a request as an answer may show them.
func what(r *http.Request, path string) string {
	return printable(r.Method, 40) + " " + printable(path, 200)
}
