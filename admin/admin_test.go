package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGuard(t *testing.T) {
	const secret = "s3cret"
	type header map[string]string
	authorized := func(h header) header {
		if h == nil {
			h = header{}
		}
		h["Authorization"] = "Bearer " + secret
		return h
	}
	tests := []struct {
		name         string
		method, path string
		host         string
		header       header
		want         int
	}{
		{"by IPv4 address", "GET", "/routes", "127.0.0.1:8081", authorized(nil), 200},
		{"by IPv6 address", "GET", "/routes", "[::1]:8081", authorized(nil), 200},
		{"by localhost", "GET", "/routes", "LocalHost:8081", authorized(nil), 200},
		{"by a name of the operator's", "GET", "/routes", "admin.example.com", authorized(nil), 200},
		{"by a rebound name", "GET", "/routes", "evil.example:8081", authorized(nil), 403},
		{"by a name that only starts well", "GET", "/routes", "127.0.0.1.evil.example", authorized(nil), 403},
		{"health by a rebound name", "GET", "/healthz", "evil.example", nil, 403},
		{"no token", "GET", "/routes", "127.0.0.1", nil, 401},
		{"wrong token", "GET", "/routes", "127.0.0.1", header{"Authorization": "Bearer nonsense"}, 401},
		{"token in another scheme", "GET", "/routes", "127.0.0.1", header{"Authorization": "Basic " + secret}, 401},
		{"health needs no token", "GET", "/healthz", "127.0.0.1", nil, 200},
		{"readiness needs no token", "GET", "/readyz", "127.0.0.1", nil, 200},
		{"same origin", "GET", "/routes", "127.0.0.1:8081", authorized(header{"Origin": "http://127.0.0.1:8081"}), 200},
		{"another port of the host", "GET", "/routes", "127.0.0.1:8081", authorized(header{"Origin": "http://127.0.0.1:3000"}), 403},
		{"a foreign origin", "GET", "/routes", "127.0.0.1", authorized(header{"Origin": "https://evil.example"}), 403},
		{"an opaque origin", "GET", "/routes", "127.0.0.1", authorized(header{"Origin": "null"}), 403},
		{"cross-site without an origin", "GET", "/routes", "127.0.0.1", authorized(header{"Sec-Fetch-Site": "cross-site"}), 403},
		{"through a proxy, Via", "GET", "/routes", "127.0.0.1", authorized(header{"Via": "1.1 x"}), 403},
		{"through a proxy, Forwarded", "GET", "/routes", "127.0.0.1", authorized(header{"Forwarded": "for=1.2.3.4"}), 403},
		{"through a proxy, X-Forwarded-For", "GET", "/routes", "127.0.0.1", authorized(header{"X-Forwarded-For": "1.2.3.4"}), 403},
		{"write as text", "POST", "/registry", "127.0.0.1", authorized(header{"Content-Type": "text/plain"}), 415},
		{"write as a form", "POST", "/registry", "127.0.0.1", authorized(header{"Content-Type": "application/x-www-form-urlencoded"}), 415},
		{"write without a type", "POST", "/registry", "127.0.0.1", authorized(nil), 415},
		{"write as JSON", "POST", "/registry", "127.0.0.1", authorized(header{"Content-Type": "application/json; charset=utf-8"}), 400},
		{"a call as a form", "POST", "/rpc", "127.0.0.1", authorized(header{"Content-Type": "application/x-www-form-urlencoded"}), 400},
		{"another method without a type", "PUT", "/registry", "127.0.0.1", authorized(nil), 405},
		{"another method of a call", "PATCH", "/rpc", "127.0.0.1", authorized(nil), 405},
		{"another method as a page sends it", "PUT", "/registry", "127.0.0.1", authorized(header{"Origin": "https://evil.example"}), 403},
		{"withdrawal as text", "DELETE", "/registry", "127.0.0.1", authorized(header{"Content-Type": "text/plain"}), 415},
		{"unknown path", "GET", "/nosuch", "127.0.0.1", authorized(nil), 404},
		{"below a path", "DELETE", "/registry/foo", "127.0.0.1", nil, 404},
		{"other method", "PUT", "/routes", "127.0.0.1", authorized(header{"Content-Type": "application/json"}), 405},
	}
	h := newAPI(t, &admin.Options{Token: secret, Hosts: []string{"admin.example.com"}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader("x"))
			r.Host = tt.host
			for k, v := range tt.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("status = %d, want %d: %s", w.Code, tt.want, w.Body)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("the answer shows the token: %s", w.Body)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	notYet := errors.New("the gateway is stopping")
	h := newAPI(t, &admin.Options{Ready: func() error { return notYet }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("GET", "/readyz", ""))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "stopping") {
		t.Errorf("/readyz = %d %s, want 503 that says why", w.Code, w.Body)
	}

	live := router.NewLive(new(registry.Memory), upstream.NewPools(nil), nil)
	w = httptest.NewRecorder()
	admin.New(live, upstream.NewPools(nil), nil).ServeHTTP(w, request("GET", "/readyz", ""))
	if w.Code != 503 {
		t.Errorf("/readyz before the first table = %d, want 503", w.Code)
	}
}

// TestReadinessTellsOfEachRegistry by its name, unless it is as it should be.
func TestReadinessTellsOfEachRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, none, away := said{services: []*registry.Service{{Name: "web", Nodes: []*registry.Node{
			{ID: "1", Address: "127.0.0.1:1"}, {ID: "2", Address: "127.0.0.1:2"},
		}}}}, said{}, said{err: registry.ErrUnavailable}
		var steadies []*registry.Steady
		for _, f := range []struct {
			name   string
			source script
		}{
			{"etcd://well", script{state}},
			{"etcd://away", script{state, away}},
			{"etcd://new", script{away}},
			{"etcd://empty", script{state, away, none}},
			{"etcd://worst", script{state, away, none, away}},
			{"etcd://back", script{state, away, state}},
		} {
			s := registry.NewSteady(f.source, &registry.SteadyOptions{Name: f.name})
			w, err := s.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			for _, want := range f.source {
				if _, err := w.Next(t.Context()); !errors.Is(err, want.err) {
					t.Fatalf("Next() of %s error = %v, want %v", f.name, err, want.err)
				}
			}
			steadies = append(steadies, s)
		}
		w := httptest.NewRecorder()
		newAPI(t, &admin.Options{Steadies: steadies}).ServeHTTP(w, request("GET", "/readyz", ""))
		var got struct {
			Status   string
			Registry []string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Status != "ready" {
			t.Fatalf("/readyz = %d %s, want that it is ready", w.Code, w.Body)
		}
		at := "2000-01-01T00:00:00Z" // when a test begins
		want := []string{
			"etcd://away is away: what is served of it is its state of " + at,
			"etcd://new has not answered yet: nothing is known of it",
			"etcd://empty is followed, and 2 nodes are kept that it does not have any more",
			"etcd://worst is away: what is served of it is its state of " + at + ", and 2 nodes that it did not have any more",
		}
		if !slices.Equal(got.Registry, want) {
			t.Errorf("registry = %q, want %q", got.Registry, want)
		}
	})
}

