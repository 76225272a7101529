package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
	"github.com/goapi-dev/goapi/standard"
)

// demoTTL is how long the sample services are known after they are gone.
const demoTTL = 15 * time.Second

func demoCommand(w world) *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the gateway with sample services, and what to ask it",
		Long: `demo starts the gateway with its embedded bus in a temporary directory, and sample
services, each on a port of its own and announced as any other service would be.
It prints curl lines to paste. Ctrl-C ends all of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := demo(cmd.Context(), c, w)
			if interrupted(cmd.Context(), err) {
				return nil
			}
			return err
		},
	}
	c.addListeners(cmd.Flags(), "127.0.0.1:8080")
	return cmd
}

func demo(ctx context.Context, c config, w world) (err error) {
	if c.data, err = os.MkdirTemp("", "goapi-demo-"); err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.data)) }()
	c.registries, c.resolver, c.handler, c.drain = []string{"embedded:"}, "micro", "auto", 5*time.Second
	log := slog.New(slog.NewTextHandler(w.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	g, err := newGateway(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()

	group, running := errgroup.WithContext(ctx)
	services, withdraw := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer withdraw() // the gateway has answered its last request
		return g.Run(running)
	})
	if err := startSamples(services, g, group, log); err != nil {
		withdraw()
		return errors.Join(err, group.Wait())
	}
	if err := g.awaitRoutes(running, "clock", "calc"); err == nil {
		printDemo(w.out, "http://"+g.public.Addr().String(), "http://"+g.admin.Addr().String())
	}
	return group.Wait()
}

// startSamples starts the sample services. They announce themselves through a
// registry of their own, on the same bus.
func startSamples(ctx context.Context, g *gateway, group *errgroup.Group, log *slog.Logger) error {
	url := "nats://" + g.natsAddr()
	if g.natsAddr() == natsOff {
		return errors.New("--nats off: the sample services need the bus; give --nats an address")
	}
	reg, err := standard.Open(ctx, standard.Registries(nil), url)
	if err != nil {
		return err
	}
	g.onClose(func() error { return standard.Close(reg) })

	/*greeter := service.New("greeter", &service.Options{Registry: reg, Address: "127.0.0.1:0", TTL: demoTTL, Logger: log})
	greeter.Handle("Greeter.Hello", service.Method(hello), nil)
	group.Go(func() error { return greeter.Run(ctx) })*/

	plain := func(l net.Listener) error { return serveHTTP(ctx, l, clock()) }
	if err := startSample(ctx, group, reg, log, "clock", "http", clockEndpoints(), plain); err != nil {
		return err
	}
	rpc := func(l net.Listener) error { return serveGRPC(ctx, l) }
	return startSample(ctx, group, reg, log, "calc", "grpc", calcEndpoints(), rpc)
}

// startSample serves on a free port, and announces it.
func startSample(ctx context.Context, group *errgroup.Group, reg registry.Writer, log *slog.Logger,
	name, protocol string, endpoints []*registry.Endpoint, serve func(net.Listener) error,
) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("sample service %s: %w", name, err)
	}
	group.Go(func() error { return serve(l) })
	s := &registry.Service{Name: name, Version: "latest", Endpoints: endpoints, Nodes: []*registry.Node{{
		ID: name + "-1", Address: l.Addr().String(), Metadata: map[string]string{"protocol": protocol},
	}}}
	group.Go(func() error {
		return service.Announce(ctx, reg, s, &service.AnnounceOptions{TTL: demoTTL, Logger: log})
	})
	return nil
}

// awaitRoutes returns when the table has a route of each of the services.
func (g *gateway) awaitRoutes(ctx context.Context, services ...string) error {
	select {
	case <-g.live.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		found := make(map[string]bool)
		for _, rt := range g.live.Table().Routes() {
			found[rt.Service] = true
		}
		if !slices.ContainsFunc(services, func(name string) bool { return !found[name] }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// printDemo prints what to ask, and what to expect. .ci/demo runs the lines
// that start with curl.
func printDemo(out io.Writer, gateway, admin string) {
	fmt.Fprintf(out, `The gateway is at %[1]s, its admin API at %[2]s. Three services run:
greeter speaks RPC, clock plain HTTP, calc gRPC. Paste a line; Ctrl-C ends the demo.

An announced route, GET /hello/{name}: expect {"message":"hello john"}
curl %[1]s/hello/john

The same method without a route, by its name; the body is the message: expect {"message":"hello jane"}
curl -H 'Content-Type: application/json' -d '{"name":"jane"}' %[1]s/greeter/hello

gRPC behind plain HTTP; the query is the message: expect {"sum":42}
curl '%[1]s/add?a=2&b=40'

A plain HTTP service: expect the time
curl %[1]s/clock

A body streams through: expect it back
curl -T - %[1]s/clock/echo -X POST <<< 'streamed, not stored'

An event a second, as the service sends them; ends after 3 seconds
curl -N --max-time 3 %[1]s/clock/ticks

What the client got wrong: expect 400 that names the field
curl '%[1]s/add?a=two' # 400

A method that the route does not have: expect 405
curl -X DELETE %[1]s/hello/john # 405

Nobody claims this path: expect 404 that says which services were looked up
curl %[1]s/no/such/thing # 404

What the gateway sees
curl %[2]s/services
curl %[2]s/routes

Announce a service yourself (here the clock, under another path), and ask it
curl -H 'Content-Type: application/json' '%[2]s/registry?ttl=60s' -d '{"name":"mine","version":"1","nodes":[{"id":"mine-1","address":"%[3]s"}],"endpoints":[{"name":"Mine","metadata":{"handler":"http","path":"/mine/**","strip":"/mine"}}]}'
curl --retry 3 --retry-all-errors --fail %[1]s/mine/clock

`, gateway, admin, "CLOCK")
}
