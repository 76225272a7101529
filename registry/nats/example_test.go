package nats_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/nats"
)

// A service is announced on a server within the program, and found.
func Example() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: greeter at 127.0.0.1:9090
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := conns.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer server.Close()
	reg, err := nats.Open(ctx, &url.URL{Scheme: "embedded"}, &nats.Options{Conns: &conns.Conns{Embedded: server}})
	if err != nil {
		return err
	}
	defer reg.Close()

	greeter := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9090"}}}
	if err := reg.Register(ctx, greeter, 30*time.Second); err != nil {
		return err
	}
	w, err := reg.Watch(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	services, err := w.Next(ctx)
	if err != nil {
		return err
	}
	for _, s := range services {
		fmt.Println(s.Name, "at", s.Nodes[0].Address)
	}
	return nil
}