// A script is a registry that says what it holds, and then nothing.
type script []said

type said struct {
	services []*registry.Service
	err      error
}

func (script) Get(context.Context, string) ([]*registry.Service, error) {
	return nil, registry.ErrNotFound
}
func (script) List(context.Context) ([]*registry.Service, error) { return nil, nil }
func (s script) Watch(context.Context) (registry.Watcher, error) { return &scriptWatcher{rest: s}, nil }

type scriptWatcher struct{ rest script }

func (w *scriptWatcher) Next(ctx context.Context) ([]*registry.Service, error) {
	if len(w.rest) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	next := w.rest[0]
	w.rest = w.rest[1:]
	return next.services, next.err
}

func (*scriptWatcher) Close() error { return nil }

func TestClient(t *testing.T) {
	srv := httptest.NewServer(newAPI(t, &admin.Options{Token: "s3cret"}))
	defer srv.Close()
	ctx := t.Context()
	c := admin.NewClient(srv.Listener.Addr().String(), "s3cret")

	s := &registry.Service{
		Name: "web", Version: "2",
		Nodes: []*registry.Node{{ID: "web-1", Address: "127.0.0.1:9", Metadata: map[string]string{"protocol": "http", "weight": "5", "canary": "perhaps"}}},
		Endpoints: []*registry.Endpoint{
			{Name: "Web", Metadata: map[string]string{"handler": "http", "path": "/web/**", "method": "GET"}},
			{Name: "Bad", Metadata: map[string]string{"handler": "http", "path": "^/half"}},
		},
	}
	if err := c.Register(ctx, s, time.Minute); err != nil {
		t.Fatalf("Register = %v", err)
	}
	services := awaitServices(t, c, 1)
	if got := services[0]; got.Name != "web" || got.Version != "2" || len(got.Nodes) != 1 ||
		got.Nodes[0].State != admin.StateUp || got.Nodes[0].Protocol != "http" || len(got.Endpoints) != 2 {
		t.Errorf("Services = %+v, want web with a node that is up", got)
	}
	if n := services[0].Nodes[0]; n.Weight != 5 || len(n.Ignored) != 1 || !strings.Contains(n.Ignored[0], "canary") {
		t.Errorf("Services = %+v, want the weight 5 and that canary means nothing", n)
	}
	routes, err := c.Routes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(routes.Routes) != 1 || routes.Routes[0].Path != "/web/**" || len(routes.Reports) != 1 || routes.Registry.Updated.IsZero() {
		t.Errorf("Routes = %+v, want one route, one report and a time", routes)
	}
	if err := c.Deregister(ctx, s); err != nil {
		t.Fatalf("Deregister = %v", err)
	}
	awaitServices(t, c, 0)

	if err := c.Register(ctx, &registry.Service{}, 0); goapi.Status(err) != 400 || !strings.Contains(err.Error(), "name") {
		t.Errorf("Register of nothing = %v, want 400 that names the field", err)
	}
	if _, err := c.Call(ctx, "nosuch", "A.B", nil); goapi.Status(err) != 404 {
		t.Errorf("Call of an unknown service = %v, want 404", err)
	}
	if _, err := admin.NewClient(srv.URL, "wrong").Services(ctx); goapi.Status(err) != 401 {
		t.Errorf("Services with a wrong token = %v, want 401", err)
	}
}

