// Package nats keeps services in a NATS JetStream key-value bucket.
//
// Each node is a key, "service.node" with what NATS does not allow in a key
// escaped, and its value is the service in JSON with that one node. What is not
// renewed is removed by the server, which tells those who watch. The bucket is
// made by whoever comes first; it may be replicated over a cluster. Keys with a
// TTL live for at least a second, and whole ones.
//
// A watcher that loses the server, or the bucket, returns registry.ErrUnavailable
// once; when it is back it reads the bucket anew, so that nothing that happened
// meanwhile is missed. A bucket that was deleted is made again. Whoever announces
// nodes does so again when [Registry.Reconnected] says so: the server may have
// come back with an empty store.
package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// callTimeout bounds a call of the server.
	callTimeout = 10 * time.Second

	paramBucket   = "bucket"
	paramReplicas = "replicas"
)

// Options adjust a registry. A nil *Options means all defaults.
type Options struct {
	// Conns opens the connection; it is not closed by the registry. Default:
	// one of the registry's own, which has no embedded server.
	Conns *nats.Conns
	// Logger gets what cannot be returned: records that are left out, once each.
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

// A Registry keeps services in a bucket. It may be used concurrently.
type Registry struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	bucket bucket
	log    *slog.Logger
	writes writes

	leftOut registry.Omissions

	life context.Context // until Close
	end  context.CancelFunc
}

var (
	_ registry.Registry    = (*Registry)(nil)
	_ registry.Reporter    = (*Registry)(nil)
	_ registry.Reconnector = (*Registry)(nil)
)

// Open connects to the server of u and sees to the bucket. The context bounds
// the call; the caller closes the registry.
//
// URLs are those of [nats.Conns.Open], with two parameters: bucket (default
// goapi_registry) and replicas, the number of servers of a cluster that hold a
// copy (default 1, and whatever a bucket that is there has).
func Open(ctx context.Context, u *url.URL, opts *Options) (*Registry, error) {
	o := opts.orDefault()
	b, err := parseBucket(u)
	if err != nil {
		return nil, err
	}
	conn, err := o.Conns.Open(ctx, u, paramBucket, paramReplicas)
	if errors.Is(err, nats.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	r := &Registry{conn: conn, bucket: b, log: o.Logger.With(slog.String("bucket", b.name))}
	r.life, r.end = context.WithCancel(context.Background())
	r.js, err = jetstream.New(conn.Conn)
	if err == nil {
		err = r.call(ctx, r.makeBucket)
	}
	if err != nil {
		_ = r.Close() // the error above says more
		return nil, err
	}
	return r, nil
}

// CheckURL returns why Open would refuse a URL, as far as that shows without a
// connection. Files that the URL names are read.
func CheckURL(u *url.URL) error {
	if _, err := parseBucket(u); err != nil {
		return err
	}
	return nats.CheckURL(u, paramBucket, paramReplicas)
}

// parseBucket reads the parameters that are the registry's own.
func parseBucket(u *url.URL) (bucket, error) {
	wrong := func(param, reason string) (bucket, error) {
		return bucket{}, fmt.Errorf("registry: %s: %s %q is %s", nats.Redact(u), param, u.Query().Get(param), reason)
	}
	query := u.Query()
	b := bucket{name: "goapi_registry", replicas: 1}
	if query.Has(paramBucket) {
		b.name = query.Get(paramBucket)
	}
	if !validBucket(b.name) {
		return wrong(paramBucket, "not made of letters, digits, - and _")
	}
	if query.Has(paramReplicas) {
		n, err := strconv.Atoi(query.Get(paramReplicas))
		if err != nil || n < 1 || n > 5 {
			return wrong(paramReplicas, "not a number from 1 to 5")
		}
		b.replicas, b.strict = n, true
	}
	return b, nil
}

// Get implements [registry.Reader].
func (r *Registry) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	services, err := r.read(ctx, name)
	if err != nil {
		return nil, err
	}
	services = slices.DeleteFunc(slices.Clone(services), func(s *registry.Service) bool { return s.Name != name })
	if len(services) == 0 {
		return nil, registry.ErrNotFound
	}
	return services, nil
}

// List implements [registry.Reader].
func (r *Registry) List(ctx context.Context) ([]*registry.Service, error) {
	return r.read(ctx, "")
}

// read returns what there is of a service, or of all if it is "".
func (r *Registry) read(ctx context.Context, service string) (services []*registry.Service, err error) {
	w := r.watch(service)
	defer func() { _ = w.Close() }() // never fails
	err = r.call(ctx, func(ctx context.Context) error {
		services, err = w.Next(ctx)
		return err
	})
	return services, err
}

// Watch implements [registry.Reader].
func (r *Registry) Watch(ctx context.Context) (registry.Watcher, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	return r.watch(""), nil
}

// Reconnected returns a channel that gets a value after each time that the
// connection came back, until ctx is done or the registry is closed. It is
// never closed, and values that nobody reads are not counted.
func (r *Registry) Reconnected(ctx context.Context) <-chan struct{} {
	back := make(chan struct{}, 1)
	status := r.conn.StatusChanged(natsgo.CONNECTED)
	go func() { // ends with ctx or the registry
		defer r.conn.RemoveStatusListener(status)
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.life.Done():
				return
			case <-status:
			}
			select {
			case back <- struct{}{}:
			default: // one is there already
			}
		}
	}()
	return back
}

// Close ends this use of the connection, and the watchers. Closing twice is no
// error.
func (r *Registry) Close() error {
	r.end()
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
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lost := r.conn.StatusChanged(natsgo.RECONNECTING, natsgo.CLOSED)
	defer r.conn.RemoveStatusListener(lost)
	go func() { // ends when the listener is removed
		if _, ok := <-lost; ok {
			cancel()
		}
	}()
	if !r.conn.IsConnected() {
		return fmt.Errorf("%w: there is no connection to NATS", registry.ErrUnavailable)
	}
	err := f(bounded)
	var wrong *settingsError
	switch {
	case err == nil, errors.As(err, &wrong), errors.Is(err, registry.ErrTooLarge), errors.Is(err, registry.ErrUnavailable):
		return err
	case r.life.Err() != nil:
		return registry.ErrClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() == nil && errors.Is(bounded.Err(), context.Canceled):
		return fmt.Errorf("%w: the connection to NATS was lost", registry.ErrUnavailable)
	}
	return fmt.Errorf("%w: bucket %q: %w", registry.ErrUnavailable, r.bucket.name, err)
}

// LeftOut implements [registry.Reporter]. It tells of the last state that a
// watcher or List has read.
func (r *Registry) LeftOut() []registry.Omission { return r.leftOut.List() }
