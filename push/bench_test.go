package push_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
)

// BenchmarkPush guards what a message costs between a broker in memory and a node
// on the loopback.
func BenchmarkPush(b *testing.B) {
	came := make(chan struct{}, 1<<16)
	g := start(b, new(broker.Memory), push.Options{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		came <- struct{}{}
	}))
	b.Cleanup(s.Close)
	n := newNode()
	n.addr = s.Listener.Addr().String()
	g.announce(b, "mailer", n, "orders")
	g.subscribed(b, "orders")
	b.ReportAllocs()
	const ahead = 1000 // that wait to be pushed
	for i := 0; b.Loop(); i++ {
		g.publish(b, "orders", "", "a book", "Content-Type", "text/plain")
		if i >= ahead {
			<-came
		}
	}
}
