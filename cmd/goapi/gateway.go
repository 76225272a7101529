package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/metrics"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/push"
	sharedlimits "github.com/goapi-dev/goapi/ratelimit/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/server"
	"github.com/goapi-dev/goapi/server/acme"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	// connectTimeout bounds connecting to a node.
	connectTimeout = 2 * time.Second
	// adminDrain is short: when the admin API stops, nothing is left to see.
	adminDrain = 2 * time.Second
)

// A gateway is the whole server: what it listens on, what it follows, and what
// it has opened.
type gateway struct {
	cfg settings
	env func(string) (string, bool)
	log *slog.Logger

	public, admin   *server.Server
	plain           *server.Server // sends clients to TLS; nil without
	routed, operate http.Handler   // what they serve
	background      []func(context.Context) error
	proxies         []netip.Prefix // --trusted-proxy
	certificates    *server.Certificates
	issuer          *acme.Manager    // nil without ACME
	static          *registry.Memory // the routes of the configuration
	current         atomic.Pointer[setup]
	handlers        map[string]http.Handler
	mounted         []mounted
	group           *sharedlimits.Group // of gateways that share limits; nil until one is
	sharing         bool                // the group runs
	metrics         *metrics.Metrics    // nil without
	reopen          func() error        // opens the access log again; nil if that is no file
	steadies        []*registry.Steady
	embedded        *nats.Server // nil when nothing uses it
	conns           *nats.Conns
	pools           *upstream.Pools
	live            *router.Live
	pusher          *push.Pusher  // nil without a broker
	stopping        chan struct{} // closed when the gateway is to end
	drained         chan struct{} // closed when the public listener has ended

	closers []func() error // called in reverse
}

// newGateway listens and connects. The context bounds the call; whoever gets a
// gateway closes it.
func newGateway(ctx context.Context, cfg settings, env func(string) (string, bool), log *slog.Logger) (*gateway, error) {
	g := &gateway{
		cfg: cfg, env: env, log: log,
		static: new(registry.Memory), stopping: make(chan struct{}), drained: make(chan struct{}),
	}
	if g.cfg.file == nil {
		g.cfg.file = new(config.File)
	}
	if err := g.open(ctx); err != nil {
		return nil, errors.Join(cfg.blame(err), g.Close())
	}
	return g, nil
}

// open does it in the order in which mistakes are cheapest to find.
func (g *gateway) open(ctx context.Context) error {
	if err := g.cfg.check(); err != nil {
		return err
	}
	var err error
	if g.proxies, err = g.cfg.proxies(); err != nil {
		return err
	}
	resolve, err := g.cfg.resolve()
	if err != nil {
		return err
	}
	if err := g.listen(ctx); err != nil {
		return err
	}
	reg, source, err := g.openRegistries(ctx)
	if err != nil {
		return err
	}
	nodes, err := g.nodes()
	if err != nil {
		return err
	}
	bus, err := g.openBroker(ctx, reg, nodes)
	if err != nil {
		return err
	}
	if err := g.openIssuer(ctx); err != nil {
		return err
	}
	if err := g.serve(ctx, resolve, source, nodes, bus); err != nil {
		return err
	}
	return g.serveAdmin(reg, source, nodes, bus)
}

// resolve returns the resolver that --resolver names, nil for none.
func (c *settings) resolve() (resolver.Resolver, error) {
	resolve, err := resolver.ByName(c.resolver)
	if err != nil {
		return nil, fmt.Errorf("--resolver: %w", err)
	}
	if resolve != nil {
		resolve = resolver.Namespace(c.namespace, resolve)
	}
	return resolve, nil
}

// serve makes what the public listener serves.
func (g *gateway) serve(ctx context.Context, resolve resolver.Resolver, source registry.Reader, nodes *nodes, bus broker.Broker) error {
	observed, err := g.observe(ctx)
	if err != nil {
		return err
	}
	if g.metrics = observed.metrics; g.metrics != nil && bus != nil {
		bus = g.metrics.Broker(bus)
	}
	g.handlers = observed.handlers(g.newHandlers(nodes, bus))
	if g.mounted, err = g.mounts(bus); err != nil {
		return err
	}
	pools := &upstream.Options{Logger: g.log, Policy: g.servicePolicy, Probe: g.probe(nodes)}
	routes := &router.Options{
		Resolver: resolve,
		Handler:  g.cfg.handler,
		Handlers: slices.Sorted(maps.Keys(g.handlers)),
		Operator: g.isStatic,
		Before:   remembered(g.steadies),
		Logger:   g.log,
	}
	if g.metrics != nil {
		pools.Ejected, routes.Updated = g.metrics.Ejected, g.metrics.TableUpdated
	}
	g.pools = upstream.NewPools(pools)
	g.live = router.NewLive(source, g.pools, routes)
	first, err := g.newSetup(ctx, g.cfg.file, nil)
	if err != nil {
		return err
	}
	g.current.Store(first)
	if err := g.announceRoutes(ctx, nil, first); err != nil {
		return err
	}
	if g.routed, err = g.outerRing(observed, http.HandlerFunc(g.serveCurrent)); err != nil {
		return err
	}
	if g.metrics != nil {
		g.metrics.Follow(g.live, g.pools, g.steadies...)
	}
	g.pusher = g.newPusher(bus, nodes)
	return nil
}

