package file_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/file"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// deadline bounds every wait for something that must happen.
const deadline = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRegistry(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, func(t *testing.T) registry.Registry { return newEdited(t, os.WriteFile) }, &registrytest.Options{
		MinTTL: 500 * time.Millisecond,
	})
}

// TestRegistryOfLinks is the same where each edit changes a link to a directory,
// as Kubernetes has it.
func TestRegistryOfLinks(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, func(t *testing.T) registry.Registry { return newEdited(t, swapLinks()) }, &registrytest.Options{
		MinTTL: 500 * time.Millisecond,
	})
}

// An edited is a registry that can be registered to: who does edits the file.
type edited struct {
	*file.Registry

	t     *testing.T
	path  string
	write func(name string, data []byte, perm os.FileMode) error
	want  registry.Memory

	mu sync.Mutex // held while the file is edited
}

// newEdited returns the registry of a file that write writes. It is closed when
// the test ends.
func newEdited(t *testing.T, write func(string, []byte, os.FileMode) error) *edited {
	t.Helper()
	e := &edited{t: t, path: filepath.Join(t.TempDir(), "services.yaml"), write: write}
	e.edit()
	e.Registry = open(t, e.path, nil)
	w := watch(t, &e.want)
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the watcher: nodes expire
		for {
			if _, err := w.Next(context.Background()); err != nil {
				return
			}
			e.edit()
		}
	})
	t.Cleanup(func() {
		w.Close()
		wg.Wait()
	})
	return e
}

func (e *edited) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if _, err := e.List(ctx); err != nil { // it was closed
		return err
	}
	if err := e.want.Register(ctx, s, ttl); err != nil {
		return err
	}
	e.edit()
	return nil
}

func (e *edited) Deregister(ctx context.Context, s *registry.Service) error {
	if _, err := e.List(ctx); err != nil { // it was closed
		return err
	}
	if err := e.want.Deregister(ctx, s); err != nil {
		return err
	}
	e.edit()
	return nil
}

// edit writes the file as it is to be, beside itself, and renames it.
func (e *edited) edit() {
	e.mu.Lock()
	defer e.mu.Unlock()
	services, err := e.want.List(context.Background())
	if err != nil {
		e.t.Error(err)
	}
	if services == nil {
		services = []*registry.Service{}
	}
	data, err := json.Marshal(services)
	if err == nil {
		err = e.write(e.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(e.path+".new", e.path)
	}
	if err != nil {
		e.t.Error(err)
	}
}

// swapLinks returns a function like os.WriteFile: it writes a directory of its
// own each time, changes the link "data" to that, and makes name a link into it.
func swapLinks() func(string, []byte, os.FileMode) error {
	last, versions := "", 0
	return func(name string, data []byte, perm os.FileMode) error {
		versions++
		dir := filepath.Join(filepath.Dir(name), fmt.Sprint("version-", versions))
		link := filepath.Join(filepath.Dir(name), "data")
		if err := errors.Join(
			os.Mkdir(dir, 0o700),
			os.WriteFile(filepath.Join(dir, "services.yaml"), data, perm),
			os.Symlink(dir, link+".new"),
			os.Rename(link+".new", link),
			os.Symlink(filepath.Join("data", "services.yaml"), name),
		); err != nil {
			return err
		}
		old := last
		last = dir
		if old == "" {
			return nil
		}
		return os.RemoveAll(old)
	}
}

func TestOpenURLs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	save(t, "services.yaml", one)
	save(t, "a b.yaml", one)
	tests := []struct{ url, err string }{
		{"file:services.yaml", ""},
		{"file:./services.yaml", ""},
		{"file:a%20b.yaml", ""},
		{"file://" + dir + "/services.yaml", ""},
		{"file:" + dir + "/services.yaml", ""},
		{"file://localhost" + dir + "/services.yaml", ""},
		{"file://services.yaml", `"services.yaml" stands where a host does; want file:name or file:///name`},
		{"file:", "it names no file"},
		{"file:services.yaml?watch=no", "no parameters"},
		{"file:services.yaml#1", "no parameters"},
		{"file://user@localhost/a", "takes no user"},
		{"file:other.yaml", "other.yaml: it is not there"},
		{"file://" + dir, "it is no regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			r, err := file.Open(t.Context(), parse(t, tt.url), nil)
			if err == nil {
				defer r.Close()
			}
			if got := text(err); tt.err == "" && got != "" || !strings.Contains(got, tt.err) {
				t.Fatalf("Open(%q) error = %q, want %q", tt.url, got, tt.err)
			}
			if err != nil {
				return
			}
			if got, err := r.Get(t.Context(), "billing"); err != nil || len(got) != 1 {
				t.Errorf("Get(billing) = %v, %v, want it", got, err)
			}
		})
	}
}

func TestRegisterIsReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, one)
	r := open(t, path, nil)
	s := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:1"}}}
	for name, err := range map[string]error{
		"Register": r.Register(t.Context(), s, 0), "Deregister": r.Deregister(t.Context(), s),
	} {
		if !errors.Is(err, registry.ErrReadOnly) || !strings.Contains(text(err), path) {
			t.Errorf("%s() error = %v, want ErrReadOnly and the file", name, err)
		}
	}
}

func TestClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "services.yaml")
	save(t, path, one)
	r := open(t, path, nil)
	w := watch(t, r)
	next(t, w)
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(context.Background())
		ended <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	}
	_, get := r.Get(t.Context(), "billing")
	_, list := r.List(t.Context())
	_, watching := r.Watch(t.Context())
	for name, err := range map[string]error{"Next": <-ended, "Get": get, "List": list, "Watch": watching} {
		if !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%s after Close: error = %v, want ErrClosed", name, err)
		}
	}
}

// TestExampleFile holds the file that the documentation is about to what it
// says.
func TestExampleFile(t *testing.T) {
	r := open(t, "testdata/services.yaml", nil)
	got, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []*registry.Service{{
		Name: "billing", Version: "1", Metadata: map[string]string{"team": "payments"},
		Endpoints: []*registry.Endpoint{{Name: "Invoices", Metadata: map[string]string{
			"description": "Bills, and what is paid of them.", "method": "GET,HEAD", "path": "/invoices/**", "handler": "http",
		}}},
		Nodes: []*registry.Node{
			{ID: "billing-10.0.0.5:9000", Address: "10.0.0.5:9000"},
			{ID: "billing-2", Address: "10.0.0.6:9000", Metadata: map[string]string{"protocol": "grpc"}},
		},
	}, {
		Name: "greeter",
		Endpoints: []*registry.Endpoint{{
			Name: "Greeter.Hello",
			Request: &registry.Value{
				Name: "HelloRequest", Type: "HelloRequest",
				Values: []*registry.Value{{Name: "name", Type: "string"}},
			},
			Metadata: map[string]string{"method": "GET", "path": "/hello/{name},^/hi/[a-z]{1,20}$", "handler": "rpc"},
		}, {
			Name:     "Greeter.Watch",
			Metadata: map[string]string{"path": "/watch", "handler": "rpc", "stream": "true", "expose": "false"},
		}},
		Nodes: []*registry.Node{{ID: "greeter-127.0.0.1:9090", Address: "127.0.0.1:9090"}},
	}}
	if got, want := inJSON(t, got), inJSON(t, want); got != want {
		t.Errorf("List() =\n%s, want\n%s", got, want)
	}
}

// one is a good file.
const one = "services:\n  - name: billing\n    nodes: [\"10.0.0.5:9000\"]\n"

// open opens a registry that is closed when the test ends.
func open(t testing.TB, path string, opts *file.Options) *file.Registry {
	t.Helper()
	r, err := file.Open(t.Context(), &url.URL{Scheme: "file", Opaque: url.PathEscape(path)}, opts)
	if err != nil {
		t.Fatalf("Open(%s) error = %v", path, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return r
}

func watch(t testing.TB, r registry.Reader) registry.Watcher {
	t.Helper()
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatalf("Watch() error = %v", err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func next(t testing.TB, w registry.Watcher) []*registry.Service {
	t.Helper()
	got, err := w.Next(bound(t, deadline))
	if err != nil {
		t.Fatalf("Next() error = %v", err)
	}
	return got
}

// await reads states until one has exactly these nodes.
func await(t testing.TB, w registry.Watcher, ids ...string) []*registry.Service {
	t.Helper()
	for {
		got := next(t, w)
		if slices.Equal(nodes(got), ids) {
			return got
		}
	}
}

// nodes returns the ids of all nodes.
func nodes(services []*registry.Service) []string {
	var ids []string
	for _, s := range services {
		for _, n := range s.Nodes {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// bound returns a context that ends after some time, or with the test.
func bound(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func parse(t testing.TB, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func save(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// text returns what an error says; "" for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func inJSON(t testing.TB, services []*registry.Service) string {
	t.Helper()
	data, err := json.MarshalIndent(services, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
