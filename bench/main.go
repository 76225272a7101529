// Command bench measures the gateway: beside other proxies, how soon it serves
// what was announced, and what streams cost. README.md says how to read what it prints.
//
//	go run ./bench proxy      CPU per request, beside nginx, haproxy and httputil.ReverseProxy
//	go run ./bench discovery  from a change in each of the registries to the request that shows it
//	go run ./bench register   the first row of that: over the admin API
//	go run ./bench scale      beside 10,000 services: the start, the heap, and 200 changes a second
//	go run ./bench websockets what open WebSockets cost, and that they outlast changes
//	go run ./bench sse        from a service's write of an event to the client's read
//	go run ./bench publish    messages a second over HTTP, beside a Go program at the same server
//	go run ./bench fanout     from a publisher's write to 2,000 clients' read
//	go run ./bench edge       CPU per request of log, metrics, traces, JWT and rate limit
//	go run ./bench overload   three times the requests that a service can do
//	go run ./bench memory     idle connections, and uploads that stall
//	go run ./bench floods     what one client that floods does to the others
//	go run ./bench reload     requests, connections and streams while the configuration changes
//	go run ./bench all        one after the other
//
// It speaks to loopback only, and takes with it what it started, also when it
// is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const usage = `usage: bench proxy|discovery|register|scale|websockets|sse|publish|fanout|edge|overload|memory|floods|reload|all [flags]; bench all -h lists the flags`

// A measurement is a subcommand.
type measurement interface {
	flags(f *flag.FlagSet)
	// run measures, and writes a table to out.
	run(ctx context.Context, out io.Writer) error
}

// run runs one subcommand and writes its table to out.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	if known, err := runHidden(ctx, args[0], args[1:], out); known {
		return err
	}
	flags := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	flags.SetOutput(out)
	var chosen []measurement
	for _, m := range []struct {
		measurement

		name string
	}{
		{new(proxyBench), "proxy"},
		{new(discoveryBench), "discovery"},
		{&discoveryBench{only: overAdminName}, "register"},
		{new(scaleBench), "scale"},
		{new(websocketBench), "websockets"},
		{new(sseBench), "sse"},
		{new(publishBench), "publish"},
		{new(fanoutBench), "fanout"},
		{new(edgeBench), "edge"},
		{new(overloadBench), "overload"},
		{new(memoryBench), "memory"},
		{new(floodBench), "floods"},
		{new(reloadBench), "reload"},
	} {
		if args[0] == m.name || args[0] == "all" && m.name != "register" { // which is a part of discovery
			m.flags(flags)
			chosen = append(chosen, m)
		}
	}
	if chosen == nil {
		return errors.New(usage)
	}
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unknown argument %q; %s", flags.Arg(0), usage)
	}
	for _, m := range chosen {
		if err := m.run(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// runHidden runs what subcommands run as processes of their own.
func runHidden(ctx context.Context, name string, args []string, out io.Writer) (known bool, err error) {
	switch name {
	case aloneCommand:
		return true, measureAlone(ctx, args, out)
	case bareCommand:
		return true, serveBare(ctx, args)
	case etcdCommand:
		return true, serveEtcd(ctx, args)
	case floodCommand:
		return true, serveFlood(ctx, args, out)
	case natsCommand:
		return true, serveNATS(ctx, args)
	}
	return false, nil
}
