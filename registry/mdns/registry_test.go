package mdns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

func TestRegistry(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, func(t *testing.T) registry.Registry { return open(t, "mdns:?domain=suite") }, &registrytest.Options{
		MinTTL: 500 * time.Millisecond, MaxRecord: maxText, Sever: sever,
		Beside: func(t testing.TB, _ registry.Registry) registry.Writer {
			t.Helper()
			return open(t, "mdns:?domain=suite")
		},
	})
}

// TestRegistryOverTheNetwork reads with one registry what another one announces.
func TestRegistryOverTheNetwork(t *testing.T) {
	t.Parallel()
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		return &pair{Registry: open(t, "mdns:?domain=pair"), writer: open(t, "mdns:?domain=pair")}
	}, &registrytest.Options{MinTTL: 500 * time.Millisecond, MaxRecord: maxText})
}

// TestTwoRegistries has two registries on one machine see each other, and the
// end of one of them.
func TestTwoRegistries(t *testing.T) {
	t.Parallel()
	one := func(domain string, groups ...netip.Addr) func(*testing.T) *Registry {
		return func(t *testing.T) *Registry {
			t.Helper()
			n, err := openNetwork(t.Context(), nil, groups...)
			if err != nil {
				t.Fatal(err)
			}
			r := start(n, []string{domain}, (*Options)(nil).orDefault())
			t.Cleanup(func() { r.Close() })
			return r
		}
	}
	tests := []struct {
		name, address string
		open          func(*testing.T) *Registry
	}{
		{"IPv4", "127.0.0.1:1", one("two-a.", groupV4())},
		{"IPv6", "[::1]:1", one("two-b.", groupV6())},
		{"a node of the other IP version", "127.0.0.1:1", one("two-c.", groupV6())},
		{"one interface", "127.0.0.1:1", func(t *testing.T) *Registry { t.Helper(); return open(t, "mdns:?domain=two-d&interface=lo") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := tt.open(t), tt.open(t)
			register(t, a, greeter(tt.address))
			w := watch(t, b)
			await(t, w, asText([]*registry.Service{greeter(tt.address)}))
			if got, err := b.Get(t.Context(), "greeter"); asText(got) != asText([]*registry.Service{greeter(tt.address)}) || err != nil {
				t.Errorf("Get = %s, %v, want what the other registered", asText(got), err)
			}
			other := greeter(tt.address)
			other.Name = "other"
			register(t, b, other)
			await(t, watch(t, a), asText([]*registry.Service{greeter(tt.address), other}))
			if err := a.Close(); err != nil {
				t.Errorf("Close() error = %v", err)
			}
			await(t, w, asText([]*registry.Service{other}))
		})
	}
}

// TestKilledProcess ends a registry without goodbye.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	a, b := open(t, "mdns:?domain=killed"), open(t, "mdns:?domain=killed")
	register(t, a, greeter("127.0.0.1:1"))
	w := watch(t, b)
	await(t, w, asText([]*registry.Service{greeter("127.0.0.1:1")}))
	killed := time.Now()
	for _, s := range slices.Concat(a.net.speaking, a.net.asking) {
		s.conn.Close()
	}
	await(t, w, "null")
	if took := time.Since(killed); took < 2*time.Second || took > 12*time.Second {
		t.Errorf("a killed node is gone after %v, want 3 to 9 s", took)
	}
}

// TestGoMicroQuery asks as go-micro's client does, from a socket of its own.
func TestGoMicroQuery(t *testing.T) {
	t.Parallel()
	r := open(t, "mdns:?domain=micro")
	s := greeter("127.0.0.1:9090")
	s.Name = "greetermdns"
	register(t, r, s)
	for _, group := range []netip.Addr{groupV4(), groupV6()} {
		t.Run(group.String(), func(t *testing.T) {
			t.Parallel()
			client, err := listenAlone(t.Context(), group)
			if err != nil {
				t.Fatal(err)
			}
			defer client.conn.Close()
			question := capture(t, "query-service.txt")[0].data
			if err := client.multicast(question, &r.net.links.Load().list[0]); err != nil {
				t.Fatal(err)
			}
			if err := client.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, maxDatagram)
			n, from, _, err := client.read(buf)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			if from.Port() != mdnsPort || !from.Addr().IsLoopback() {
				t.Errorf("the answer is from %v, want the shared port of this machine", from)
			}
			wantAnswer(t, buf[:n], parsed(t, question), "greetermdns.micro.", "greeter-1.greetermdns.micro.", []dnsmessage.Type{
				dnsmessage.TypePTR, dnsmessage.TypeSRV, dnsmessage.TypeA, dnsmessage.TypeTXT,
			})
		})
	}
}

