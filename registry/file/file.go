// Package file reads services from a file that is edited by hand, or by a
// program: for services that announce themselves nowhere.
//
// The file is a list in YAML; JSON is YAML, too:
//
//	services:
//	  - name: billing
//	    version: "1"                  # may be absent
//	    metadata: {team: payments}    # may be absent
//	    nodes:
//	      - "10.0.0.5:9000"           # its id is then billing-10.0.0.5:9000
//	      - {id: billing-2, address: "10.0.0.6:9000", metadata: {protocol: grpc}}
//	    endpoints:                    # may be absent
//	      - name: Invoices
//	        method: [GET, HEAD]       # a list, or one alone
//	        path: /invoices/**
//	        handler: http
//
// Of an endpoint, description, handler, host, method, path, body, strip, topic
// and stream say what the metadata of the same names says that a service
// announces; metadata holds what else there is, and request and response are
// values (name, type, values). All values of metadata are texts: true is "true".
// The services of go-micro in JSON are read as well, below services or as a list
// alone. Anchors may be used; merge keys may not.
//
// An edit is taken as a whole or not at all. One that is wrong anywhere (a key
// that is not known, a node without an address, an id that another node of the
// service has) changes nothing: [Registry.LeftOut] and the log say where and
// what, and the services stay as they were. So they do when the file vanishes.
// A file that is empty is wrong: whoever wants no services writes "services: []".
//
// The directory is watched, so that a file that is replaced is noticed, be it by
// an editor, by a link that is changed, or by both, as Kubernetes does it. An
// edit is read once the file has been the same for 3 ms: a program that writes
// for longer in several steps should write another file and rename it. Where the
// system does not tell of changes, the file is looked at every two seconds.
//
// The services in block style, as above, are read again only where they changed;
// other forms are read as a whole, which takes about 0.1 s for a thousand
// services.
package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/internal/urls"
	"github.com/goapi-dev/goapi/registry"
)

// Options adjust a registry. A nil *Options means all defaults.
type Options struct {
	// Logger gets what is wrong with an edit, once, and when the file is gone.
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

// A Registry holds the services of a file. It may be used concurrently.
type Registry struct {
	name string // as errors have it
	path string // the same from the root
	log  *slog.Logger

	turn chan struct{} // held by who looks at the file
	seen snapshot      // what he saw last

	mu      sync.Mutex
	state   state
	leftOut []registry.Omission
	changed chan struct{} // closed by the next change of state

	life  context.Context // until Close
	end   context.CancelFunc
	ended chan struct{} // closed when follow has ended
}

var (
	_ registry.Registry = (*Registry)(nil)
	_ registry.Reporter = (*Registry)(nil)
)

// Open reads the file of u, which is file:services.yaml, below the working
// directory, or file:///etc/goapi/services.yaml, and follows it until the caller
// closes the registry. There are no parameters. A file that is not there, or
// wrong, is an error.
func Open(ctx context.Context, u *url.URL, opts *Options) (*Registry, error) {
	r, err := newRegistry(u, opts)
	if err != nil {
		return nil, err
	}
	w := r.watch() // before the file is read: no edit is missed between
	if err := r.begin(ctx); err != nil {
		w.Close()
		return nil, err
	}
	go r.follow(w) // ends with Close
	return r, nil
}

// CheckURL returns why Open would refuse a URL, or the file that it names.
func CheckURL(u *url.URL) error {
	r, err := newRegistry(u, nil)
	if err != nil {
		return err
	}
	defer r.end()
	return r.begin(context.Background())
}

// newRegistry returns a registry that has not read its file.
func newRegistry(u *url.URL, opts *Options) (*Registry, error) {
	name, err := parseURL(u)
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", urls.Redact(u), err)
	}
	path, err := filepath.Abs(name) // the working directory may change
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", name, err)
	}
	r := &Registry{
		name:    name,
		path:    path,
		log:     opts.orDefault().Logger.With(slog.String("file", name)),
		turn:    make(chan struct{}, 1),
		changed: make(chan struct{}),
		ended:   make(chan struct{}),
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r, nil
}

// begin reads the file for the first time.
func (r *Registry) begin(ctx context.Context) error {
	if err := r.look(ctx, false); err != nil {
		return err
	}
	if r.seen.problem != nil {
		return fmt.Errorf("registry: %w", r.seen.problem)
	}
	return nil
}

// parseURL returns the name of the file.
func parseURL(u *url.URL) (string, error) {
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("a file takes no user and no parameters; want file:name or file:///name")
	}
	if u.Host != "" && u.Host != "localhost" {
		return "", fmt.Errorf("%q stands where a host does; want file:name or file:///name", u.Host)
	}
	name, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return "", err
	}
	if name == "" {
		name = u.Path
	}
	if name == "" {
		return "", errors.New("it names no file; want file:name or file:///name")
	}
	return filepath.FromSlash(name), nil
}

// Get implements [registry.Reader].
func (r *Registry) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	services, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	services = slices.DeleteFunc(slices.Clone(services), func(s *registry.Service) bool { return s.Name != name })
	if len(services) == 0 {
		return nil, registry.ErrNotFound
	}
	return services, nil
}

// List implements [registry.Reader]. It looks whether the file has changed, and
// so returns what was written before it was called.
func (r *Registry) List(ctx context.Context) ([]*registry.Service, error) {
	if err := r.look(ctx, false); err != nil {
		return nil, err
	}
	services, _ := r.services()
	return services, nil
}

// Watch implements [registry.Reader].
func (r *Registry) Watch(ctx context.Context) (registry.Watcher, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	return &watcher{registry: r, closed: make(chan struct{})}, nil
}

// Register returns [registry.ErrReadOnly].
func (r *Registry) Register(context.Context, *registry.Service, time.Duration) error {
	return fmt.Errorf("%w: %s is edited instead", registry.ErrReadOnly, r.name)
}

// Deregister returns [registry.ErrReadOnly].
func (r *Registry) Deregister(context.Context, *registry.Service) error {
	return fmt.Errorf("%w: %s is edited instead", registry.ErrReadOnly, r.name)
}

// LeftOut implements [registry.Reporter]: what is wrong with the file, for as
// long as it is. The key is the place, as file:line:column.
func (r *Registry) LeftOut() []registry.Omission {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leftOut
}

// Close ends the watching of the file, and the watchers. Closing twice is no
// error.
func (r *Registry) Close() error {
	r.end()
	<-r.ended
	return nil
}

// usable returns why a call is not to be made, or nil.
func (r *Registry) usable(ctx context.Context) error {
	if r.life.Err() != nil {
		return registry.ErrClosed
	}
	return ctx.Err()
}
