package push_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/nats"
	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
)

// startNATS starts a server that keeps its store in dir.
func startNATS(t testing.TB, dir, address string) *conns.Server {
	t.Helper()
	s, err := conns.Start(t.Context(), dir, &conns.ServerOptions{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// openNATS opens a connection of its own, as another gateway has it.
func openNATS(t testing.TB, address string) *nats.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := nats.Open(ctx, &url.URL{Scheme: "nats", Host: address}, &nats.Options{Conns: &conns.Conns{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestTwoGateways: two gateways on JetStream share the messages of a service;
// one of them goes and comes again, and each message comes, once.
func TestTwoGateways(t *testing.T) {
	addr := startNATS(t, t.TempDir(), "127.0.0.1:0").Addr()
	reg := new(registry.Memory)
	a, b := join(t, reg, openNATS(t, addr), push.Options{}), join(t, reg, openNATS(t, addr), push.Options{})
	n := serve(t, nil)
	a.announce(t, "mailer", n, "orders")
	a.subscribed(t, "orders")
	b.subscribed(t, "orders")
	const all = 300
	for i := range all {
		if i == all/3 {
			a.stop()
		}
		if i == 2*all/3 {
			a = join(t, reg, openNATS(t, addr), push.Options{})
			a.subscribed(t, "orders")
		}
		b.publish(t, "orders", fmt.Sprintf("%03d", i), "x")
	}
	for i, id := range n.ids(t, all) {
		if want := fmt.Sprintf("%03d", i); id != want {
			t.Fatalf("message %d is %s, want %s: each once", i, id, want)
		}
	}
	wantNone(t, n)
}

// TestGoneAndBackOnNATS: what is published while no node is there, and what was
// not settled when the gateway died, comes when there is one.
func TestGoneAndBackOnNATS(t *testing.T) {
	addr := startNATS(t, t.TempDir(), "127.0.0.1:0").Addr()
	first := openNATS(t, addr)
	reg := new(registry.Memory)
	g := join(t, reg, first, push.Options{})
	die := make(chan struct{})
	n := serve(t, func(http.ResponseWriter, *http.Request) {
		select {
		case <-die:
		default:
			die <- struct{}{} // on its way
			<-die
		}
	})
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "1", "x")
	<-die
	if err := first.Close(); err != nil { // as it is when a process ends
		t.Fatal(err)
	}
	close(die)
	g.stop()
	n.ids(t, 1)

	second := openNATS(t, addr)
	g = join(t, reg, second, push.Options{})
	g.subscribed(t, "orders")
	if got := n.ids(t, 1)[0]; got != "1" {
		t.Errorf("came %q, want 1 again: nobody knew that it was taken", got)
	}
	g.withdraw(t, "mailer", n)
	g.publish(t, "orders", "2", "x")
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	if got := n.ids(t, 1)[0]; got != "2" {
		t.Errorf("came %q, want 2, which was published meanwhile", got)
	}
}

// TestServerRestarts: the broker is away for a moment; the subscription goes on.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	s := startNATS(t, dir, "127.0.0.1:0")
	addr := s.Addr()
	g := start(t, openNATS(t, addr), push.Options{})
	n := serve(t, nil)
	g.announce(t, "mailer", n, "orders")
	g.subscribed(t, "orders")
	g.publish(t, "orders", "1", "x")
	n.ids(t, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	g.log.wait(t, "broker lost")
	startNATS(t, dir, addr)
	if err := openNATS(t, addr).Publish(t.Context(), "orders", &broker.Message{ID: "2"}); err != nil {
		t.Fatal(err)
	}
	if got := n.ids(t, 1)[0]; got != "2" {
		t.Errorf("came %q, want 2", got)
	}
	g.log.wait(t, "broker found")
	if got := g.log.count("broker lost"); got != 1 {
		t.Errorf("the loss was logged %d times, want once", got)
	}
}

// TestLettersOnNATS: dead letters are kept, listed, replayed, and known to be.
func TestLettersOnNATS(t *testing.T) {
	b := openNATS(t, startNATS(t, t.TempDir(), "127.0.0.1:0").Addr())
	n := serve(t, statuses(400, 410, 500, 204))
	g, ids := refused(t, n, b, "a", "b")
	list, err := g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 2 || list.DeadLetters[0].ID != ids[0] || list.DeadLetters[1].Reason != "the service answered 410 Gone" {
		t.Fatalf("DeadLetters = %+v, %v; want both", list, err)
	}
	if got := list.DeadLetters[0]; got.Header != nil || got.MessageID != "m-0" || time.Since(got.Published) > time.Minute {
		t.Errorf("listed %+v", got)
	}
	wantCode(t, g.Replay(t.Context(), ids[1]), 502, "answered 500")
	if err := g.Replay(t.Context(), ids[1]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := receive(t, n.came); r.body != "b" || r.Header.Get("Ce-Id") != "m-1" || r.Header.Get("X-Request-ID") != "r-1" {
			t.Errorf("replayed %v %q, want the message as it was", r.Header, r.body)
		}
	}
	list, err = g.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 1 || list.DeadLetters[0].ID != ids[0] {
		t.Errorf("DeadLetters = %+v, %v; want the first only", list, err)
	}
}
