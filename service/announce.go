package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/goapi-dev/goapi"
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

// Announce keeps s announced in reg until ctx is done; then it withdraws s and
// returns nil. A registry that is away is tried again, at first at once, later
// every 5 s; one that is a [registry.Reconnector] is written to again when it has
// found its system. Nothing is announced after the withdrawal: a write that is
// under way is waited for. Ending takes 10 s at most.
//
// It returns an error only for a service that the registry will never take: a
// *registry.FieldError, registry.ErrTooLarge, or what else a gateway refuses with
// a status from 400 on, a wrong token for example.
func Announce(ctx context.Context, reg registry.Writer, s *registry.Service, opts *AnnounceOptions) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("announce %s: %w", s.Name, err)
	}
	a := announcer{reg: reg, service: s, opts: opts.orDefault()}
	var again <-chan struct{}
	if r, ok := reg.(registry.Reconnector); ok {
		again = r.Reconnected(ctx)
	}
	for ctx.Err() == nil {
		wait, err := a.announce(ctx)
		if err != nil {
			return fmt.Errorf("announce %s: %w", s.Name, err)
		}
		select {
		case <-ctx.Done():
		case <-again:
		case <-time.After(wait):
		}
	}
	a.withdraw(ctx)
	return nil
}

// announcer is one Announce.
type announcer struct {
	reg     registry.Writer
	service *registry.Service
	opts    AnnounceOptions

	failures int // in a row
}

// announce writes once, and returns when to write again, or why never. The end
// of ctx does not break off the write: it might arrive nevertheless, after the
// withdrawal.
func (a *announcer) announce(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	err := a.reg.Register(ctx, a.service, a.opts.TTL)
	if err == nil {
		if a.failures > 0 {
			a.opts.Logger.Info("announced again", slog.String("service", a.service.Name))
		}
		a.failures = 0
		return a.opts.TTL / 3, nil
	}
	if final(err) {
		return 0, err
	}
	if a.failures == 0 {
		a.opts.Logger.Warn("the service is not announced", slog.String("service", a.service.Name), slog.Any("error", err))
	}
	wait := min(minWait<<min(a.failures, 10), maxWait)
	a.failures++
	return wait, nil
}

// final says that the registry will never take the service.
func final(err error) bool {
	var (
		field   *registry.FieldError
		refusal *goapi.Error
	)
	switch {
	case errors.As(err, &field), errors.Is(err, registry.ErrTooLarge), errors.Is(err, registry.ErrReadOnly):
		return true
	case !errors.As(err, &refusal):
		return false
	}
	switch refusal.Code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return refusal.Code >= 400 && refusal.Code < 500
}

// withdraw removes what was announced. If the registry is away, the TTL does.
func (a *announcer) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := a.reg.Deregister(ctx, a.service); err != nil {
		a.opts.Logger.Warn("the service is not withdrawn; it is forgotten after its TTL",
			slog.String("service", a.service.Name), slog.Duration("ttl", a.opts.TTL), slog.Any("error", err))
	}
}
