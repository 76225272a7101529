package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/registry"
)

// goneTimeout bounds the time until a route that was taken away is gone: the
// table follows within milliseconds.
const goneTimeout = 2 * time.Second

// A routeSet is the routes of a configuration as services, and who had their
// place before.
type routeSet struct {
	services []*registry.Service
	names    map[string]bool
	// before has the policies of services that are still to be taken away; nil when
	// none is.
	before atomic.Pointer[setup]
}

// newRouteSet returns the routes of a file. One that leads elsewhere than it did
// gets another name: it stands beside the old one for a moment, and each has its
// own policies.
func newRouteSet(file *config.File, old *setup) *routeSet {
	s := &routeSet{services: file.Services(), names: make(map[string]bool)}
	for i, service := range s.services {
		s.services[i] = succeeding(service, old)
		s.names[s.services[i].Name] = true
	}
	s.before.Store(old)
	return s
}

// succeeding returns a service under a name that no other had before: its own, or
// that of the old one if nothing but policies has changed.
func succeeding(service *registry.Service, old *setup) *registry.Service {
	if old == nil {
		return service
	}
	for _, was := range old.routes.services {
		if config.Renamed(was.Name, 0) != service.Name {
			continue
		}
		named := *service
		if named.Name = was.Name; reflect.DeepEqual(&named, was) {
			return was
		}
		_, number, _ := strings.Cut(was.Name, "#")
		version, _ := strconv.Atoi(number) // 0 for the first
		named.Name = config.Renamed(service.Name, max(version, 1)+1)
		return &named
	}
	return service
}

// wrap lays policies around a handler: those of the configuration that a route is
// of. One that is of none any more serves nobody.
func (s *setup) wrap(rt *goapi.Route, h http.Handler) http.Handler {
	if !config.Static(rt.Service) || s.routes.names[rt.Service] {
		return s.policies.Wrap(rt, h)
	}
	if before := s.routes.before.Load(); before != nil && before.routes.names[rt.Service] {
		return before.policies.Wrap(rt, h)
	}
	return goapi.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		return goapi.NewError(http.StatusServiceUnavailable, "the route is being taken away", nil)
	})
}

// announceRoutes puts the routes of a setup in the place of the old ones, which may
// be nil. The setup is what requests get already. First the new ones come, which
// wait where an old one has their place; then those go that are no more.
func (g *gateway) announceRoutes(ctx context.Context, old, s *setup) error {
	for _, service := range s.routes.services {
		if err := g.static.Register(ctx, service, 0); err != nil {
			return fmt.Errorf("%s: routes: %w", g.cfg.configFile, err)
		}
	}
	if old == nil {
		return nil
	}
	var gone []string
	for _, service := range old.routes.services {
		if s.routes.names[service.Name] {
			continue
		}
		if err := g.static.Deregister(ctx, service); err != nil {
			return fmt.Errorf("%s: routes: %w", g.cfg.configFile, err)
		}
		gone = append(gone, service.Name)
	}
	if g.awaitGone(ctx, gone) {
		s.routes.before.Store(nil) // not to be kept alive
	}
	return nil
}

// awaitGone waits until the table has none of the services, and says whether that
// was soon.
func (g *gateway) awaitGone(ctx context.Context, names []string) bool {
	if len(names) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	w, err := g.live.Watch(ctx)
	if err != nil {
		return false
	}
	defer w.Close()
	for {
		there, err := w.Next(ctx)
		if err != nil {
			return false
		}
		if !slices.ContainsFunc(there, func(s *registry.Service) bool { return slices.Contains(names, s.Name) }) {
			return true
		}
	}
}
