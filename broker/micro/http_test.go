package micro_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/brokertest"
	"github.com/goapi-dev/goapi/broker/micro"
	"github.com/goapi-dev/goapi/registry"
)

func TestHTTP(t *testing.T) {
	registries := make(map[broker.Broker]registry.Registry)
	brokertest.Run(t, func(t testing.TB) broker.Broker {
		reg := new(registry.Memory)
		b := openHTTP(t, reg, nil)
		registries[b] = reg
		return b
	}, &brokertest.Options{
		MinAckWait: 200 * time.Millisecond,
		Another:    func(t testing.TB, b broker.Broker) broker.Broker { return openHTTP(t, registries[b], nil) },
	})
}

func TestOpenHTTPErrors(t *testing.T) {
	tests := []struct{ url, want string }{
		{"http+micro://127.0.0.1:0?ttl=a", `unknown or repeated parameter "ttl"; known: advertise, verify`},
		{"http+micro://127.0.0.1:0?advertise=a&advertise=b", "repeated parameter"},
		{"http+micro://127.0.0.1", "missing port"},
		{"http+micro://127.0.0.1:0/path", "parts that mean nothing"},
		{"http+micro://user:secret@127.0.0.1:0", "parts that mean nothing"},
		{"http+micro://0.0.0.0:0", "say with advertise=host:port"},
		{"http+micro://:0", "say with advertise=host:port"},
		{"http+micro://[::]:0", "say with advertise=host:port"},
		{"http+micro://192.0.2.1:1", "192.0.2.1:1"},
		{"http+micro:?%zz", "malformed parameters"},
		{"http+micro:?verify=never", `verify "never" is neither true nor false`},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			b, err := micro.OpenHTTP(t.Context(), mustParse(t, tt.url), new(registry.Memory), nil)
			if err == nil {
				b.Close()
				t.Fatal("OpenHTTP() error = nil")
			}
			if got := err.Error(); !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
				t.Errorf("OpenHTTP() error = %v, want %q", err, tt.want)
			}
		})
	}
}

// subscriber is a go-micro subscriber: a node in the registry that keeps what is
// posted to it.
type subscriber struct {
	*httptest.Server

	posts chan string // "path: body"
}

