package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	defaultTTL = 30 * time.Second
	// minWait and maxWait bound the time after which a registry that failed is
	// tried again.
	minWait = 100 * time.Millisecond
	maxWait = 5 * time.Second
	// writeTimeout bounds each write, the withdrawal included.
	writeTimeout = 5 * time.Second
)

// AnnounceOptions adjust Announce. A nil *AnnounceOptions means all defaults.
type AnnounceOptions struct {
	// TTL is how long the service is known after its last announcement; it is
	// announced again at a third of that. Default: 30 s.
	TTL time.Duration
	// Logger gets announcements that fail, and succeed again. Default: none.
	Logger *slog.Logger
}

func (o *AnnounceOptions) orDefault() AnnounceOptions {
	var d AnnounceOptions
	if o != nil {
		d = *o
	}
	if d.TTL <= 0 {
		d.TTL = defaultTTL
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// A reconnector is a registry that tells when it has found its system again:
// what is announced there may be gone.
type reconnector interface {
	// Reconnected returns a channel that gets a value after each reconnection,
	// until ctx is done.
	Reconnected(ctx context.Context) <-chan struct{}
}

// Announce keeps s announced in reg until ctx is done; then it withdraws s and
// returns nil. A registry that is away is tried again, at first at once, later
// every 5 s. It returns an error only for a service that the registry will
// never take: a *registry.FieldError or registry.ErrTooLarge.
func Announce(ctx context.Context, reg registry.Writer, s *registry.Service, opts *AnnounceOptions) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("announce %s: %w", s.Name, err)
	}
	a := announcer{reg: reg, service: s, opts: opts.orDefault()}
	var again <-chan struct{}
	if r, ok := reg.(reconnector); ok {
		again = r.Reconnected(ctx)
	}
	for {
		wait, err := a.announce(ctx)
		if err != nil {
			return fmt.Errorf("announce %s: %w", s.Name, err)
		}
		select {
		case <-ctx.Done():
			a.withdraw()
			return nil
		case <-again:
		case <-time.After(wait):
		}
	}
}

// announcer is one Announce.
type announcer struct {
	reg     registry.Writer
	service *registry.Service
	opts    AnnounceOptions

	failures int // in a row
}

// announce writes once, and returns when to write again, or why never.
func (a *announcer) announce(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := a.reg.Register(ctx, a.service, a.opts.TTL)
	if err == nil {
		if a.failures > 0 {
			a.opts.Logger.Info("announced again", slog.String("service", a.service.Name))
		}
		a.failures = 0
		return a.opts.TTL / 3, nil
	}
	var field *registry.FieldError
	if errors.As(err, &field) || errors.Is(err, registry.ErrTooLarge) {
		return 0, err
	}
	if ctx.Err() == nil || a.failures == 0 {
		a.opts.Logger.Warn("the service is not announced", slog.String("service", a.service.Name), slog.Any("error", err))
	}
	wait := min(minWait<<min(a.failures, 10), maxWait)
	a.failures++
	return wait, nil
}

// withdraw removes what was announced. If the registry is away, the TTL does.
func (a *announcer) withdraw() {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if err := a.reg.Deregister(ctx, a.service); err != nil {
		a.opts.Logger.Warn("the service is not withdrawn; it is forgotten after its TTL",
			slog.String("service", a.service.Name), slog.Duration("ttl", a.opts.TTL), slog.Any("error", err))
	}
}
