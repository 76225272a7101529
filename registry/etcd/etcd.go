// Package etcd keeps services in etcd, as go-micro of every version does.
//
// Each node is a key, "/micro/registry/service/node", in which "/" of a name is
// "-", and its value is the service in JSON with that one node. A node with a
// TTL hangs on a lease of its own, so that etcd removes it when it is not
// renewed. What services of go-micro write is read, and what is written here is
// read by them. As in go-micro, "a/b" and "a-b" are the same name.
//
// A [registry.Watcher] reads all keys once, as they are at one revision, and
// then follows every change since; each has an etcd watch of its own, which is
// idle while nothing changes. When it breaks it goes on where it was, if etcd
// can show that its history is the same, and reads all again if not: after
// compaction, or when etcd came back with another store. So nothing that
// happened meanwhile is missed. A server that is silent is given up after four
// seconds. What is read is always what a majority has: a member that is cut off
// from the others is passed over rather than believed.
//
// Whoever announces nodes does so again when [Registry.Reconnected] says so:
// etcd may have come back with an empty store.
package etcd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/goapi-dev/goapi/registry"
)

// Options adjust a registry. A nil *Options means all defaults.
type Options struct {
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
	return d
}

// A Registry keeps services in etcd. It may be used concurrently.
type Registry struct {
	name   string // as errors have it
	prefix string // of all keys; ends with "/"
	log    *slog.Logger

	conn   *grpc.ClientConn
	kv     pb.KVClient
	leases pb.LeaseClient
	watch  pb.WatchClient
	login  login

	announced announced
	leftOut   registry.Omissions

	life context.Context // until Close
	end  context.CancelFunc
}

var (
	_ registry.Registry    = (*Registry)(nil)
	_ registry.Reporter    = (*Registry)(nil)
	_ registry.Reconnector = (*Registry)(nil)
	_ io.Closer            = (*Registry)(nil)
)

// Open connects to the servers of u. The context bounds the call; the caller
// closes the registry.
//
// URLs are etcd://host:port, or etcds://host:port, which insists on TLS; the
// port is 2379 unless it is there, and user@ or user:password@ before it logs
// in. Parameters are host (another member of the same cluster, repeated), prefix
// (of all keys; default /micro/registry), password_file (for the user of the URL;
// it is read at each login), ca, cert and key (files in PEM; ca and cert mean TLS
// with either scheme). No other may be there.
func Open(ctx context.Context, u *url.URL, opts *Options) (*Registry, error) {
	o := opts.orDefault()
	t, err := parse(u)
	if err != nil {
		return nil, err
	}
	conn, err := dial(t)
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", t.name, err)
	}
	r := newRegistry(conn, t, o.Logger)
	if err := r.try(ctx); err != nil {
		_ = r.Close() // the error says more
		return nil, err
	}
	return r, nil
}

func newRegistry(conn *grpc.ClientConn, t target, log *slog.Logger) *Registry {
	r := &Registry{
		name:   t.name,
		prefix: t.prefix,
		log:    log.With(slog.String("registry", t.name)),
		conn:   conn,
		kv:     pb.NewKVClient(conn),
		leases: pb.NewLeaseClient(conn),
		watch:  pb.NewWatchClient(conn),
		login:  newLogin(conn, t),
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// try returns what keeps the registry from being read.
func (r *Registry) try(ctx context.Context) error {
	return r.call(ctx, func(ctx context.Context) error {
		_, err := r.kv.Range(ctx, &pb.RangeRequest{Key: []byte(r.prefix), RangeEnd: rangeEnd(r.prefix), CountOnly: true})
		return err
	})
}

// Get implements [registry.Reader].
func (r *Registry) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if name == "" || len(name) > maxKey {
		if err := r.usable(ctx); err != nil {
			return nil, err
		}
		return nil, registry.ErrNotFound // nobody can have registered it
	}
	m := mirror{prefix: r.prefix}
	if err := r.read(ctx, &m, r.servicePrefix(name)); err != nil {
		return nil, err
	}
	services := m.records.Get(name) // another name may have the same keys
	if len(services) == 0 {
		return nil, registry.ErrNotFound
	}
	return services, nil
}

// List implements [registry.Reader].
func (r *Registry) List(ctx context.Context) ([]*registry.Service, error) {
	m := mirror{prefix: r.prefix}
	if err := r.read(ctx, &m, r.prefix); err != nil {
		return nil, err
	}
	r.leftOut.Tell(r.log, m.leftOut())
	return m.records.Services(), nil
}

// Watch implements [registry.Reader].
func (r *Registry) Watch(ctx context.Context) (registry.Watcher, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	w := &watcher{registry: r, mirror: mirror{prefix: r.prefix}}
	w.life, w.end = context.WithCancel(r.life)
	return w, nil
}

// Reconnected returns a channel that gets a value after each time that the
// connection came back, until ctx is done or the registry is closed. While one
// member of a cluster can be reached, there is a connection. The channel is
// never closed, and values that nobody reads are not counted.
func (r *Registry) Reconnected(ctx context.Context) <-chan struct{} {
	back := make(chan struct{}, 1)
	state := r.conn.GetState()
	go func() { // ends with ctx or the registry
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(r.life, cancel)()
		for r.conn.WaitForStateChange(ctx, state) {
			if state = r.conn.GetState(); state != connectivity.Ready {
				continue
			}
			select {
			case back <- struct{}{}:
			default: // one is there already
			}
		}
	}()
	return back
}

// Close ends the connection, and the watchers. What is announced stays until
// its TTL is over. Closing twice is no error.
func (r *Registry) Close() error {
	r.end()
	_ = r.conn.Close() // fails only when it is closed already
	return nil
}

// usable returns why a call is not to be made, or nil.
func (r *Registry) usable(ctx context.Context) error {
	if r.life.Err() != nil {
		return registry.ErrClosed
	}
	return ctx.Err()
}

// servicePrefix returns what the keys of all nodes of a service begin with.
func (r *Registry) servicePrefix(service string) string { return r.prefix + flat(service) + "/" }

// key returns the key of a node.
func (r *Registry) key(service, node string) string { return r.servicePrefix(service) + flat(node) }

// domain is what some versions of go-micro put before the service.
const domain = "micro"

// isOf says whether a key, less the prefix, is that of a node of a service.
func isOf(key, service string) bool {
	first, rest, _ := strings.Cut(key, "/")
	if first == domain && strings.Contains(rest, "/") {
		first, _, _ = strings.Cut(rest, "/")
	}
	return first == flat(service)
}

// flat returns a name as it stands in a key.
func flat(name string) string { return strings.ReplaceAll(name, "/", "-") }

// rangeEnd returns the first key after those with a prefix that ends with "/".
func rangeEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// seconds returns a TTL in whole seconds, rounded up, as etcd takes it.
func seconds(ttl time.Duration) int64 {
	s := int64(ttl / time.Second)
	if ttl%time.Second > 0 {
		s++
	}
	return min(s, maxTTL)
}

// LeftOut implements [registry.Reporter]. It tells of the last state that a
// watcher or List has read.
func (r *Registry) LeftOut() []registry.Omission { return r.leftOut.List() }
