package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// An ExplainedNode is a node, and what the request can expect of it.
type ExplainedNode struct {
	Node

	// For says which requests the node is for: all, canary, "canary 5%", or
	// "match X-Tenant:blue".
	For string `json:"for"`
	// Percent is how many of the requests that are like this one go to the node
	// and to those that are for the same, together.
	Percent float64 `json:"percent"`
	// Spare says that the node gets them when none is available that is for them.
	Spare bool `json:"spare,omitempty"`
}

// explain answers how a request would be routed.
func (a *api) explain(w http.ResponseWriter, r *http.Request) error {
	asked, err := askedRequest(r)
	if err != nil {
		return goapi.NewError(http.StatusBadRequest, err.Error(), err)
	}
	e := a.live.Table().Explain(asked)
	refused := e.Err != nil && goapi.Status(e.Err) == http.StatusBadRequest // whatever is there
	if m := a.mountOf(asked); m != nil && !refused {
		return writeJSON(w, Explanation{Status: http.StatusOK, Mount: m, Policies: a.applied(m.Route(), asked), Candidates: []router.Candidate{}})
	}
	answer := Explanation{Status: http.StatusOK, Candidates: e.Candidates, More: e.More, Targets: e.Targets, Variables: e.Variables}
	if answer.Candidates == nil {
		answer.Candidates = []router.Candidate{}
	}
	if e.Err != nil {
		if _, err := a.live.Route(asked); err != nil { // which knows what was announced a while ago
			e.Err = err
		}
		answer.fail(e.Err)
	}
	if e.Route != nil {
		answer.Policies = a.applied(e.Route, asked)
		answer.take(e.Route, asked)
	}
	return writeJSON(w, answer)
}

// mountOf returns the mount that a request is below, or nil.
func (a *api) mountOf(r *http.Request) *Mount {
	path := r.URL.EscapedPath()
	for i := range a.mounts {
		if a.mounts[i].Holds(path) {
			return &a.mounts[i]
		}
	}
	return nil
}

// take says what serves the request, which must have a node unless it is
// published.
func (e *Explanation) take(rt *goapi.Route, r *http.Request) {
	e.Service, e.Endpoint, e.Handler, e.Path = rt.Service, rt.Endpoint.Name, rt.Endpoint.Handler, rt.Pattern
	served := e.Handler == "event" || e.Handler == "cloudevents"
	for _, p := range rt.Upstream.Purposes(r.Header) {
		e.Nodes = append(e.Nodes, ExplainedNode{Node: nodeOf(p.Node, &p.NodeState), For: p.For, Percent: p.Percent, Spare: p.Spare})
		served = served || p.Percent > 0
	}
	if !served {
		e.fail(goapi.NewError(goapi.Status(upstream.ErrNoNodes), "service "+rt.Service+" has no node that can serve", upstream.ErrNoNodes))
	}
}

// fail says what the request is answered with instead.
func (e *Explanation) fail(err error) {
	e.Status, e.Error = goapi.Status(err), err.Error()
	if known, ok := errors.AsType[*goapi.Error](err); ok {
		e.Error = known.Detail
	}
}

// askedRequest returns the request that ?method=, ?url= and ?header= describe.
func askedRequest(r *http.Request) (*http.Request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("malformed query: %w", err)
	}
	u, err := url.Parse(query.Get("url"))
	if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") && u.Host == "" {
		return nil, fmt.Errorf("url %q: want a URL such as https://api.example.com/x, or a path", clip(query.Get("url")))
	}
	method := cmp.Or(query.Get("method"), http.MethodGet)
	if !httpguts.ValidHeaderFieldName(method) {
		return nil, fmt.Errorf("method %q: want a method such as GET", clip(method))
	}
	asked := &http.Request{Method: method, Host: cmp.Or(u.Host, "localhost"), Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	asked.URL = &url.URL{Path: cmp.Or(u.Path, "/"), RawPath: u.RawPath, RawQuery: u.RawQuery}
	for _, h := range query["header"] {
		name, value, ok := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("header %q: want NAME: VALUE", clip(h))
		case strings.EqualFold(name, "Host"):
			asked.Host = value
		default:
			asked.Header.Add(name, value)
		}
	}
	return asked.WithContext(r.Context()), nil
}

// exposed answers what the public can reach.
func (a *api) exposed(w http.ResponseWriter, _ *http.Request) error {
	list := Exposed{Mounts: slices.Clone(a.mounts), Resolved: []router.Resolvable{}, Resolver: a.resolver}
	table := a.live.Table()
	list.Routes = table.Routes()
	if list.Mounts == nil {
		list.Mounts = []Mount{}
	}
	list.Resolved = append(list.Resolved, table.Resolvable()...)
	return writeJSON(w, list)
}