func newSubscriber(t *testing.T, reg registry.Registry, service, version, id string, metadata map[string]string, status int) *subscriber {
	t.Helper()
	s := &subscriber{posts: make(chan string, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.posts <- r.Method + " " + r.RequestURI + " " + r.Header.Get("Content-Type") + ": " + string(body)
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	err := reg.Register(t.Context(), &registry.Service{Name: service, Version: version, Nodes: []*registry.Node{{
		ID: id, Address: s.Listener.Addr().String(), Metadata: metadata,
	}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func metadata(topic string) map[string]string {
	return map[string]string{"broker": "http", "topic": topic, "secure": "false"}
}

// TestHTTPPublishToEveryVersion: each version's subscribers are found where they
// announce themselves, and get what they read.
func TestHTTPPublishToEveryVersion(t *testing.T) {
	reg := new(registry.Memory)
	const all = "ff.http.broadcast"
	v10 := newSubscriber(t, reg, "topic:greeter.hello", all, "broker-1.1", nil, 200)
	v13 := newSubscriber(t, reg, "greeter.hello", all, "broker-2.2", metadata("greeter.hello"), 200)
	v118 := newSubscriber(t, reg, "go.micro.http.broker", all, "greeter.hello-3", metadata("greeter.hello"), 200)
	v6 := newSubscriber(t, reg, "micro.http.broker", all, "greeter.hello-4", metadata("greeter.hello"), 200)
	others := []*subscriber{
		newSubscriber(t, reg, "micro.http.broker", all, "greeter.other-5", metadata("greeter.other"), 200),
		newSubscriber(t, reg, "greeter.hello", "1.0.0", "greeter.hello-6", map[string]string{"protocol": "mucp"}, 200), // a service of that name
	}
	b := openHTTP(t, reg, nil)
	m := &broker.Message{ID: "1", Header: map[string]string{"Content-Type": "application/json"}, Body: []byte(`{"a":1}`), Time: time.Unix(1, 0)}
	if err := b.Publish(bound(t), "greeter.hello", m); err != nil {
		t.Fatal(err)
	}
	const body = `{"Header":{":topic":"greeter.hello","Content-Type":"application/json","Goapi-Mark":"1970-01-01T00:00:01Z greeter.hello 1","Micro-Id":"1",` +
		`"Micro-Topic":"greeter.hello"},"Body":"eyJhIjoxfQ=="}`
	for _, tt := range []struct {
		s    *subscriber
		want string
	}{
		{v10, "POST /_sub?id=broker-1.1"}, {v13, "POST /_sub?id=broker-2.2"}, {v118, "POST /_sub?id=greeter.hello-3"}, {v6, "POST /?id=greeter.hello-4"},
	} {
		if got, want := <-tt.s.posts, tt.want+" application/json: "+body; got != want {
			t.Errorf("posted is\n%s, want\n%s", got, want)
		}
	}
	for _, s := range others {
		if n := len(s.posts); n > 0 {
			t.Errorf("%d messages went to who did not subscribe", n)
		}
	}
}

// TestHTTPPublishToGroups: one of a group takes a message; another only if
// nothing was sent.
func TestHTTPPublishToGroups(t *testing.T) {
	reg := new(registry.Memory)
	b := openHTTP(t, reg, nil)
	gone := newSubscriber(t, reg, "micro.http.broker", "workers", "gone", metadata("orders"), 200)
	gone.Close()
	there := newSubscriber(t, reg, "micro.http.broker", "workers", "there", metadata("orders"), 200)
	for i := range 20 {
		if err := b.Publish(bound(t), "orders", &broker.Message{ID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(there.posts); n != 20 {
		t.Errorf("the one of a group that is there got %d messages, want 20", n)
	}
	fails := newSubscriber(t, reg, "micro.http.broker", "failing", "fails", metadata("other"), 500)
	spare := newSubscriber(t, reg, "micro.http.broker", "failing", "fails, too", metadata("other"), 500)
	err := b.Publish(bound(t), "other", &broker.Message{})
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "answered 500") {
		t.Errorf("Publish() that nobody takes error = %v, want ErrUnavailable with the reason", err)
	}
	if n := len(fails.posts) + len(spare.posts); n != 1 {
		t.Errorf("a message was sent to %d of a group, want 1", n)
	}
	if err := b.Publish(bound(t), "nobody", &broker.Message{}); err != nil {
		t.Errorf("Publish() without subscribers error = %v, want nil", err)
	}
}

// TestHTTPCaptures finds the subscribers that real services announced.
func TestHTTPCaptures(t *testing.T) {
	for _, file := range []string{"v6-httpbroker-values.json", "v118-etcd-httpbroker.json"} {
		t.Run(file, func(t *testing.T) {
			reg := new(registry.Memory)
			for _, s := range services(t, file) {
				if err := reg.Register(t.Context(), s, 0); err != nil {
					t.Fatal(err)
				}
			}
			asked := make(chan string, 10)
			client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				asked <- r.URL.String()
				return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
			})}
			b := openHTTP(t, reg, &micro.HTTPOptions{Client: client})
			if err := b.Publish(bound(t), "greeter.hello", &broker.Message{}); err != nil {
				t.Fatal(err)
			}
			if n := len(asked); n != 1 {
				t.Fatalf("%d subscribers were asked, want 1", n)
			}
			if got := <-asked; !strings.Contains(got, "id=greeter.hello-") {
				t.Errorf("asked is %s", got)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// services returns those in a capture whose nodes have broker=http.
func services(t *testing.T, file string) []*registry.Service {
	t.Helper()
	var list []*registry.Service
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var s registry.Service
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, &s)
	}
	if len(list) == 0 {
		t.Fatalf("there is no service in %s", file)
	}
	return list
}

// TestHTTPAnnouncement: publishers of every version find a subscription, until
// it is closed.
func TestHTTPAnnouncement(t *testing.T) {
	reg := new(registry.Memory)
	b := openHTTP(t, reg, nil)
	alone := subscribe(t, b, "greeter.hello", nil)
	subscribe(t, b, "greeter.hello", &broker.SubscribeOptions{Group: "workers"})
	for _, name := range []string{"topic:greeter.hello", "greeter.hello", "go.micro.http.broker", "micro.http.broker"} {
		got, err := reg.Get(t.Context(), name)
		if err != nil || len(got) != 2 || got[0].Version != "ff.http.broadcast" || got[1].Version != "workers" {
			t.Fatalf("Get(%q) = %v, %v, want versions ff.http.broadcast and workers", name, got, err)
		}
		n := got[0].Nodes[0]
		if !maps.Equal(n.Metadata, metadata("greeter.hello")) || !strings.HasPrefix(n.ID, "greeter.hello-") {
			t.Errorf("node = %+v", n)
		}
	}
	alone.Close()
	got, err := reg.Get(t.Context(), "micro.http.broker")
	if err != nil || len(got) != 1 || got[0].Version != "workers" {
		t.Errorf("Get() after Close = %v, %v, want workers only", got, err)
	}
	b.Close()
	if got, _ := reg.List(t.Context()); len(got) > 0 {
		t.Errorf("List() after Close of the broker = %v, want none", got)
	}
}

// TestHTTPNameOfService: who calls a service never gets to who subscribes to a
// topic of its name.
func TestHTTPNameOfService(t *testing.T) {
	reg := new(registry.Memory)
	announce := func(name string) {
		t.Helper()
		s := &registry.Service{Name: name, Version: "latest", Nodes: []*registry.Node{{
			ID: name + "-1", Address: "127.0.0.1:9", Metadata: map[string]string{"broker": "http", "protocol": "mucp"},
		}}}
		if err := reg.Register(t.Context(), s, 0); err != nil {
			t.Fatal(err)
		}
	}
	b := openHTTP(t, reg, &micro.HTTPOptions{TTL: 150 * time.Millisecond})
	announce("before")
	subscribe(t, b, "before", nil)
	subscribe(t, b, "after", nil)
	if got, err := reg.Get(t.Context(), "after"); err != nil || len(got) != 1 || got[0].Version != "ff.http.broadcast" {
		t.Errorf("Get(after) = %v, %v, want the subscription", got, err)
	}
	announce("after")
	w, err := reg.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	count := func(services []*registry.Service, name string) (n int) {
		for _, s := range services {
			if s.Name == name {
				n += len(s.Nodes)
			}
		}
		return n
	}
	for {
		services, err := w.Next(bound(t))
		if err != nil {
			t.Fatalf("Next() error = %v, want one node of each service", err)
		}
		if n := count(services, "before"); n != 1 {
			t.Fatalf("%d nodes of the service that was there before, want 1", n)
		}
		if count(services, "after") == 1 && count(services, "micro.http.broker") == 2 {
			return
		}
	}
}

// TestHTTPServes what publishers of each version post.
func TestHTTPServes(t *testing.T) {
	reg := new(registry.Memory)
	b := openHTTP(t, reg, nil)
	s := subscribe(t, b, "greeter.hello", nil)
	found, err := reg.Get(t.Context(), "micro.http.broker")
	if err != nil {
		t.Fatal(err)
	}
	n := found[0].Nodes[0]
	right := "/?id=" + n.ID
	captured := string(payload(t, "http-v6-publish.txt"))
	tests := []struct {
		name, method, target, body string
		want                       int
		detail                     string
	}{
		{"v6", "POST", right, captured, 200, ""},
		{"v1", "POST", "/_sub?id=" + n.ID, strings.ReplaceAll(captured, "Micro-Topic", ":topic"), 200, ""},
		{"another topic", "POST", right, strings.ReplaceAll(captured, "greeter.hello", "greeter.other"), 500, "Topic not found"},
		{"no topic", "POST", right, `{"Body":""}`, 500, "Topic not found"},
		{"no JSON", "POST", right, "{", 400, "Bad message"},
		{"too large", "POST", right, `{"Body":"` + strings.Repeat("a", 2<<20), 400, "Bad message"},
		{"another method", "GET", right, "", 405, "Method not allowed"},
		{"another path", "POST", "/other?id=" + n.ID, captured, 404, "Not found"},
		{"another subscriber", "POST", "/?id=other", captured, 404, "Subscriber not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(bound(t), tt.method, "http://"+n.Address+tt.target, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			rsp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer http.DefaultClient.CloseIdleConnections()
			defer rsp.Body.Close()
			body, _ := io.ReadAll(rsp.Body)
			if rsp.StatusCode != tt.want || !strings.Contains(string(body), tt.detail) {
				t.Errorf("answer = %d %s, want %d %s", rsp.StatusCode, body, tt.want, tt.detail)
			}
			if tt.want != 200 {
				return
			}
			d := next(t, s)
			if d.ID != "aa893c45-1cf3-48e6-8b0f-eb8d9d189fce" || d.Topic != "greeter.hello" || d.Header["Trace"] != "t1" {
				t.Errorf("Next() = %+v", d.Message)
			}
		})
	}
}

// TestHTTPRenews: an announcement outlives its TTL, and tells when it cannot be
// renewed.
func TestHTTPRenews(t *testing.T) {
	reg := &failing{Registry: new(registry.Memory), renewed: make(chan struct{}, 100)}
	b := openHTTP(t, reg, &micro.HTTPOptions{TTL: 150 * time.Millisecond})
	s := subscribe(t, b, "orders", nil)
	for range 16 { // four names, four times
		<-reg.renewed
	}
	if err := b.Publish(bound(t), "orders", &broker.Message{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, s).ID; got != "1" {
		t.Errorf("Next() = %q, want 1", got)
	}
	reg.fail.Store(true)
	if d, err := s.Next(bound(t)); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Next() while nothing is renewed = %v, %v, want ErrUnavailable", d, err)
	}
	if err := b.Publish(bound(t), "orders", &broker.Message{}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Publish() without a registry error = %v, want ErrUnavailable", err)
	}
	if _, err := b.Subscribe(bound(t), "orders", nil); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Subscribe() without a registry error = %v, want ErrUnavailable", err)
	}
	reg.fail.Store(false)
	for ctx := bound(t); ctx.Err() == nil; {
		if err := b.Publish(ctx, "orders", &broker.Message{ID: "2"}); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		d, err := s.Next(short)
		cancel()
		if err == nil && d.ID == "2" {
			return
		}
	}
	t.Error("the subscription did not come back")
}

func openHTTP(t testing.TB, reg registry.Registry, opts *micro.HTTPOptions) *micro.HTTP {
	t.Helper()
	b, err := micro.OpenHTTP(t.Context(), &url.URL{Scheme: "http+micro"}, reg, opts)
	if err != nil {
		t.Fatalf("OpenHTTP() error = %v", err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := b.Close(); err != nil {
				t.Errorf("Close() error = %v", err)
			}
		}
	})
	return b
}

func mustParse(t testing.TB, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func bound(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func subscribe(t testing.TB, b broker.Subscriber, topic string, opts *broker.SubscribeOptions) broker.Subscription {
	t.Helper()
	s, err := b.Subscribe(bound(t), topic, opts)
	if err != nil {
		t.Fatalf("Subscribe(%q) error = %v", topic, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func next(t testing.TB, s broker.Subscription) *broker.Delivery {
	t.Helper()
	d, err := s.Next(bound(t))
	if err != nil {
		t.Fatalf("Next() error = %v", err)
	}
	return d
}

// failing is a registry that can be away.
type failing struct {
	registry.Registry

	fail    atomic.Bool
	renewed chan struct{}
}

func (f *failing) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if f.fail.Load() {
		return registry.ErrUnavailable
	}
	select {
	case f.renewed <- struct{}{}:
	default: // nobody counts any more
	}
	return f.Registry.Register(ctx, s, ttl)
}

func (f *failing) Get(ctx context.Context, name string) ([]*registry.Service, error) {
	if f.fail.Load() {
		return nil, registry.ErrUnavailable
	}
	return f.Registry.Get(ctx, name)
}
