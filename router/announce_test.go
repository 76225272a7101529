package router_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// service returns a service with a node and endpoints, each announced as
// "key=value;…", by handler rpc if it has a path.
func service(name string, endpoints ...string) *registry.Service {
	s := &registry.Service{Name: name, Version: "latest", Nodes: nodes(name + "-1")}
	for _, e := range endpoints {
		s.Endpoints = append(s.Endpoints, announced(e))
	}
	return s
}

func announced(text string) *registry.Endpoint {
	e := &registry.Endpoint{Name: "Endpoint", Metadata: map[string]string{}}
	for pair := range strings.SplitSeq(text, ";") {
		k, v, _ := strings.Cut(pair, "=")
		if k == "name" {
			e.Name = v
			continue
		}
		e.Metadata[k] = v
		if _, ok := e.Metadata["handler"]; k == "path" && !ok {
			e.Metadata["handler"] = "rpc"
		}
	}
	return e
}

func nodes(ids ...string) []*registry.Node {
	var list []*registry.Node
	for _, id := range ids {
		list = append(list, &registry.Node{ID: id, Address: "127.0.0.1:9000"})
	}
	return list
}

// clone returns a copy of a service whose endpoints can be changed.
func clone(s *registry.Service) *registry.Service { return s.Copy() }

func newTable(opts *router.Options) *router.Table {
	return router.NewTable(upstream.NewPools(nil), opts)
}

// static returns a table of services of which it leaves out nothing.
func static(t *testing.T, opts *router.Options, services ...*registry.Service) *router.Table {
	t.Helper()
	table, err := router.Static(services, opts)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func get(path string) *http.Request { return httptest.NewRequest("GET", "http://x.test"+path, nil) }

func target(path string) func(*http.Request) {
	return func(r *http.Request) { r.URL = httptest.NewRequest("GET", path, nil).URL }
}

// received is a target as net/http hands it on.
func received(uri string) func(*http.Request) {
	return func(r *http.Request) {
		got := httptest.NewRequest("GET", uri, nil)
		r.RequestURI, r.URL = got.RequestURI, got.URL
	}
}

func host(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }

// pattern returns the pattern of a route, or the error.
func pattern(rt *goapi.Route, err error) string {
	if err != nil {
		return err.Error()
	}
	return rt.Pattern
}

// endpoint returns the endpoint of a route, or the status and what is allowed.
func endpoint(rt *goapi.Route, err error) string {
	if err == nil {
		return rt.Endpoint.Name
	}
	var e *goapi.Error
	if errors.As(err, &e) && e.Code == http.StatusMethodNotAllowed {
		return "405 " + e.Header.Get("Allow")
	}
	return err.Error()
}

func nodeIDs(s *upstream.Set) string {
	var ids []string
	for _, n := range s.Nodes() {
		ids = append(ids, n.Node.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
