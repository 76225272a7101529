// Package admin is the admin API of a gateway: what operators see of it, and
// what they can do with it. New returns its handler, and [Client] talks to it.
//
// The paths are /healthz (the process lives), /readyz (it should get
// requests), /services, /routes, /policies, /explain, /exposed, /registry,
// /rpc, /broker, /dead-letters, /metrics and /debug/pprof/. All but the first
// two need the token, where there is one. It is not for the public: a listener
// of its own, loopback by default, serves it, and every request must be the
// operator's own; see [Options].
package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// Options adjust the admin API. A nil *Options means all defaults.
//
// Whatever they say, a request must name a host that is an IP address,
// localhost or one of Hosts, must not come from a page of another site, and not
// through a proxy; a body must be JSON, but for messages.
type Options struct {
	// Hosts are further names that the API answers to. Default: none.
	Hosts []string
	// Token is what clients must present as a Bearer token. Default: none; the
	// listener must then be out of reach for others.
	Token string
	// Tokens returns what clients must present, instead of Token: it is asked for
	// each request, since it may change. Default: Token.
	Tokens func() string
	// Ready returns why the gateway should get no requests now, or nil.
	// Default: ready with the first table.
	Ready func() error
	// Source is what live follows. What a registry.Reporter left out is listed
	// with the routes, and so are the members of a registry.Multi. Default:
	// nothing more than live knows.
	Source registry.Reader
	// Steadies are those that Source is made of: whether they are followed, and
	// what they hold back, is listed with the routes. Default: none.
	Steadies []*registry.Steady
	// Registry serves /registry. Default: not found.
	Registry http.Handler
	// Call serves /rpc. Default: not found.
	Call http.Handler
	// Broker serves /broker, whose messages may be of any type. Default: not
	// found.
	Broker http.Handler
	// DeadLetters serves /dead-letters and what is below. Default: not found.
	DeadLetters http.Handler
	// Metrics serves /metrics. Default: not found.
	Metrics http.Handler
	// Policies returns what is laid on a route, for a request to it or, nil, for
	// all. Default: nothing is known but the policy of the route.
	Policies func(*goapi.Route, *http.Request) []Applied
	// Laid returns what is laid on requests whatever their route, such as by a
	// pattern of paths: it is listed with the policies. Default: nothing.
	Laid func() []RoutePolicies
	// Mounts are the paths that are not routed, in any order. Default: none.
	Mounts []Mount
	// Resolver is the name of what finds services for requests without a route.
	// Default: none.
	Resolver string
	// Logger gets what clients are not told. Default: none.
	Logger *slog.Logger
}

// New returns the admin API of the gateway that live and pools belong to.
func New(live *router.Live, pools *upstream.Pools, opts *Options) http.Handler {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &api{live: live, pools: pools, ready: o.Ready, log: o.Logger, mounts: longestFirst(o.Mounts), resolver: cmp.Or(o.Resolver, "none"), policies: o.Policies, laid: o.Laid}
	a.reporter, _ = o.Source.(registry.Reporter)
	a.steadies = o.Steadies
	a.joined, _ = o.Source.(joined)
	if a.ready == nil {
		a.ready = a.hasTable
	}
	if o.Tokens == nil {
		o.Tokens = func() string { return o.Token }
	}
	g := newGuard(o.Hosts, o.Tokens)
	mux := http.NewServeMux()
	mux.Handle("/healthz", get(a.health))
	mux.Handle("/readyz", get(a.readiness))
	mux.Handle("/services", g.lock(get(a.services)))
	mux.Handle("/routes", g.lock(get(a.routes)))
	mux.Handle("/policies", g.lock(get(a.routePolicies)))
	mux.Handle("/explain", g.lock(get(a.explain)))
	mux.Handle("/exposed", g.lock(get(a.exposed)))
	for path, h := range map[string]http.Handler{
		"/registry": o.Registry, "/rpc": o.Call, "/broker": o.Broker, "/dead-letters": o.DeadLetters, "/dead-letters/": o.DeadLetters,
		"/metrics": o.Metrics, "/debug/pprof/": profiles(),
	} {
		if h != nil {
			mux.Handle(path, g.lock(h))
		}
	}
	mux.Handle("/", goapi.HandlerFunc(notFound))
	return a.logged(goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if err := g.check(r); err != nil {
			return err
		}
		mux.ServeHTTP(w, r)
		return nil
	}))
}

