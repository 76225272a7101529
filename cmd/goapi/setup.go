package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/middleware"
	"github.com/goapi-dev/goapi/middleware/compress"
	"github.com/goapi-dev/goapi/middleware/jwt"
	"github.com/goapi-dev/goapi/ratelimit"
	"github.com/goapi-dev/goapi/ratelimit/nats"
	"github.com/goapi-dev/goapi/standard"
)

// A setup is what a configuration makes of requests. A reload puts another in its
// place; requests that run end in the one that they began in.
type setup struct {
	file           *config.File
	policies       *config.Policies
	authenticators map[string]*authenticator // by KIND/NAME
	routes         *routeSet
	adminToken     string
	handler        http.Handler
}

// An authenticator is one that the configuration defines.
type authenticator struct {
	Authenticator middleware.Authenticator

	definition any
	content    []byte // of the file that it was made of
	stop       func() // ends what it runs; nil if nothing runs
}

// newSetup makes what a file says. What it says as the old one did is kept, with
// what is known of callers.
func (g *gateway) newSetup(ctx context.Context, file *config.File, old *setup) (*setup, error) {
	if err := checkRoutes(file); err != nil {
		return nil, err
	}
	s := &setup{file: file, routes: newRouteSet(file, old)}
	var known map[string]*authenticator
	var before *config.Policies
	if old != nil {
		known, before = old.authenticators, old.policies
	}
	var err error
	if s.authenticators, err = g.authenticators(file, known); err != nil {
		return nil, err
	}
	plugins := g.plugins(s.authenticators, before)
	plugins.Limiter = func(name string, rate ratelimit.Rate, shared bool) (config.Limiter, error) {
		return g.limiter(ctx, name, rate, shared)
	}
	if s.policies, err = config.New(file, plugins); err != nil {
		return nil, err
	}
	if s.adminToken, err = readSecret("admin-token-file", g.cfg.adminTokenFile); err != nil {
		cfg := g.cfg
		cfg.file = file
		return nil, cfg.blame(err)
	}
	gw := &goapi.Gateway{Router: g.live, Handlers: g.handlers, Wrap: s.wrap, Logger: g.log}
	s.handler = withMounts(g.mounted, s.policies.Wrap, gw)
	return s, nil
}

// plugins returns what policies are made of, but for limiters.
func (g *gateway) plugins(authenticators map[string]*authenticator, before *config.Policies) *config.Plugins {
	p := &config.Plugins{
		Authenticators: make(map[string]middleware.Authenticator), Compress: newCompress,
		Over: g.cfg.policies.layers(), Old: before, Logger: g.log,
	}
	for name, a := range authenticators {
		p.Authenticators[name] = a.Authenticator // itself: it may do more than verify
	}
	return p
}

// newCompress makes what the key compress says.
func newCompress(c *config.Compress) (func(http.Handler) http.Handler, error) {
	return compress.New(&compress.Options{
		MinSize: int(c.MinSize), Types: c.Types, Gzip: c.Gzip, Zstd: c.Zstd, Encoders: c.Encoders, Credentials: c.Credentials,
	})
}

// authenticators returns those that a file defines. Of the known ones those are
// taken that would be the same.
func (g *gateway) authenticators(file *config.File, known map[string]*authenticator) (map[string]*authenticator, error) {
	made, id := make(map[string]*authenticator), file.Identity
	if id == nil {
		return made, nil
	}
	var errs []error
	fail := func(name string, err error) {
		key := "identity." + strings.Replace(name, "/", ".", 1)
		errs = append(errs, fmt.Errorf("%s: %s: %w", file.Position(key), key, err))
	}
	add := func(name string, definition any, path config.Path, open func(content []byte) (middleware.Authenticator, error)) {
		var content []byte
		if path != "" {
			var err error
			if content, err = os.ReadFile(string(path)); err != nil {
				fail(name, err)
				return
			}
		}
		if a := known[name]; a != nil && bytes.Equal(a.content, content) && reflect.DeepEqual(a.definition, definition) {
			made[name] = a
			return
		}
		a, err := open(content)
		if err != nil {
			fail(name, err)
			return
		}
		made[name] = &authenticator{Authenticator: a, definition: definition, content: content}
	}
	for name, j := range id.JWT {
		add("jwt/"+name, j, j.KeysFile, func(content []byte) (middleware.Authenticator, error) {
			return g.newJWT(j, content, known["jwt/"+name])
		})
	}
	for name, k := range id.Keys {
		add("keys/"+name, k, k.File, func(content []byte) (middleware.Authenticator, error) {
			return middleware.NewKeys(bytes.NewReader(content), k.Options())
		})
	}
	for name, b := range id.Basic {
		add("basic/"+name, b, b.File, func(content []byte) (middleware.Authenticator, error) {
			return middleware.NewBasic(bytes.NewReader(content), b.Realm)
		})
	}
	for name, m := range id.MTLS {
		add("mtls/"+name, m, "", func([]byte) (middleware.Authenticator, error) {
			return middleware.NewMTLS(&middleware.MTLSOptions{Subject: m.Subject})
		})
	}
	for name, x := range id.External {
		add("external/"+name, x, "", func([]byte) (middleware.Authenticator, error) {
			return middleware.NewExternal(x.URL, x.Options())
		})
	}
	return made, errors.Join(errs...)
}

