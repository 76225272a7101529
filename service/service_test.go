package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/client"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/service"
)

// running is a service that runs, and the node that it announced.
type running struct {
	announced *registry.Service
	watcher   registry.Watcher
	cancel    context.CancelFunc
	done      chan error
}

// run starts a service and waits until it is announced in reg.
func run(t *testing.T, reg *registry.Memory, s *service.Service) *running {
	t.Helper()
	watcher, err := reg.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{watcher: watcher, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = watcher.Close() // nobody waits for it
	})
	r.announced = r.next(t, 1)[0]
	return r
}

// next waits for a state of the registry with so many services.
func (r *running) next(t *testing.T, services int) []*registry.Service {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		state, err := r.watcher.Next(ctx)
		if err != nil {
			t.Fatalf("Next error = %v; Run: %v", err, r.result())
		}
		if len(state) == services {
			return state
		}
	}
}

// result is what Run has returned so far.
func (r *running) result() error {
	select {
	case err := <-r.done:
		return err
	default:
		return nil
	}
}

func TestRunAnnounces(t *testing.T) {
	reg := new(registry.Memory)
	s := service.New("greeter", &service.Options{Registry: reg, Version: "v2", Metadata: map[string]string{"zone": "a"}})
	s.Handle("Greeter.Hello", service.Method(hello), &goapi.Endpoint{
		Method: []string{"GET", "POST"}, Path: []string{"/hello/{name}"}, Description: "greets",
	})
	s.Handle("Greeter.Fail", service.Method(fail), nil)
	r := run(t, reg, s)

	got := r.announced.Copy()
	node := got.Nodes[0]
	if !strings.HasPrefix(node.ID, "greeter-") || len(node.ID) < len("greeter-")+20 {
		t.Errorf("node id = %s, want greeter- and a random part", node.ID)
	}
	if diff := cmp.Diff(map[string]string{"protocol": "mucp", "transport": "http", "server": "mucp", "zone": "a"}, node.Metadata); diff != "" {
		t.Errorf("node metadata (-want +got):\n%s", diff)
	}
	message := func(name string, fields ...string) *registry.Value {
		v := &registry.Value{Name: name, Type: name}
		for _, f := range fields {
			v.Values = append(v.Values, &registry.Value{Name: f, Type: "string"})
		}
		return v
	}
	want := map[string]*registry.Endpoint{
		"Greeter.Hello": {
			Name: "Greeter.Hello", Request: message("helloRequest", "name"), Response: message("helloResponse", "message"),
			Metadata: map[string]string{
				"endpoint": "Greeter.Hello", "handler": "rpc", "method": "GET,POST", "path": "/hello/{name}", "description": "greets",
			},
		},
		"Greeter.Fail": {
			Name: "Greeter.Fail", Request: message("helloRequest", "name"), Response: message("helloResponse", "message"),
			Metadata: map[string]string{},
		},
	}
	endpoints := make(map[string]*registry.Endpoint)
	for _, e := range got.Endpoints {
		endpoints[e.Name] = e
	}
	if diff := cmp.Diff(want, endpoints); diff != "" || got.Version != "v2" {
		t.Errorf("version = %s, want v2; endpoints (-want +got):\n%s", got.Version, diff)
	}
	if got, err := call(t, node, "Greeter.Hello", "application/json", `{"name":"john"}`); err != nil || got != `{"message":"hello john"}`+"\n" {
		t.Errorf("Call = %q, %v", got, err)
	}
	r.cancel()
	if err := <-r.done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// First the service is withdrawn, then it answers what it has taken, and what
// still comes; then it ends.
func TestRunWithdrawsThenDrains(t *testing.T) {
	reg := new(registry.Memory)
	arrived, leave := make(chan struct{}), make(chan struct{})
	slow := func(context.Context, *helloRequest) (*helloResponse, error) {
		close(arrived)
		<-leave
		return &helloResponse{Message: "at last"}, nil
	}
	s := service.New("greeter", &service.Options{Registry: reg})
	s.Handle("Greeter.Slow", service.Method(slow), nil)
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	r := run(t, reg, s)
	node := r.announced.Nodes[0]

	answers := make(chan string, 1)
	go func() {
		got, err := call(t, node, "Greeter.Slow", "application/json", "{}")
		answers <- fmt.Sprint(got, err)
	}()
	<-arrived
	r.cancel()
	r.next(t, 0)
	if got, err := call(t, node, "Greeter.Hello", "application/json", "{}"); err != nil {
		t.Errorf("Call after the withdrawal = %q, %v, want an answer", got, err)
	}
	if err := r.result(); err != nil {
		t.Errorf("Run = %v while a call is under way", err)
	}
	close(leave)
	if got, want := <-answers, `{"message":"at last"}`+"\n<nil>"; got != want {
		t.Errorf("Call under way = %q, want %q", got, want)
	}
	if err := <-r.done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestRunCutsOffWhatOutlastsTheDrain(t *testing.T) {
	reg := new(registry.Memory)
	arrived := make(chan struct{})
	stuck := func(ctx context.Context, _ *helloRequest) (*helloResponse, error) {
		close(arrived)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s := service.New("greeter", &service.Options{Registry: reg, Linger: time.Millisecond, Drain: 10 * time.Millisecond})
	s.Handle("Greeter.Stuck", service.Method(stuck), nil)
	r := run(t, reg, s)
	failed := make(chan error, 1)
	go func() {
		_, err := call(t, r.announced.Nodes[0], "Greeter.Stuck", "application/json", "{}")
		failed <- err
	}()
	<-arrived
	r.cancel()
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Run = %v, want that calls were cut off", err)
	}
	if err := <-failed; err == nil {
		t.Error("Call that was cut off error = nil")
	}
}

func TestRunServesHTTP(t *testing.T) {
	reg := new(registry.Memory)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "noon") })
	s := service.New("clock", &service.Options{Registry: reg})
	s.HandleHTTP(mux, &goapi.Endpoint{Name: "Now", Method: []string{"GET"}, Path: []string{"/clock"}})
	r := run(t, reg, s)

	node := r.announced.Nodes[0]
	if len(node.Metadata) != 0 {
		t.Errorf("node metadata = %v, want none: it speaks no RPC", node.Metadata)
	}
	want := map[string]string{"endpoint": "Now", "handler": "http", "method": "GET", "path": "/clock"}
	if diff := cmp.Diff(want, r.announced.Endpoints[0].Metadata); diff != "" {
		t.Errorf("endpoint metadata (-want +got):\n%s", diff)
	}
	if got := get(t, node, "/clock"); got != "200 noon" {
		t.Errorf("GET /clock = %s, want 200 noon", got)
	}
	r.cancel()
	if err := <-r.done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// Methods and plain HTTP share an address: a call is what names a method.