// TestRoutesTellWhatTheRegistryLeftOut has two registries, of which one holds a
// record that cannot be read.
func TestRoutesTellWhatTheRegistryLeftOut(t *testing.T) {
	srv := httptest.NewServer(newAPI(t, &admin.Options{Source: registry.NewMulti([]registry.Member{
		{Name: "memory:", Reader: new(registry.Memory)},
		{Name: "damaged:", Reader: damaged{new(registry.Memory)}},
	}, nil)}))
	defer srv.Close()
	routes, err := admin.NewClient(srv.URL, "").Routes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(routes.Reports) != 1 || !strings.Contains(routes.Reports[0].Reason, "damaged:") || !strings.Contains(routes.Reports[0].Reason, "no JSON") {
		t.Errorf("Reports = %+v, want the record that is left out, and by whom", routes.Reports)
	}
	if len(routes.Registry.Members) != 2 || routes.Registry.Members[0].Name != "memory:" || routes.Registry.Members[0].Ready {
		t.Errorf("Members = %+v, want both, which nobody watches", routes.Registry.Members)
	}
}

// damaged is a registry with a record that is no service.
type damaged struct{ *registry.Memory }

func (damaged) LeftOut() []registry.Omission {
	return []registry.Omission{{Key: "greeter.1", Reason: "it is no JSON"}}
}

func TestClientWithoutAGateway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, err := admin.NewClient(gone.URL, "").Services(t.Context())
	want := "admin: GET " + gone.URL + "/services: " + admin.ErrNoGateway.Error()
	if !errors.Is(err, admin.ErrNoGateway) || !errors.Is(err, registry.ErrUnavailable) || err.Error() != want {
		t.Errorf("Services of nobody = %v, want %s", err, want)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>")
	}))
	defer other.Close()
	if _, err := admin.NewClient(other.URL, "").Services(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer as a gateway") {
		t.Errorf("Services of another server = %v, want an error that says so", err)
	}
}

