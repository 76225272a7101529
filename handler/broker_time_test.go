package handler_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// brokerPipes serves the topic orders of a broker in memory until the test ends.
func brokerPipes(t *testing.T, b broker.Broker) *piped {
	t.Helper()
	return brokerPipesAt(t, b, "topic=orders")
}

// brokerPipesAt is brokerPipes for any query.
func brokerPipesAt(t *testing.T, b broker.Broker, query string) *piped {
	t.Helper()
	p := &piped{conns: make(chan net.Conn), done: make(chan struct{})}
	h := handler.Broker(b, everything())
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = query
		h.ServeHTTP(w, r)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(p) // ends with Close
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return p
}

// untilClosed returns a broker that says how long after the start a subscription ended.
func untilClosed(mem *broker.Memory) (broker.Broker, <-chan time.Duration) {
	ended := make(chan time.Duration, 10)
	start := time.Now()
	return &wrapped{Broker: mem, subscribe: func(ctx context.Context, topic string, opts *broker.SubscribeOptions) (broker.Subscription, error) {
		sub, err := mem.Subscribe(ctx, topic, opts)
		return &watched{sub, func() { ended <- time.Since(start) }}, err
	}}, ended
}

func TestBrokerEventsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		lines := brokerPipes(t, &mem).lines(t, asEvents)
		expect(t, lines, came{"200 OK", 0}, came{":", 30 * time.Second}, came{":", time.Minute})
	})
}

// TestBrokerEventsNotTaken holds that a client that takes nothing is given up.
func TestBrokerEventsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		b, ended := untilClosed(&mem)
		p := brokerPipes(t, b)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", asEvents)
		res, err := p.transport().RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		publishText(t, &mem, strings.Repeat("x", 100_000))
		if got := <-ended; got != 30*time.Second {
			t.Errorf("the subscription ended after %v, want 30s", got)
		}
	})
}

// TestBrokerSocketPings holds that a client that answers pings stays, however
// busy or silent its topic is, and that one that does not is given up.
func TestBrokerSocketPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		b, ended := untilClosed(&mem)
		conn, list := brokerPipes(t, b).open(t)
		for i := range 60 { // 10 minutes
			publishText(t, &mem, fmt.Sprint(i))
			if got := bodyOf(t, (<-list).what); got != fmt.Sprint(i) {
				t.Errorf("received %s, want %d", got, i)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(ended) > 0 || len(list) > 0 {
			t.Fatal("the client was cut off")
		}
		_ = conn.CloseNow()
		<-ended
	})
	synctest.Test(t, func(t *testing.T) {
		var mem broker.Memory
		b, ended := untilClosed(&mem)
		near, far := net.Pipe()
		p := brokerPipes(t, b)
		p.conns <- far
		br := shakeHands(t, near)
		go func() { // takes everything, and says nothing; ends with the connection
			_, _ = br.WriteTo(io.Discard)
		}()
		if got := <-ended; got < time.Minute || got > 70*time.Second {
			t.Errorf("the subscription ended after %v, want a minute", got)
		}
		_ = near.Close()
	})
}
