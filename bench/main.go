// Command bench measures the gateway: beside other proxies, and how soon it
// serves what was announced. README.md says how to read what it prints.
//
//	go run ./bench proxy      CPU per request, beside nginx, haproxy and httputil.ReverseProxy
//	go run ./bench register   from a registration to the first request that is routed
//	go run ./bench all        both
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

const usage = `usage: bench proxy|register|all [flags]; bench all -h lists the flags`

// run runs one subcommand and writes its table to out.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	if args[0] == bareCommand {
		return serveBare(ctx, args[1:])
	}
	var (
		p proxyBench
		r registerBench
	)
	flags := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	flags.SetOutput(out)
	switch args[0] {
	case "proxy":
		p.flags(flags)
	case "register":
		r.flags(flags)
	case "all":
		p.flags(flags)
		r.flags(flags)
	default:
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
	if args[0] != "register" {
		if err := p.run(ctx, out); err != nil {
			return err
		}
	}
	if args[0] != "proxy" {
		return r.run(ctx, out)
	}
	return nil
}