// What the gateway's registry said there is what the client says here, and
// people can read why.
func TestClientIsARegistry(t *testing.T) {
	field := &registry.FieldError{Field: "nodes[0].address", Reason: "it is not host:port"}
	tests := []struct {
		name   string
		status int
		body   string
		want   error // one of package registry's, if any
		text   string
	}{
		{"field", 400, `{"id":"goapi","code":400,"detail":"nodes[0].address: it is not host:port"}`, field, "nodes[0].address: it is not host:port"},
		{"not of a field", 400, `{"id":"goapi","code":400,"detail":"the body is not JSON: byte 1 does not belong there"}`, nil, "byte 1"},
		{"too large", 413, `{"id":"goapi","code":413,"detail":"the registry cannot hold a record this large"}`, registry.ErrTooLarge, "this large"},
		{"unavailable", 503, `{"id":"goapi","code":503,"detail":"the registry cannot be reached"}`, registry.ErrUnavailable, "cannot be reached"},
		{"late", 504, `{"id":"goapi","code":504,"detail":"the registry did not answer in time"}`, registry.ErrUnavailable, "in time"},
		{"a proxy's", 502, "bad gateway", registry.ErrUnavailable, "bad gateway"},
		{"token", 401, `{"id":"goapi","code":401,"detail":"a token is needed"}`, nil, "a token is needed"},
		{"defect", 500, `{"id":"goapi","code":500,"detail":"the gateway failed"}`, nil, "the gateway failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer srv.Close()
			c := admin.NewClient(srv.URL, "")
			s := &registry.Service{Name: "web"}
			for _, err := range []error{c.Register(t.Context(), s, 0), c.Deregister(t.Context(), s)} {
				if goapi.Status(err) != tt.status || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error = %v, want %d and %s", err, tt.status, tt.text)
				}
				var got *registry.FieldError
				if errors.As(err, &got) != errors.Is(tt.want, field) || got != nil && *got != *field {
					t.Errorf("error = %v, want field: %v", err, tt.want)
				}
				for _, kind := range []error{registry.ErrTooLarge, registry.ErrUnavailable} {
					if got := errors.Is(err, kind); got != errors.Is(tt.want, kind) {
						t.Errorf("error is %v: %t, want %t", kind, got, !got)
					}
				}
			}
		})
	}
}

// Whoever gives up a request has not lost the registry.
func TestClientGivesUp(t *testing.T) {
	silent := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
	defer srv.Close()
	defer close(silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := admin.NewClient(srv.URL, "").Register(ctx, &registry.Service{Name: "web"}, 0)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register = %v, want the context's error", err)
	}
}

func TestClientCallOfAnEmptyReply(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer srv.Close()
	if reply, err := admin.NewClient(srv.URL, "").Call(t.Context(), "greeter", "Greeter.Hello", nil); err != nil || len(reply) != 0 {
		t.Errorf("Call = %s, %v, want nothing", reply, err)
	}
}

// newAPI returns the admin API of a gateway on an empty registry.
func newAPI(t *testing.T, opts *admin.Options) http.Handler {
	t.Helper()
	reg, pools := new(registry.Memory), upstream.NewPools(nil)
	live := router.NewLive(reg, pools, nil)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = live.Run(ctx) // ends with ctx
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	<-live.Ready()
	opts.Registry = handler.Registry(reg, nil)
	opts.Call = handler.Call(func(string) *upstream.Set { return nil }, nil, nil)
	return admin.New(live, pools, opts)
}

func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8081"
	return r
}

// awaitServices returns the services when there are n: the table follows the
// registry, and the API has no other way to tell.
func awaitServices(t *testing.T, c *admin.Client, n int) []admin.Service {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		services, err := c.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(services) == n {
			return services
		}
		if time.Now().After(deadline) {
			b, _ := json.Marshal(services)
			t.Fatalf("services = %s, want %d", b, n)
		}
	}
}
