// Package micro is the registry that go-micro has on NATS. Nothing keeps it but
// its providers: who registers a service answers for it.
//
// Who looks for services asks on the subject micro.nats.query, and every
// provider answers with what it has. Changes are told on micro.nats.watch. There
// is no time to live on the wire, and no end to the answers; this package makes
// up for both.
//
// What others have registered is followed from the first Get, List or Next on,
// until the registry is closed. That call waits until nobody has answered for a
// while (parameter window, 250 ms unless told; NATS says at once when there is
// nobody to answer), so that no partial state is seen; later ones do not wait.
// Everybody is asked again every few seconds (parameter interval, 5 s unless
// told), or less often where answers are so many that they would be more than
// 1 MiB a second. A node that was in none of the answers to three questions in a
// row is gone: its provider was killed, or has no contact. What a change says is
// taken before what an answer says that may be older than the change.
//
// A watcher that loses the server returns registry.ErrUnavailable once. When the
// server is back, all are asked again; nodes stay until three questions went
// unanswered, since their providers have to come back, too.
//
// What is registered here is answered for by this process, until it is
// deregistered, its time to live is over or the registry is closed; others are
// told. To deregister a node that another process has registered helps for as
// long as that process does not answer.
//
// What others say is bounded, and left out and reported where it is wrong: a
// message of more than 8 MiB, a service or node that is not valid, more than
// 100,000 nodes.
package micro

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// suffix is after the scheme of URLs.
	suffix = "+micro"

	paramWindow   = "window"
	paramInterval = "interval"

	// callTimeout bounds a call of the server.
	callTimeout = 5 * time.Second
)

// Options adjust a registry. A nil *Options means all defaults.
type Options struct {
	// Conns opens the connection; it is not closed by the registry. Default:
	// one of the registry's own, which has no embedded server.
	Conns *nats.Conns
	// Logger gets what cannot be returned: what is left out, once each.
	// Default: none.
	Logger *slog.Logger
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Conns == nil {
		d.Conns = &nats.Conns{Logger: d.Logger}
	}
	return d
}

// A Registry keeps what is registered with it, and follows what others have
// registered. It may be used concurrently.
type Registry struct {
	conn *nats.Conn
	log  *slog.Logger
	id   string // marks what this registry tells

	window, interval time.Duration

	writing sync.Mutex // held while own is changed and others are told of it

	mu      sync.Mutex
	records registry.Records // all services
	own     own
	found   found
	contact contact
	changed chan struct{} // closed by the next change of anything above

	life  context.Context // until Close
	end   context.CancelFunc
	tasks sync.WaitGroup
	close func() error
}

var (
	_ registry.Registry = (*Registry)(nil)
	_ registry.Reporter = (*Registry)(nil)
)

// Open connects to the server of u. The context bounds the call; the caller
// closes the registry.
//
// URLs are those of [nats.Conns.Open] with "+micro" after the scheme, as in
// nats+micro://127.0.0.1:4222, and two parameters: window (default 250ms) and
// interval (default 5s), which the package describes.
func Open(ctx context.Context, u *url.URL, opts *Options) (*Registry, error) {
	o := opts.orDefault()
	r := &Registry{log: o.Logger, changed: make(chan struct{})}
	plain, err := r.configure(u)
	if err != nil {
		return nil, err
	}
	r.conn, err = o.Conns.Open(ctx, plain, paramWindow, paramInterval)
	if errors.Is(err, nats.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	r.id = r.conn.NewInbox()
	r.found.init(&r.records, r.own.has)
	r.life, r.end = context.WithCancel(context.Background())
	r.close = sync.OnceValue(r.shutdown)
	return r, nil
}

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection. Files that the URL names are read.
func CheckURL(u *url.URL) error {
	plain, err := new(Registry).configure(u)
	if err != nil {
		return err
	}
	return nats.CheckURL(plain, paramWindow, paramInterval)
}

// configure reads what of a URL is the registry's own, and returns the rest.
func (r *Registry) configure(u *url.URL) (*url.URL, error) {
	plain := *u
	var ok bool
	if plain.Scheme, ok = strings.CutSuffix(u.Scheme, suffix); !ok {
		return nil, fmt.Errorf("registry: %s: unknown scheme %q; known: embedded%[3]s, nats%[3]s, tls%[3]s", nats.Redact(u), u.Scheme, suffix)
	}
	r.window, r.interval = 250*time.Millisecond, 5*time.Second
	query := u.Query()
	for _, p := range []struct {
		name     string
		to       *time.Duration
		min, max time.Duration
	}{
		{paramWindow, &r.window, 10 * time.Millisecond, 5 * time.Second},
		{paramInterval, &r.interval, 100 * time.Millisecond, 10 * time.Minute},
	} {
		if !query.Has(p.name) {
			continue
		}
		d, err := time.ParseDuration(query.Get(p.name))
		if err != nil || d < p.min || d > p.max {
			return nil, fmt.Errorf("registry: %s: %s %q is not a duration from %v to %v", nats.Redact(u), p.name, query.Get(p.name), p.min, p.max)
		}
		*p.to = d
	}
	return &plain, nil
}

// Get implements [registry.Reader].
func (r *Registry) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	services := r.records.Get(name)
	if len(services) == 0 {
		return nil, registry.ErrNotFound
	}
	return slices.Clone(services), nil
}

// List implements [registry.Reader].
func (r *Registry) List(ctx context.Context) ([]*registry.Service, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records.Services(), nil
}

// Close tells others that what was registered here is gone, and ends this use of
// the connection, and the watchers. Closing twice is no error.
func (r *Registry) Close() error { return r.close() }

func (r *Registry) shutdown() error {
	r.end() // first, so that nothing is registered any more
	r.withdraw()
	r.tasks.Wait()
	return r.conn.Close()
}

// usable returns why a call is not to be made, or nil.
func (r *Registry) usable(ctx context.Context) error {
	if r.life.Err() != nil {
		return registry.ErrClosed
	}
	return ctx.Err()
}

// call makes a call of the server, for as long as there is a connection and
// callTimeout at most, and says what its error means.
func (r *Registry) call(ctx context.Context, f func(context.Context) error) error {
	if err := r.usable(ctx); err != nil {
		return err
	}
	if !r.conn.IsConnected() {
		return errNoConnection()
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	lost := r.conn.StatusChanged(natsgo.RECONNECTING, natsgo.CLOSED)
	defer r.conn.RemoveStatusListener(lost)
	go func() { // ends when the listener is removed
		if _, ok := <-lost; ok {
			cancel()
		}
	}()
	err := f(bounded)
	if err == nil || errors.Is(err, registry.ErrUnavailable) {
		return err
	}
	if err := r.usable(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
}

func errNoConnection() error {
	return fmt.Errorf("%w: there is no connection to NATS", registry.ErrUnavailable)
}
