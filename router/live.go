package router

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

const (
	minWait = 100 * time.Millisecond // before a registry that failed is tried again
	maxWait = 10 * time.Second

	// A state is a list of all services, and so to hand one on costs in
	// proportion to their number, however little changed. After one, the next is
	// asked for when gather has passed for each thousand of them beyond the first,
	// or maxGather: changes that come close together are taken together, and one
	// alone at once.
	gather    = 2 * time.Millisecond
	maxGather = 50 * time.Millisecond

	maxLogged = 50 // reports of one change
)

// A Live follows a registry and routes by its latest state. While the registry
// is away, the last table serves on. It may be used concurrently.
type Live struct {
	registry registry.Reader
	log      *slog.Logger
	updated  func(time.Duration) // may be nil
	table    atomic.Pointer[Table]
	departed *departed
	ready    chan struct{} // closed with the first table of the registry

	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed with the next table of the registry
}

var _ goapi.Router = (*Live)(nil)

// A Status is how a Live and its registry get on.
type Status struct {
	// Updated is when the registry last told its state. It is zero before the
	// first time.
	Updated time.Time
	// Lost is when contact with the registry was lost. It is zero while there
	// is contact.
	Lost time.Time
	// Err is why there is no contact. Nil while there is.
	Err error
}

// NewLive returns a Live that knows nothing until Run is called. It keeps pools
// up to date.
func NewLive(reg registry.Reader, pools *upstream.Pools, opts *Options) *Live {
	o := opts.orDefault()
	l := &Live{registry: reg, log: o.Logger, updated: o.Updated, ready: make(chan struct{}), changed: make(chan struct{}), departed: newDeparted(opts)}
	l.table.Store(NewTable(pools, opts))
	return l
}

// Run follows the registry until ctx is done, and returns ctx.Err(). It is
// called once.
func (l *Live) Run(ctx context.Context) error {
	wait := minWait
	for {
		began := l.Status().Updated
		l.lost(ctx, l.follow(ctx))
		if l.Status().Updated.After(began) {
			wait = minWait
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// Route implements goapi.Router. It is 503 before the registry has told its state
// for the first time, and for what a service had that was announced in the last 15
// minutes, and is not any more; the latest 256 such services are known.
func (l *Live) Route(r *http.Request) (*goapi.Route, error) {
	select {
	case <-l.ready:
		rt, err := l.table.Load().Route(r)
		if errors.Is(err, goapi.ErrNoRoute) {
			if gone := l.departed.route(r); gone != nil {
				return nil, gone
			}
		}
		return rt, err
	default:
		return nil, goapi.NewError(http.StatusServiceUnavailable, "the gateway is starting: it does not know the services yet", nil)
	}
}

// Table returns the latest table. It is empty at first.
func (l *Live) Table() *Table { return l.table.Load() }

// Ready returns a channel that is closed when the first table is there.
func (l *Live) Ready() <-chan struct{} { return l.ready }

// Status returns how it gets on with the registry.
func (l *Live) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Age returns for how long the registry has been away: 0 while it is there.
func (l *Live) Age() time.Duration {
	if lost := l.Status().Lost; !lost.IsZero() {
		return time.Since(lost)
	}
	return 0
}

// follow watches the registry until the watch fails. Contact that was lost, the
// watcher finds again by itself.
func (l *Live) follow(ctx context.Context) error {
	w, err := l.registry.Watch(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	wait := minWait
	for {
		services, err := w.Next(ctx)
		switch {
		case err == nil:
			l.update(services)
			wait = minWait
			if err := pause(ctx, gatherFor(len(services))); err != nil {
				return err
			}
		case errors.Is(err, registry.ErrUnavailable):
			l.lost(ctx, err)
			if err := pause(ctx, wait); err != nil {
				return err
			}
			wait = min(2*wait, maxWait)
		default:
			return err
		}
	}
}

// update makes the table of a new state.
func (l *Live) update(services []*registry.Service) {
	began := time.Now()
	table := l.table.Load()
	changes := table.changes(services)
	table, reports := table.next(services, changes)
	l.departed.note(changes, began)
	l.table.Store(table)
	if l.updated != nil {
		l.updated(time.Since(began))
	}
	l.mu.Lock()
	lost := l.status.Lost
	l.status = Status{Updated: time.Now()}
	select {
	case <-l.ready:
	default:
		close(l.ready)
		l.log.Info("the first table is there", "services", len(services))
	}
	close(l.changed)
	l.changed = make(chan struct{})
	l.mu.Unlock()
	if !lost.IsZero() {
		l.log.Info("registry found", "away", time.Since(lost))
	}
	l.logReports(reports)
}

// lost notes why there is no contact, and logs it unless that is known.
func (l *Live) lost(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // it is we who leave
	}
	l.mu.Lock()
	known, served := !l.status.Lost.IsZero(), !l.status.Updated.IsZero()
	if !known {
		l.status.Lost = time.Now()
	}
	l.status.Err = err
	l.mu.Unlock()
	switch {
	case known:
	case served:
		l.log.Warn("registry lost; the last table serves on", "error", err)
	default:
		l.log.Warn("no registry answers; nothing is known yet", "error", err)
	}
}

func (l *Live) logReports(reports []Report) {
	for i, r := range reports {
		if i == maxLogged {
			l.log.Warn("more is not routed; see the list of routes", "reports", len(reports)-i)
			return
		}
		attrs := []slog.Attr{slog.String("kind", string(r.Kind)), slog.String("service", r.Service)}
		for _, a := range []slog.Attr{
			slog.String("endpoint", r.Endpoint), slog.String("pattern", r.Pattern), slog.String("node", r.Node),
		} {
			if a.Value.String() != "" {
				attrs = append(attrs, a)
			}
		}
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "not routed", append(attrs, slog.String("reason", r.Reason))...)
	}
}

// gatherFor returns how long the next state is not asked for after one of so many
// services.
func gatherFor(services int) time.Duration {
	return time.Duration(min(max(0, services/1000-1), int(maxGather/gather))) * gather
}

// pause waits, or returns why ctx is done.
func pause(ctx context.Context, wait time.Duration) error {
	if wait == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
