// Package consul keeps services in Consul, as go-micro of every version does,
// and reads the services that others keep there.
//
// # What is written
//
// Each node is a service of the agent: its metadata, the endpoints and the
// version are tags in go-micro's form, and a TTL is a check that renewing
// passes. So go-micro finds what is registered here. A node that is not renewed
// is critical after its TTL, and gone for every reader; Consul forgets it a
// minute later at the earliest. What go-micro's tags have no place for is a tag
// of our own, which go-micro passes over.
//
// # What is read
//
// A service with go-micro's tags, in the form of any version from v1 on, is what
// they say. Of any other service the metadata in Consul is that of the node:
// "protocol" says what it speaks, "version" its version, and each key that is
// "goapi-endpoint" or begins with "goapi-endpoint-" holds an endpoint, in the
// order of the keys and as `goapi register --endpoint` takes it:
//
//	goapi-endpoint-1 = "Hello;method=GET;path=/hello/{name}"
//
// An endpoint that cannot be read is left out, and takes nothing else along; see
// [registry.ParseEndpoint].
//
// Nodes with a critical check, of their own or of Consul's node, are not there;
// those with a warning are. Proxies and gateways of Consul's mesh, and the
// service "consul", are passed over.
//
// # How changes are seen
//
// A [registry.Watcher] holds two blocking queries, however many services there
// are: an agent takes 200 connections of a client at most. One is small and
// comes at once whenever a check of any service changes, and says of most changes
// whose they are; where it does not, and a while after it did, the watcher looks
// at all checks. The other tells of all names. What is large is asked for the
// less often the larger it is. What is found to have changed is read, each
// service by itself. Two things move neither a check nor a name: a service
// without a check, and one that changed its address alone. Then all services
// are read again, some at a time.
//
// Every server answers as the leader has it, not from a copy of its own that
// may be late: who registers finds what was registered, and the index of
// Consul, by which nothing is missed, does not go back and forth between
// servers. Without a leader there is no contact, and the last state stands.
//
// A watcher that loses the agent returns registry.ErrUnavailable once; when the
// agent is back it reads all again. Whoever announces nodes does so again when
// [Registry.Reconnected] says so: the agent may have come back empty.
package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// minRetry and maxRetry bound the wait before an agent that failed is asked
	// again.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
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

// A Registry keeps services in Consul. It may be used concurrently.
type Registry struct {
	agent   *agent
	log     *slog.Logger
	written writes
	leftOut registry.Omissions

	mu       sync.Mutex
	watchers map[*watcher]struct{}

	life context.Context // until Close
	end  context.CancelFunc
	runs sync.WaitGroup // of what Reconnected started
}

var (
	_ registry.Registry    = (*Registry)(nil)
	_ registry.Reporter    = (*Registry)(nil)
	_ registry.Reconnector = (*Registry)(nil)
	_ io.Closer            = (*Registry)(nil)
)

// Open connects to the agent of u. The context bounds the call; the caller
// closes the registry.
//
// URLs are consul://host:port, or consuls://host:port for TLS; the host is
// 127.0.0.1 and the port 8500 unless they are there. An ACL token stands before
// the host, as "token@" or ":token@", or in a file that the parameter token_file
// names and that is read at each request; without either, the environment
// variables of Consul's own tools name it. The other parameters are datacenter
// (whose services are read; the agent's own, in which it registers, by default),
// tls (true or false), ca, cert and key (files in PEM; ca and cert mean TLS). No
// other may be there.
func Open(ctx context.Context, u *url.URL, opts *Options) (*Registry, error) {
	t, err := parse(u)
	if err != nil {
		return nil, err
	}
	a, err := newAgent(t)
	if err != nil {
		return nil, err
	}
	r := &Registry{agent: a, log: opts.orDefault().Logger.With(slog.String("registry", a.name)), watchers: make(map[*watcher]struct{})}
	r.life, r.end = context.WithCancel(context.Background())
	if _, _, err := a.ask(ctx, question{path: quiet}); err != nil {
		_ = r.Close() // the error says more
		if answer, ok := errors.AsType[*answerError](err); ok && answer.code == http.StatusForbidden {
			return nil, fmt.Errorf("registry: %s refuses our token: %s", a.name, answer.text)
		}
		return nil, err
	}
	return r, nil
}

// quiet is a question whose answer seldom changes: of Consul's own servers.
const quiet = pathService + ownService

// Get implements [registry.Reader].
func (r *Registry) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, registry.ErrNotFound
	}
	var c catalog
	if err := r.read(ctx, []string{serviceName(name)}, &c, nil); err != nil {
		return nil, r.closed(err)
	}
	services := c.records.Get(name)
	if len(services) == 0 {
		return nil, registry.ErrNotFound
	}
	return services, nil
}

// List implements [registry.Reader].
func (r *Registry) List(ctx context.Context) ([]*registry.Service, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	data, _, err := r.agent.ask(ctx, question{path: pathNames})
	if err != nil {
		return nil, r.closed(err)
	}
	names, err := readNames(data)
	if err != nil {
		return nil, err
	}
	var c catalog
	if err := r.read(ctx, slices.Collect(maps.Keys(names)), &c, nil); err != nil {
		return nil, r.closed(err)
	}
	services := c.records.Services()
	r.leftOut.Tell(r.log, c.omissions())
	return services, nil
}

// Watch implements [registry.Reader].
func (r *Registry) Watch(ctx context.Context) (registry.Watcher, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	w := newWatcher(r)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[w] = struct{}{}
	return w, nil
}

// Reconnected returns a channel that gets a value after each time that the
// agent was away and is back, until ctx is done or the registry is closed. It is
// never closed, and values that nobody reads are not counted. A question is
// under way at the agent for as long.
func (r *Registry) Reconnected(ctx context.Context) <-chan struct{} {
	back := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.life, cancel)
	r.runs.Go(func() { // ends with ctx or the registry
		defer cancel()
		defer stop()
		r.await(ctx, back)
	})
	return back
}

// await sends a value whenever the agent answers after it did not.
func (r *Registry) await(ctx context.Context, back chan<- struct{}) {
	q := question{path: quiet, wait: time.Minute}
	var retry backoff
	for ctx.Err() == nil {
		_, index, err := r.agent.ask(ctx, q)
		if err != nil {
			q.index = 0
			sleep(ctx, retry.next())
			continue
		}
		if retry.failed() || index < q.index {
			put(back)
		}
		retry.reset()
		if index <= q.index {
			sleep(ctx, leastPace) // nothing is to be gained by haste
		}
		q.index = index
	}
}

// Close ends the watchers and what is under way. Closing twice is no error.
func (r *Registry) Close() error {
	r.end()
	r.mu.Lock()
	watchers := slices.Collect(maps.Keys(r.watchers))
	r.mu.Unlock()
	for _, w := range watchers {
		_ = w.Close() // never fails
	}
	r.runs.Wait()
	r.agent.close()
	return nil
}

// touch tells the watchers that we changed a service.
func (r *Registry) touch(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		w.hints.add(name)
	}
}

// usable returns why a call is not to be made, or nil.
func (r *Registry) usable(ctx context.Context) error {
	if r.life.Err() != nil {
		return registry.ErrClosed
	}
	return ctx.Err()
}

// closed returns err, or ErrClosed once the registry is closed.
func (r *Registry) closed(err error) error {
	if err != nil && r.life.Err() != nil {
		return registry.ErrClosed
	}
	return err
}

// LeftOut implements [registry.Reporter]. It tells of the last state that a
// watcher or List has read.
func (r *Registry) LeftOut() []registry.Omission { return r.leftOut.List() }