// longestFirst returns mounts in the order in which they are asked for a path.
func longestFirst(mounts []Mount) []Mount {
	return slices.SortedStableFunc(slices.Values(mounts), func(a, b Mount) int { return len(b.Path) - len(a.Path) })
}

// api is what the admin API knows.
type api struct {
	live  *router.Live
	pools *upstream.Pools
	ready func() error
	log   *slog.Logger

	mounts   []Mount // the longest path first
	resolver string
	policies func(*goapi.Route, *http.Request) []Applied
	laid     func() []RoutePolicies

	steadies []*registry.Steady
	reporter registry.Reporter // nil if the registry is none
	joined   joined            // nil if the registry is one alone
}

// joined is what a registry.Multi tells of its members.
type joined interface{ Members() []registry.MemberState }

// logged logs errors that are no client's fault. That the gateway is not ready
// is none: it is what /readyz is asked for.
func (a *api) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, ex := goapi.NewExchange(w, r)
		defer func() {
			if ex.Err != nil && goapi.Status(ex.Err) >= http.StatusInternalServerError && r.URL.Path != "/readyz" {
				a.log.Warn("admin request failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", ex.Err))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// get is a handler of GET and HEAD.
func get(f goapi.HandlerFunc) http.Handler {
	return goapi.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return f(w, r)
		}
		e := goapi.NewError(http.StatusMethodNotAllowed, r.URL.Path+" takes GET only", nil)
		e.Header = http.Header{"Allow": {"GET, HEAD"}}
		return e
	})
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return goapi.NewError(http.StatusNotFound,
		fmt.Sprintf("the admin API has no %q: it has /healthz, /readyz, /services, /routes, /policies, /explain, /exposed, /registry, /rpc, /broker, /dead-letters, /metrics and /debug/pprof/", clip(r.URL.Path)), nil)
}

func (a *api) hasTable() error {
	select {
	case <-a.live.Ready():
		return nil
	default:
		return goapi.NewError(http.StatusServiceUnavailable, "the registry has not answered yet", nil)
	}
}

func (a *api) health(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]string{"status": "ok"})
}

func (a *api) readiness(w http.ResponseWriter, _ *http.Request) error {
	if err := a.ready(); err != nil {
		return goapi.NewError(http.StatusServiceUnavailable, err.Error(), nil)
	}
	answer := readinessAnswer{Status: "ready"}
	for _, s := range a.steadies {
		if how := howIs(s.Status()); how != "" {
			answer.Registry = append(answer.Registry, s.Name()+" "+how)
		}
	}
	return writeJSON(w, answer)
}

// readinessAnswer is the answer of a gateway that is to get requests.
type readinessAnswer struct {
	Status string `json:"status"`
	// Registry says of each registry what is not as it should be; none if all is.
	Registry []string `json:"registry,omitempty"`
}

// howIs says what is served of a registry that is not what it says itself; ""
// is nothing.
func howIs(status registry.SteadyStatus) string {
	at := status.Heard.UTC().Format(time.RFC3339)
	held := 0
	for _, h := range status.Held {
		held += len(h.Nodes)
	}
	how := ""
	switch {
	case status.Snapshot:
		how = "has not answered yet: what is served of it is the snapshot of " + at
	case !status.Contact && status.Heard.IsZero():
		how = "has not answered yet: nothing is known of it"
	case !status.Contact:
		how = "is away: what is served of it is its state of " + at
	case held > 0:
		return fmt.Sprintf("is followed, and %d nodes are kept that it does not have any more", held)
	}
	if held > 0 {
		how += fmt.Sprintf(", and %d nodes that it did not have any more", held)
	}
	return how
}