func TestMixedService(t *testing.T) {
	s := service.New("greeter", nil)
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	s.HandleHTTP(http.NotFoundHandler())
	srv := httptest.NewServer(s)
	defer srv.Close()
	node := &registry.Node{Address: srv.Listener.Addr().String()}
	if got, err := call(t, node, "Greeter.Hello", "application/json", "{}"); err != nil {
		t.Errorf("Call = %q, %v, want an answer", got, err)
	}
	if got := get(t, node, "/"); got != "404 404 page not found\n" {
		t.Errorf("GET / = %q, want the handler's 404", got)
	}
}

func get(t *testing.T, n *registry.Node, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

func TestRunOverTLS(t *testing.T) {
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	trusting, ok := certified.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the test server's client has no Transport")
	}
	reg := new(registry.Memory)
	s := service.New("greeter", &service.Options{Registry: reg, TLS: certified.TLS})
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	r := run(t, reg, s)
	m := client.NewMicro(&client.Options{TLS: trusting.TLSClientConfig})
	defer m.Close()
	res, err := m.Call(t.Context(), r.announced.Nodes[0], &client.Request{
		Service: "greeter", Endpoint: "Greeter.Hello", ContentType: "application/json", Body: []byte("{}"),
	})
	if err != nil {
		t.Errorf("Call = %v, %v, want an answer", res, err)
	}
	r.cancel()
	if err := <-r.done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestRunWithoutRegistry(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := service.New("greeter", &service.Options{Listener: ln})
	s.Handle("Greeter.Hello", service.Method(hello), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if got, err := call(t, &registry.Node{Address: ln.Addr().String()}, "Greeter.Hello", "application/json", "{}"); err != nil {
		t.Errorf("Call = %q, %v, want an answer", got, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestRunRefuses(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		make func() *service.Service
		want string
	}{
		{"name without a dot", func() *service.Service {
			s := service.New("greeter", nil)
			s.Handle("Hello", service.Method(hello), nil)
			return s
		}, `method "Hello": a method is named Type.Method`},
		{"name with two", func() *service.Service {
			s := service.New("greeter", nil)
			s.Handle("a.b.c", service.Method(hello), nil)
			return s
		}, `method "a.b.c": a method is named Type.Method`},
		{"twice", func() *service.Service {
			s := service.New("greeter", nil)
			s.Handle("Greeter.Hello", service.Method(hello), nil)
			s.Handle("Greeter.Hello", service.Method(hello), nil)
			return s
		}, "method Greeter.Hello: it is there already"},
		{"no function", func() *service.Service {
			s := service.New("greeter", nil)
			s.Handle("Greeter.Hello", service.Func{}, nil)
			return s
		}, "method Greeter.Hello: there is no function"},
		{"two handlers", func() *service.Service {
			s := service.New("clock", nil)
			s.HandleHTTP(http.NotFoundHandler())
			s.HandleHTTP(http.NotFoundHandler())
			return s
		}, "HandleHTTP: there is a handler already"},
		{"address in use", func() *service.Service {
			return service.New("greeter", &service.Options{Address: taken.Addr().String()})
		}, "address already in use"},
		{"no name", func() *service.Service {
			return service.New("", &service.Options{Registry: new(registry.Memory)})
		}, "name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.make().Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run = %v, want %s", err, tt.want)
			}
		})
	}
}

// A listener that breaks ends Run, and the service is withdrawn.
// TestConnectionThatIsUsedLate opens a connection long before the first call on
// it, as callers do that open one more than they need.
func TestConnectionThatIsUsedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		s := service.New("late", &service.Options{Listener: &l})
		s.HandleHTTP(http.NotFoundHandler())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()

		here, there := net.Pipe()
		l.conns <- there
		time.Sleep(2 * time.Minute)
		if _, err := io.WriteString(here, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Errorf("a call after 2 min: %v", err)
		}
		if b, err := io.ReadAll(here); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 404") {
			t.Errorf("answer to a call after 2 min = %q, %v; want 404", b, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run error = %v, want nil", err)
		}
	})
}

// pipes is a listener for connections within the test.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return new(net.TCPAddr) }

func TestRunEndsWithItsListener(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reg := new(registry.Memory)
	r := run(t, reg, service.New("greeter", &service.Options{Registry: reg, Listener: ln}))
	_ = ln.Close() // what is tested
	if err := <-r.done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run = %v, want %v", err, net.ErrClosed)
	}
	if _, err := reg.Get(t.Context(), "greeter"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("Get after Run error = %v, want ErrNotFound", err)
	}
}
