package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

// A Directory is a registry that keeps each node in a JSON file. Processes that
// share the directory share the services. It may be used concurrently.
type Directory struct {
	// Path names the directory, which somebody else makes.
	Path string

	mu      sync.Mutex
	records registry.Records // by the name of the file
	leftOut []registry.Omission
}

var (
	_ registry.Registry = (*Directory)(nil)
	_ registry.Reporter = (*Directory)(nil)
)

// Register implements [registry.Writer].
func (d *Directory) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if ttl < 0 {
		return &registry.FieldError{Field: "ttl", Reason: "it is negative"}
	}
	f := file{Service: *s}
	if ttl > 0 {
		f.Expires = time.Now().Add(ttl)
	}
	files := make(map[string][]byte) // all are made before one is written
	for _, n := range s.Nodes {
		f.Service.Nodes = []*registry.Node{n}
		data, err := json.Marshal(f)
		if err != nil {
			return err
		}
		if len(data) > maxFile {
			return fmt.Errorf("%w: node %q takes %d bytes, more than %d", registry.ErrTooLarge, n.ID, len(data), maxFile)
		}
		files[fileName(s.Name, n.ID)] = data
	}
	return d.use(ctx, func(root *os.Root) error {
		for name, data := range files {
			if err := write(root, name, data); err != nil {
				return err
			}
		}
		return nil
	})
}

// Deregister implements [registry.Writer].
func (d *Directory) Deregister(ctx context.Context, s *registry.Service) error {
	return d.use(ctx, func(root *os.Root) error {
		for _, n := range s.Nodes {
			if err := root.Remove(fileName(s.Name, n.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// Get implements [registry.Reader].
func (d *Directory) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	services, err := d.List(ctx)
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
func (d *Directory) List(ctx context.Context) (services []*registry.Service, err error) {
	err = d.use(ctx, func(root *os.Root) error {
		services, err = d.read(root)
		return err
	})
	return services, err
}

// LeftOut implements [registry.Reporter].
func (d *Directory) LeftOut() []registry.Omission {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leftOut
}

// use calls do with the directory, and says that it is unavailable when that
// fails. It is the same directory throughout, whatever becomes of its path.
func (d *Directory) use(ctx context.Context, do func(*os.Root) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := os.OpenRoot(d.Path)
	if err == nil {
		err = errors.Join(do(root), root.Close())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	return nil
}

// read brings the records up to date, and returns the complete state or an
// error, never a part. Records puts the nodes of a service together, and keeps
// the pointers of services that did not change.
func (d *Directory) read(root *os.Root) ([]*registry.Service, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	alive := make(map[string]bool)
	var bad []registry.Omission
	for _, e := range entries {
		name := e.Name()
		if path.Ext(name) != ".json" || !e.Type().IsRegular() {
			continue
		}
		f, err := load(root, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // withdrawn just now
		case errors.As(err, new(*fs.PathError)) && !errors.Is(err, fs.ErrPermission):
			return nil, err // of the system, not of the file
		case err != nil:
			bad = append(bad, registry.Omission{Key: name, Reason: err.Error()})
		case f.Expires.IsZero() || time.Now().Before(f.Expires):
			_ = d.records.Set(name, &f.Service) // what there is no room for, LeftOut tells
			alive[name] = true
		}
	}
	d.records.Retain(func(name string) bool { return alive[name] })
	d.leftOut = slices.Concat(bad, d.records.LeftOut())
	slices.SortStableFunc(d.leftOut, func(a, b registry.Omission) int { return strings.Compare(a.Key, b.Key) })
	return d.records.Services(), nil
}
