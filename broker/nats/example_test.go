package nats_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/nats"
	conns "github.com/goapi-dev/goapi/nats"
)

// Example publishes and receives on a server inside this process.
func Example() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output: 1: hello
}

func example() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := conns.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer server.Close()

	u := &url.URL{Scheme: "embedded"}
	b, err := nats.Open(ctx, u, &nats.Options{Conns: &conns.Conns{Embedded: server}})
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := b.Subscribe(ctx, "greetings", &broker.SubscribeOptions{Group: "readers"})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := b.Publish(ctx, "greetings", &broker.Message{ID: "1", Body: []byte("hello")}); err != nil {
		return err
	}
	d, err := s.Next(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", d.ID, d.Body)
	return d.Ack(ctx)
}
