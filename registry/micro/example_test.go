package micro_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/micro"
)

// A service is registered by one registry, where services of go-micro would find
// it, and found by another.
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
	opts := &micro.Options{Conns: &conns.Conns{Embedded: server}}
	u := &url.URL{Scheme: "embedded+micro"}
	one, err := micro.Open(ctx, u, opts)
	if err != nil {
		return err
	}
	defer one.Close()
	other, err := micro.Open(ctx, u, opts)
	if err != nil {
		return err
	}
	defer other.Close()

	greeter := &registry.Service{Name: "greeter", Nodes: []*registry.Node{{ID: "greeter-1", Address: "127.0.0.1:9090"}}}
	if err := one.Register(ctx, greeter, 30*time.Second); err != nil {
		return err
	}
	services, err := other.Get(ctx, "greeter")
	if err != nil {
		return err
	}
	for _, s := range services {
		fmt.Println(s.Name, "at", s.Nodes[0].Address)
	}
	return nil
}