// newJWT makes what a definition under identity.jwt says. Of the one before it
// takes the keys of the same issuer: who is verified does not depend on whether the
// issuer answers just now.
func (g *gateway) newJWT(j *config.JWT, keys []byte, before *authenticator) (middleware.Authenticator, error) {
	v, err := jwt.New(&jwt.Options{
		Algorithms: j.Algorithms, Issuer: j.Issuer, Audience: j.Audience, JWKS: j.JWKS, Keys: keys, Secret: []byte(j.Secret),
		Skew: time.Duration(j.Skew), Scopes: j.ScopeClaims, Subject: j.Subject, Refresh: time.Duration(j.Refresh),
		Cache: j.Cache, Realm: j.Realm, Logger: g.log,
	})
	if err != nil {
		return nil, err
	}
	if before != nil {
		if old, ok := before.Authenticator.(*jwt.Verifier); ok {
			v.Inherit(old)
		}
	}
	return v, nil
}

// tasks run in the background until their context is done.
type tasks struct {
	ctx     context.Context //nolint:containedctx // the life of the tasks
	running sync.WaitGroup
}

// start runs f until the context is done, or the function that it returns is
// called.
func (t *tasks) start(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.ctx)
	t.running.Go(func() { _ = f(ctx) }) // ends with ctx
	return cancel
}

// enter starts what a setup runs, and takes it for what requests get from now on.
func (g *gateway) enter(t *tasks, s *setup) {
	for _, name := range slices.Sorted(maps.Keys(s.authenticators)) {
		a := s.authenticators[name]
		runner, ok := a.Authenticator.(interface {
			Run(ctx context.Context) error
		})
		if !ok || a.stop != nil {
			continue
		}
		a.stop = t.start(runner.Run)
	}
	if g.group != nil && !g.sharing {
		g.sharing = true
		t.start(g.group.Run)
	}
	if g.group != nil {
		var shared []*nats.Shared
		for _, l := range s.policies.Limiters() {
			if l, ok := l.(*nats.Shared); ok {
				shared = append(shared, l)
			}
		}
		g.group.Use(shared...)
	}
	old := g.current.Swap(s)
	if old == nil || old == s {
		return
	}
	g.pools.Refresh()
	for name, a := range old.authenticators {
		if s.authenticators[name] == a {
			continue
		}
		if a.stop != nil {
			a.stop()
		}
		_ = standard.Close(a.Authenticator) // those that hold something close what is idle
	}
}

// serveCurrent serves requests as the configuration of the moment says.
func (g *gateway) serveCurrent(w http.ResponseWriter, r *http.Request) {
	g.current.Load().handler.ServeHTTP(w, r)
}

// isStatic says whether a service stands for a route of the configuration.
func (g *gateway) isStatic(service string) bool {
	s := g.current.Load()
	if s == nil {
		return false
	}
	before := s.routes.before.Load()
	return s.routes.names[service] || before != nil && before.routes.names[service]
}

// reload reads the configuration again. Nothing changes unless all of it can. An
// empty file, of which nobody has told that it is meant, may be one that is being
// written.
func (g *gateway) reload(ctx context.Context, t *tasks, files *config.Watcher, told bool) error {
	old := g.current.Load()
	file, err := files.Load(g.env)
	if err != nil {
		return err
	}
	if file.Empty() && !old.file.Empty() && !told {
		return fmt.Errorf("%s: it is empty: write {} for a gateway with its defaults, or send SIGHUP if that is meant", g.cfg.configFile)
	}
	if fixed := file.Fixed(old.file); len(fixed) > 0 {
		return fmt.Errorf("%s: %s cannot change while the gateway runs: restart it, or take the change back", g.cfg.configFile, strings.Join(fixed, ", "))
	}
	s, err := g.newSetup(ctx, file, old)
	if err != nil {
		return err
	}
	g.enter(t, s)
	return g.announceRoutes(ctx, old, s)
}
