package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/registry"
)

// goneTimeout bounds the time until a route that was taken away is gone: the
// table follows within milliseconds.
const goneTimeout = 2 * time.Second

// openStatic announces the routes of the configuration.
func (g *gateway) openStatic(ctx context.Context) error {
	for _, s := range g.cfg.file.Services() {
		if err := g.static.Register(ctx, s, 0); err != nil {
			return fmt.Errorf("%s: routes: %w", g.cfg.configFile, err)
		}
	}
	return nil
}

// moveRoutes announces the routes of another configuration. In between it calls
// swap, which lays the policies of that on requests: no route is there for a
// moment without its policies, and none that stays is gone for a moment.
func (g *gateway) moveRoutes(ctx context.Context, before, after *config.File, swap func()) error {
	old, now := before.Services(), after.Services()
	var gone []*registry.Service
	for _, s := range old {
		if !slices.ContainsFunc(now, func(n *registry.Service) bool { return n.Name == s.Name }) {
			gone = append(gone, s)
		}
	}
	var errs []error
	for _, s := range gone {
		errs = append(errs, g.static.Deregister(ctx, s))
	}
	if len(gone) > 0 {
		errs = append(errs, g.awaitGone(ctx, gone))
	}
	swap()
	for _, s := range now {
		errs = append(errs, g.static.Register(ctx, s, 0))
	}
	for _, s := range old {
		i := slices.IndexFunc(now, func(n *registry.Service) bool { return n.Name == s.Name })
		if i < 0 {
			continue
		}
		stale := *s
		stale.Nodes = slices.DeleteFunc(slices.Clone(s.Nodes), func(n *registry.Node) bool {
			return slices.ContainsFunc(now[i].Nodes, func(m *registry.Node) bool { return m.ID == n.ID })
		})
		if len(stale.Nodes) > 0 {
			errs = append(errs, g.static.Deregister(ctx, &stale))
		}
	}
	return errors.Join(errs...)
}

// awaitGone waits until the table has none of the services.
func (g *gateway) awaitGone(ctx context.Context, services []*registry.Service) error {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	w, err := g.live.Watch(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		there, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("routes that were taken away are there still: %w", err)
		}
		if !slices.ContainsFunc(there, func(s *registry.Service) bool {
			return slices.ContainsFunc(services, func(gone *registry.Service) bool { return gone.Name == s.Name })
		}) {
			return nil
		}
	}
}
