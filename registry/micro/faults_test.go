package micro_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/micro"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// TestServerRestarts: the loss of contact is told of once, calls fail meanwhile,
// and nothing is gone afterwards but what really is.
func TestServerRestarts(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	address := "nats+micro://" + s.Addr() + brief
	reading, writing := open(t, address, nil), open(t, address, nil)
	registrytest.Register(t, writing, registrytest.Greeter("1", "2"), 0)
	kill := provide(t, address, []byte(`{"name":"other","nodes":[{"id":"o","address":"127.0.0.1:1"}]}`))
	w, own := registrytest.Watch(t, reading), registrytest.Watch(t, writing)
	before := w.Await("all nodes", registrytest.HasNodes("1", "2", "o"))
	own.Await("all nodes", registrytest.HasNodes("1", "2", "o"))

	s.Close()
	w.AwaitLoss()
	own.AwaitLoss() // before that, a call may fail and take effect all the same
	begun := time.Now()
	if err := writing.Register(bound(t, deadline), registrytest.Greeter("late"), 0); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register() without a server error = %v, want ErrUnavailable", err)
	}
	if err := writing.Deregister(bound(t, deadline), registrytest.Greeter("1")); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Deregister() without a server error = %v, want ErrUnavailable", err)
	}
	_, get := reading.Get(bound(t, deadline), "greeter")
	_, list := reading.List(bound(t, deadline))
	if !errors.Is(get, registry.ErrUnavailable) || !errors.Is(list, registry.ErrUnavailable) {
		t.Errorf("Get() and List() without a server error = %v and %v, want ErrUnavailable", get, list)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("four calls without a server took %v, want none to wait for its end", took)
	}
	late := registrytest.Watch(t, reading)
	late.AwaitLoss()
	w.WantNothing(300 * time.Millisecond)
	kill()

	start(t, &conns.ServerOptions{Address: s.Addr()})
	after := w.Await("a state", registrytest.AnyState)
	if !slices.Equal(after, before) {
		t.Errorf("the first state with contact back has %q, want the same pointers as before", nodes(after))
	}
	w.Await("the node of the provider that did not come back to be gone", registrytest.HasNodes("1", "2"))
	late.Await("the same for one that began without a server", registrytest.HasNodes("1", "2"))
	if err := writing.Deregister(bound(t, deadline), registrytest.Greeter("1")); err != nil {
		t.Fatal(err)
	}
	w.Await("a node to be gone", registrytest.HasNodes("2"))
}

