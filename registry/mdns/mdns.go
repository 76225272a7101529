// Package mdns finds services on the local network by multicast DNS, and
// announces them there, in the way of go-micro: nothing is to be set up.
//
// Each node has a PTR, an SRV, an address and a TXT record in the domain micro,
// or in local, where go-micro had them up to v1.9; both are browsed. The TXT
// record holds the service in JSON, compressed and in hexadecimal. Announcements
// and goodbyes are followed at once. What was not heard is found by asking: for
// all services every 5 s, and for the nodes of each as often, or less often
// where there are more than 500. A node that does not answer is asked again
// each second, and is gone after the third time: within 9 s of being killed.
// What is registered here is announced at once, and again after a second, and
// so is its end.
//
// Nobody is authenticated: whoever can send to the link can announce a service.
// What is believed is bounded so: a datagram must come from the link; a node
// must be at the address that says so, or on the link, and not on this machine
// unless it says so itself; a name belongs to whoever had it first, for as long
// as that node answers. How much is held and read of what others send has
// limits. What is left out is told by [Registry.LeftOut].
//
// A node whose address is a name is announced, but go-micro does not see it, and
// only registries on the same machine believe it.
package mdns

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/internal/urls"
	"github.com/goapi-dev/goapi/registry"
)

const (
	// scanInterval is how often interfaces are looked for.
	scanInterval = 2 * time.Second
	// soon is how often a browser that is not ready yet is looked at.
	soon = 20 * time.Millisecond
	// getWindow is how long Get waits for a service that is not known.
	getWindow = 150 * time.Millisecond
)

// Options adjust a registry. A nil *Options means all defaults.
type Options struct {
	// Logger gets what cannot be returned: records that are left out, and the
	// loss of all interfaces. Default: none.
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

// A Registry is the services of the local network. It may be used concurrently.
type Registry struct {
	net  *network
	log  *slog.Logger
	wake chan struct{} // what is due may have changed
	done sync.WaitGroup
	once sync.Once // Close

	life context.Context // until Close
	end  context.CancelFunc

	mu        sync.Mutex
	records   registry.Records
	browser   *browser
	announcer *announcer
	available bool          // there is an interface
	ready     bool          // all that is there had time to answer
	changed   chan struct{} // closed by the next change; nil when nobody waits
}

var (
	_ registry.Registry = (*Registry)(nil)
	_ registry.Reporter = (*Registry)(nil)
	_ io.Closer         = (*Registry)(nil)
)

// Open begins to listen. The caller closes the registry. Nothing is asked before
// somebody reads.
//
// The URL is mdns: with parameters that may be repeated: domain, those to be
// browsed, of which the first is announced in (default micro and local), and
// interface, those to be used (default all that are up, the loopback included).
// Interfaces may come and go; while there is none, every call returns
// registry.ErrUnavailable.
func Open(ctx context.Context, u *url.URL, opts *Options) (*Registry, error) {
	o := opts.orDefault()
	c, err := parseURL(u)
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", urls.Redact(u), err)
	}
	n, err := openNetwork(ctx, c.interfaces, groupV4(), groupV6())
	if err != nil {
		return nil, err
	}
	return start(n, c.domains, o), nil
}

// start returns a registry on a network.
func start(n *network, domains []string, o Options) *Registry {
	r := &Registry{net: n, log: o.Logger, wake: make(chan struct{}, 1)}
	r.life, r.end = context.WithCancel(context.Background())
	r.browser = newBrowser(domains, &r.records)
	r.browser.omitted.log = o.Logger
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	r.announcer = newAnnouncer(domains[0], id)
	r.available, _ = n.scan()
	if !r.available {
		r.log.Warn("multicast DNS has no interface; it begins when there is one")
	}
	n.run()
	r.done.Go(r.run)
	return r
}

