package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/goapi-dev/goapi/config"
)

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
// requests in flight end, and only then lets go of the registry. Whatever reloads
// brings has the configuration read again.
func (g *gateway) Run(ctx context.Context, reloads <-chan os.Signal) error {
	rest, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(rest)
	collector := func(ctx context.Context) error { return collectLess(ctx, g.env) }
	background := slices.Concat(g.background, []func(context.Context) error{g.live.Run, g.pools.Run, collector})
	for _, s := range g.steadies {
		background = append(background, s.Run)
	}
	if g.pusher != nil {
		background = append(background, g.pusher.Run)
	}
	for _, run := range background {
		group.Go(func() error { return ignoreCancel(run(failed)) })
	}
	group.Go(func() error { return g.admin.Run(failed, g.operate) })
	group.Go(func() error { g.configured(failed, reloads); return nil })
	accepting, refuse := context.WithCancel(context.WithoutCancel(ctx))
	defer refuse()
	group.Go(func() error {
		g.awaitEnd(ctx, failed)
		refuse()
		return nil
	})
	if g.plain != nil {
		group.Go(func() error { return g.plain.Run(accepting, g.plainHandler()) })
	}
	group.Go(func() error {
		defer stop()
		defer close(g.drained)
		return g.public.Run(accepting, g.routed)
	})
	g.log.Info("serving", slog.String("address", g.public.Addr().String()), slog.String("admin", g.admin.Addr().String()), slog.String("nats", g.natsAddr()))
	g.tell(manager.ready)
	return group.Wait()
}

// awaitEnd waits until the gateway is to end, and fails readiness then: for
// --drain-delay before it returns, so that whoever sends requests here learns of it
// while they are still served.
func (g *gateway) awaitEnd(ctx, failed context.Context) {
	select {
	case <-ctx.Done():
	case <-failed.Done():
	}
	close(g.stopping)
	g.tell(manager.stopping)
	if g.cfg.drainDelay <= 0 || failed.Err() != nil {
		return
	}
	g.log.Info("not ready any more; requests are still taken", slog.Duration("drain_delay", g.cfg.drainDelay))
	select {
	case <-time.After(g.cfg.drainDelay):
	case <-failed.Done():
	}
}

// tell tells the service manager how it goes.
func (g *gateway) tell(how func(manager) error) {
	if err := how(managerOf(g.env)); err != nil {
		g.log.Warn("the service manager cannot be told how it goes", slog.Any("error", err))
	}
}

// configured runs what the configuration defines, and reads it again when one of
// its files changes, or when it is told to.
func (g *gateway) configured(ctx context.Context, reloads <-chan os.Signal) {
	t := &tasks{ctx: ctx}
	defer t.running.Wait()
	g.enter(t, g.current.Load())
	files := config.NewWatcher(g.cfg.file)
	for {
		told, err := changed(ctx, files, reloads)
		if ctx.Err() != nil {
			return
		}
		if told && g.reopen != nil {
			if err := g.reopen(); err != nil {
				g.log.Error("the access log cannot be opened again; it goes on in the old file", slog.Any("error", err))
			}
		}
		if g.cfg.configFile == "" {
			g.log.Info("there is no configuration to read again: the gateway was started without --config")
			continue
		}
		if err == nil || told {
			err = g.reload(ctx, t, files, told)
		}
		g.reloaded(err)
	}
}

// changed waits until one of the files changes, or something is told.
func changed(ctx context.Context, files *config.Watcher, reloads <-chan os.Signal) (told bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hung := make(chan bool, 1)
	go func() {
		select {
		case <-reloads:
			hung <- true
			cancel()
		case <-ctx.Done():
			hung <- false
		}
	}()
	err = files.Next(ctx)
	cancel()
	return <-hung, err
}

// reloaded tells how a reload went.
func (g *gateway) reloaded(err error) {
	if g.metrics != nil {
		g.metrics.Reloaded(err == nil)
	}
	if err == nil {
		g.log.Info("configuration reloaded", slog.String("file", g.cfg.configFile))
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		g.log.Error("the configuration is not taken over; nothing has changed", slog.String("error", line))
	}
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
