package push_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// Example pushes a message to a service that asks for its topic.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	reg, pools, bus := new(registry.Memory), upstream.NewPools(nil), new(broker.Memory)

	// The gateway follows the registry.
	live := router.NewLive(reg, pools, nil)
	pusher := push.New(bus, live, pools, &push.Options{Topics: []string{"orders"}})
	ended := make(chan error, 2)
	go func() { ended <- live.Run(ctx) }()
	go func() { ended <- pusher.Run(ctx) }()

	// The service has been here before, so that its group has a place in the topic.
	group, err := bus.Subscribe(ctx, "orders", &broker.SubscribeOptions{Group: "mailer"})
	if err != nil {
		fmt.Println(err)
	}
	_ = group.Close()
	_ = bus.Publish(ctx, "orders", &broker.Message{ID: "order-1", Body: []byte("a book")})

	// Now it comes, and is pushed what it has missed.
	done := make(chan struct{})
	mailer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println(r.Method, r.URL, r.Header.Get("Ce-Id"), r.Header.Get("Ce-Source"), string(body))
		close(done)
	}))
	err = reg.Register(ctx, &registry.Service{
		Name:  "mailer",
		Nodes: []*registry.Node{{ID: "mailer-1", Address: mailer.Listener.Addr().String()}},
		Endpoints: []*registry.Endpoint{{
			Name:     "OnOrder",
			Metadata: map[string]string{"subscriber": "true", "push": "true", "topic": "orders", "path": "/on-order"},
		}},
	}, 0)
	if err != nil {
		fmt.Println(err)
	}
	<-done
	stop()
	<-ended
	<-ended
	mailer.Close()
	// Output: POST /on-order order-1 /topics/orders a book
}
