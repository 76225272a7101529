package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/standard"
)

// openRegistries starts the embedded bus if it is used, and opens what
// --registry names. What is written goes to the first that is no file. The source is what the
// gateway follows: the same, less the mistakes of the moment.
func (g *gateway) openRegistries(ctx context.Context) (reg registry.Registry, source registry.Reader, err error) {
	g.conns = &nats.Conns{Name: "goapi", Logger: g.log}
	if g.cfg.embedded() {
		if err := g.startBus(ctx); err != nil {
			return nil, nil, err
		}
		g.conns.Embedded = g.embedded
	}
	if slices.ContainsFunc(g.cfg.registries, func(url string) bool { return strings.HasPrefix(url, "mdns:") }) && !loopback(g.cfg.address) {
		g.log.Warn("whoever is on the network of --registry mdns: can announce services that clients of --address reach; anywhere but on a network of your own, take another registry",
			slog.String("address", g.cfg.address))
	}
	known := standard.Registries(&standard.Options{Conns: g.conns, Logger: g.log})
	var first registry.Writer
	written := false // files are not
	own := registry.Member{Name: "routes of the configuration", Reader: g.static, Exclusive: true}
	asked, followed := []registry.Member{own}, []registry.Member{own}
	for _, url := range g.cfg.registries {
		reg, err := g.openRegistry(ctx, func(ctx context.Context) (registry.Registry, error) { return standard.Open(ctx, known, url) }, url)
		if err != nil {
			return nil, nil, fmt.Errorf("--registry: %w", err)
		}
		if first == nil || !written {
			first, written = reg, !strings.HasPrefix(url, "file:")
		}
		name := standard.Redact(url)
		asked = append(asked, registry.Member{Name: name, Reader: reg})
		followed = append(followed, registry.Member{Name: name, Reader: g.steady(reg, url)})
	}
	if len(asked) == 2 && g.cfg.configFile == "" { // there is nothing else, nor will be
		return joined{asked[1].Reader, first}, followed[1].Reader, nil
	}
	opts := &registry.MultiOptions{Logger: g.log}
	return joined{registry.NewMulti(asked, opts), first}, registry.NewMulti(followed, opts), nil
}

// openRegistry opens a registry, now or when it can be reached: a gateway that
// is started again serves what it knew.
func (g *gateway) openRegistry(ctx context.Context, open func(context.Context) (registry.Registry, error), url string) (registry.Registry, error) {
	reg, err := open(ctx)
	if errors.Is(err, registry.ErrUnavailable) && ctx.Err() == nil {
		g.log.Warn("registry cannot be reached; it is tried again", slog.String("registry", standard.Redact(url)), slog.Any("error", err))
		reg, err = registry.NewLazy(open), nil
	}
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		g.onClose(func() error { return standard.Close(reg) })
	}
	return reg, err
}

// steady returns a registry as the gateway follows it. What is in this process,
// or in a file, is as somebody wants it to be.
func (g *gateway) steady(reg registry.Reader, url string) registry.Reader {
	if strings.HasPrefix(url, "memory:") || strings.HasPrefix(url, "file:") {
		return reg
	}
	name := standard.Redact(url)
	sum := sha256.Sum256([]byte(name))
	s := registry.NewSteady(reg, &registry.SteadyOptions{
		Name:   name,
		Path:   filepath.Join(g.cfg.data, "snapshots", hex.EncodeToString(sum[:8])),
		Notes:  func() map[string]string { return g.live.Table().Holders() },
		Logger: g.log,
	})
	g.steadies = append(g.steadies, s)
	return s
}

// remembered is what the snapshots of the registries know of the time before
// the gateway was started.
type remembered []*registry.Steady

// Holder implements [router.Before].
func (r remembered) Holder(key string) string {
	for _, s := range r {
		if service := s.Note(key); service != "" {
			return service
		}
	}
	return ""
}

// Known implements [router.Before].
func (r remembered) Known(service string) bool {
	return slices.ContainsFunc(r, func(s *registry.Steady) bool { return s.Known(service) })
}

// joined is several registries: all are read, the first that can be is written.
type joined struct {
	registry.Reader
	registry.Writer
}