// serveAdmin makes what the admin listener serves.
func (g *gateway) serveAdmin(reg registry.Registry, source registry.Reader, nodes *nodes, bus broker.Broker) error {
	opts := &admin.Options{
		Hosts:    g.cfg.adminHosts,
		Tokens:   func() string { return g.current.Load().adminToken },
		Ready:    g.ready,
		Source:   source,
		Steadies: g.steadies,
		Registry: handler.Registry(reg, &handler.RegistryOptions{Done: g.drained}),
		Call:     handler.Call(nodesOf(g.pools), nodes.caller(), nil),
		Mounts:   listMounts(g.cfg.mounts),
		Resolver: g.cfg.resolver,
		Broker:   g.adminBroker(bus),
		Policies: g.applied,
		Laid:     g.laid,
		Logger:   g.log,

		DeadLetters: g.deadLetters(),
	}
	if g.metrics != nil {
		opts.Metrics = g.metrics.Handler()
	}
	g.operate = middleware.Bounds(nil)(admin.New(g.live, g.pools, opts))
	return nil
}

// applied says what is laid on a route, for operators.
func (g *gateway) applied(rt *goapi.Route, r *http.Request) []admin.Applied {
	return appliedOf(g.current.Load().policies.Explain(rt, r))
}

// appliedOf returns what is laid on something as the admin API has it.
func appliedOf(applied []config.Applied) []admin.Applied {
	list := make([]admin.Applied, len(applied))
	for i, a := range applied {
		list[i] = admin.Applied{Policy: a.Policy, Value: a.Value, From: a.From}
	}
	return list
}

// laid says what patterns lay on requests, for operators.
func (g *gateway) laid() []admin.RoutePolicies {
	var list []admin.RoutePolicies
	for _, p := range g.current.Load().policies.Patterns() {
		list = append(list, admin.RoutePolicies{Listing: router.Listing{Path: p.Match, Nodes: []string{}}, Policies: appliedOf(p.Applied)})
	}
	return list
}

// nodesOf finds the nodes of a service.
func nodesOf(pools *upstream.Pools) func(string) *upstream.Set {
	return func(service string) *upstream.Set {
		if pool := pools.Pool(service); pool != nil {
			return pool.All()
		}
		return nil
	}
}

// listen opens the listeners before anything else: a port that is taken is the
// commonest mistake.
func (g *gateway) listen(ctx context.Context) error {
	opts := g.publicOptions()
	var err error
	if opts.TLS, err = g.publicTLS(); err != nil {
		return err
	}
	if g.public, err = server.Listen(ctx, g.cfg.address, opts); err != nil {
		return listening("address", g.cfg.address, err)
	}
	g.onClose(g.public.Close)
	if err := g.listenPlain(ctx); err != nil {
		return err
	}
	g.admin, err = server.Listen(ctx, g.cfg.admin, &server.Options{Drain: adminDrain, Logger: g.log})
	if err != nil {
		return listening("admin", g.cfg.admin, err)
	}
	g.onClose(g.admin.Close)
	return nil
}

// publicOptions returns the bounds of the public listener.
func (g *gateway) publicOptions() *server.Options {
	opts := &server.Options{Drain: g.cfg.drain, Exempt: g.proxies, Logger: g.log}
	if p := g.cfg.file.ProxyProtocol; p != nil {
		opts.OptionalProxy = p.Optional
		for _, from := range p.From {
			opts.Proxies = append(opts.Proxies, from.Prefix)
		}
	}
	if l := g.cfg.file.Limits; l != nil {
		opts.MaxConns, opts.MaxPerClient, opts.MaxStreams = l.Connections, l.ConnectionsPerClient, l.StreamsPerConnection
		opts.MaxHeader, opts.MaxFields = int(l.HeaderBytes), max(l.HeaderFields, 1000)
		opts.HeaderTimeout, opts.BodyTimeout = time.Duration(l.HeaderTimeout), time.Duration(l.BodyTimeout)
		opts.IdleTimeout, opts.WriteTimeout = time.Duration(l.IdleTimeout), time.Duration(l.WriteTimeout)
	}
	return opts
}

func (g *gateway) startBus(ctx context.Context) error {
	token, err := readSecret("nats-token-file", g.cfg.natsTokenFile)
	if err != nil {
		return err
	}
	address := g.cfg.nats
	if address == natsOff {
		address = ""
	}
	g.embedded, err = nats.Start(ctx, filepath.Join(g.cfg.data, "nats"), &nats.ServerOptions{Address: address, Token: token, Logger: g.log})
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return listening("nats", g.cfg.nats, err)
		}
		return fmt.Errorf("--data %s: %w", g.cfg.data, err)
	}
	g.onClose(g.embedded.Close)
	return nil
}

// onClose adds what Close calls, the last first.
func (g *gateway) onClose(f func() error) { g.closers = append(g.closers, f) }

// Close releases what the gateway has opened. It may be closed after Run.
func (g *gateway) Close() error {
	var errs []error
	for _, f := range slices.Backward(g.closers) {
		if err := f(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	g.closers = nil
	return errors.Join(errs...)
}