// TestWatchOnceContactIsLost: who first looks while there is no server finds
// what is there once it is back.
func TestWatchOnceContactIsLost(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	address := "nats+micro://" + s.Addr() + brief
	writing := open(t, address, nil)
	registrytest.Register(t, writing, registrytest.Greeter("1"), 0)
	shared := new(conns.Conns)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	reading, err := micro.Open(t.Context(), u, &micro.Options{Conns: shared})
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	conn, err := shared.Open(t.Context(), &url.URL{Scheme: "nats", Host: s.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lost := conn.StatusChanged(natsgo.RECONNECTING)
	s.Close()
	<-lost
	w := registrytest.Watch(t, reading)
	w.AwaitLoss()
	start(t, &conns.ServerOptions{Address: s.Addr()})
	w.Await("the node", registrytest.HasNodes("1"))
}

// TestExpiryWithoutContact: what ends while there is no server is not answered
// for afterwards.
func TestExpiryWithoutContact(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	address := "nats+micro://" + s.Addr() + brief
	reading, writing := open(t, address, nil), open(t, address, nil)
	registrytest.Register(t, writing, registrytest.Greeter("1"), 0)
	registrytest.Register(t, writing, registrytest.Greeter("2"), 2*time.Second)
	w, own := registrytest.Watch(t, reading), registrytest.Watch(t, writing)
	w.Await("both nodes", registrytest.HasNodes("1", "2"))
	own.Await("both nodes", registrytest.HasNodes("1", "2"))
	s.Close()
	w.AwaitLoss()
	own.AwaitLoss()
	own.WantNothing(250 * time.Millisecond)
	start(t, &conns.ServerOptions{Address: s.Addr()})
	own.Await("the node that has no time to live", registrytest.HasNodes("1"))
	w.Await("the node that has no time to live", registrytest.HasNodes("1"))
}

// TestAnswersOfManyNodes: a service whose nodes are too many for one message is
// told, and answered for, in several.
func TestAnswersOfManyNodes(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0", MaxPayload: 8 << 10}).Addr() + brief
	writing := open(t, address, nil)
	w := registrytest.Watch(t, open(t, address, nil))
	w.Await("a state", registrytest.AnyState)
	ids := make([]string, 500)
	for i := range ids {
		ids[i] = fmt.Sprintf("node-%03d", i)
	}
	registrytest.Register(t, writing, registrytest.Greeter(ids...), 0)
	w.Await("all nodes, as they are told", registrytest.HasNodes(ids...))
	registrytest.Watch(t, open(t, address, nil)).Await("all nodes, as they are answered", registrytest.HasNodes(ids...))
	if err := writing.Deregister(t.Context(), registrytest.Greeter(ids...)); err != nil {
		t.Fatal(err)
	}
	w.Await("all to be gone", registrytest.HasNodes())
}

// TestHostileMessages: they change nothing but what they may, and are told of.
func TestHostileMessages(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0", MaxPayload: 32 << 20})
	address := "nats+micro://" + s.Addr()
	said := make(lines, 64)
	u, err := url.Parse(address + "?window=50ms&interval=10m")
	if err != nil {
		t.Fatal(err)
	}
	r, err := micro.Open(t.Context(), u, &micro.Options{Logger: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	w := registrytest.Watch(t, r)
	before := w.Await("the node", registrytest.HasNodes("1"))
	nc := connect(t, address)
	create := func(service string) string { return `{"Action":"create","Service":` + service + `}` }
	tests := []struct{ name, data, want string }{
		{"no JSON", `{`, "unexpected end of JSON input"},
		{"a service that is a text", create(`"greeter"`), "it cannot be a JSON string"},
		{"no name", create(`{"nodes":[{"id":"n","address":"h:1"}]}`), "name: a service needs a name"},
		{"a name that hurts", create(`{"name":"a\u0000b","nodes":[{"id":"n","address":"h:1"}]}`), "name: it holds a character that is not printable"},
		{"an address that is none", create(`{"name":"queue","nodes":[{"id":"n","address":"queue-1"}]}`), `nodes[0].address: "queue-1" is not host:port`},
		{"an id that is a number", create(`{"name":"a","nodes":[{"id":1}]}`), "nodes[0].id: it cannot be a JSON number"},
		{"a message that is too large", create(`{"name":"a","metadata":{"a":"` + strings.Repeat("x", 9<<20) + `"}}`), "more than 8388608"},
		{"too many endpoints", create(`{"name":"a","endpoints":[` + strings.Repeat(`{},`, 10_000) + `{}]}`), "endpoints: there are 10001, more than 10000"},
		{"too many nodes", create(`{"name":"a","nodes":[` + strings.Repeat(`{},`, 10_000) + `{}]}`), "nodes: there are 10001, more than 10000"},
		{"a node that is ours", create(`{"name":"greeter","version":"latest","nodes":[{"id":"1","address":"evil:1"}]}`), ""},
		{"the end of a node that is ours", `{"Action":"delete","Service":{"name":"greeter","version":"latest","nodes":[{"id":"1"}]}}`, ""},
		{"the end of nobody", `{"Action":"delete","Service":null}`, ""},
		{"an action that nobody knows", `{"Action":"explode","Service":{}}`, ""},
		{"nothing", `null`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			publish(t, nc, subjectWatch, []byte(tt.data))
			if tt.want != "" {
				if got := receive(t, said); !strings.Contains(got, strings.Trim(fmt.Sprintf("%q", tt.want), `"`)) {
					t.Errorf("the log says %q, want %q", got, tt.want)
				}
			}
			has := func(o registry.Omission) bool { return o.Key == subjectWatch && strings.Contains(o.Reason, tt.want) }
			if got := r.LeftOut(); tt.want != "" && !slices.ContainsFunc(got, has) {
				t.Errorf("LeftOut() = %+v, want %q", got, tt.want)
			}
		})
	}
	publish(t, nc, subjectWatch, []byte(create(`{"name":"mixed","nodes":[{"id":"m","address":"h:1"},{"id":"q","address":"q"}]}`)))
	after := w.Await("the good node of a service", registrytest.HasNodes("1", "m"))
	if after[0] != before[0] {
		t.Error("our own service is another pointer, want the same")
	}
	if got := receive(t, said); !strings.Contains(got, "nodes[1].address") || len(said) > 0 {
		t.Errorf("the log says %q and %d lines more, want one about the bad node", got, len(said))
	}
	if got, want := len(r.LeftOut()), 10; got != want {
		t.Errorf("LeftOut() tells of %d things, want %d: %+v", got, want, r.LeftOut())
	}
}

// TestHostileQuestions: what asks for an answer elsewhere gets none.
func TestHostileQuestions(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr() + brief
	r := open(t, address, nil)
	registrytest.Register(t, r, registrytest.Greeter("1"), 0)
	nc := connect(t, address)
	all, err := nc.SubscribeSync("micro.nats.*")
	if err != nil {
		t.Fatal(err)
	}
	system, err := nc.SubscribeSync("$JS.>")
	if err != nil {
		t.Fatal(err)
	}
	questions := []string{`{"Action":"list"}`, `{`, `{"Action":"get"}`, `{"Action":"get","Service":{"name":""}}`, `{"Action":"get","Service":[]}`, `null`, `{"Action":"drop"}`}
	sent := 0
	for _, reply := range []string{"", subjectWatch, subjectQuery, "$JS.API.STREAM.LIST"} {
		for _, question := range questions {
			sent++
			m := &natsgo.Msg{Subject: subjectQuery, Reply: reply, Data: []byte(question)}
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := ask(t, nc, []byte(`{"action":"list"}`), 1); len(got) != 1 { // it was answered after all others
		t.Errorf("%d answers to a good question, want 1", len(got))
	}
	for range sent + 1 {
		if _, err := all.NextMsg(deadline); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := all.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("%s got %s, want nothing but the questions", m.Subject, m.Data)
	}
	if m, err := system.NextMsg(10 * time.Millisecond); err == nil {
		t.Errorf("%s got %s, want nothing", m.Subject, m.Data)
	}
}

// TestDeregisterOfOthers: a node that somebody else has registered is gone until
// he answers, and longer if he does not.
func TestDeregisterOfOthers(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr()
	provide(t, address, []byte(`{"name":"other","version":"2","nodes":[{"id":"o","address":"127.0.0.1:1"}]}`))
	r := open(t, address+brief, nil)
	w, apart := registrytest.Watch(t, r), registrytest.Watch(t, open(t, address+brief, nil))
	w.Await("the node", registrytest.HasNodes("o"))
	apart.Await("the node", registrytest.HasNodes("o"))
	if err := r.Deregister(t.Context(), &registry.Service{Name: "other", Nodes: []*registry.Node{{ID: "o"}, nil}}); err != nil {
		t.Fatal(err)
	}
	w.Await("the node to be gone", registrytest.HasNodes())
	apart.Await("the node to be gone", registrytest.HasNodes())
	w.Await("the node that answers", registrytest.HasNodes("o"))
	apart.Await("the node that answers", registrytest.HasNodes("o"))
}

// TestConcurrentRegistries: many write and close while one reads.
func TestConcurrentRegistries(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr() + brief
	w := registrytest.Watch(t, open(t, address, nil))
	w.Await("a state", registrytest.AnyState)
	var wg sync.WaitGroup
	for i := range 8 {
		writing := open(t, address, nil)
		wg.Go(func() {
			defer writing.Close()
			for range 20 {
				s := registrytest.Greeter(fmt.Sprint(i))
				if err := errors.Join(
					writing.Register(t.Context(), s, time.Millisecond),
					writing.Register(t.Context(), s, time.Minute),
				); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := open(t, address, nil)
	registrytest.Register(t, last, registrytest.Greeter("last"), 0)
	w.Await("all to be gone but one", registrytest.HasNodes("last"))
}

// lines is an io.Writer of lines that a test reads.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-bound(t, deadline).Done():
		t.Fatal("nothing happened in time")
	}
	return v
}
