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
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/resolver"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/server"
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
	log *slog.Logger

	public, admin   *server.Server
	routed, operate http.Handler   // what they serve
	proxies         []netip.Prefix // --trusted-proxy
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
func newGateway(ctx context.Context, cfg settings, log *slog.Logger) (*gateway, error) {
	g := &gateway{cfg: cfg, log: log, stopping: make(chan struct{}), drained: make(chan struct{})}
	if err := g.open(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
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
	if err := g.serve(resolve, source, nodes, bus); err != nil {
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
func (g *gateway) serve(resolve resolver.Resolver, source registry.Reader, nodes *nodes, bus broker.Broker) error {
	handlers, policies := g.handlers(nodes, bus), &g.cfg.policies
	mounts, err := g.mounts(bus)
	if err != nil {
		return err
	}
	g.pools = upstream.NewPools(&upstream.Options{Logger: g.log, Policy: policies.service, Probe: nodes.probes(policies)})
	g.live = router.NewLive(source, g.pools, &router.Options{
		Resolver: resolve,
		Handler:  g.cfg.handler,
		Handlers: slices.Sorted(maps.Keys(handlers)),
		Policy:   policies.route,
		Before:   remembered(g.steadies),
		Logger:   g.log,
	})
	gw := &goapi.Gateway{Router: g.live, Handlers: handlers, Logger: g.log}
	g.routed = middleware.Bounds(nil)(withMounts(mounts, gw))
	g.pusher = g.newPusher(bus, nodes)
	return nil
}

// serveAdmin makes what the admin listener serves.
func (g *gateway) serveAdmin(reg registry.Registry, source registry.Reader, nodes *nodes, bus broker.Broker) error {
	token, err := readSecret("admin-token-file", g.cfg.adminTokenFile)
	if err != nil {
		return err
	}
	g.operate = middleware.Bounds(nil)(admin.New(g.live, g.pools, &admin.Options{
		Hosts:    g.cfg.adminHosts,
		Token:    token,
		Ready:    g.ready,
		Source:   source,
		Steadies: g.steadies,
		Registry: handler.Registry(reg, &handler.RegistryOptions{Done: g.drained}),
		Call:     handler.Call(nodesOf(g.pools), nodes.caller(), nil),
		Mounts:   listMounts(g.cfg.mounts),
		Resolver: g.cfg.resolver,
		Broker:   g.adminBroker(bus),
		Logger:   g.log,

		DeadLetters: g.deadLetters(),
	}))
	return nil
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

// listen opens the two listeners before anything else: a port that is taken is
// the commonest mistake.
func (g *gateway) listen(ctx context.Context) error {
	tlsConf, err := g.cfg.publicTLS()
	if err != nil {
		return err
	}
	g.public, err = server.Listen(ctx, g.cfg.address, &server.Options{TLS: tlsConf, Drain: g.cfg.drain, Logger: g.log})
	if err != nil {
		return listening("address", g.cfg.address, err)
	}
	g.onClose(g.public.Close)
	g.admin, err = server.Listen(ctx, g.cfg.admin, &server.Options{Drain: adminDrain, Logger: g.log})
	if err != nil {
		return listening("admin", g.cfg.admin, err)
	}
	g.onClose(g.admin.Close)
	return nil
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

// ready returns why the gateway should get no requests now, or nil.
func (g *gateway) ready() error {
	select {
	case <-g.stopping:
		return errors.New("the gateway is stopping")
	default:
	}
	select {
	case <-g.live.Ready():
		return nil
	default:
		return errors.New("the registry has not answered yet")
	}
}

// Run serves until ctx is done: it fails readiness, stops accepting, lets the
// requests in flight end, and only then lets go of the registry.
func (g *gateway) Run(ctx context.Context) error {
	rest, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(rest)
	for _, s := range g.steadies {
		group.Go(func() error { return ignoreCancel(s.Run(failed)) })
	}
	group.Go(func() error { return ignoreCancel(g.live.Run(failed)) })
	group.Go(func() error { return ignoreCancel(g.pools.Run(failed)) })
	if g.pusher != nil {
		group.Go(func() error { return ignoreCancel(g.pusher.Run(failed)) })
	}
	group.Go(func() error { return g.admin.Run(failed, g.operate) })
	group.Go(func() error {
		defer stop()
		defer close(g.drained)
		public, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(failed, cancel)()
		context.AfterFunc(public, func() { close(g.stopping) })
		return g.public.Run(public, g.routed)
	})
	g.log.Info("serving", slog.String("address", g.public.Addr().String()), slog.String("admin", g.admin.Addr().String()), slog.String("nats", g.natsAddr()))
	return group.Wait()
}

// natsAddr returns where the embedded bus can be reached.
func (g *gateway) natsAddr() string {
	if g.embedded == nil || g.embedded.Addr() == "" {
		return natsOff
	}
	return g.embedded.Addr()
}

func ignoreCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