func (a *api) routes(w http.ResponseWriter, _ *http.Request) error {
	table, status := a.live.Table(), a.live.Status()
	routes := Routes{Routes: table.Routes(), Reports: table.Reports(), Registry: Freshness{Updated: status.Updated}}
	if status.Err != nil {
		routes.Registry.Error = "the registry cannot be reached; the log says why"
	}
	if a.reporter != nil {
		for _, o := range a.reporter.LeftOut() {
			routes.Reports = append(routes.Reports, omitted(o))
		}
	}
	if a.joined != nil {
		for _, m := range a.joined.Members() {
			routes.Registry.Members = append(routes.Registry.Members, Member{Name: m.Name, Ready: m.Ready, Since: m.Since})
		}
	}
	for _, s := range a.steadies {
		routes.Registry.Kept = append(routes.Registry.Kept, keptOf(s))
	}
	return writeJSON(w, routes)
}

// keptOf says what is told of a registry that it does not say itself.
func keptOf(s *registry.Steady) Kept {
	status := s.Status()
	k := Kept{Name: s.Name(), Contact: status.Contact, Snapshot: status.Snapshot, Heard: status.Heard}
	for _, h := range status.Held {
		k.Held = append(k.Held, Held{Service: h.Service, Nodes: h.Nodes, Until: h.Until, Reason: h.Reason})
	}
	if status.SaveErr != nil {
		k.Error = "the snapshot cannot be written; the log says why"
	}
	return k
}

// omitted is what a registry left out, as a report.
func omitted(o registry.Omission) router.Report {
	reason := "the registry's record " + o.Key + ": " + o.Reason
	if o.Registry != "" {
		reason = o.Registry + ": " + reason
	}
	return router.Report{Kind: router.LeftOut, Service: o.Service, Node: o.Node, Reason: reason}
}

func (a *api) services(w http.ResponseWriter, _ *http.Request) error {
	services := []Service{}
	for _, s := range a.live.Table().Services() {
		services = append(services, a.service(s))
	}
	return writeJSON(w, services)
}

// service adds to what s announces what is known of its nodes.
func (a *api) service(s *registry.Service) Service {
	states := make(map[string]upstream.NodeState)
	if pool := a.pools.Pool(s.Name); pool != nil {
		for _, st := range pool.All().Nodes() {
			states[st.Node.ID+" "+st.Node.Address] = st
		}
	}
	seen := Service{Name: s.Name, Version: s.Version, Endpoints: []string{}, Nodes: []Node{}}
	for _, e := range s.Endpoints {
		seen.Endpoints = append(seen.Endpoints, e.Name)
	}
	for _, n := range s.Nodes {
		if st, ok := states[n.ID+" "+n.Address]; ok {
			seen.Nodes = append(seen.Nodes, nodeOf(n, &st))
		} else {
			seen.Nodes = append(seen.Nodes, nodeOf(n, nil))
		}
	}
	return seen
}

// nodeOf adds to what a node announces what is known of it; nil is nothing.
func nodeOf(n *registry.Node, st *upstream.NodeState) Node {
	node := Node{ID: n.ID, Address: n.Address, Protocol: n.Metadata["protocol"], State: StateUnused}
	if st == nil {
		return node
	}
	node.State, node.InFlight = StateUp, st.InFlight
	node.LatencyMS = float64(st.Latency) / float64(time.Millisecond)
	node.Weight, node.Ignored = st.Weight*st.Share, st.Ignored
	if st.Ejected != "" {
		node.State, node.Reason = StateEjected, string(st.Ejected)
	}
	return node
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, v any) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(b.String())) // the client is gone; nobody to tell
	return nil
}