// TestGetAsks has a registry hear of a service only when it asks for it.
func TestGetAsks(t *testing.T) {
	t.Parallel()
	a, b := open(t, "mdns:?domain=asked"), open(t, "mdns:?domain=asked")
	if got, err := b.Get(t.Context(), "greeter"); !errors.Is(err, registry.ErrNotFound) {
		t.Fatalf("Get = %s, %v, want ErrNotFound", asText(got), err)
	}
	a.mu.Lock()
	put(t, a.announcer, time.Now(), greeter("127.0.0.1:1"), 0) // and nothing is said
	clear(a.announcer.repeats)
	a.mu.Unlock()
	got, err := b.Get(t.Context(), "greeter")
	for tries := 0; errors.Is(err, registry.ErrNotFound) && tries < 10; tries++ { // the machine may be busy
		got, err = b.Get(t.Context(), "greeter")
	}
	if asText(got) != asText([]*registry.Service{greeter("127.0.0.1:1")}) {
		t.Errorf("Get = %s, %v, want the service that answers", asText(got), err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	r := open(t, "mdns:?domain=closed")
	w := watch(t, r)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v, want nil", err)
		}
	}
	_, next := w.Next(t.Context())
	_, get := r.Get(t.Context(), "greeter")
	_, list := r.List(t.Context())
	_, watching := r.Watch(t.Context())
	for name, err := range map[string]error{
		"Next": next, "Get": get, "List": list, "Watch": watching,
		"Register":   r.Register(t.Context(), greeter("127.0.0.1:1"), 0),
		"Deregister": r.Deregister(t.Context(), greeter("127.0.0.1:1")),
	} {
		if !errors.Is(err, registry.ErrClosed) {
			t.Errorf("%s after Close error = %v, want ErrClosed", name, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "mdns", RawQuery: "domian=micro"}
	_, err := Open(t.Context(), u, nil)
	if want := `registry: mdns:: unknown parameter "domian"; known parameters: domain, interface`; err == nil || err.Error() != want {
		t.Errorf("Open(%s) error = %v, want %s", u, err, want)
	}
}

// TestLeftOutIsReported hears what another program says that is no service.
func TestLeftOutIsReported(t *testing.T) {
	t.Parallel()
	r := open(t, "mdns:?domain=bad")
	w := watch(t, r)
	await(t, w, "null")
	said, err := listenAlone(t.Context(), groupV4())
	if err != nil {
		t.Fatal(err)
	}
	defer said.conn.Close()
	bad := entry{instance: "x.bank.bad.", target: "host.bad.", port: 1, ttl: announcedTTL, addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}
	good := greeter("127.0.0.1:1")
	a := newAnnouncer("bad.", [8]byte{1})
	l, err := a.encode(good, good.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	bad.text = l.entry.text
	data, err := response(&bad, "bank.bad.", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, packet := range [][]byte{{1, 2, 3}, data, l.data} {
		if err := said.multicast(packet, &r.net.links.Load().list[0]); err != nil {
			t.Fatal(err)
		}
	}
	await(t, w, asText([]*registry.Service{good}))
	want := registry.Omission{Key: "x.bank.bad.", Reason: `its TXT record is that of service "greeter", and its name is not`}
	if got := r.LeftOut(); len(got) != 1 || got[0] != want {
		t.Errorf("LeftOut() = %+v, want %+v", got, want)
	}
}

// A pair reads with one registry what it writes with another. A write ends when
// it has arrived.
type pair struct {
	*Registry

	writer *Registry
}

func (p *pair) Register(ctx context.Context, s *registry.Service, ttl time.Duration) error {
	if err := p.writer.Register(ctx, s, ttl); err != nil {
		return err
	}
	return p.arrived(ctx, s.Name)
}

func (p *pair) Deregister(ctx context.Context, s *registry.Service) error {
	if err := p.writer.Deregister(ctx, s); err != nil {
		return err
	}
	return p.arrived(ctx, s.Name)
}

// arrived waits until the reader has of a service what the writer has.
func (p *pair) arrived(ctx context.Context, name string) error {
	if err := p.await(ctx); err != nil {
		return err
	}
	for {
		want, announced := p.writer.get(name)
		got, heard := p.get(name)
		if asText(got) == asText(want) {
			return nil
		}
		select {
		case <-announced: // others use them, too
		case <-heard:
		case <-ctx.Done():
			return fmt.Errorf("the reader has\n%s, the writer\n%s: %w", asText(got), asText(want), ctx.Err())
		}
	}
}

// asText returns services as JSON, in which what is empty is null.
func asText(services []*registry.Service) string {
	if len(services) == 0 {
		return "null"
	}
	data, err := json.Marshal(services)
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(":{}", ":null", ":[]", ":null").Replace(string(data))
}

// sever takes every interface away from a registry.
func sever(tb testing.TB, reg registry.Registry) (restore func()) {
	tb.Helper()
	n := reg.(*Registry).net
	choose := func(names ...string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.names = names
	}
	choose("none")
	return func() { choose() }
}

// open opens a registry that is closed when the test ends.
func open(t testing.TB, address string) *Registry {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), u, nil)
	if err != nil {
		t.Fatalf("Open(%s) error = %v", address, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return r
}

func register(t testing.TB, r *Registry, s *registry.Service) {
	t.Helper()
	if err := r.Register(t.Context(), s, 0); err != nil {
		t.Fatalf("Register(%s) error = %v", s.Name, err)
	}
}

// watch returns a watcher that is closed when the test ends.
func watch(t testing.TB, r *Registry) registry.Watcher {
	t.Helper()
	w, err := r.Watch(t.Context())
	if err != nil {
		t.Fatalf("Watch() error = %v", err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// await reads states until one is what is wanted, as asText has it.
func await(t testing.TB, w registry.Watcher, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	last := "nothing"
	for {
		got, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("Next() error = %v, after %s; want %s", err, last, want)
		}
		if last = asText(got); last == want {
			return
		}
	}
}
