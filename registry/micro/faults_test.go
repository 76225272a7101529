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
)

// TestServerRestarts: the loss of contact is told of once, calls fail meanwhile,
// and nothing is gone afterwards but what really is.
func TestServerRestarts(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	address := "nats+micro://" + s.Addr() + brief
	reading, writing := open(t, address, nil), open(t, address, nil)
	register(t, writing, greeter("1", "2"), 0)
	kill := provide(t, address, []byte(`{"name":"other","nodes":[{"id":"o","address":"127.0.0.1:1"}]}`))
	w := watch(t, reading)
	before := w.await("all nodes", hasNodes("1", "2", "o"))

	s.Close()
	w.awaitLoss()
	begun := time.Now()
	if err := writing.Register(bound(t, deadline), greeter("late"), 0); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Register() without a server error = %v, want ErrUnavailable", err)
	}
	if err := writing.Deregister(bound(t, deadline), greeter("1")); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("Deregister() without a server error = %v, want ErrUnavailable", err)
	}
	_, get := reading.Get(bound(t, deadline), "greeter")
	_, list := reading.List(bound(t, deadline))
	if !errors.Is(get, registry.ErrUnavailable) || !errors.Is(list, registry.ErrUnavailable) {
		t.Errorf("Get() and List() without a server error = %v and %v, want ErrUnavailable", get, list)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("four calls without a server took %v, want at most 1 s", took)
	}
	late := watch(t, reading)
	late.awaitLoss()
	w.wantNothing(300 * time.Millisecond)
	kill()

	start(t, &conns.ServerOptions{Address: s.Addr()})
	after := w.next()
	if !slices.Equal(after, before) {
		t.Errorf("the first state with contact back has %q, want the same pointers as before", nodes(after))
	}
	w.await("the node of the provider that did not come back to be gone", hasNodes("1", "2"))
	late.await("the same for one that began without a server", hasNodes("1", "2"))
	if err := writing.Deregister(bound(t, deadline), greeter("1")); err != nil {
		t.Fatal(err)
	}
	w.await("a node to be gone", hasNodes("2"))
}

// TestWatchOnceContactIsLost: who first looks while there is no server finds
// what is there once it is back.
func TestWatchOnceContactIsLost(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	address := "nats+micro://" + s.Addr() + brief
	writing := open(t, address, nil)
	register(t, writing, greeter("1"), 0)
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
	w := watch(t, reading)
	w.awaitLoss()
	start(t, &conns.ServerOptions{Address: s.Addr()})
	w.await("the node", hasNodes("1"))
}

// TestExpiryWithoutContact: what ends while there is no server is not answered
// for afterwards.
func TestExpiryWithoutContact(t *testing.T) {
	s := start(t, &conns.ServerOptions{Address: "127.0.0.1:0"})
	address := "nats+micro://" + s.Addr() + brief
	reading, writing := open(t, address, nil), open(t, address, nil)
	register(t, writing, greeter("1"), 0)
	register(t, writing, greeter("2"), 200*time.Millisecond)
	w, own := watch(t, reading), watch(t, writing)
	w.await("both nodes", hasNodes("1", "2"))
	own.await("both nodes", hasNodes("1", "2"))
	s.Close()
	w.awaitLoss()
	own.awaitLoss()
	own.wantNothing(250 * time.Millisecond)
	start(t, &conns.ServerOptions{Address: s.Addr()})
	own.await("the node that has no time to live", hasNodes("1"))
	w.await("the node that has no time to live", hasNodes("1"))
}

// TestAnswersOfManyNodes: a service whose nodes are too many for one message is
// told, and answered for, in several.
func TestAnswersOfManyNodes(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0", MaxPayload: 8 << 10}).Addr() + brief
	writing := open(t, address, nil)
	w := watch(t, open(t, address, nil))
	w.next()
	ids := make([]string, 500)
	for i := range ids {
		ids[i] = fmt.Sprintf("node-%03d", i)
	}
	register(t, writing, greeter(ids...), 0)
	w.await("all nodes, as they are told", hasNodes(ids...))
	watch(t, open(t, address, nil)).await("all nodes, as they are answered", hasNodes(ids...))
	if err := writing.Deregister(t.Context(), greeter(ids...)); err != nil {
		t.Fatal(err)
	}
	w.await("all to be gone", hasNodes())
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
	register(t, r, greeter("1"), 0)
	w := watch(t, r)
	before := w.await("the node", hasNodes("1"))
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
	after := w.await("the good node of a service", hasNodes("1", "m"))
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
	register(t, r, greeter("1"), 0)
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
	w, apart := watch(t, r), watch(t, open(t, address+brief, nil))
	w.await("the node", hasNodes("o"))
	apart.await("the node", hasNodes("o"))
	if err := r.Deregister(t.Context(), &registry.Service{Name: "other", Nodes: []*registry.Node{{ID: "o"}, nil}}); err != nil {
		t.Fatal(err)
	}
	w.await("the node to be gone", hasNodes())
	apart.await("the node to be gone", hasNodes())
	w.await("the node that answers", hasNodes("o"))
	apart.await("the node that answers", hasNodes("o"))
}

// TestConcurrentRegistries: many write and close while one reads.
func TestConcurrentRegistries(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr() + brief
	w := watch(t, open(t, address, nil))
	w.next()
	var wg sync.WaitGroup
	for i := range 8 {
		writing := open(t, address, nil)
		wg.Go(func() {
			defer writing.Close()
			for range 20 {
				s := greeter(fmt.Sprint(i))
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
	register(t, last, greeter("last"), 0)
	w.await("all to be gone but one", hasNodes("last"))
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
