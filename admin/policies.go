package admin

import (
	"net/http"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/router"
)

// Applied is one thing that is laid on a route, and by what.
type Applied struct {
	// Policy names it: "timeout".
	Policy string `json:"policy"`
	// Value is what holds, without secrets.
	Value string `json:"value"`
	// From says what laid it on: a place in the configuration, or a flag.
	From string `json:"from"`
}

// A RoutePolicies is a route and what is laid on it.
type RoutePolicies struct {
	router.Listing

	Policies []Applied `json:"policies"`
}

// routePolicies answers what is laid on each route and mount, whatever the request.
func (a *api) routePolicies(w http.ResponseWriter, _ *http.Request) error {
	list := []RoutePolicies{}
	if a.laid != nil {
		list = append(list, a.laid()...)
	}
	for _, m := range a.mounts {
		list = append(list, RoutePolicies{Listing: router.Listing{Handler: m.Handler, Path: m.Path + "/**", Nodes: []string{}}, Policies: a.applied(m.Route(), nil)})
	}
	for l, rt := range a.live.Table().Served() {
		list = append(list, RoutePolicies{Listing: l, Policies: a.applied(rt, nil)})
	}
	return writeJSON(w, list)
}

// applied returns what is laid on a route, never nil.
func (a *api) applied(rt *goapi.Route, r *http.Request) []Applied {
	if a.policies != nil {
		if list := a.policies(rt, r); list != nil {
			return list
		}
	}
	return []Applied{}
}