// Get implements [registry.Reader]. It asks for a service that is not known.
func (r *Registry) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	var timeout <-chan time.Time
	for {
		services, changed := r.get(name)
		if len(services) > 0 {
			return services, nil
		}
		if timeout == nil {
			timeout = time.After(getWindow)
			for _, domain := range r.browser.domains {
				r.ask(serviceName(name, domain))
			}
		}
		select {
		case <-changed:
		case <-timeout:
			return nil, registry.ErrNotFound
		case <-ctx.Done():
		case <-r.life.Done():
		}
		if err := r.usable(ctx); err != nil {
			return nil, err
		}
	}
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

// LeftOut implements [registry.Reporter].
func (r *Registry) LeftOut() []registry.Omission {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.browser.omitted.all(r.records.LeftOut())
}

// Register implements [registry.Writer]. Others learn of a change at once;
// renewing is not told.
func (r *Registry) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &registry.FieldError{Field: "ttl", Reason: "it is negative"}
	}
	s = s.Copy()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usableLocked(ctx); err != nil {
		return err
	}
	nodes := make([]*local, len(s.Nodes))
	for i, n := range s.Nodes {
		var err error
		if nodes[i], err = r.announcer.encode(s, n); err != nil {
			return err
		}
	}
	now := time.Now()
	for i, l := range nodes {
		if !r.announcer.put(now, l, ttl) {
			continue
		}
		one := *s
		one.Nodes = s.Nodes[i : i+1 : i+1]
		_ = r.records.Set(l.key, &one) // what there is no room for is left out
		r.net.announce(l.data)
	}
	r.notify()
	r.hurry()
	return nil
}

// Deregister implements [registry.Writer]. Where nobody can be told, others find
// out by themselves.
func (r *Registry) Deregister(ctx context.Context, s *registry.Service) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usableLocked(ctx); err != nil && !errors.Is(err, registry.ErrUnavailable) {
		return err
	}
	for _, n := range s.Nodes {
		if n != nil {
			r.remove(time.Now(), localKey(s.Name, n.ID))
		}
	}
	return nil
}

// Close says goodbye for what is registered, and ends the watchers. Closing
// twice is no error.
func (r *Registry) Close() error {
	r.once.Do(func() {
		r.mu.Lock()
		for key := range r.announcer.byKey {
			r.remove(time.Now(), key)
		}
		r.end()
		r.mu.Unlock()
		r.done.Wait()
		r.net.close()
	})
	return nil
}

// remove ends what is registered under a key. The lock is held.
func (r *Registry) remove(now time.Time, key string) {
	if data := r.announcer.remove(now, key); data != nil {
		r.records.Delete(key)
		r.net.announce(data)
		r.notify()
		r.hurry()
	}
}

// usable returns why a call is not to be made, or nil.
func (r *Registry) usable(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usableLocked(ctx)
}

func (r *Registry) usableLocked(ctx context.Context) error {
	switch {
	case r.life.Err() != nil:
		return registry.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case !r.available:
		return errNoInterface()
	}
	return nil
}

func errNoInterface() error {
	return fmt.Errorf("%w: there is no interface for multicast DNS", registry.ErrUnavailable)
}

// await waits until there is a complete state, and has one made.
func (r *Registry) await(ctx context.Context) error {
	_, err := r.watch().Next(ctx)
	return err
}

// get returns the services of a name, and a channel that is closed when
// anything changes.
func (r *Registry) get(name string) ([]*registry.Service, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records.Get(name), r.waitChange()
}

// waitChange returns a channel that is closed by the next change. The lock is
// held.
func (r *Registry) waitChange() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// notify wakes those who wait for a change. The lock is held.
func (r *Registry) notify() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// hurry has run look again at what is due.
func (r *Registry) hurry() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// ask asks for the nodes of a service, or for the list. It says whether the
// question left.
func (r *Registry) ask(name string) bool {
	data, err := query(name)
	return err == nil && r.net.ask(data)
}
