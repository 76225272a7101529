package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/config"
	"github.com/goapi-dev/goapi/ratelimit"
	"github.com/goapi-dev/goapi/ratelimit/nats"
	"github.com/goapi-dev/goapi/standard"
)

// limiter returns the limiter of a place in the configuration.
func (g *gateway) limiter(ctx context.Context, name string, rate ratelimit.Rate, shared bool) (config.Limiter, error) {
	if !shared {
		return ratelimit.NewMemory(rate, nil), nil
	}
	if g.group == nil {
		conn, err := g.bus(ctx)
		if err != nil {
			return nil, err
		}
		g.group = nats.New(conn, &nats.Options{Logger: g.log})
	}
	return g.group.Limiter(name, rate), nil
}

// bus returns a connection to the NATS that gateways share things on.
func (g *gateway) bus(ctx context.Context) (*natsgo.Conn, error) {
	u, ok := g.cfg.busURL()
	if !ok {
		return nil, errNoBus()
	}
	conn, err := g.conns.Open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", standard.Redact(u.String()), err)
	}
	g.onClose(func() error { conn.Close(); return nil })
	return conn.Conn, nil
}

// errNoBus is the error where gateways cannot share anything.
func errNoBus() error {
	return errors.New("gateways share it over NATS, and neither the broker nor a registry is there: name one with broker or registry")
}

// busURL returns the NATS that the broker, or else a registry, is on.
func (c *settings) busURL() (*url.URL, bool) {
	for _, raw := range append([]string{c.brokerURL()}, c.registries...) {
		u, err := url.Parse(raw)
		if err != nil || !slices.Contains([]string{"embedded", "nats", "tls"}, u.Scheme) {
			continue
		}
		known := url.Values{} // the others are the broker's, or the registry's
		for _, name := range []string{"host", "token_file", "password_file", "ca", "cert", "key"} {
			if values, ok := u.Query()[name]; ok {
				known[name] = values
			}
		}
		u.RawQuery, u.Path = known.Encode(), strings.TrimSuffix(u.Path, "/")
		return u, true
	}
	return nil, false
}
