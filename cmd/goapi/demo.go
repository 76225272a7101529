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

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/service"
	"github.com/goapi-dev/goapi/standard"
)

// demoTTL is how long the sample services are known after they are gone.
const demoTTL = 15 * time.Second

func demoCommand(w world) *cobra.Command {
	var c settings
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

func demo(ctx context.Context, c settings, w world) (err error) {
	for flag, address := range map[string]string{"admin": c.admin, "nats": c.nats} {
		if address != natsOff && !loopback(address) {
			return fmt.Errorf("--%s %s: the demo is for this machine only; listen on 127.0.0.1", flag, address)
		}
	}
	if c.data, err = os.MkdirTemp("", "goapi-demo-"); err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.data)) }()
	c.registries, c.resolver, c.handler, c.apiFormat, c.drain = []string{"embedded:"}, "micro", "auto", formatJSON, time.Second
	c.mounts = []string{"/events=event", "/broker=broker"}
	c.publish, c.subscribe, c.push = []string{"orders", "signups"}, []string{"orders", "signups"}, []string{"orders"}
	log := slog.New(slog.NewTextHandler(w.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	g, err := newGateway(ctx, c, w.env, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()

	group, running := errgroup.WithContext(ctx)
	services, withdraw := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer withdraw() // the gateway has answered its last request
		return g.Run(running, nil)
	})
	if err := startSamples(services, g, group, log); err != nil {
		withdraw()
		return errors.Join(err, group.Wait())
	}
	if err := g.awaitRoutes(running, "greeter", "clock", "calc", "mailer"); err == nil {
		clock := g.pools.Pool("clock").All().Nodes()[0].Node.Address
		printDemo(w.out, "http://"+g.public.Addr().String(), "http://"+g.admin.Addr().String(), clock)
	}
	return group.Wait()
}

// startSamples starts the sample services. They announce themselves through a
// connection of their own to the bus, as any other process would.
func startSamples(ctx context.Context, g *gateway, group *errgroup.Group, log *slog.Logger) error {
	url, conns := "embedded:", &nats.Conns{Embedded: g.embedded}
	if bus := g.natsAddr(); bus != natsOff {
		url = "nats://" + bus
	}
	reg, err := standard.Open(ctx, standard.Registries(&standard.Options{Conns: conns}), url)
	if err != nil {
		return err
	}
	g.onClose(func() error { return standard.Close(reg) })
	opts := &service.Options{Registry: reg, TTL: demoTTL, Logger: log}

	greeter := service.New("greeter", opts)
	greeter.Handle("Greeter.Hello", service.Method(hello), &goapi.Endpoint{
		Method: []string{"GET", "POST"}, Path: []string{"/hello/{name}"},
	})
	group.Go(func() error { return greeter.Run(ctx) })

	clock := service.New("clock", opts)
	clock.HandleHTTP(clockHandler(), clockEndpoints()...)
	group.Go(func() error { return clock.Run(ctx) })

	mailer := service.New("mailer", opts)
	mailer.HandleHTTP(mailerHandler(), mailerEndpoints()...)
	group.Go(func() error { return mailer.Run(ctx) })

	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("sample service calc: %w", err)
	}
	group.Go(func() error { return serveCalc(ctx, l) })
	group.Go(func() error {
		return service.Announce(ctx, reg, calcAnnouncement(l.Addr().String()), &service.AnnounceOptions{TTL: demoTTL, Logger: log})
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
func printDemo(out io.Writer, gateway, admin, clock string) {
	fmt.Fprintf(out, demoText, gateway, admin, clock)
}

// demoText takes the URLs of the gateway and its admin API, and the address of
// the clock.
const demoText = `The gateway is at %[1]s, its admin API at %[2]s.
Four services run: greeter speaks RPC, clock plain HTTP, calc gRPC, and mailer gets events.
Paste a line into another terminal. Ctrl-C ends the demo.

An announced route, GET /hello/{name}. Expect {"message":"hello john"}
curl %[1]s/hello/john

The same method without a route: /SERVICE/METHOD, the body is the message. Expect {"message":"hello jane"}
curl -H 'Content-Type: application/json' -d '{"name":"jane"}' %[1]s/greeter/hello

gRPC behind plain HTTP: the query is the message. Expect {"sum":42}
curl '%[1]s/add?a=2&b=40'

A plain HTTP service. Expect the time
curl %[1]s/clock

A body streams through. Expect it back
curl -d 'streamed, not stored' %[1]s/clock/echo

An event a second, the moment the service sends it. Expect three, then curl ends by its own limit
curl -N --max-time 3 %[1]s/clock/ticks

A stream of gRPC messages, as lines of JSON. Expect {"n":1} to {"n":3}
curl -N -H 'Accept: application/x-ndjson' '%[1]s/count?to=3'

The same stream as server-sent events; as a WebSocket it is at the same address
curl -N -H 'Accept: text/event-stream' '%[1]s/count?to=3'

An event, published on the topic orders. Expect its id, once the broker has stored it
curl -d '{"item":"tea"}' %[1]s/events/orders/placed

The mailer subscribes to orders, and the gateway pushes them to it. Expect what it got
curl %[1]s/mailer/orders

The same topic from its beginning, as server-sent events; curl ends by its own limit
curl -N --max-time 2 -H 'Accept: text/event-stream' '%[1]s/broker?topic=orders&from=earliest&format=raw'

An announced route whose requests are published. Expect an id
curl -d '{"name":"jane"}' %[1]s/signup

A topic that the gateway does not list. Expect 403
curl -d 'x' %[1]s/events/secrets # 403

A mistake of the client's. Expect 400 that names the field
curl '%[1]s/add?a=two' # 400

A method that the route does not have. Expect 405
curl -X DELETE %[1]s/hello/john # 405

Nobody claims this. Expect 404 that says which services were looked up
curl %[1]s/no/such/thing # 404

What the gateway sees. Expect JSON; 'goapi services' and 'goapi routes' print tables
curl %[2]s/services
curl %[2]s/routes

Announce a service yourself: here the clock again, under /mine. Expect {}, then the time
curl -H 'Content-Type: application/json' '%[2]s/registry?ttl=60s' -d '{"name":"mine","nodes":[{"id":"mine-1","address":"%[3]s"}],"endpoints":[{"name":"Mine","metadata":{"handler":"http","path":"/mine/**","strip":"/mine"}}]}'
curl %[1]s/mine/clock

`
